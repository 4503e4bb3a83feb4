{{/*
The alerts, by name. Shares are of all pods of a variant; the labels namespace, rollout and variant come from the
PodMonitors of the rollouts.
*/}}
{{- define "tandem.alerts" -}}
{{- $r := .Values.monitoring.rules -}}
{{- $by := "by (namespace, rollout, variant)" -}}
{{- $enough := printf "and sum %s (increase(tandem_requests_total[5m])) >= %v" $by $r.minRequests -}}
TandemErrors:
  severity: critical
  for: 5m
  expr: |-
    sum {{ $by }} (rate(tandem_requests_total{code=~"5.."}[5m]))
      / sum {{ $by }} (rate(tandem_requests_total[5m])) > {{ $r.errorRatio }}
    {{ $enough }}
  summary: >-
    Variant {{ "{{ $labels.variant }}" }} of {{ "{{ $labels.namespace }}/{{ $labels.rollout }}" }} fails
  description: >-
    {{ "{{ $value | humanizePercentage }}" }} of the answers of the last five minutes are errors of the server.
TandemOverloaded:
  severity: warning
  for: 5m
  expr: |-
    sum {{ $by }} (rate(tandem_requests_total{code="429"}[5m]))
      / sum {{ $by }} (rate(tandem_requests_total[5m])) > {{ $r.overloadRatio }}
    {{ $enough }}
  summary: >-
    Variant {{ "{{ $labels.variant }}" }} of {{ "{{ $labels.namespace }}/{{ $labels.rollout }}" }} turns requests away
  description: >-
    {{ "{{ $value | humanizePercentage }}" }} of the requests are answered with 429. Raise maxReplicas of the half that
    is full, or lower its inflightPerPod.
TandemSlow:
  severity: warning
  for: 10m
  expr: |-
    1 - sum {{ $by }} (rate(tandem_request_seconds_bucket{le="{{ $r.slowAfter }}"}[5m]))
      / sum {{ $by }} (rate(tandem_request_seconds_count[5m])) > {{ $r.slowRatio }}
    {{ $enough }}
  summary: >-
    Variant {{ "{{ $labels.variant }}" }} of {{ "{{ $labels.namespace }}/{{ $labels.rollout }}" }} is slow
  description: >-
    {{ "{{ $value | humanizePercentage }}" }} of the answers take longer than {{ $r.slowAfter }} s.
TandemDegraded:
  severity: warning
  for: 10m
  expr: |-
    sum {{ $by }} (rate(tandem_degraded_total[5m]))
      / sum {{ $by }} (rate(tandem_rows_per_batch_sum[5m])) > {{ $r.degradedRatio }}
    {{ $enough }}
  summary: >-
    Variant {{ "{{ $labels.variant }}" }} of {{ "{{ $labels.namespace }}/{{ $labels.rollout }}" }} answers without stored features
  description: >-
    {{ "{{ $value | humanizePercentage }}" }} of the rows are answered with defaults in place of stored values that are
    missing or stale. Look at the online store and at what fills it.
TandemPredictorUnavailable:
  severity: critical
  for: 2m
  expr: |-
    max {{ $by }} (tandem_predictor_endpoints) == 0
  summary: >-
    Transformers of variant {{ "{{ $labels.variant }}" }} of {{ "{{ $labels.namespace }}/{{ $labels.rollout }}" }} find no predictor
  description: >-
    No transformer of the variant has an address of a predictor that is ready.
TandemPredictorMismatch:
  severity: critical
  for: 1m
  expr: |-
    sum {{ $by }} (increase(tandem_predictor_requests_total{code="model_not_found"}[5m])) > 0
  summary: >-
    Predictors of variant {{ "{{ $labels.variant }}" }} of {{ "{{ $labels.namespace }}/{{ $labels.rollout }}" }} are asked for another bundle
  description: >-
    Transformer and predictor of the variant do not have the same bundle. Such requests are refused, not answered wrongly.
TandemRolloutNotReady:
  severity: warning
  for: {{ $r.notReadyFor }}
  expr: |-
    max by (namespace, rollout) (tandem_rollout_ready) == 0
  summary: >-
    Rollout {{ "{{ $labels.namespace }}/{{ $labels.rollout }}" }} is not ready
  description: >-
    Not all of its variants serve. `kubectl describe inferencerollout` says what it waits for.
TandemVariantNotScraped:
  severity: warning
  for: 10m
  expr: |-
    max {{ $by }} (tandem_rollout_weight) > 0
      unless max {{ $by }} (tandem_inflight_requests)
  summary: >-
    Variant {{ "{{ $labels.variant }}" }} of {{ "{{ $labels.namespace }}/{{ $labels.rollout }}" }} gets requests, but Prometheus knows none of its transformers
  description: >-
    Without these metrics it does not scale. Look at the PodMonitor of the rollout and at what your Prometheus selects.
TandemPodNotScraped:
  severity: warning
  for: 10m
  expr: |-
    up{rollout!="",variant!=""} == 0
  summary: >-
    Pod {{ "{{ $labels.namespace }}/{{ $labels.pod }}" }} cannot be scraped
  description: >-
    Prometheus gets no metrics of this pod. A NetworkPolicy may be in the way.
TandemReconcileErrors:
  severity: warning
  for: 10m
  expr: |-
    sum (increase(tandem_controller_reconcile_errors_total[10m])) > 3
  summary: >-
    The controller fails again and again
  description: >-
    {{ "{{ $value | humanize }}" }} passes over rollouts failed in ten minutes. The log of the controller says why.
TandemControllerDown:
  severity: critical
  for: 5m
  expr: |-
    absent(tandem_controller_reconcile_seconds_count)
  summary: >-
    There is no controller
  description: >-
    Prometheus knows no controller. Models go on serving, but rollouts stand still.
{{- end -}}
