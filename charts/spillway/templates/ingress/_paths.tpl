{{- /* The public paths, never /metrics. Takes the root. */}}
{{- define "spillway.publicPaths" -}}
paths: [/chat, /v1, {{ if has "docs" .Values.edge.expose }}/docs, /openapi.json, /static-offline-docs, {{ end }}/health]
{{- end }}
