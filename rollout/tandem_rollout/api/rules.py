"""Rules of the spec that span fields, in CEL: the API server and :mod:`.validation` both evaluate them.

A rule sees its object with all defaults that are not empty, as the API server fills them in. What is optional may be
missing where it has no default, or an empty one.
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
        where: Path in the spec of what it is about, with ``[]`` for each element of a list; empty for the spec itself.
        field: Path from there of the field that is at fault; empty for all of it.
        expression: The rule in CEL; ``self`` is what it is about.
        message: What the field must be, in words.
    """

    where: str = ""
    field: str = ""
    expression: str
    message: str

    @property
    def path(self) -> str:
        """Path in the manifest of the field that is at fault."""
        return ".".join(filter(None, ("spec", self.where, self.field)))


_ASKS_ONE: Final = "[$]inferenceservice([^A-Za-z0-9_]|$)"
"""PromQL that asks of one version; without it both would be given the same counters."""

_DOWNLOADED: Final = "(has({0}.uri) && {0}.uri != '' || has({0}.modelcar) && {0}.modelcar)"
"""A bundle that KServe brings, once the pod's own init containers have run."""


def _name(metric: str) -> str:
    """Name of a metric, in CEL, as :attr:`tandem_rollout.api.analysis.Metric.full_name` has it in Python."""
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
            expression=f"!({types}) || (has(self.{field}) && self.{field}.matches('{_ASKS_ONE}'))",
            message=f"a metric of type {kinds} needs {field} that say $inferenceservice, or it asks the same of both "
            "versions",
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
"""All of them. In the CRD they stand at their places, in this order."""
