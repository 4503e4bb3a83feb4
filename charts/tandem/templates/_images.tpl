{{/* Reference of an image. Takes a dict: root, image, and optionally suffix, which goes after the default tag. */}}
{{- define "tandem.image" -}}
{{- $registry := default .image.registry .root.Values.global.imageRegistry -}}
{{- $name := ternary (printf "%s/%s" $registry .image.repository) .image.repository (not (empty $registry)) -}}
{{- if .image.digest -}}
{{- printf "%s@%s" $name .image.digest -}}
{{- else -}}
{{- printf "%s:%s" $name (default (printf "%s%s" .root.Chart.AppVersion (default "" .suffix)) (toString .image.tag)) -}}
{{- end -}}
{{- end -}}

{{/* Names of Secrets, as pods and ServiceAccounts take them. */}}
{{- define "tandem.imagePullSecrets" -}}
{{- with uniq (concat .Values.global.imagePullSecrets .Values.imagePullSecrets) }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . | quote }}
  {{- end }}
{{- end }}
{{- end -}}
