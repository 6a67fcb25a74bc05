{{- /* Annotations of a pod by which its metrics are found. Takes (dict "root" $ "component" "edge" "port" 8080). */}}
{{- define "spillway.monitoring.podAnnotations" -}}{{- end }}
