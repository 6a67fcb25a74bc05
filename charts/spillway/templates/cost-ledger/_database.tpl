{{- /* The database settings of the ledger's pods and the migration's. All take the root. */}}

{{- /* The Secret that holds the password as a file, if any. */}}
{{- define "spillway.postgres.passwordSecret" -}}
{{- if .Values.postgres.enabled -}}
{{ .Values.postgres.existingSecret | default (printf "%s-postgres" (include "spillway.fullname" .)) }}
{{- else if not .Values.postgres.external.urlKey -}}
{{ .Values.postgres.external.existingSecret }}
{{- end -}}
{{- end }}

{{- define "spillway.postgres.env" -}}
{{- $postgres := .Values.postgres -}}
{{- if $postgres.enabled -}}
- name: COST_LEDGER_POSTGRES_URL
  value: postgresql://{{ $postgres.user }}@{{ include "spillway.fullname" . }}-postgres:5432/{{ $postgres.database }}
{{- else if $postgres.external.urlKey -}}
- name: COST_LEDGER_POSTGRES_URL
  valueFrom: {secretKeyRef: {name: {{ required "postgres.external.urlKey needs postgres.external.existingSecret" $postgres.external.existingSecret }}, key: {{ $postgres.external.urlKey }}}}
{{- else -}}
- name: COST_LEDGER_POSTGRES_URL
  value: {{ required "postgres.enabled is false: set postgres.external.url, or existingSecret and urlKey" $postgres.external.url | quote }}
{{- end -}}
{{- if include "spillway.postgres.passwordSecret" . }}
- {name: COST_LEDGER_POSTGRES_PASSWORD_FILE, value: /etc/spillway/postgres/password}
{{- end -}}
{{- end }}

{{- define "spillway.postgres.volumeMounts" -}}
{{- if include "spillway.postgres.passwordSecret" . -}}
- {name: postgres, mountPath: /etc/spillway/postgres, readOnly: true}
{{- end -}}
{{- end }}

{{- define "spillway.postgres.volumes" -}}
{{- with include "spillway.postgres.passwordSecret" . -}}
- name: postgres
  secret:
    secretName: {{ . }}
    defaultMode: 0440
    items: [{key: {{ ternary "password" $.Values.postgres.external.passwordKey $.Values.postgres.enabled }}, path: password}]
{{- end -}}
{{- end }}

{{- /* The password is read only at start. */}}
{{- define "spillway.postgres.checksum" -}}
{{- $name := ternary .Values.postgres.existingSecret .Values.postgres.external.existingSecret .Values.postgres.enabled -}}
{{- if $name }}{{ include "spillway.secretChecksum" (dict "root" . "name" $name) }}{{ end -}}
{{- end }}
