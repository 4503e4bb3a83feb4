"""All objects together: whose they are, and that rendering is a pure function."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
from rollout.tests.rollouts import rollout
from rollout.tests.specs import GOOD

from tandem_rollout.api.spec import Rollout
from tandem_rollout.render import Placed, render, render_revision, render_rollout
from tandem_rollout.render.objects import optional
from tandem_rollout.render.platform import Platform
from tandem_rollout.render.revision import Revision
from tandem_rollout.render.route import variant_route

from .made import PLATFORM, Object, objects

FULL: dict[str, Any] = {
    "transformer": {"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "a", "key": "a"}}}]},
    "predictor": {"runtime": "triton", "gpu": {}},
    "strategy": {"abTest": {}},
    "route": {"auth": {"jwt": {"issuer": "i", "jwksUri": "https://k", "audiences": ["a"]}}},
    "template": {
        "metadata": {"labels": {"a": "b"}},
        "spec": {"predictor": {"containers": [{"name": "s", "args": ["x"]}]}},
    },
    "tolerations": [{"key": "gpu", "operator": "Exists"}],
    "nodeSelector": {"a": "b"},
    "monitoring": {"labels": {"release": "prometheus"}},
}


def containers(value: Any) -> Iterator[Any]:
    """Every map and list in a value, itself included."""
    if isinstance(value, (dict, list)):
        yield value
        for inner in value.values() if isinstance(value, dict) else value:
            yield from containers(inner)


@pytest.mark.parametrize("spec", [FULL, *GOOD.values()], ids=["full", *GOOD])
def test_rendering_twice_gives_the_same(spec: dict[str, Any]) -> None:
    of = rollout(**spec)
    assert render(of, PLATFORM) == render(of, PLATFORM)


@pytest.mark.parametrize("spec", [FULL, *GOOD.values()], ids=["full", *GOOD])
def test_nothing_is_shared(spec: dict[str, Any]) -> None:
    of = rollout(**spec)
    first, second = render(of, PLATFORM), render(of, PLATFORM)
    identities = [id(container) for container in containers([*first, *second])]
    assert len(set(identities)) == len(identities)


def test_changing_a_result_does_not_change_the_next() -> None:
    of = rollout(**FULL)
    owner = {"kind": "InferenceRollout", "name": of.name}
    revision = Revision.of(of, of.spec.all_variants[0])

    def made() -> list[Object]:
        return [
            *render_revision(revision, PLATFORM, owner=owner),
            *render_rollout(of, [Placed(revision, 1)], PLATFORM, owner=owner),
        ]

    expected = copy.deepcopy(made())
    for container in list(containers(made())):
        container.clear()
    assert made() == expected
    assert owner == {"kind": "InferenceRollout", "name": of.name}


def _apart(of: Rollout) -> list[tuple[str, str]]:
    return [(manifest["kind"], manifest["metadata"]["name"]) for manifest in render(of, PLATFORM)]


@pytest.mark.parametrize("spec", [FULL, *GOOD.values()], ids=["full", *GOOD])
def test_no_two_objects_are_the_same(spec: dict[str, Any]) -> None:
    names = _apart(rollout(**spec))
    assert len(set(names)) == len(names)


def test_every_object_is_in_the_rollouts_namespace_and_says_whose_it_is() -> None:
    for manifest in objects(**FULL):
        metadata = manifest["metadata"]
        assert metadata["namespace"] == "models"
        assert metadata["labels"]["app.kubernetes.io/managed-by"] == "tandem"
        assert metadata["labels"]["tandem-serving.io/rollout"] == "time-estimator"


def test_owners() -> None:
    of = rollout()
    revision = Revision.of(of, of.spec.all_variants[0])
    owner = {"apiVersion": "v1", "kind": "InferenceRollout", "name": of.name, "uid": of.uid}
    for manifest in render_revision(revision, PLATFORM, owner=owner):
        assert manifest["metadata"]["ownerReferences"] == [owner]
    assert all("ownerReferences" not in resource["metadata"] for resource in render_revision(revision, PLATFORM))


def test_what_protects_pods_is_there_before_them() -> None:
    kinds = [kind for kind, _ in _apart(rollout())]
    assert kinds.index("NetworkPolicy") < kinds.index("InferenceService") < kinds.index("HTTPRoute")


def test_what_a_spec_may_stop_to_ask_for_is_known_by_name() -> None:
    of = rollout(**FULL)
    always = {("HTTPRoute", name) for name in (of.name, f"{of.name}-preview")}
    always |= {("HTTPRoute", variant_route(of, variant.name)) for variant in of.spec.all_variants}
    placed = [Placed(Revision.of(of, variant), variant.weight) for variant in of.spec.all_variants]
    names = {(manifest["kind"], manifest["metadata"]["name"]) for manifest in render_rollout(of, placed, PLATFORM)}
    assert names <= always | set(optional(of))


def test_platforms_differ_in_images_and_addresses_only() -> None:
    here, there = (render(rollout(), platform) for platform in (PLATFORM, Platform()))
    assert [manifest["metadata"] for manifest in here] == [manifest["metadata"] for manifest in there]
