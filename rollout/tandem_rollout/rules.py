"""Rules of the spec that span fields: as CEL for the API server, and the same in Python for those who have none."""

from __future__ import annotations

import itertools
import re

from tandem_rollout.fields import InvalidSpecError, seconds
from tandem_rollout.gates import Metric
from tandem_rollout.spec import Bundle, RolloutSpec, Template

_SHORTEST_TIMEOUT_S = 0.1
_SHORTEST_TICK_S = 1.0
_LONGEST_WINDOW_S = 3600.0
"""An autoscaler looks back no further."""
_ASKS_ONE = "[$]inferenceservice([^A-Za-z0-9_]|$)"
"""PromQL that asks of one version; without it both would be given the same counters."""

RULES: tuple[tuple[str, str, str], ...] = (
    ("", "has(self.bundle) != (has(self.variants) && self.variants.size() > 0)", "give either bundle or variants"),
    (
        "",
        "!has(self.strategy) || !has(self.strategy.blueGreen) || "
        "(has(self.variants) && self.variants.exists(v, v.name == self.strategy.blueGreen.active))",
        "strategy.blueGreen.active must be the name of a variant",
    ),
    (
        "",
        "!has(self.variants) || self.variants.size() == 0 || (has(self.strategy) && has(self.strategy.blueGreen)) || "
        "self.variants.exists(v, has(v.weight) && v.weight > 0)",
        "at least one variant needs a weight above 0",
    ),
    (
        "strategy",
        "[has(self.static), has(self.abTest), has(self.blueGreen), has(self.canary), has(self.shadow)]"
        ".filter(x, x).size() <= 1",
        "give at most one strategy",
    ),
    (
        "",
        "!has(self.strategy) || !has(self.strategy.canary) || has(self.bundle)",
        "strategy.canary needs bundle, not variants",
    ),
    (
        "",
        "!has(self.strategy) || !has(self.strategy.shadow) || (has(self.variants) && self.variants.exists(v, "
        "v.name == self.strategy.shadow.variant && (!has(v.weight) || v.weight == 0)))",
        "strategy.shadow.variant must be the name of a variant with weight 0",
    ),
    (
        "",
        "!has(self.analysis) || (has(self.strategy) && (has(self.strategy.canary) || has(self.strategy.blueGreen) || "
        "has(self.strategy.abTest) || has(self.strategy.shadow)))",
        "analysis needs the strategy canary, blueGreen, abTest or shadow",
    ),
    (
        "strategy.canary",
        f"!has(self.steps) || {list(range(19))}.all(i, i + 1 >= self.steps.size() || "
        "self.steps[i].weight < self.steps[i + 1].weight)",
        "the weights of the steps must rise",
    ),
    (
        "analysis",
        "!has(self.metrics) || self.metrics.all(m, m.type != 'ratio' || (has(m.requests) && m.requests != '' && "
        "has(m.events) && m.events != ''))",
        "a metric of type ratio needs requests and events",
    ),
    (
        "analysis",
        "!has(self.metrics) || self.metrics.all(m, m.type != 'assignment' || (has(m.requests) && m.requests != ''))",
        "a metric of type assignment needs requests",
    ),
    *(
        (
            "analysis",
            f"!has(self.metrics) || self.metrics.all(m, !({types}) || !has(m.{field}) || m.{field} == '' || "
            f"m.{field}.matches('{_ASKS_ONE}'))",
            f"{field} of a metric of type {named} must say $inferenceservice, or it asks the same of both versions",
        )
        for field, types, named in (
            ("requests", "m.type == 'ratio' || m.type == 'assignment'", "ratio or assignment"),
            ("events", "m.type == 'ratio'", "ratio"),
        )
    ),
    (
        "analysis",
        "!has(self.interval) || duration(self.interval) >= duration('1s')",
        "interval must be 1s or more",
    ),
    (
        "",
        "!has(self.predictor) || !has(self.predictor.runtime) || self.predictor.runtime != 'triton' || "
        "(!has(self.bundle) || !(has(self.bundle.uri) && self.bundle.uri != '' || "
        "has(self.bundle.modelcar) && self.bundle.modelcar)) && "
        "(!has(self.variants) || self.variants.all(v, !(has(v.bundle.uri) && v.bundle.uri != '' || "
        "has(v.bundle.modelcar) && v.bundle.modelcar)))",
        "triton needs bundles from an image that is copied or from a pvc",
    ),
    ("route", "!has(self.timeout) || duration(self.timeout) >= duration('100ms')", "timeout must be 100ms or more"),
    *(
        (where, "!(has(self.jwt) && has(self.apiKeys))", "give either jwt or apiKeys")
        for where in ("route.auth", "route.pin.auth")
    ),
    ("store", "!(has(self.url) && self.url != '' && has(self.urlFrom))", "give either url or urlFrom"),
    (
        "bundle",
        "[has(self.image) && self.image != '', has(self.pvc), has(self.uri) && self.uri != '']"
        ".filter(x, x).size() == 1",
        "give exactly one of image, pvc and uri",
    ),
    (
        "bundle",
        "!has(self.modelcar) || !self.modelcar || (has(self.image) && self.image != '')",
        "modelcar needs an image",
    ),
    *(
        (f"autoscaling.{half}", rule, message)
        for half in ("transformer", "predictor")
        for rule, message in (
            (
                "!has(self.minReplicas) || !has(self.maxReplicas) || self.minReplicas <= self.maxReplicas",
                "minReplicas must not be above maxReplicas",
            ),
            (
                "!has(self.scaleDownAfter) || duration(self.scaleDownAfter) <= duration('1h')",
                "scaleDownAfter may be 1h at most",
            ),
        )
    ),
)
"""Rules that span fields: where (a path in the spec; ``bundle`` is meant wherever there is one), as CEL for the API
server, and in words. :func:`parse` enforces the same."""


