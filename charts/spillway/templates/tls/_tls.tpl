{{- /* The parts of a pod for mutual TLS between the services (docs/adr/0016). Each takes root and component. */}}

{{- /* The Secret with tls.crt, tls.key and ca.crt of a component. */}}
{{- define "spillway.tls.secretName" -}}
{{- $given := get .root.Values.tls.existingSecrets (camelcase .component | untitle) -}}
{{- $given | default (printf "%s-tls" (include "spillway.componentName" .)) -}}
{{- end }}

{{- define "spillway.tls.env" -}}
{{- if .root.Values.tls.enabled -}}
- {name: {{ .component | upper | replace "-" "_" }}_TLS_DIRECTORY, value: /etc/spillway/tls}
{{- end }}
{{- end }}

{{- define "spillway.tls.volumeMounts" -}}
{{- if .root.Values.tls.enabled -}}
- {name: tls, mountPath: /etc/spillway/tls, readOnly: true}
{{- end }}
{{- end }}

{{- /* No checksum of the Secret: each service reloads a renewed certificate. */}}
{{- define "spillway.tls.volumes" -}}
{{- if .root.Values.tls.enabled -}}
- name: tls
  secret: {secretName: {{ include "spillway.tls.secretName" . }}, defaultMode: 0440}
{{- end }}
{{- end }}

{{- /* The Certificate of a component. Takes root, component and usage. */}}
{{- define "spillway.tls.certificate" -}}
{{- $name := include "spillway.componentName" . -}}
{{- $namespace := .root.Release.Namespace -}}
apiVersion: cert-manager.io/v1
kind: Certificate
metadata:
  {{- include "spillway.metadata" . | nindent 2 }}
spec:
  secretName: {{ include "spillway.tls.secretName" . }}
  secretTemplate:
    labels:
      {{- include "spillway.selectorLabels" . | nindent 6 }}
  # The edge calls the first one.
  dnsNames:
    - {{ $name }}
    - {{ $name }}.{{ $namespace }}
    - {{ $name }}.{{ $namespace }}.svc
  usages: [digital signature, {{ .usage }}]
  duration: {{ .root.Values.tls.duration }}
  renewBefore: {{ .root.Values.tls.renewBefore }}
  privateKey: {algorithm: ECDSA, size: 256, rotationPolicy: Always}
  issuerRef:
    {{- with .root.Values.tls.issuerRef }}
    {{- toYaml . | nindent 4 }}
    {{- else }}
    name: {{ include "spillway.fullname" .root }}-authority
    {{- end }}
{{- end }}
