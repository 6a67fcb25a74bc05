{{- /* The model in the cluster, vLLM's or the local one, behind one Service. All take the root. */}}

{{- define "spillway.model.enabled" -}}
{{- if and .Values.vllm.enabled .Values.localModel.enabled -}}
{{- fail "vllm.enabled and localModel.enabled are both true, but they share the Service *-vllm: set localModel.enabled to false" -}}
{{- end -}}
{{- if or .Values.vllm.enabled .Values.localModel.enabled }}true{{ end -}}
{{- end }}

{{- /* Its name in requests and metrics (label model_name). */}}
{{- define "spillway.model.name" -}}
{{- if .Values.vllm.enabled -}}
{{- .Values.vllm.servedModelName | default .Values.vllm.model -}}
{{- else -}}
smollm2-135m-instruct
{{- end -}}
{{- end }}

{{- /* Whether vLLM is to run without what reads tool calls; of another engine nothing is known. */}}
{{- define "spillway.model.lacksToolParser" -}}
{{- with .Values.vllm -}}
{{- if and .enabled (not .command) (not .toolCallParser) (not (contains "--tool-call-parser" (join " " .extraArgs))) }}true{{ end -}}
{{- end -}}
{{- end }}

{{- /* Its target in the default routes. A connection inside a cluster takes a millisecond; a connection to a Service without
pods hangs where a NetworkPolicy allows the router to reach only pods. */}}
{{- define "spillway.model.target" -}}
provider: vllm
model: {{ include "spillway.model.name" . | quote }}
base_url: http://{{ include "spillway.fullname" . }}-vllm:8000/v1
context_tokens: {{ if .Values.vllm.enabled }}{{ .Values.vllm.maxModelLen }}{{ else }}2048{{ end }}
timeouts: {connect_seconds: 1}
{{- if include "spillway.model.lacksToolParser" . }}
tools: false
{{- end }}
{{- if .Values.localModel.enabled }}
images: false
{{- end }}
{{- end }}
