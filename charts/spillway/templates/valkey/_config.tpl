{{- /* The settings that docs/durability.md requires. Takes the root. */}}
{{- define "spillway.valkey.config" -}}
dir /data
appendonly yes
appendfsync everysec
# Only the append-only file is on disk.
save ""
# A full Valkey refuses writes instead of evicting cost events that are not recorded yet.
maxmemory-policy noeviction
maxmemory {{ .Values.valkey.maxMemory }}
{{- end }}
