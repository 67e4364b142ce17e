{{- define "exporter.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "exporter.fullname" -}}
{{- $name := include "exporter.name" . -}}
{{- $full := contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) -}}
{{- default $full .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "exporter.selector" -}}
app.kubernetes.io/name: {{ include "exporter.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "exporter.labels" -}}
{{ include "exporter.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end -}}

{{- define "exporter.secret" -}}
{{- .Values.secret.existing | default (include "exporter.fullname" .) -}}
{{- end -}}

{{/* The exporter's configuration file: the settings, and where the keys are. */}}
{{- define "exporter.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- if .Values.accounts -}}
{{- $accounts := list -}}
{{- range .Values.accounts -}}
{{- $file := printf "/etc/together-finetune-exporter/keys/%s" (.secret_key | default .name) -}}
{{- $accounts = append $accounts (merge (dict "api_key_file" $file) (omit . "secret_key")) -}}
{{- end -}}
{{- $_ := set $config "accounts" $accounts -}}
{{- else if not .Values.demo -}}
{{- $file := dict "api-key-file" "/etc/together-finetune-exporter/keys/api-key" -}}
{{- $_ := set $config "together" (merge $file (dig "together" dict $config)) -}}
{{- end -}}
{{- if .Values.demo -}}
{{- $_ := set $config "demo" true -}}
{{- end -}}
{{- toYaml $config -}}
{{- end -}}
