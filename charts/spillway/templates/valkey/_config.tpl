{{- /* What docs/durability.md asks of it. Takes the root. */}}
{{- define "spillway.valkey.config" -}}
dir /data
appendonly yes
appendfsync everysec
# The append-only file is all there is on the disk.
save ""
# Refuses writes when it is full, rather than drop cost events that are not recorded yet.
maxmemory-policy noeviction
maxmemory {{ .Values.valkey.maxMemory }}
{{- end }}
