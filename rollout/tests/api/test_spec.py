"""What a spec may say, what is said against it, and what it means where it says nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rollout.tests import specs
from rollout.tests.rollouts import manifest, rollout

from tandem_rollout.api.fields import InvalidSpecError, seconds
from tandem_rollout.api.manifest import parse
from tandem_rollout.render.revision import Revision


@pytest.mark.parametrize("spec", specs.GOOD.values(), ids=specs.GOOD)
def test_good_specs(spec: specs.Spec) -> None:
    parse({**manifest(), "spec": spec})


@pytest.mark.parametrize(("spec", "message"), specs.BAD.values(), ids=specs.BAD)
def test_bad_specs(spec: specs.Spec, message: str) -> None:
    with pytest.raises(InvalidSpecError) as caught:
        parse({**manifest(), "spec": spec})
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("template", "where"),
    [
        ({"spec": {"transformer": None}}, "spec.transformer: must be a map"),
        ({"spec": {"predictor": "x"}}, "spec.predictor: must be a map"),
        ({"spec": {"predictor": {"containers": "x"}}}, "spec.predictor.containers: must be a list of containers"),
        (
            {"spec": {"predictor": {"initContainers": [{"image": "i"}]}}},
            "spec.predictor.initContainers: must be a list",
        ),
        ({"metadata": {"labels": "x"}}, "metadata.labels: must be a map of strings"),
        ({"metadata": {"annotations": {"a": 1}}}, "metadata.annotations: must be a map of strings"),
    ],
)
def test_templates_that_do_not_fit(template: specs.Spec, where: str) -> None:
    with pytest.raises(InvalidSpecError) as caught:
        parse(manifest(bundle=specs.IMAGE, template=template))
    assert str(caught.value).startswith(f"spec.template.{where}")


@pytest.mark.parametrize("metadata", ["est", {"name": "est", "namespace": 5}])
def test_metadata_that_is_none(metadata: object) -> None:
    with pytest.raises(InvalidSpecError, match=r"^metadata"):
        parse({**manifest(), "metadata": metadata})


@pytest.mark.parametrize("name", ["", "Est", "1est", "est-", "est.v1", "e" * 23])
def test_bad_names(name: str) -> None:
    with pytest.raises(InvalidSpecError, match=r"^metadata\.name: "):
        parse({**manifest(), "metadata": {"name": name}})


def test_a_manifest_without_spec() -> None:
    with pytest.raises(InvalidSpecError, match="either bundle or variants"):
        parse({"metadata": {"name": "est"}})


def test_identity() -> None:
    resource = rollout()
    assert (resource.name, resource.namespace, resource.uid, resource.generation) == (
        "time-estimator",
        "models",
        "u-1",
        1,
    )
    assert parse({"metadata": {"name": "est"}, "spec": {"bundle": specs.IMAGE}}).namespace == "default"


def test_clients_ask_for_the_rollout_by_its_name_unless_it_has_a_model() -> None:
    assert rollout().model == "time-estimator"
    assert rollout(model="Estimator").model == "Estimator"


def test_a_bundle_is_one_variant_with_all_the_weight() -> None:
    (only,) = rollout(bundle=specs.IMAGE).spec.all_variants
    assert (only.name, only.weight, only.bundle.image) == ("main", 100, "athlete:v1")


def test_defaults() -> None:
    spec = rollout(bundle=specs.IMAGE).spec
    assert (spec.predictor.runtime, spec.predictor.protocol, spec.predictor.gpu) == ("onnxruntime", "v2", None)
    assert (spec.route.gateway.name, spec.route.gateway.namespace) == ("kserve-ingress-gateway", "kserve")
    assert (spec.route.timeout, spec.scale_down_delay, spec.strategy.name) == ("10s", "2m", "static")
    assert (spec.autoscaling.transformer.inflight_per_pod, spec.autoscaling.predictor.inflight_per_pod) == (8, 4)
    assert spec.network.policies and spec.monitoring.pod_monitors and not spec.allow_breaking_contract


@pytest.mark.parametrize(
    ("given_", "name"),
    [
        ({}, "static"),
        ({"static": {}}, "static"),
        ({"abTest": {}}, "abTest"),
        ({"blueGreen": {"active": "v1"}}, "blueGreen"),
    ],
)
def test_strategies_have_names(given_: specs.Spec, name: str) -> None:
    assert rollout(strategy=given_).spec.strategy.name == name


@pytest.mark.parametrize(
    ("duration", "expected"),
    [("10s", 10), ("1m30s", 90), ("500ms", 0.5), ("2h", 7200), ("1h1m1s1ms", 3661.001), ("0s", 0), ("1m1m", 120)],
)
def test_seconds(duration: str, expected: float) -> None:
    assert seconds(duration) == pytest.approx(expected)


@given(st.lists(st.tuples(st.integers(0, 99999), st.sampled_from(["h", "m", "s", "ms"])), min_size=1, max_size=4))
def test_seconds_add_up(parts: list[tuple[int, str]]) -> None:
    units = {"h": 3600, "m": 60, "s": 1, "ms": 0.001}
    text = "".join(f"{value}{unit}" for value, unit in parts)
    assert seconds(text) == pytest.approx(sum(value * units[unit] for value, unit in parts))


def test_the_longest_names_fit_into_what_kubernetes_and_kserve_make_of_them() -> None:
    named = {**manifest(variants=specs.variants("v" * 14)), "metadata": {"name": "r" * 22, "namespace": "n" * 63}}
    of = parse(named)
    revision = Revision.of(of, of.spec.all_variants[0])
    for name in (revision.transformer, revision.predictor, revision.pods):
        assert len(name) <= 63
    # the label that KServe gives to pods
    assert len(f"isvc.{revision.transformer}") == 63
