{{- /* The model in the cluster, vLLM's or the local one. Both take the root. */}}

{{- define "spillway.model.enabled" -}}
{{- if or .Values.vllm.enabled .Values.localModel.enabled }}true{{ end -}}
{{- end }}

{{- /* Its target in the default routes. */}}
{{- define "spillway.model.target" -}}
provider: vllm
model: smollm2-135m-instruct
base_url: http://{{ include "spillway.fullname" . }}-vllm:8000/v1
context_tokens: 2048
timeouts: {connect_seconds: 2, first_content_seconds: 30, gap_seconds: 20}
{{- end }}
