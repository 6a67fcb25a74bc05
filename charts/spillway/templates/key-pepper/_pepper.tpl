{{- /* The pepper that edges and ledgers share: the key of the hashes that the ledger's API keys are kept as. */}}

{{- /* The Secret with it; empty without one. A chart that is rendered without a cluster (helm template, GitOps) generates none:
it would be another one each time, and every key that was made before would be dead. Takes the root. */}}
{{- define "spillway.keyPepper.secretName" -}}
{{- if .Values.keyPepper.existingSecret -}}
{{ .Values.keyPepper.existingSecret }}
{{- else if hasKey (lookup "v1" "Secret" .Release.Namespace "" | default dict) "items" -}}
{{ include "spillway.fullname" . }}-key-pepper
{{- end -}}
{{- end }}

{{- /* The parts of a pod; each takes root and component. */}}
{{- define "spillway.keyPepper.env" -}}
{{- if include "spillway.keyPepper.secretName" .root -}}
- {name: {{ .component | upper | replace "-" "_" }}_KEY_PEPPER_FILE, value: /etc/spillway/key-pepper/pepper}
{{- end }}
{{- end }}

{{- define "spillway.keyPepper.volumeMounts" -}}
{{- if include "spillway.keyPepper.secretName" .root -}}
- {name: key-pepper, mountPath: /etc/spillway/key-pepper, readOnly: true}
{{- end }}
{{- end }}

{{- define "spillway.keyPepper.volumes" -}}
{{- with include "spillway.keyPepper.secretName" .root -}}
- name: key-pepper
  secret:
    secretName: {{ . }}
    defaultMode: 0440
    items: [{key: pepper, path: pepper}]
{{- end }}
{{- end }}
