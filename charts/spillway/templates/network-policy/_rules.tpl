{{- /* Rules that several policies share. */}}

{{- /* Egress to a component of this release. Takes root, component, port. */}}
{{- define "spillway.egress.to" -}}
- to:
    - podSelector:
        matchLabels:
          {{- include "spillway.selectorLabels" . | nindent 10 }}
  ports: [{port: {{ .port }}, protocol: TCP}]
{{- end }}

{{- define "spillway.peer" -}}
- podSelector:
    matchLabels:
      {{- include "spillway.selectorLabels" . | nindent 6 }}
{{- end }}

{{- /* Takes the root. */}}
{{- define "spillway.egress.dns" -}}
{{- with .Values.networkPolicy.dns -}}
- to:
    {{- toYaml . | nindent 4 }}
  ports: [{port: 53, protocol: UDP}, {port: 53, protocol: TCP}]
{{- end }}
{{- end }}

{{- /* Egress to the proxies that calls beyond the cluster go through. Takes the root. */}}
{{- define "spillway.egress.proxy" -}}
{{- with .Values.networkPolicy.proxy }}{{ toYaml . }}{{ end -}}
{{- end }}

{{- /* Takes root and port. */}}
{{- define "spillway.ingress.prometheus" -}}
{{- with .root.Values.networkPolicy.prometheus -}}
- from:
    {{- toYaml . | nindent 4 }}
  ports: [{port: {{ $.port }}, protocol: TCP}]
{{- end }}
{{- end }}

{{- /* Takes the root. */}}
{{- define "spillway.egress.valkey" -}}
{{- if .Values.valkey.enabled -}}
{{- include "spillway.egress.to" (dict "root" . "component" "valkey" "port" 6379) -}}
{{- else -}}
{{- with .Values.networkPolicy.valkey }}{{ toYaml . }}{{ end -}}
{{- end -}}
{{- end }}

{{- define "spillway.egress.postgres" -}}
{{- if .Values.postgres.enabled -}}
{{- include "spillway.egress.to" (dict "root" . "component" "postgres" "port" 5432) -}}
{{- else -}}
{{- with .Values.networkPolicy.postgres }}{{ toYaml . }}{{ end -}}
{{- end -}}
{{- end }}

{{- /* The start of a policy for the pods of a component: it denies what no rule allows. Takes root, component. */}}
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