def check(spec: RolloutSpec) -> None:
    """The rules that span fields, for those who have no API server."""
    variants = spec.all_variants
    strategy, names = spec.strategy, [variant.name for variant in variants]
    if (spec.bundle is None) == (not spec.variants):
        raise InvalidSpecError("spec: give either bundle or variants")
    if len(set(names)) < len(names):
        raise InvalidSpecError("spec.variants: names of variants must differ")
    given = (strategy.static, strategy.ab_test, strategy.blue_green, strategy.canary, strategy.shadow)
    if sum(each is not None for each in given) > 1:
        raise InvalidSpecError("spec.strategy: give at most one strategy")
    _check_decisions(spec)
    if strategy.blue_green and (spec.bundle is not None or strategy.blue_green.active not in names):
        raise InvalidSpecError("spec.strategy.blueGreen.active: must be the name of a variant")
    if not strategy.blue_green and not any(variant.weight for variant in variants):
        raise InvalidSpecError("spec.variants: at least one variant needs a weight above 0")
    if spec.store.url and spec.store.url_from:
        raise InvalidSpecError("spec.store: give either url or urlFrom")
    if seconds(spec.route.timeout) < _SHORTEST_TIMEOUT_S:
        raise InvalidSpecError("spec.route: timeout must be 100ms or more")
    for where, auth in (("route.auth", spec.route.auth), ("route.pin.auth", spec.route.pin.auth)):
        if auth and auth.jwt and auth.api_keys:
            raise InvalidSpecError(f"spec.{where}: give either jwt or apiKeys")
    for where, env in (("transformer", spec.transformer.env), ("predictor", spec.predictor.env)):
        if len({variable.name for variable in env}) < len(env):
            raise InvalidSpecError(f"spec.{where}.env: names of variables must differ")
    for where, half in (("transformer", spec.autoscaling.transformer), ("predictor", spec.autoscaling.predictor)):
        if half.min_replicas > half.max_replicas:
            raise InvalidSpecError(f"spec.autoscaling.{where}: minReplicas must not be above maxReplicas")
        if seconds(half.scale_down_after) > _LONGEST_WINDOW_S:
            raise InvalidSpecError(f"spec.autoscaling.{where}: scaleDownAfter may be 1h at most")
    _check_template("spec.template", spec.template)
    for variant in variants:
        _check_template(f"variant {variant.name!r}, template", variant.template)
        where = "spec.bundle" if spec.bundle else f"variant {variant.name!r}, bundle"
        _check_bundle(where, variant.bundle)
        # its model repository is built before KServe brings such a bundle
        if spec.predictor.runtime == "triton" and (variant.bundle.uri or variant.bundle.modelcar):
            raise InvalidSpecError(f"{where}: triton needs bundles from an image that is copied or from a pvc")


