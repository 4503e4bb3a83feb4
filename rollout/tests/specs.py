"""Specs that are right and specs that break one rule, with what is said of them."""

from __future__ import annotations

from typing import Any, Final

Spec = dict[str, Any]

IMAGE: Final[Spec] = {"image": "athlete:v1"}


def variants(*names: str, **more: Any) -> list[Spec]:
    """Variants with an image each and equal weights."""
    return [{"name": name, "bundle": {"image": f"athlete:{name}"}, "weight": 10, **more} for name in names]


def bundled(**more: Any) -> Spec:
    """A spec with one version."""
    return {"bundle": IMAGE, **more}


def canary(**more: Any) -> Spec:
    """A spec with one version, which another one will follow as a canary."""
    return bundled(strategy={"canary": {}}, **more)


GOOD: Final[dict[str, Spec]] = {
    "bundle": bundled(),
    "variants": {"variants": variants("v1", "v2")},
    "empty variants beside a bundle": bundled(variants=[]),
    "one variant has no weight": {"variants": [*variants("v1"), {"name": "v2", "bundle": IMAGE}]},
    "seven variants": {"variants": variants(*"abcdefg")},
    "longest variant name": {"variants": variants("a" * 14)},
    "pvc": {"bundle": {"pvc": {"claimName": "c"}}},
    "uri": {"bundle": {"uri": "gs://bucket/path"}},
    "modelcar": {"bundle": {**IMAGE, "modelcar": True}},
    "an empty image beside a uri": {"bundle": {"image": "", "uri": "s3://bucket/path"}},
    "version": {"bundle": {**IMAGE, "version": "2026.1_rc-1+cpu"}},
    "triton": bundled(predictor={"runtime": "triton", "protocol": "grpc-v2"}),
    "triton with a pvc": {"bundle": {"pvc": {"claimName": "c"}}, "predictor": {"runtime": "triton"}},
    "GPU": bundled(predictor={"gpu": {}}),
    "static": bundled(strategy={"static": {}}),
    "A/B": {"variants": variants("a", "b"), "strategy": {"abTest": {}}},
    "blue/green without weights": {
        "variants": variants("blue", "green", weight=0),
        "strategy": {"blueGreen": {"active": "green"}},
    },
    "canary": canary(),
    "canary with steps": bundled(strategy={"canary": {"steps": [{"weight": 5}, {"weight": 50, "pause": True}]}}),
    "canary with analysis": canary(
        analysis={"metrics": [{"type": "errors", "floor": 0.01}, {"type": "drift", "gate": False}], "dispersion": 1.5}
    ),
    "PromQL of one version": canary(
        analysis={
            "metrics": [
                {"type": "ratio", "requests": 'a{is="$inferenceservice"}', "events": "b_$inferenceservice"},
                {"type": "assignment", "requests": 'units{is="$inferenceservice",namespace="$namespace"}'},
                {"type": "errors", "requests": "what nobody reads"},
            ]
        }
    ),
    "errors here and there": canary(
        analysis={"metrics": [{"type": "errors"}, {"type": "errors", "where": "pods"}, {"type": "drift", "name": ""}]}
    ),
    "A/B with analysis": {"variants": variants("a", "b"), "strategy": {"abTest": {}}, "analysis": {}},
    "shadow": {
        "variants": [*variants("v1"), *variants("v2", weight=0)],
        "strategy": {"shadow": {"variant": "v2", "percent": 10}},
    },
    "store by URL": bundled(store={"url": "redis://store:6379"}),
    "store by Secret": bundled(store={"urlFrom": {"name": "store", "key": "url"}}),
    "store by Secret, beside an empty URL": bundled(store={"url": "", "urlFrom": {"name": "store", "key": "url"}}),
    "as few pods as many": bundled(autoscaling={"predictor": {"minReplicas": 4}}),
    "many pods": bundled(autoscaling={"transformer": {"minReplicas": 5, "maxReplicas": 5}}),
    "longest window": bundled(autoscaling={"transformer": {"scaleDownAfter": "1h"}}),
    "timeouts": bundled(route={"timeout": "1h30m5s20ms"}),
    "hostnames": bundled(route={"hostnames": ["models.example", "*.example"]}),
    "JSON Web Tokens": bundled(route={"auth": {"jwt": {"issuer": "i", "jwksUri": "https://i/keys"}}}),
    "API keys": bundled(route={"auth": {"apiKeys": {"secretName": "clients"}}}),
    "nobody named": bundled(route={"auth": {}}),
    "model": bundled(model="Time_Estimator.v2"),
    "template": bundled(template={"spec": {"predictor": {"containers": [{"name": "kserve-container", "tty": True}]}}}),
    "tolerations": bundled(tolerations=[{"key": "gpu", "operator": "Exists"}]),
    "numbers as amounts": bundled(predictor={"resources": {"limits": {"cpu": 2, "memory": 2**30}}}, volumes={"tmp": 5}),
    "alias of a registry": {
        "bundle": {"image": "athlete:{digest}"},
        "registry": {"uri": "http://mlflow:5000/prefix", "model": "time estimator.v2", "alias": "Champion_1-x"},
    },
    "environment": bundled(transformer={"env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "x"}}}]}),
}

BAD: Final[dict[str, tuple[Spec, str]]] = {
    "nothing": ({}, "spec: give either bundle or variants"),
    "bundle and variants": (bundled(variants=variants("v1")), "spec: give either bundle or variants"),
    "no variants": ({"variants": []}, "spec: give either bundle or variants"),
    "no weight": ({"variants": variants("v1", weight=0)}, "spec.variants: at least one variant needs a weight above 0"),
    "one name twice": ({"variants": variants("v1", "v1")}, "spec.variants[1].name: duplicate value 'v1'"),
    "eight variants": ({"variants": variants(*"abcdefgh")}, "spec.variants: "),
    "a variant without bundle": ({"variants": [{"name": "v1", "weight": 1}]}, "spec.variants[0]: "),
    "a variant without name": ({"variants": [{"bundle": IMAGE, "weight": 1}]}, "spec.variants[0]: "),
    "negative weight": ({"variants": variants("v1", weight=-1)}, "spec.variants[0].weight: "),
    "weight above a million": ({"variants": variants("v1", weight=1_000_001)}, "spec.variants[0].weight: "),
    "weight in words": ({"variants": variants("v1", weight="10")}, "spec.variants[0].weight: "),
    "broken weight": ({"variants": variants("v1", weight=0.5)}, "spec.variants[0].weight: "),
    "long variant name": ({"variants": variants("a" * 15)}, "spec.variants[0].name: "),
    "capital in a variant name": ({"variants": variants("V1")}, "spec.variants[0].name: "),
    "digit before a variant name": ({"variants": variants("1v")}, "spec.variants[0].name: "),
    "hyphen after a variant name": ({"variants": variants("v-")}, "spec.variants[0].name: "),
    "empty bundle": ({"bundle": {}}, "spec.bundle: give exactly one of image, pvc and uri"),
    "alias beside variants": (
        {"variants": variants("v1"), "registry": {"uri": "http://mlflow", "model": "m"}},
        "spec.registry: needs spec.bundle, not spec.variants",
    ),
    "registry without model": (bundled(registry={"uri": "http://mlflow"}), "spec.registry: "),
    "registry without scheme": (bundled(registry={"uri": "mlflow:5000", "model": "m"}), "spec.registry.uri: "),
    "registry with a password": (bundled(registry={"uri": "http://a:b@mlflow", "model": "m"}), "spec.registry.uri: "),
    "registered model with a slash": (
        bundled(registry={"uri": "http://mlflow", "model": "a/b"}),
        "spec.registry.model: ",
    ),
    "alias with an at": (
        bundled(registry={"uri": "http://mlflow", "model": "m", "alias": "@a"}),
        "spec.registry.alias: ",
    ),
    "image and uri": ({"bundle": {**IMAGE, "uri": "s3://b/p"}}, "spec.bundle: give exactly one of image, pvc and uri"),
    "image and pvc in a variant": (
        {"variants": variants("v1", bundle={**IMAGE, "pvc": {"claimName": "c"}})},
        "spec.variants[0].bundle: give exactly one of image, pvc and uri",
    ),
    "modelcar of a uri": ({"bundle": {"uri": "s3://b/p", "modelcar": True}}, "spec.bundle.modelcar: needs an image"),
    "uri without scheme": ({"bundle": {"uri": "bucket/path"}}, "spec.bundle.uri: "),
    "pvc without claim": ({"bundle": {"pvc": {}}}, "spec.bundle.pvc: "),
    "version that is no part of a path": ({"bundle": {**IMAGE, "version": "a/b"}}, "spec.bundle.version: "),
    "version that climbs": ({"bundle": {**IMAGE, "version": ".."}}, "spec.bundle.version: "),
    "two strategies": (
        {"variants": variants("a"), "strategy": {"abTest": {}, "blueGreen": {"active": "a"}}},
        "spec.strategy: give at most one strategy",
    ),
    "static and another strategy": (
        {"variants": variants("a"), "strategy": {"static": {}, "abTest": {}}},
        "spec.strategy: give at most one strategy",
    ),
    "canary without steps": (bundled(strategy={"canary": {"steps": []}}), "spec.strategy.canary.steps: "),
    "canary with falling weights": (
        bundled(strategy={"canary": {"steps": [{"weight": 20}, {"weight": 20}]}}),
        "spec.strategy.canary.steps: the weights of the steps must rise",
    ),
    "canary with all": (bundled(strategy={"canary": {"steps": [{"weight": 100}]}}), "spec.strategy.canary.steps[0]."),
    "canary of variants": (
        {"variants": variants("v1"), "strategy": {"canary": {}}},
        "spec.strategy.canary: needs spec.bundle, not spec.variants",
    ),
    "shadow with weight": (
        {"variants": variants("v1", "v2"), "strategy": {"shadow": {"variant": "v2"}}},
        "spec.strategy.shadow.variant: must be the name of a variant with weight 0",
    ),
    "analysis of nothing": (
        bundled(analysis={}),
        "spec.analysis: needs the strategy canary, blueGreen, abTest or shadow",
    ),
    "ratio without events": (
        canary(analysis={"metrics": [{"type": "ratio", "requests": 'a_total{inferenceservice="$inferenceservice"}'}]}),
        "spec.analysis.metrics[0].events: a metric of type ratio needs events",
    ),
    "assignment without units": (
        canary(analysis={"metrics": [{"type": "assignment"}]}),
        "spec.analysis.metrics[0].requests: a metric of type ratio or assignment needs requests",
    ),
    "requests of both versions": (
        canary(analysis={"metrics": [{"type": "ratio", "requests": "a_total", "events": "$inferenceservice"}]}),
        "spec.analysis.metrics[0].requests: a metric of type ratio or assignment needs requests with",
    ),
    "events of both versions": (
        canary(analysis={"metrics": [{"type": "ratio", "requests": "$inferenceservice", "events": "$namespace"}]}),
        "spec.analysis.metrics[0].events: a metric of type ratio needs events with $inferenceservice",
    ),
    "units of something else": (
        canary(analysis={"metrics": [{"type": "assignment", "requests": "$inferenceservices"}]}),
        "spec.analysis.metrics[0].requests: a metric of type ratio or assignment needs requests with",
    ),
    "a margin of 1": (canary(analysis={"metrics": [{"type": "errors", "margin": 1}]}), "spec.analysis.metrics[0]."),
    "a floor of 1": (canary(analysis={"metrics": [{"type": "errors", "floor": 1}]}), "spec.analysis.metrics[0]."),
    "two metrics of one name": (
        canary(analysis={"metrics": [{"type": "errors"}, {"type": "latency", "name": "errors"}]}),
        "spec.analysis.metrics: names of metrics must differ; the default is the type",
    ),
    "two metrics of one name by default": (
        canary(
            analysis={"metrics": [{"type": "errors", "where": "pods"}, {"type": "drift", "name": "errors-in-pods"}]}
        ),
        "spec.analysis.metrics: names of metrics must differ",
    ),
    "no interval": (canary(analysis={"interval": "500ms"}), "spec.analysis.interval: must be 1s or more"),
    "unknown strategy": (bundled(strategy={"random": {}}), "spec.strategy: "),
    "active is no variant": (
        {"variants": variants("blue"), "strategy": {"blueGreen": {"active": "green"}}},
        "spec.strategy.blueGreen.active: must be the name of a variant",
    ),
    "blue/green of one bundle": (
        bundled(strategy={"blueGreen": {"active": "main"}}),
        "spec.strategy.blueGreen.active: must be the name of a variant",
    ),
    "preview host": (
        {"variants": variants("a"), "strategy": {"blueGreen": {"active": "a", "previewHostname": "a_b"}}},
        "spec.strategy.blueGreen.previewHostname: ",
    ),
    "sticky by no header": (
        {"variants": variants("a"), "strategy": {"abTest": {"header": "X-User"}}},
        "spec.strategy.abTest.header: ",
    ),
    "two stores": (
        bundled(store={"url": "redis://s", "urlFrom": {"name": "s", "key": "k"}}),
        "spec.store: give either url or urlFrom",
    ),
    "store Secret without key": (bundled(store={"urlFrom": {"name": "s"}}), "spec.store.urlFrom: "),
    "two kinds of clients": (
        bundled(
            route={"auth": {"jwt": {"issuer": "i", "jwksUri": "https://k"}, "apiKeys": {"secretName": "s"}}},
        ),
        "spec.route.auth: give either jwt or apiKeys",
    ),
    "keys from no web": (
        bundled(route={"auth": {"jwt": {"issuer": "i", "jwksUri": "k"}}}),
        "spec.route.auth.jwt.jwksUri",
    ),
    "transformer's pods": (
        bundled(autoscaling={"transformer": {"minReplicas": 3, "maxReplicas": 2}}),
        "spec.autoscaling.transformer.minReplicas: must not be above maxReplicas",
    ),
    "predictor's pods": (
        bundled(autoscaling={"predictor": {"minReplicas": 3, "maxReplicas": 2}}),
        "spec.autoscaling.predictor.minReplicas: must not be above maxReplicas",
    ),
    "more pods than the default allows": (
        bundled(autoscaling={"predictor": {"minReplicas": 5}}),
        "spec.autoscaling.predictor.minReplicas: must not be above maxReplicas",
    ),
    "no pods": (bundled(autoscaling={"predictor": {"minReplicas": 0}}), "spec.autoscaling.predictor.minReplicas: "),
    "window above an hour": (
        bundled(autoscaling={"predictor": {"scaleDownAfter": "1h1s"}}),
        "spec.autoscaling.predictor.scaleDownAfter: must be 1h at most",
    ),
    "duration without unit": (bundled(route={"timeout": "10"}), "spec.route.timeout: "),
    "duration in days": (bundled(scaleDownDelay="1d"), "spec.scaleDownDelay: "),
    "no time to answer": (bundled(route={"timeout": "99ms"}), "spec.route.timeout: must be 100ms or more"),
    "host with a path": (bundled(route={"hostnames": ["models.example/v1"]}), "spec.route.hostnames[0]: "),
    "host in capitals": (bundled(route={"hostnames": ["Models.example"]}), "spec.route.hostnames[0]: "),
    "too many hosts": (bundled(route={"hostnames": [f"h{n}" for n in range(17)]}), "spec.route.hostnames: "),
    "model with a slash": (bundled(model="a/b"), "spec.model: "),
    "long model": (bundled(model="m" * 64), "spec.model: "),
    "unknown field": (bundled(replicas=2), "spec: "),
    "unknown field deep inside": (bundled(predictor={"gpu": {"vendor": "x"}}), "spec.predictor.gpu: "),
    "unknown runtime": (bundled(predictor={"runtime": "tensorflow"}), "spec.predictor.runtime: "),
    "unknown protocol": (bundled(predictor={"protocol": "v1"}), "spec.predictor.protocol: "),
    "17 GPUs": (bundled(predictor={"gpu": {"count": 17}}), "spec.predictor.gpu.count: "),
    "triton with a uri": (
        {"bundle": {"uri": "s3://b/p"}, "predictor": {"runtime": "triton"}},
        "spec.predictor.runtime: triton needs bundles from an image that is copied or from a pvc",
    ),
    "triton with a modelcar": (
        {
            "variants": [*variants("v1"), *variants("v2", bundle={**IMAGE, "modelcar": True})],
            "predictor": {"runtime": "triton"},
        },
        "spec.predictor.runtime: triton needs bundles from an image that is copied or from a pvc",
    ),
    "store's port": (bundled(network={"storePort": 70_000}), "spec.network.storePort: "),
    "variable without name": (bundled(predictor={"env": [{"value": "1"}]}), "spec.predictor.env[0]: "),
    "one variable twice": (
        bundled(transformer={"env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]}),
        "spec.transformer.env[1].name: duplicate value 'A'",
    ),
    "broken number as a limit": (
        bundled(predictor={"resources": {"limits": {"cpu": 0.5}}}),
        "spec.predictor.resources.limits.cpu: must be a whole number, or a string such as 500m or 2Gi, not a number; "
        "put it in quotes",
    ),
}


def more_bad() -> list[Spec]:
    """Specs that break a rule of which :data:`BAD` has an example at another place only."""
    both: Spec = {"jwt": {"issuer": "i", "jwksUri": "https://k"}, "apiKeys": {"secretName": "s"}}
    return [
        bundled(route={"pin": {"auth": both}}),
        {"variants": variants("v1", bundle={"uri": "s3://b/p", "modelcar": True})},
        bundled(autoscaling={"transformer": {"scaleDownAfter": "2h"}}),
    ]
