{{- /* What of the arrows comes more than once. */}}

{{- /* One arrow: a peer of this release and a port. Takes root, component, port. */}}
{{- define "spillway.arrow.to" -}}
- to:
    - podSelector:
        matchLabels:
          {{- include "spillway.selectorLabels" . | nindent 10 }}
  ports: [{port: {{ .port }}, protocol: TCP}]
{{- end }}

{{- define "spillway.arrow.from" -}}
- podSelector:
    matchLabels:
      {{- include "spillway.selectorLabels" . | nindent 6 }}
{{- end }}

{{- /* Takes the root. */}}
{{- define "spillway.arrow.dns" -}}
{{- with .Values.networkPolicy.dns -}}
- to:
    {{- toYaml . | nindent 4 }}
  ports: [{port: 53, protocol: UDP}, {port: 53, protocol: TCP}]
{{- end }}
{{- end }}

{{- /* Takes root and port. */}}
{{- define "spillway.arrow.prometheus" -}}
{{- with .root.Values.networkPolicy.prometheus -}}
- from:
    {{- toYaml . | nindent 4 }}
  ports: [{port: {{ $.port }}, protocol: TCP}]
{{- end }}
{{- end }}

{{- /* Takes the root. */}}
{{- define "spillway.arrow.valkey" -}}
{{- if .Values.valkey.enabled -}}
{{- include "spillway.arrow.to" (dict "root" . "component" "valkey" "port" 6379) -}}
{{- else -}}
{{- with .Values.networkPolicy.valkey }}{{ toYaml . }}{{ end -}}
{{- end -}}
{{- end }}

{{- define "spillway.arrow.postgres" -}}
{{- if .Values.postgres.enabled -}}
{{- include "spillway.arrow.to" (dict "root" . "component" "postgres" "port" 5432) -}}
{{- else -}}
{{- with .Values.networkPolicy.postgres }}{{ toYaml . }}{{ end -}}
{{- end -}}
{{- end }}

{{- /* The head of a policy over the pods of a component: what it does not name is refused. Takes root, component. */}}
{{- define "spillway.policy" -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  {{- include "spillway.metadata" . | nindent 2 }}
spec:
  podSelector:
    matchLabels:
      {{- include "spillway.selectorLabels" . | nindent 6 }}
  policyTypes: [Ingress, Egress]
{{- end }}
