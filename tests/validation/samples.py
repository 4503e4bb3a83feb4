"""InferenceRollouts that together use every field and every way of the renderer."""

from __future__ import annotations

from typing import Any, Final

from rollout.tests.rollouts import manifest

from tandem_rollout.api.manifest import parse
from tandem_rollout.render import render
from tandem_rollout.render.platform import Platform

Spec = dict[str, Any]

PLATFORM: Final = Platform()
_IMAGE: Final[Spec] = {"image": "registry.example/athlete:v1"}


def _variants(*names: str, **more: Any) -> list[Spec]:
    return [{"name": name, "bundle": {"image": f"athlete:{name}"}, "weight": 10, **more} for name in names]


SPECS: Final[dict[str, Spec]] = {
    "smallest": {"bundle": _IMAGE},
    "two variants": {},
    "seven variants": {"variants": _variants(*"abcdefg")},
    "variants called like rules": {"variants": _variants("split", "split-grpc", "a", "a-grpc")},
    "canary": {
        "variants": [
            {"name": "v1", "bundle": {**_IMAGE, "version": "v1"}, "weight": 90},
            {"name": "v2", "bundle": {**_IMAGE, "version": "2.0_rc-1"}, "weight": 10},
        ]
    },
    "A/B": {"strategy": {"abTest": {"header": "x-athlete"}}},
    "blue/green": {
        "variants": [{"name": name, "bundle": {"image": f"athlete:{name}"}} for name in ("blue", "green")],
        "strategy": {"blueGreen": {"active": "green", "previewHostname": "preview.models.example"}},
    },
    "bundle by modelcar": {"bundle": {**_IMAGE, "modelcar": True}},
    "bundle by claim": {"bundle": {"pvc": {"claimName": "bundles", "path": "athlete/v1"}}},
    "bundle by URI": {"bundle": {"uri": "s3://models/athlete/v1"}, "serviceAccountName": "reads-models"},
    "gRPC": {"predictor": {"protocol": "grpc-v2", "args": ["--max_batch_rows=64"]}},
    "GPU": {"predictor": {"gpu": {"count": 2}, "resources": {"requests": {"cpu": "2"}, "limits": {"memory": "8Gi"}}}},
    "shared GPU": {"predictor": {"gpu": {"resource": "nvidia.com/gpu.shared"}}},
    "Triton": {"predictor": {"runtime": "triton"}},
    "Triton on GPU, over gRPC": {"predictor": {"runtime": "triton", "protocol": "grpc-v2", "gpu": {}}},
    "Triton, bundle by claim": {"bundle": {"pvc": {"claimName": "bundles"}}, "predictor": {"runtime": "triton"}},
    "JSON Web Tokens": {
        "route": {
            "auth": {"jwt": {"issuer": "https://id.example", "jwksUri": "https://id.example/k", "audiences": ["a"]}}
        }
    },
    "API keys": {"route": {"auth": {"apiKeys": {"secretName": "clients"}}}},
    "store by URL": {"store": {"url": "redis://store.features:6380/0"}},
    "everything else": {
        "model": "Time_Estimator.v2",
        "bundle": _IMAGE,
        "transformer": {
            "image": "own/transformer:1",
            "resources": {"requests": {"cpu": "1"}},
            "args": ["--cache_size=10"],
            "env": [
                {"name": "A", "value": "b"},
                {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "token", "key": "token"}}},
            ],
        },
        "predictor": {"image": "own/predictor:1", "env": [{"name": "OMP_NUM_THREADS", "value": "1"}]},
        "store": {"urlFrom": {"name": "store", "key": "url"}},
        "autoscaling": {
            "transformer": {"minReplicas": 2, "maxReplicas": 10, "inflightPerPod": 16, "scaleDownAfter": "1m30s"},
            "predictor": {"minReplicas": 3, "maxReplicas": 3},
            "prometheus": "https://prometheus.example",
        },
        "route": {
            "gateway": {"name": "public", "namespace": "gateways"},
            "hostnames": ["models.example", "*.models.example"],
            "timeout": "1m30s",
        },
        "template": {
            "metadata": {"annotations": {"example.com/owner": "coaching"}, "labels": {"team": "coaching"}},
            "spec": {"predictor": {"timeout": 30, "containers": [{"name": "kserve-container", "tty": False}]}},
        },
        "monitoring": {"labels": {"release": "prometheus"}},
        "network": {
            "gatewayNamespace": "gateways",
            "monitoringNamespace": "observability",
            "storeNamespace": "features",
        },
        "imagePullSecrets": ["registry"],
        "serviceAccountName": "models",
        "nodeSelector": {"kubernetes.io/arch": "amd64"},
        "tolerations": [{"key": "models", "operator": "Exists"}],
        "allowBreakingContract": True,
        "scaleDownDelay": "10m",
    },
    "nothing but serving": {
        "bundle": _IMAGE,
        "monitoring": {"podMonitors": False},
        "network": {"policies": False},
    },
}


def rendered() -> dict[str, list[dict[str, Any]]]:
    """The objects of each."""
    return {name: render(parse(manifest(**spec)), PLATFORM) for name, spec in SPECS.items()}