def _check_decisions(spec: RolloutSpec) -> None:
    """Strategies that decide, and what they decide by."""
    strategy, analysis = spec.strategy, spec.analysis
    if strategy.canary and spec.bundle is None:
        raise InvalidSpecError("spec.strategy.canary: needs spec.bundle, not spec.variants")
    if strategy.canary:
        weights = [step.weight for step in strategy.canary.steps]
        if any(later <= earlier for earlier, later in itertools.pairwise(weights)):
            raise InvalidSpecError("spec.strategy.canary.steps: the weights of the steps must rise")
    if strategy.shadow and not any(each.name == strategy.shadow.variant and not each.weight for each in spec.variants):
        raise InvalidSpecError("spec.strategy.shadow.variant: must be the name of a variant with weight 0")
    if analysis is None:
        return
    if strategy.name == "static":
        raise InvalidSpecError("spec.analysis: needs the strategy canary, blueGreen, abTest or shadow")
    if seconds(analysis.interval) < _SHORTEST_TICK_S:
        raise InvalidSpecError("spec.analysis.interval: must be 1s or more")
    names = [metric.called for metric in analysis.all_metrics]
    if len(set(names)) < len(names):
        raise InvalidSpecError("spec.analysis.metrics: names of metrics must differ; the default is the type")
    for metric in analysis.metrics:
        where = f"spec.analysis.metrics: {metric.called}"
        if metric.type == "ratio" and not (metric.requests and metric.events):
            raise InvalidSpecError(f"{where}: type ratio needs requests and events")
        if metric.type == "assignment" and not metric.requests:
            raise InvalidSpecError(f"{where}: type assignment needs requests")
        for field, given in _asked(metric):
            if not re.search(_ASKS_ONE, given):
                raise InvalidSpecError(
                    f"{where}: {field} must say $inferenceservice, or it asks the same of both versions"
                )


def _asked(metric: Metric) -> list[tuple[str, str]]:
    """A person's PromQL, by its field."""
    if metric.type == "ratio":
        return [("requests", metric.requests), ("events", metric.events)]
    return [("requests", metric.requests)] if metric.type == "assignment" else []


def _check_bundle(where: str, bundle: Bundle) -> None:
    if sum(map(bool, (bundle.image, bundle.pvc, bundle.uri))) != 1:
        raise InvalidSpecError(f"{where}: give exactly one of image, pvc and uri")
    if bundle.modelcar and not bundle.image:
        raise InvalidSpecError(f"{where}: modelcar needs an image")


def _check_template(where: str, template: Template | None) -> None:
    """That the overrides fit onto an InferenceService; what is in them is the API server's to judge."""
    if template is None:
        return
    for name in ("labels", "annotations"):
        given = template.metadata.get(name) or {}
        if not isinstance(given, dict) or not all(isinstance(value, str | None) for value in given.values()):
            raise InvalidSpecError(f"{where}.metadata.{name}: must be a map of strings")
    for half in ("transformer", "predictor"):
        given = template.spec.get(half, {})
        if not isinstance(given, dict):
            raise InvalidSpecError(f"{where}.spec.{half}: must be a map")
        for name in ("containers", "initContainers"):
            containers = given.get(name) or []
            named = isinstance(containers, list) and all(
                isinstance(each, dict) and isinstance(each.get("name"), str) for each in containers
            )
            if not named:
                raise InvalidSpecError(f"{where}.spec.{half}.{name}: must be a list of containers with names")
