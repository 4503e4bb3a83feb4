{{/*
The alerts, by name. Shares are of all pods of a variant; the labels namespace, rollout and variant come from the
PodMonitors of the rollouts.
*/}}
{{- define "tandem.alerts" -}}
{{- $r := .Values.monitoring.rules -}}
{{- $by := "by (namespace, rollout, variant)" -}}
{{- $of := "by (namespace, rollout)" -}}
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
    {{ "{{ $value | humanizePercentage }}" }} of the rows are answered with defaults, last known rows or the simpler
    model in place of stored values. The labels reason and source of tandem_degraded_total tell why and with which.
    Look at the online store and at what fills it.
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
TandemRunWaits:
  severity: warning
  for: {{ $r.waitsFor }}
  expr: |-
    max {{ $of }} (tandem_rollout_run_state{state=~"AwaitingApproval|Paused"}) == 1
  summary: >-
    The run of {{ "{{ $labels.namespace }}/{{ $labels.rollout }}" }} waits for a person
  description: >-
    It stands at a gate, or is paused. `tandem rollout explain` says why, and what to type.
TandemRunWithoutMetrics:
  severity: warning
  for: 10m
  expr: |-
    max {{ $of }} (tandem_rollout_metric_verdict{verdict="provider-error"}) == 1
  summary: >-
    The run of {{ "{{ $labels.namespace }}/{{ $labels.rollout }}" }} cannot read its metrics
  description: >-
    Nothing is decided without them. `tandem rollout status` says which metrics, and what their source answers.
TandemRunAborted:
  severity: warning
  for: 0m
  expr: |-
    max {{ $of }} (tandem_rollout_run_state{state=~"Aborted|RolledBack"}) == 1
      and time() - max {{ $of }} (tandem_rollout_run_state_since_timestamp_seconds) < 3600
  summary: >-
    The run of {{ "{{ $labels.namespace }}/{{ $labels.rollout }}" }} was aborted or rolled back
  description: >-
    The version before has all requests again. `tandem rollout report` says what was held against the new one.
TandemCanaryWeightOff:
  severity: warning
  for: 5m
  expr: |-
    abs(
      max {{ $of }} (avg_over_time(tandem_rollout_canary_measured_ratio[10m]))
        - max {{ $of }} (avg_over_time(tandem_rollout_canary_weight_ratio[10m]))
    ) > {{ $r.weightRatio }}
  summary: >-
    The canary of {{ "{{ $labels.namespace }}/{{ $labels.rollout }}" }} gets another share of the requests than it should
  description: >-
    Its share of the last ten minutes is off by {{ "{{ $value | humanizePercentage }}" }} of all requests. Somebody else
    may write weights into the route, or requests go around it.
TandemReconcileErrors:
  severity: warning
  for: 10m
  expr: |-
    sum (increase(tandem_controller_reconcile_errors_total[10m])) > 3
  summary: >-
    The controller fails again and again
  description: >-
    {{ "{{ $value | humanize }}" }} passes over rollouts failed in ten minutes. The log of the controller says why.
TandemReconcileSlow:
  severity: warning
  for: 15m
  expr: |-
    histogram_quantile(0.9, sum by (le) (rate(tandem_controller_reconcile_seconds_bucket[10m]))) > 5
  summary: >-
    The controller is slow
  description: >-
    One of ten passes over rollouts takes longer than {{ "{{ $value | humanizeDuration }}" }}. What is decided comes
    late: weights are moved, and bad versions taken back, after the next pass only.
TandemControllerDown:
  severity: critical
  for: 5m
  expr: |-
    absent(tandem_controller_reconcile_seconds_count)
  summary: >-
    There is no controller
  description: >-
    Prometheus knows no controller. Models go on serving, but rollouts stand still.
TandemControllerWithoutLeader:
  severity: critical
  for: 2m
  expr: |-
    max by (namespace, job) (tandem_controller_leader) == 0
  summary: >-
    No controller of {{ "{{ $labels.job }}" }} is the leader
  description: >-
    They run, but none of them acts: they cannot get their Lease. Models go on serving, but rollouts stand still.
{{- end -}}
