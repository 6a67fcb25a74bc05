{{- /* The token that edge, router and ledger share (docs/adr/0020). */}}

{{- /* The Secret with it; empty without one. A chart that is rendered without a cluster (helm template, GitOps) generates none:
it would be another one each time, and pods of two renderings would refuse each other. Takes the root. */}}
{{- define "spillway.rpcToken.secretName" -}}
{{- if .Values.rpcToken.existingSecret -}}
{{ .Values.rpcToken.existingSecret }}
{{- else if hasKey (lookup "v1" "Secret" .Release.Namespace "" | default dict) "items" -}}
{{ include "spillway.fullname" . }}-rpc-token
{{- end -}}
{{- end }}

{{- /* Whether a component shows the token or asks for it: the edge always, the others from the first install on, or once
an upgrade has given it to the edges, so that no old edge is refused while pods are replaced. Takes root and component. */}}
{{- define "spillway.rpcToken.isUsed" -}}
{{- $name := include "spillway.rpcToken.secretName" .root -}}
{{- if $name -}}
{{- if or (eq .component "edge") .root.Values.rpcToken.existingSecret .root.Release.IsInstall (lookup "v1" "Secret" .root.Release.Namespace $name) -}}
true
{{- end -}}
{{- end -}}
{{- end }}

{{- /* The parts of a pod; each takes root and component. */}}
{{- define "spillway.rpcToken.env" -}}
{{- if include "spillway.rpcToken.isUsed" . -}}
- {name: {{ .component | upper | replace "-" "_" }}_RPC_TOKEN_FILE, value: /etc/spillway/rpc/token}
{{- end }}
{{- end }}

{{- define "spillway.rpcToken.volumeMounts" -}}
{{- if include "spillway.rpcToken.isUsed" . -}}
- {name: rpc-token, mountPath: /etc/spillway/rpc, readOnly: true}
{{- end }}
{{- end }}

{{- define "spillway.rpcToken.volumes" -}}
{{- if include "spillway.rpcToken.isUsed" . -}}
- name: rpc-token
  secret:
    secretName: {{ include "spillway.rpcToken.secretName" .root }}
    defaultMode: 0440
    items: [{key: token, path: token}]
{{- end }}
{{- end }}
