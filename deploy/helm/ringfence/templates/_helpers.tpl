{{- define "ringfence.name" -}}
{{- if contains .Chart.Name .Release.Name -}}{{ .Release.Name | trunc 52 | trimSuffix "-" }}{{- else -}}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" }}{{- end -}}
{{- end -}}

{{- define "ringfence.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: liquidator
{{- end -}}

{{- define "ringfence.labels" -}}
{{ include "ringfence.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: ringfence
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "ringfence.image" -}}
{{- if .Values.image.digest -}}{{ printf "%s@%s" .Values.image.repository .Values.image.digest }}{{- else -}}{{ printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) }}{{- end -}}
{{- end -}}

{{- define "ringfence.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "ringfence.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{/* Where things are, and the files that secrets are in. */}}
{{- define "ringfence.connections" -}}
- {name: RINGFENCE_KAFKA__BOOTSTRAP, value: {{ required "kafka.bootstrap has to be set" .Values.kafka.bootstrap | quote }}}
- {name: RINGFENCE_REDIS__URL, value: {{ required "redis.url has to be set" .Values.redis.url | quote }}}
{{- with .Values.secrets }}
{{- if .name }}
{{- $root := "/run/secrets/ringfence" }}
{{- $files := dict "redisPassword" "RINGFENCE_REDIS__PASSWORD_FILE" "rowKey" "RINGFENCE_REDIS__ROW_KEY_FILE" "kafkaPassword" "RINGFENCE_KAFKA__SASL_PASSWORD_FILE" "kafkaCa" "RINGFENCE_KAFKA__SSL_CAFILE" "kafkaCertificate" "RINGFENCE_KAFKA__SSL_CERTFILE" "kafkaKey" "RINGFENCE_KAFKA__SSL_KEYFILE" }}
{{- $secrets := . }}
{{- range $name, $variable := $files }}
{{- with get $secrets $name }}
- {name: {{ $variable }}, value: {{ printf "%s/%s" $root . | quote }}}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "ringfence.mounts" -}}
- {name: config, mountPath: /etc/ringfence, readOnly: true}
- {name: scratch, mountPath: /tmp}
{{- if .Values.secrets.name }}
- {name: secrets, mountPath: /run/secrets/ringfence, readOnly: true}
{{- end }}
{{- end -}}

{{- define "ringfence.secretVolume" -}}
{{- if .Values.secrets.name }}
- name: secrets
  secret: {secretName: {{ .Values.secrets.name | quote }}, defaultMode: 0440}
{{- end }}
{{- end -}}

{{- define "ringfence.egress" -}}
- ports:
    {{- range .rule.ports }}
    - {protocol: TCP, port: {{ . }}}
    {{- if $.udp }}
    - {protocol: UDP, port: {{ . }}}
    {{- end }}
    {{- end }}
  {{- with .rule.to }}
  to: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}
