{{- /* Names and labels. Unless stated otherwise the templates take (dict "root" $ "component" "edge"). */}}

{{- define "spillway.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{- /* `spillway` or `RELEASE-spillway`; short enough for the longest suffix. Takes the root. */}}
{{- define "spillway.fullname" -}}
{{- $name := include "spillway.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{- define "spillway.componentName" -}}
{{ include "spillway.fullname" .root }}-{{ .component }}
{{- end }}

{{- define "spillway.selectorLabels" -}}
app.kubernetes.io/name: {{ include "spillway.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- /* Labels of an object; the user's, of every object, take none of the chart's away. */}}
{{- define "spillway.labels" -}}
{{- $version := dict "app.kubernetes.io/version" .root.Chart.AppVersion "app.kubernetes.io/managed-by" .root.Release.Service -}}
{{- $chart := printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" -}}
{{- $own := include "spillway.selectorLabels" . | fromYaml -}}
{{- toYaml (merge $own $version (dict "app.kubernetes.io/part-of" "spillway" "helm.sh/chart" $chart) .root.Values.labels) -}}
{{- end }}

{{- /* `metadata` of an object of a component: its name with an optional suffix, namespace, labels, annotations. Takes root,
component, suffix, and the annotations of this object. */}}
{{- define "spillway.metadata" -}}
name: {{ include "spillway.componentName" . }}{{ with .suffix }}-{{ . }}{{ end }}
{{ include "spillway.placeMetadata" . }}
{{- end }}

{{- /* The same without a name. */}}
{{- define "spillway.placeMetadata" -}}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "spillway.labels" . | nindent 2 }}
{{- with merge (dict) (.annotations | default dict) .root.Values.annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* Labels of a pod: those of the component and the user's, but not the chart's version, which would restart unchanged pods.
Takes root, component, values. */}}
{{- define "spillway.podLabels" -}}
{{- $own := merge (include "spillway.selectorLabels" . | fromYaml) (dict "app.kubernetes.io/part-of" "spillway") -}}
{{- toYaml (merge $own (.values.podLabels | default dict) .root.Values.podLabels .root.Values.labels) -}}
{{- end }}

{{- /* `metadata` of a pod template: what is set for the component wins over what is set for all. Takes root, component,
values, and the annotations of the chart's own. */}}
{{- define "spillway.podMetadata" -}}
labels:
  {{- include "spillway.podLabels" . | nindent 2 }}
{{- with merge (dict) (.values.podAnnotations | default dict) (.annotations | default dict) .root.Values.podAnnotations .root.Values.annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* The user's variables of a container: those of every container, and those of the component, which win. Takes root and
values. */}}
{{- define "spillway.extraEnv" -}}
{{- $own := .values.extraEnv | default list -}}
{{- $names := list -}}
{{- range $own }}{{ $names = append $names .name }}{{ end -}}
{{- $all := list -}}
{{- range .root.Values.extraEnv }}{{ if not (has .name $names) }}{{ $all = append $all . }}{{ end }}{{ end -}}
{{- with concat $all $own }}{{ toYaml . }}{{ end -}}
{{- end }}

{{- /* An image. Takes root and image ({repository, tag, digest}); without a tag it is the chart's appVersion. */}}
{{- define "spillway.image" -}}
{{- with .root.Values.image.registry }}{{ trimSuffix "/" . }}/{{ end -}}
{{- .image.repository -}}
{{- if .image.digest -}}
@{{ .image.digest }}
{{- else -}}
:{{ .image.tag | default .root.Chart.AppVersion }}
{{- end -}}
{{- end }}

{{- /* The part of a spec that all pods share. Takes root, component, values, and the uid of an image that is not ours. */}}
{{- define "spillway.podBasics" -}}
serviceAccountName: {{ include "spillway.componentName" . }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- $uid := .uid | default 10001 }}
securityContext:
  runAsNonRoot: true
  {{- if .root.Values.fixedUserIds }}
  runAsUser: {{ $uid }}
  runAsGroup: {{ $uid }}
  fsGroup: {{ $uid }}
  fsGroupChangePolicy: OnRootMismatch
  {{- end }}
  seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- /* Takes nothing. */}}
{{- define "spillway.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- /* Where a pod may be scheduled. Takes root, component, values. */}}
{{- define "spillway.scheduling" -}}
{{- with .values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.topologySpread }}
{{- if .enabled }}
topologySpreadConstraints:
  {{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
  - topologyKey: {{ . }}
    maxSkew: 1
    whenUnsatisfiable: {{ $.values.topologySpread.whenUnsatisfiable }}
    labelSelector:
      matchLabels:
        {{- include "spillway.selectorLabels" $ | nindent 8 }}
    {{- /* Only pods of the same revision count; the others are about to end. */}}
    matchLabelKeys: [{{ $.revisionLabel | default "pod-template-hash" }}]
  {{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- /* Durations in seconds, derived from maxStreamSeconds. Each takes the root. */}}
{{- define "spillway.preStopSeconds" -}}15{{- end }}
{{- define "spillway.drainSeconds" -}}{{ add (int .Values.maxStreamSeconds) 10 }}{{- end }}
{{- define "spillway.graceSeconds" -}}{{ add (int .Values.maxStreamSeconds) 30 }}{{- end }}

{{- /* How an autoscaler removes pods: one at a time, after ten quiet minutes. A pod that was removed serves its streams to
their end, so the next one need not wait for that. Takes nothing. */}}
{{- define "spillway.scaleDown" -}}
stabilizationWindowSeconds: 600
policies: [{type: Pods, value: 1, periodSeconds: 300}]
{{- end }}

{{- /* The address families of a Service. Takes the root. */}}
{{- define "spillway.families" -}}
{{- with .Values.ipFamilyPolicy }}
ipFamilyPolicy: {{ . }}
{{- end }}
{{- with .Values.ipFamilies }}
ipFamilies:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* A checksum of a value, for an annotation that restarts pods when it changes. Takes any value. */}}
{{- define "spillway.checksum" -}}
{{- toJson . | sha256sum -}}
{{- end }}

{{- /* The checksum of a Secret that the chart does not create; constant without a cluster (helm template). Takes root and
name. */}}
{{- define "spillway.secretChecksum" -}}
{{- $secret := lookup "v1" "Secret" .root.Release.Namespace .name -}}
{{- include "spillway.checksum" (dict "name" .name "data" (dig "data" (dict) ($secret | default dict))) -}}
{{- end }}

{{- /* Objects of every component. */}}

{{- define "spillway.serviceAccount" -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  {{- include "spillway.metadata" . | nindent 2 }}
automountServiceAccountToken: false
{{- end }}

{{- /* Takes root, component, values. */}}
{{- define "spillway.podDisruptionBudget" -}}
{{- if .values.podDisruptionBudget.enabled -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  {{- include "spillway.metadata" . | nindent 2 }}
spec:
  maxUnavailable: {{ .values.podDisruptionBudget.maxUnavailable }}
  # A pod that is not ready never blocks a drain.
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "spillway.selectorLabels" . | nindent 6 }}
{{- end }}
{{- end }}

{{- /* Probes of our services. `startup` succeeds once a service accepts requests. `readiness` fails while it drains, ignores
the services it depends on, and is tolerant: on a busy cluster all pods are slow at once, and removing them all would help
nobody. `liveness` detects a process that hangs, and is tolerant too, since a restart cuts streams. Takes the name of the
port. */}}
{{- define "spillway.probes" -}}
startupProbe:
  httpGet: {path: /health/ready, port: {{ . }}}
  periodSeconds: 1
  timeoutSeconds: 3
  failureThreshold: 60
readinessProbe:
  httpGet: {path: /health/ready, port: {{ . }}}
  periodSeconds: 3
  timeoutSeconds: 3
  failureThreshold: 5
livenessProbe:
  httpGet: {path: /health/live, port: {{ . }}}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
{{- end }}

{{- /* The variables with Valkey's URL and what goes with it. Takes root and name (of the variable with the URL). */}}
{{- define "spillway.valkey.env" -}}
{{- $valkey := .root.Values.valkey -}}
{{- if $valkey.enabled -}}
- name: VALKEY_PASSWORD
  valueFrom: {secretKeyRef: {name: {{ include "spillway.valkey.secretName" .root }}, key: password}}
- name: {{ .name }}
  value: redis://:$(VALKEY_PASSWORD)@{{ include "spillway.fullname" .root }}-valkey:6379/0
{{- else if $valkey.external.existingSecret -}}
- name: {{ .name }}
  valueFrom: {secretKeyRef: {name: {{ $valkey.external.existingSecret }}, key: {{ $valkey.external.urlKey }}}}
{{- else -}}
- name: {{ .name }}
  value: {{ required "valkey.enabled is false: set valkey.external.url or valkey.external.existingSecret" $valkey.external.url | quote }}
{{- end -}}
{{- if not $valkey.enabled }}
{{- $external := $valkey.external }}
{{- $prefix := trimSuffix "_URL" .name }}
{{- with $external.username }}
- {name: {{ $prefix }}_USERNAME, value: {{ . | quote }}}
{{- end }}
{{- if $external.passwordSecret }}
- {name: {{ $prefix }}_PASSWORD_FILE, value: /etc/spillway/valkey/password}
{{- end }}
{{- if $external.tlsSecret }}
- {name: {{ $prefix }}_TLS_DIRECTORY, value: /etc/spillway/valkey}
{{- end }}
{{- with $external.sentinel.username }}
- {name: {{ $prefix }}_SENTINEL_USERNAME, value: {{ . | quote }}}
{{- end }}
{{- if $external.sentinel.passwordSecret }}
- {name: {{ $prefix }}_SENTINEL_PASSWORD_FILE, value: /etc/spillway/valkey/sentinel-password}
{{- end }}
{{- end }}
{{- end }}

{{- /* The Secrets of an external Valkey that are files of a pod, by name. Takes the root. */}}
{{- define "spillway.valkey.files" -}}
{{- if not .Values.valkey.enabled -}}
{{- with .Values.valkey.external -}}
{{- compact (list .passwordSecret .tlsSecret .sentinel.passwordSecret) | join " " -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "spillway.valkey.volumeMounts" -}}
{{- if include "spillway.valkey.files" . -}}
- {name: valkey, mountPath: /etc/spillway/valkey, readOnly: true}
{{- end -}}
{{- end }}

{{- define "spillway.valkey.volumes" -}}
{{- if include "spillway.valkey.files" . -}}
{{- $external := .Values.valkey.external -}}
- name: valkey
  projected:
    defaultMode: 0440
    sources:
      {{- with $external.passwordSecret }}
      - secret: {name: {{ . }}, items: [{key: {{ $external.passwordKey }}, path: password}]}
      {{- end }}
      {{- with $external.sentinel.passwordSecret }}
      - secret: {name: {{ . }}, items: [{key: {{ $external.sentinel.passwordKey }}, path: sentinel-password}]}
      {{- end }}
      {{- with $external.tlsSecret }}
      - secret: {name: {{ . }}}
      {{- end }}
{{- end -}}
{{- end }}

{{- define "spillway.valkey.secretName" -}}
{{ .Values.valkey.existingSecret | default (printf "%s-valkey" (include "spillway.fullname" .)) }}
{{- end }}

{{- /* Changes with a Secret that the chart does not create and that is read only at start. */}}
{{- define "spillway.valkey.checksum" -}}
{{- $name := ternary .Values.valkey.existingSecret .Values.valkey.external.existingSecret .Values.valkey.enabled -}}
{{- if $name }}{{ include "spillway.secretChecksum" (dict "root" . "name" $name) }}{{ end -}}
{{- range compact (splitList " " (include "spillway.valkey.files" .)) -}}
{{- include "spillway.secretChecksum" (dict "root" $ "name" .) -}}
{{- end -}}
{{- end }}

{{- /* `metadata` of an object with data, which Helm keeps on uninstall. Takes root, component, suffix. */}}
{{- define "spillway.keptMetadata" -}}
{{- $kept := ternary (dict) (dict "helm.sh/resource-policy" "keep") .root.Values.deleteDataOnUninstall -}}
{{- include "spillway.metadata" (dict "root" .root "component" .component "suffix" .suffix "annotations" $kept) -}}
{{- end }}

{{- /* A generated value of a Secret, base64: the existing one, if the cluster has it, so that it survives upgrades and an
uninstall. Takes root, name (of the Secret), key, length. */}}
{{- define "spillway.keptSecret" -}}
{{- $secret := lookup "v1" "Secret" .root.Release.Namespace .name | default dict -}}
{{- dig "data" .key "" $secret | default (randAlphaNum (int .length) | b64enc) -}}
{{- end }}

{{- /* Parallel, so that an upgrade also replaces a pod that never became ready, for one that found no room. The field is
immutable, so an existing StatefulSet keeps its value. Takes root, component. */}}
{{- define "spillway.podManagementPolicy" -}}
{{- $statefulSet := lookup "apps/v1" "StatefulSet" .root.Release.Namespace (include "spillway.componentName" .) | default dict -}}
{{- dig "spec" "podManagementPolicy" "Parallel" $statefulSet -}}
{{- end }}
