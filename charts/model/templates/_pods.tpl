{{/* What jobs and workers have in common. Takes a dict: root, own (the job or worker) and where (its path in the values). */}}

{{/* The bundle, as JSON: that of the job or worker, or that of the rollout. */}}
{{- define "model.bundle" -}}
{{- $bundle := required (printf "%s.bundle is required, since spec.bundle is not given" .where) (default .root.Values.spec.bundle .own.bundle) -}}
{{- if not (or $bundle.image $bundle.pvc) -}}
{{- fail (printf "%s.bundle: give image or pvc" .where) -}}
{{- end -}}
{{- toJson $bundle -}}
{{- end -}}

{{/* Fields of the pod up to its init containers. */}}
{{- define "model.pod" -}}
{{- $bundle := include "model.bundle" . | fromJson -}}
automountServiceAccountToken: {{ hasKey .own "serviceAccountName" }}
enableServiceLinks: false
{{- with .own.serviceAccountName }}
serviceAccountName: {{ . | quote }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  # for volumes that are written to
  fsGroup: 65532
  seccompProfile:
    type: RuntimeDefault
{{- with .root.Values.spec.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . | quote }}
  {{- end }}
{{- end }}
{{- with .own.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .own.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if not $bundle.pvc }}
initContainers:
  - name: bundle
    image: {{ $bundle.image | quote }}
    command: [cp, -r, /models/., /mnt/models]
    resources:
      requests: {cpu: 50m, memory: 32Mi}
      limits: {cpu: "1", memory: 256Mi}
    terminationMessagePolicy: FallbackToLogsOnError
    securityContext:
      {{- include "model.restricted" . | nindent 6 }}
    volumeMounts:
      - {name: bundle, mountPath: /mnt/models}
{{- end }}
{{- end -}}

{{/* Fields of the container after its arguments, but for its volume mounts of its own. */}}
{{- define "model.container" -}}
{{- with .own.env }}
env:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .own.envFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
resources:
  {{- toYaml (default (dict "requests" (dict "cpu" "1" "memory" "1Gi") "limits" (dict "memory" "2Gi")) .own.resources) | nindent 2 }}
# the reason of a failure is shown by `kubectl describe`
terminationMessagePolicy: FallbackToLogsOnError
securityContext:
  {{- include "model.restricted" . | nindent 2 }}
{{- $bundle := include "model.bundle" . | fromJson }}
volumeMounts:
  - {name: bundle, mountPath: /mnt/models, readOnly: true{{ with $bundle.pvc }}{{ with .path }}, subPath: {{ . | quote }}{{ end }}{{ end }}}
  - {name: tmp, mountPath: /tmp}
  {{- with .own.volumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- define "model.volumes" -}}
{{- $bundle := include "model.bundle" . | fromJson -}}
- name: bundle
  {{- with $bundle.pvc }}
  persistentVolumeClaim:
    claimName: {{ .claimName | quote }}
    readOnly: true
  {{- else }}
  emptyDir:
    sizeLimit: 20Gi
  {{- end }}
- name: tmp
  emptyDir:
    sizeLimit: {{ default "20Gi" .own.temporarySize | quote }}
{{- with .own.volumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}
