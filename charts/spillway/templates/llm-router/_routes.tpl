{{- /* The default routes: the providers with a credential, each a fallback for the other, then the model in the cluster. Takes
the root. */}}
{{- define "spillway.routes.default" -}}
{{- $credentials := concat .Values.credentials.existingSecretKeys (keys .Values.credentials.files) -}}
{{- $rows := list
  (list (list "openai" "gpt-6-luna") (list "anthropic" "claude-haiku-5-5"))
  (list (list "openai" "gpt-6-sol") (list "anthropic" "claude-sonnet-5-5")) -}}
{{- $targets := dict -}}
{{- $routes := dict -}}
{{- $last := list -}}
{{- if include "spillway.model.enabled" . -}}
{{- $model := include "spillway.model.target" . | fromYaml -}}
{{- $last = list "in-cluster" -}}
{{- $_ := set $targets "in-cluster" $model -}}
{{- $_ := set $routes $model.model (dict "targets" $last) -}}
{{- end -}}
{{- range $index, $row := $rows -}}
{{- $names := list -}}
{{- range $row -}}
{{- if has (first .) $credentials -}}
{{- $name := join "-" . -}}
{{- $names = append $names $name -}}
{{- $_ := set $targets $name (dict "provider" (first .) "model" (last .) "credential_file" (printf "/etc/spillway/credentials/%s" (first .))) -}}
{{- end -}}
{{- end -}}
{{- range $row -}}
{{- $name := join "-" . -}}
{{- if has $name $names -}}
{{- $_ := set $routes (last .) (dict "targets" (concat (list $name) (without $names $name) $last)) -}}
{{- end -}}
{{- end -}}
{{- if eq $index 0 -}}
{{- $_ := set $routes "default" (dict "targets" (concat $names $last)) -}}
{{- end -}}
{{- end -}}
{{- if has "openai" $credentials -}}
{{- $name := "openai-text-embedding-3-small" -}}
{{- $_ := set $targets $name (dict "provider" "openai" "model" "text-embedding-3-small" "credential_file" "/etc/spillway/credentials/openai") -}}
{{- $_ := set $routes "text-embedding-3-small" (dict "targets" (list $name)) -}}
{{- end -}}
{{- if not $targets -}}
{{- fail "no model is configured: enable localModel or vllm, or set credentials or routes" -}}
{{- end -}}
{{- toYaml (dict "targets" $targets "routes" $routes) -}}
{{- end }}
