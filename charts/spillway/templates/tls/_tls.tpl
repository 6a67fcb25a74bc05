{{- /* What mutual TLS adds to a pod. Each takes (dict "root" $ "component" "edge"). */}}
{{- define "spillway.tls.env" -}}{{- end }}
{{- define "spillway.tls.volumeMounts" -}}{{- end }}
{{- define "spillway.tls.volumes" -}}{{- end }}
