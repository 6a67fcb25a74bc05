{{- /* The Secret with keys.yaml. Takes the root. */}}
{{- define "spillway.keys.secretName" -}}
{{ .Values.keys.existingSecret | default (printf "%s-keys" (include "spillway.fullname" .)) }}
{{- end }}

{{- /* The generated API key: the existing one, if the cluster has it. Generated once per rendering and kept with the values,
because two templates need the same key. */}}
{{- define "spillway.keys.apiKey" -}}
{{- if not (hasKey .Values.keys "generated") -}}
{{- $secret := lookup "v1" "Secret" .Release.Namespace (include "spillway.keys.secretName" .) | default dict -}}
{{- $known := dig "data" "api-key" "" $secret | b64dec -}}
{{- $new := printf "sk-spillway-%s-%s" (randAlphaNum 8 | lower) (randAlphaNum 43) -}}
{{- $_ := set .Values.keys "generated" ($known | default $new) -}}
{{- end -}}
{{- .Values.keys.generated -}}
{{- end }}

{{- /* Its keys.yaml, in the format of services/edge/src/edge/guard/keys.py: SHA-256 over salt and secret. The salt is derived
from the key, which has 256 random bits itself, so that the same key gives the same file. */}}
{{- define "spillway.keys.file" -}}
{{- $key := include "spillway.keys.apiKey" . -}}
{{- $parts := trimPrefix "sk-spillway-" $key | splitn "-" 2 -}}
{{- $salt := printf "salt %s" $key | sha256sum | trunc 32 -}}
keys:
  - key_id: {{ $parts._0 | quote }}
    tenant: {{ .Values.keys.tenant | quote }}
    user: {{ .Values.keys.user | quote }}
    tier: {{ .Values.keys.tier | quote }}
    salt: {{ printf "%x" $salt | quote }}
    sha256: {{ printf "%s%s" $salt $parts._1 | sha256sum }}
{{- end }}
