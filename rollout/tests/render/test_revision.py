"""A revision's hash: the same for the same pods, another for others."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rollout.tests import specs
from rollout.tests.rollouts import manifest, rollout

from tandem_rollout.api import pods, routing, spec
from tandem_rollout.api.manifest import parse
from tandem_rollout.render import render_revision
from tandem_rollout.render.platform import Platform
from tandem_rollout.render.revision import Revision, revision_hash


def first(**spec: Any) -> Revision:
    of = rollout(**{"variants": specs.variants("v1", "v2"), **spec})
    return Revision.of(of, of.spec.all_variants[0])


MAKE_PODS: dict[str, dict[str, Any]] = {
    "model": {"model": "estimator"},
    "image": {"variants": specs.variants("v1", bundle={"image": "athlete:v9"})},
    "transformer": {"transformer": {"args": ["--cache_size=1"]}},
    "predictor": {"predictor": {"protocol": "grpc-v2"}},
    "gpu": {"predictor": {"gpu": {}}},
    "environment": {"predictor": {"env": [{"name": "A", "value": "1"}]}},
    "store": {"store": {"url": "redis://store"}},
    "timeout": {"route": {"timeout": "3s"}},
    "template": {"template": {"spec": {"predictor": {"timeout": 5}}}},
    "own template": {"variants": specs.variants("v1", template={"spec": {"predictor": {"timeout": 5}}})},
    "volumes": {"volumes": {"tmp": "2Gi"}},
    "service account": {"serviceAccountName": "models"},
    "pull secrets": {"imagePullSecrets": ["registry"]},
    "nodes": {"nodeSelector": {"kubernetes.io/arch": "arm64"}},
    "tolerations": {"tolerations": [{"operator": "Exists"}]},
}
LEAVE_PODS: dict[str, dict[str, Any]] = {
    "weights": {"variants": specs.variants("v1", "v2", weight=50)},
    "other variants": {"variants": specs.variants("v1", "v3", "v4")},
    "strategy": {"strategy": {"abTest": {}}},
    "hosts": {"route": {"hostnames": ["models.example"]}},
    "gateway": {"route": {"gateway": {"name": "public"}}},
    "clients": {"route": {"auth": {"apiKeys": {"secretName": "clients"}}}},
    "scaling": {"autoscaling": {"transformer": {"maxReplicas": 9}}},
    "monitoring": {"monitoring": {"podMonitors": False}},
    "network": {"network": {"policies": False}},
    "contract": {"allowBreakingContract": True},
    "time to keep": {"scaleDownDelay": "1h"},
    "what is the default": {"predictor": {"runtime": "onnxruntime"}, "route": {"timeout": "10s"}},
}


@pytest.mark.parametrize("change", MAKE_PODS.values(), ids=MAKE_PODS)
def test_what_pods_are_made_of_makes_another_revision(change: dict[str, Any]) -> None:
    assert first(**change).hash != first().hash


@pytest.mark.parametrize("change", LEAVE_PODS.values(), ids=LEAVE_PODS)
def test_what_routes_scales_or_watches_them_does_not(change: dict[str, Any]) -> None:
    assert first(**change).hash == first().hash


def test_every_change_makes_another_hash_than_every_other() -> None:
    hashes = [first(**change).hash for change in MAKE_PODS.values()]
    assert len(set(hashes)) == len(hashes)


_changes = st.lists(st.sampled_from([*MAKE_PODS.values(), *LEAVE_PODS.values()]), max_size=4)


@given(_changes, _changes)
def test_other_pods_never_have_the_same_hash(edits: list[dict[str, Any]], other_edits: list[dict[str, Any]]) -> None:
    def pods(changes: list[dict[str, Any]]) -> tuple[str, Any]:
        spec: dict[str, Any] = {}
        for change in changes:
            spec |= change
        revision = first(**spec)
        manifests = render_revision(revision, Platform())
        (service,) = [resource for resource in manifests if resource["kind"] == "InferenceService"]
        # names carry the hash, so compare what is left without it
        return revision.hash, repr(service).replace(revision.hash, "")

    (hash_one, pods_one), (hash_other, pods_other) = pods(edits), pods(other_edits)
    assert hash_one != hash_other or pods_one == pods_other


def _reversed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _reversed(value[key]) for key in reversed(value)}
    return [_reversed(item) for item in value] if isinstance(value, list) else value


@given(_changes)
def test_the_order_of_keys_does_not_matter(changes: list[dict[str, Any]]) -> None:
    written = manifest(**{key: value for change in changes for key, value in change.items()})
    there, back = parse(written), parse(_reversed(written))
    assert [revision_hash(there, variant) for variant in there.spec.all_variants] == [
        revision_hash(back, variant) for variant in back.spec.all_variants
    ]


def test_the_hash_stays_from_one_release_to_the_next() -> None:
    # another hash for the same spec would replace every pod of every model when the controller is upgraded
    assert first(store={"url": "redis://store"}, nodeSelector={"a": "b", "c": "d"}).hash == "587bfffb"
    assert first(**MAKE_PODS["gpu"]).hash == "0ccc4f95"
    assert first(**MAKE_PODS["environment"], **MAKE_PODS["template"], **MAKE_PODS["timeout"]).hash == "3f9bae9f"
    assert first(**MAKE_PODS["tolerations"], **MAKE_PODS["transformer"], **MAKE_PODS["own template"]).hash == "aa8f8227"


def _written_out(kind: type[msgspec.Struct], fields: dict[str, Any]) -> list[dict[str, Any]]:
    """The same with each field that has a default written out."""
    variations = []
    for field in msgspec.structs.fields(kind):
        default = field.default_factory() if callable(field.default_factory) else field.default
        if default is not msgspec.NODEFAULT and field.encode_name not in fields:
            variations.append({**fields, field.encode_name: msgspec.to_builtins(default)})
    return variations


GPU: dict[str, Any] = {"predictor": {"gpu": {}}}
DEFAULTS: dict[str, tuple[dict[str, Any], list[dict[str, Any]]]] = {
    "spec": ({}, _written_out(spec.RolloutSpec, {"bundle": None, "variants": specs.variants("v1", "v2")})),
    **{
        name: ({}, [{name: fields} for fields in _written_out(kind, {})])
        for name, kind in (
            ("transformer", pods.TransformerSpec),
            ("predictor", pods.PredictorSpec),
            ("store", spec.Store),
        )
    },
    "route": ({}, [{"route": fields} for fields in _written_out(routing.Route, {})]),
    "gpu": (GPU, [{"predictor": {"gpu": fields}} for fields in _written_out(pods.Gpu, {})]),
    "bundle": (
        {},
        [
            {"variants": specs.variants("v1", "v2", bundle=fields)}
            for fields in _written_out(pods.BundleSource, {"image": "athlete:v1"})
        ],
    ),
    "environment": (
        {"predictor": {"env": [{"name": "A"}]}},
        [{"predictor": {"env": [fields]}} for fields in _written_out(pods.EnvVar, {"name": "A"})],
    ),
}


@pytest.mark.parametrize("where", DEFAULTS)
def test_a_default_may_be_written_out(where: str) -> None:
    left_out, written = DEFAULTS[where]
    assert written
    for override in written:
        # as the API server sends it: no text in it is the default's own object
        sent = msgspec.json.decode(
            msgspec.json.encode(manifest(**{"variants": specs.variants("v1", "v2"), **override}))
        )
        of = parse(sent)
        assert revision_hash(of, of.spec.all_variants[0]) == first(**left_out).hash, override


def test_names_and_labels() -> None:
    revision = first()
    assert re.fullmatch(r"time-estimator-v1-[0-9a-f]{8}", revision.name)
    assert (revision.transformer, revision.predictor) == (f"{revision.name}-transformer", f"{revision.name}-predictor")
    assert revision.labels == {
        "app.kubernetes.io/managed-by": "tandem",
        "app.kubernetes.io/name": "time-estimator",
        "tandem-serving.io/rollout": "time-estimator",
        "tandem-serving.io/variant": "v1",
        "tandem-serving.io/revision": revision.hash,
    }


def test_an_amount_is_the_same_as_a_number_and_as_text() -> None:
    def name(cpu: object) -> str:
        return first(transformer={"resources": {"limits": {"cpu": cpu}}}).name

    assert name(2) == name("2") != name("2000m")
