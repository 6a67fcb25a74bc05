{{- /* What the world may ask for: not /metrics. Takes nothing. */}}
{{- define "spillway.publicPaths" -}}
paths: [/chat, /v1, /docs, /openapi.json, /static-offline-docs, /health]
{{- end }}
