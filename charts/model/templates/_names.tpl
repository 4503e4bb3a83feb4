{{- define "model.name" -}}
{{- default .Release.Name .Values.name -}}
{{- end -}}

{{/* Labels and annotations of an object. Takes a dict: root, and optionally labels and annotations. */}}
{{- define "model.metadata" -}}
{{- $root := .root -}}
{{- $labels := dict
  "helm.sh/chart" (printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_")
  "app.kubernetes.io/name" (default (include "model.name" $root) $root.Values.spec.model)
  "app.kubernetes.io/instance" $root.Release.Name
  "app.kubernetes.io/part-of" "tandem"
  "app.kubernetes.io/managed-by" $root.Release.Service -}}
labels:
  {{- toYaml (mergeOverwrite (dict) $root.Values.labels (default (dict) .labels) $labels) | nindent 2 }}
{{- with mergeOverwrite (dict) $root.Values.annotations (default (dict) .annotations) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* "true" where the store's URL has a password. */}}
{{- define "model.secretStore" -}}
{{- $store := default (dict) .Values.spec.store -}}
{{- if regexMatch "^[a-z+]+://[^/@]*:[^/@]+@" (default "" $store.url) }}true{{ end -}}
{{- end -}}

{{/* The ports in the store's URL with spaces between, where some are there; those of Sentinels have a default. */}}
{{- define "model.storePorts" -}}
{{- $place := regexReplaceAll "^[a-z+]+://([^/@]*@)?([^/?]*).*$" .Values.spec.store.url "${2}" -}}
{{- $default := ternary "26379" "" (regexMatch "^rediss?[+]sentinel:" .Values.spec.store.url) -}}
{{- $ports := list -}}
{{- range splitList "," $place -}}
{{- with default $default (regexFind "[0-9]+$" (regexFind ":[0-9]+$" .)) -}}{{- $ports = append $ports . -}}{{- end -}}
{{- end -}}
{{- join " " (uniq $ports) -}}
{{- end -}}

{{- define "model.storeSecretName" -}}
{{- printf "%s-store" (include "model.name" .) -}}
{{- end -}}

{{- define "model.keysSecretName" -}}
{{- printf "%s-api-keys" (include "model.name" .) -}}
{{- end -}}

{{/* The spec, with references to the Secrets in place of what they hold. */}}
{{- define "model.spec" -}}
{{- $spec := deepCopy .Values.spec -}}
{{- if include "model.secretStore" . -}}
{{- $_ := set $spec "store" (dict "urlFrom" (dict "name" (include "model.storeSecretName" .) "key" "url")) -}}
{{/* another password is a reason for new pods: the checksum is part of what they are made of */}}
{{- $checksum := dict "metadata" (dict "annotations" (dict "checksum/store" (sha256sum .Values.spec.store.url | trunc 16))) -}}
{{- $_ := set $spec "template" (mergeOverwrite (default (dict) $spec.template) $checksum) -}}
{{/* nobody but the pods reads the Secret: the NetworkPolicy learns the ports here */}}
{{- with include "model.storePorts" . -}}
{{- $ports := list -}}
{{- range splitList " " . -}}{{- $ports = append $ports (int .) -}}{{- end -}}
{{- $network := dict "additionalStorePorts" $ports -}}
{{/* behind Sentinels is a primary with a port of its own */}}
{{- if not (regexMatch "^rediss?[+]sentinel:" $.Values.spec.store.url) -}}
{{- $network = dict "storePort" (first $ports) -}}
{{- with rest $ports -}}{{- $_ := set $network "additionalStorePorts" . -}}{{- end -}}
{{- end -}}
{{- $_ := set $spec "network" (mergeOverwrite (default (dict) $spec.network) $network) -}}
{{- end -}}
{{- end -}}
{{/* Helm has read numbers as floats, and would write those of bytes with an exponent */}}
{{- range $half := list (default (dict) $spec.transformer) (default (dict) $spec.predictor) -}}
{{- range $amounts := values (pick (default (dict) $half.resources) "requests" "limits") -}}
{{- range $resource, $amount := $amounts -}}
{{- if not (kindIs "string" $amount) -}}{{- $_ := set $amounts $resource (int64 $amount) -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if .Values.apiKeys -}}
{{- $keys := dict "auth" (dict "apiKeys" (dict "secretName" (include "model.keysSecretName" .))) -}}
{{- $_ := set $spec "route" (mergeOverwrite $keys (default (dict) $spec.route)) -}}
{{- end -}}
{{- toYaml $spec -}}
{{- end -}}

{{/* Address of the gateway: Envoy Gateway names the Service of a Gateway after it and a hash of that. */}}
{{- define "model.gateway" -}}
{{- if .Values.test.gateway -}}
{{- trimSuffix "/" .Values.test.gateway -}}
{{- else -}}
{{- $gateway := default (dict) (default (dict) .Values.spec.route).gateway -}}
{{- $namespace := default "kserve" $gateway.namespace -}}
{{- $name := default "kserve-ingress-gateway" $gateway.name -}}
{{- $hash := printf "%s/%s" $namespace $name | sha256sum | trunc 8 -}}
{{- $service := printf "envoy-%s-%s" (printf "%s-%s" $namespace $name | trunc 48 | trimSuffix "-") $hash -}}
{{- printf "http://%s.%s" $service (default "envoy-gateway-system" (default (dict) .Values.spec.network).gatewayNamespace) -}}
{{- end -}}
{{- end -}}

{{- define "model.testImage" -}}
{{- $transformer := default (dict) .Values.spec.transformer -}}
{{- coalesce .Values.test.image $transformer.image (printf "tandem-transformer:%s" .Chart.AppVersion) -}}
{{- end -}}

{{- define "model.host" -}}
{{- $route := default (dict) .Values.spec.route -}}
{{- $default := printf "%s.%s.%s" (include "model.name" .) .Release.Namespace .Values.test.domain -}}
{{- first (default (list $default) $route.hostnames) -}}
{{- end -}}

{{/* What the Pod Security Standard "restricted" asks of a container. */}}
{{- define "model.restricted" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* The key of the Secret with the store's URL for workers of streams, as JSON; empty where the URL is no secret. */}}
{{- define "model.streamSecretStore" -}}
{{- $store := default (dict) .Values.spec.store -}}
{{- if include "model.secretStore" . -}}
{{- dict "name" (include "model.storeSecretName" .) "key" "url" | toJson -}}
{{- else if $store.urlFrom -}}
{{- pick $store.urlFrom "name" "key" | toJson -}}
{{- end -}}
{{- end -}}
