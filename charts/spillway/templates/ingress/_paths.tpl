{{- /* The public paths, without /metrics. Takes nothing. */}}
{{- define "spillway.publicPaths" -}}
paths: [/chat, /v1, /docs, /openapi.json, /static-offline-docs, /health]
{{- end }}
