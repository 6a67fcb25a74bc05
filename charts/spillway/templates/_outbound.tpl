{{- /* What calls to servers beyond the cluster need: proxies, and authorities of one's own. All take the root. */}}

{{- /* Where no proxy is asked: this release's own model, and what is in the cluster. */}}
{{- define "spillway.outbound.direct" -}}
{{- join "," (concat (list "localhost" "127.0.0.1" "::1" ".svc" ".cluster.local" (printf "%s-vllm" (include "spillway.fullname" .))) .Values.proxy.noProxy) -}}
{{- end }}

{{- define "spillway.outbound.env" -}}
{{- $proxy := .Values.proxy -}}
{{- $env := list -}}
{{- if $proxy.existingSecret -}}
{{- range $name, $key := dict "HTTPS_PROXY" "https" "HTTP_PROXY" "http" -}}
{{- $reference := dict "name" $proxy.existingSecret "key" $key "optional" true -}}
{{- $env = append $env (dict "name" $name "valueFrom" (dict "secretKeyRef" $reference)) -}}
{{- end -}}
{{- else -}}
{{- with $proxy.https }}{{ $env = append $env (dict "name" "HTTPS_PROXY" "value" .) }}{{ end -}}
{{- with $proxy.http }}{{ $env = append $env (dict "name" "HTTP_PROXY" "value" .) }}{{ end -}}
{{- end -}}
{{- with $env -}}
{{ toYaml (append . (dict "name" "NO_PROXY" "value" (include "spillway.outbound.direct" $))) }}
{{- end -}}
{{- end }}

{{- /* Whether there is a bundle of authorities. */}}
{{- define "spillway.caBundle.isUsed" -}}
{{- if and .Values.caBundle.configMap .Values.caBundle.secret -}}
{{- fail "set caBundle.configMap or caBundle.secret, not both" -}}
{{- end -}}
{{- if or .Values.caBundle.configMap .Values.caBundle.secret }}true{{ end -}}
{{- end }}

{{- define "spillway.caBundle.file" -}}
/etc/spillway/ca-bundle/ca.crt
{{- end }}

{{- define "spillway.caBundle.volumeMounts" -}}
{{- if include "spillway.caBundle.isUsed" . -}}
- {name: ca-bundle, mountPath: /etc/spillway/ca-bundle, readOnly: true}
{{- end -}}
{{- end }}

{{- define "spillway.caBundle.volumes" -}}
{{- if include "spillway.caBundle.isUsed" . -}}
- name: ca-bundle
  {{- with .Values.caBundle.configMap }}
  configMap: {name: {{ . }}, items: [{key: {{ $.Values.caBundle.key }}, path: ca.crt}]}
  {{- end }}
  {{- with .Values.caBundle.secret }}
  secret: {secretName: {{ . }}, defaultMode: 0440, items: [{key: {{ $.Values.caBundle.key }}, path: ca.crt}]}
  {{- end }}
{{- end -}}
{{- end }}

{{- /* Changes with the bundle, which is read at the start; constant without a cluster (helm template). */}}
{{- define "spillway.caBundle.checksum" -}}
{{- $kind := ternary "Secret" "ConfigMap" (not .Values.caBundle.configMap) -}}
{{- $name := .Values.caBundle.configMap | default .Values.caBundle.secret -}}
{{- $found := lookup "v1" $kind .Release.Namespace $name | default dict -}}
{{- include "spillway.checksum" (dict "name" $name "data" (dig "data" (dict) $found)) -}}
{{- end }}
