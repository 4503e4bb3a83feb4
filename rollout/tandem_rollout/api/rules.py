"""Rules of the spec that span fields, in CEL. The API server and :mod:`.validation` both evaluate them.

A rule is evaluated on an object with its defaults, as the API server sets them. An optional field without a default, or
with an empty one, may be missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tandem_rollout.api.analysis import ERRORS_IN_PODS
from tandem_rollout.api.strategy import MAX_STEPS


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A rule.

    Attributes:
        where: Path in the spec of the validated value, with ``[]`` for each element of a list; empty for the spec.
        field: Path, from there, of the invalid field; empty for the value itself.
        expression: The rule in CEL. ``self`` is the validated value.
        message: What the field must be.
    """

    where: str = ""
    field: str = ""
    expression: str
    message: str

    @property
    def path(self) -> str:
        """Path of the invalid field in the manifest."""
        return ".".join(filter(None, ("spec", self.where, self.field)))


_ONE_VERSION: Final = "[$]inferenceservice([^A-Za-z0-9_]|$)"
"""PromQL for one version. Without the variable both versions would get the same counters."""

_DOWNLOADED: Final = "(has({0}.uri) && {0}.uri != '' || has({0}.modelcar) && {0}.modelcar)"
"""A bundle that KServe provides after the init containers of the pod have run."""


def _name(metric: str) -> str:
    """CEL expression of the name of a metric, like :attr:`tandem_rollout.api.analysis.Metric.full_name` in Python."""
    in_pods = f"{metric}.type == 'errors' && {metric}.where == 'pods'"
    return (
        f"(has({metric}.name) && {metric}.name != '' ? {metric}.name : {in_pods} ? '{ERRORS_IN_PODS}' : {metric}.type)"
    )


_VERSIONS: Final = (
    Rule(
        expression="has(self.bundle) != (has(self.variants) && self.variants.size() > 0)",
        message="give either bundle or variants",
    ),
    Rule(
        field="variants",
        expression="!has(self.variants) || self.variants.size() == 0 || "
        "(has(self.strategy) && has(self.strategy.blueGreen)) || "
        "self.variants.exists(v, has(v.weight) && v.weight > 0)",
        message="at least one variant needs a weight above 0",
    ),
    *(
        Rule(where=where, field=field, expression=expression, message=message)
        for where in ("bundle", "variants[].bundle")
        for field, expression, message in (
            (
                "",
                "[has(self.image) && self.image != '', has(self.pvc), has(self.uri) && self.uri != '']"
                ".filter(x, x).size() == 1",
                "give exactly one of image, pvc and uri",
            ),
            (
                "modelcar",
                "!has(self.modelcar) || !self.modelcar || (has(self.image) && self.image != '')",
                "needs an image",
            ),
        )
    ),
    Rule(
        field="registry",
        expression="!has(self.registry) || has(self.bundle)",
        message="needs spec.bundle, not spec.variants",
    ),
    Rule(
        field="predictor.runtime",
        expression="!has(self.predictor) || self.predictor.runtime != 'triton' || "
        f"(!has(self.bundle) || !{_DOWNLOADED.format('self.bundle')}) && "
        f"(!has(self.variants) || self.variants.all(v, !{_DOWNLOADED.format('v.bundle')}))",
        message="triton needs bundles from an image that is copied or from a pvc",
    ),
)

_STRATEGIES: Final = (
    Rule(
        where="strategy",
        expression="[has(self.static), has(self.abTest), has(self.blueGreen), has(self.canary), has(self.shadow)]"
        ".filter(x, x).size() <= 1",
        message="give at most one strategy",
    ),
    Rule(
        field="strategy.blueGreen.active",
        expression="!has(self.strategy) || !has(self.strategy.blueGreen) || "
        "(has(self.variants) && self.variants.exists(v, v.name == self.strategy.blueGreen.active))",
        message="must be the name of a variant",
    ),
    Rule(
        field="strategy.canary",
        expression="!has(self.strategy) || !has(self.strategy.canary) || has(self.bundle)",
        message="needs spec.bundle, not spec.variants",
    ),
    Rule(
        where="strategy.canary",
        field="steps",
        # CEL iterates over elements only: the constants stand for the indexes
        expression=f"!has(self.steps) || {list(range(MAX_STEPS - 1))}.all(i, i + 1 >= self.steps.size() || "
        "self.steps[i].weight < self.steps[i + 1].weight)",
        message="the weights of the steps must rise",
    ),
    Rule(
        field="strategy.shadow.variant",
        expression="!has(self.strategy) || !has(self.strategy.shadow) || (has(self.variants) && "
        "self.variants.exists(v, v.name == self.strategy.shadow.variant && (!has(v.weight) || v.weight == 0)))",
        message="must be the name of a variant with weight 0",
    ),
)

_ANALYSIS: Final = (
    Rule(
        field="analysis",
        expression="!has(self.analysis) || (has(self.strategy) && (has(self.strategy.canary) || "
        "has(self.strategy.blueGreen) || has(self.strategy.abTest) || has(self.strategy.shadow)))",
        message="needs the strategy canary, blueGreen, abTest or shadow",
    ),
    Rule(
        where="analysis.interval",
        expression="duration(self) >= duration('1s')",
        message="must be 1s or more",
    ),
    Rule(
        where="analysis",
        field="metrics",
        expression="!has(self.metrics) || "
        f"self.metrics.all(m, self.metrics.exists_one(n, {_name('n')} == {_name('m')}))",
        message="names of metrics must differ; the default is the type",
    ),
    *(
        Rule(
            where="analysis.metrics[]",
            field=field,
            expression=f"!({types}) || (has(self.{field}) && self.{field}.matches('{_ONE_VERSION}'))",
            message=f"a metric of type {kinds} needs {field} with $inferenceservice, so that the versions have "
            "separate counters",
        )
        for field, types, kinds in (
            ("requests", "self.type == 'ratio' || self.type == 'assignment'", "ratio or assignment"),
            ("events", "self.type == 'ratio'", "ratio"),
        )
    ),
)

_COMPONENTS: Final = (
    *(
        Rule(where=f"autoscaling.{component}", field=field, expression=expression, message=message)
        for component in ("transformer", "predictor")
        for field, expression, message in (
            ("minReplicas", "self.minReplicas <= self.maxReplicas", "must not be above maxReplicas"),
            ("scaleDownAfter", "duration(self.scaleDownAfter) <= duration('1h')", "must be 1h at most"),
        )
    ),
    Rule(
        where="store",
        expression="!(has(self.url) && self.url != '' && has(self.urlFrom))",
        message="give either url or urlFrom",
    ),
    Rule(
        where="route.timeout",
        expression="duration(self) >= duration('100ms')",
        message="must be 100ms or more",
    ),
    *(
        Rule(where=where, expression="!(has(self.jwt) && has(self.apiKeys))", message="give either jwt or apiKeys")
        for where in ("route.auth", "route.pin.auth")
    ),
)

RULES: Final = (*_VERSIONS, *_STRATEGIES, *_ANALYSIS, *_COMPONENTS)
"""All rules. In the CRD each is part of the schema of its value, in this order."""
