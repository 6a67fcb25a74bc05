{{- /* Annotations by which Prometheus discovers a pod. Takes (dict "root" $ "component" "edge" "port" 9103). */}}
{{- define "spillway.monitoring.podAnnotations" -}}
{{- if .root.Values.monitoring.scrapeAnnotations -}}
prometheus.io/scrape: "true"
prometheus.io/port: {{ .port | quote }}
prometheus.io/path: /metrics
{{- end }}
{{- end }}

{{- /* Metadata of a monitoring object. Takes root, suffix, labels, annotations. */}}
{{- define "spillway.monitoring.metadata" -}}
name: {{ include "spillway.componentName" (dict "root" .root "component" .suffix) }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- $all := include "spillway.labels" (dict "root" .root "component" "monitoring") | fromYaml }}
  {{- toYaml (merge (dict) .labels $all) | nindent 2 }}
{{- with merge (dict) (.annotations | default dict) .root.Values.annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
