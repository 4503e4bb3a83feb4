from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem_cli.local import StackError
from tandem_cli.local.manifest import build_manifest, rollout_name, with_version
from tandem_rollout.api.fields import RolloutName
from tandem_rollout.api.manifest import parse


def made(settings: dict[str, Any] | None = None) -> dict[str, Any]:
    return build_manifest(settings or {}, name="estimator", model="Estimator", version="v1")


def test_without_a_word_it_is_a_canary_for_people_in_a_hurry() -> None:
    spec = parse(made()).spec
    assert spec.strategy.canary is not None and spec.analysis is not None
    assert [step.weight for step in spec.strategy.canary.steps] == [10, 50]
    assert (spec.analysis.source, spec.analysis.interval) == ("pods", "2s")


def test_the_words_are_those_of_a_cluster_and_the_rest_stays_as_it_is() -> None:
    canary = {"steps": [{"weight": 5, "pause": True}], "progressDeadline": "7s"}
    spec = parse(made({"rollout": {"strategy": {"canary": canary}, "analysis": {"metrics": [{"type": "drift"}]}}})).spec
    assert spec.strategy.canary is not None and spec.analysis is not None
    assert [(step.weight, step.pause) for step in spec.strategy.canary.steps] == [(5, True)]
    assert (spec.strategy.canary.progress_deadline, spec.strategy.canary.bake) == ("7s", "10s")
    assert [metric.type for metric in spec.analysis.metrics] == ["drift"]
    assert spec.analysis.interval == "2s"


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("fast", r"\[tool.tandem.rollout\] must be a table"),
        ({"speed": 1}, "not speed"),
        ({"strategy": {"blueGreen": {}}}, "not blueGreen"),
        ({"strategy": {"canary": 5}}, r"\[tool.tandem.rollout.strategy.canary\] must be a table"),
        ({"strategy": {"canary": {"steps": [{"weight": 50}, {"weight": 10}]}}}, "must rise"),
        ({"analysis": {"interval": "1ms"}}, "1s or more"),
        ({"analysis": {"intervall": "2s"}}, "intervall"),
        ({"analysis": {"metrics": [{"type": "assignment", "requests": "$inferenceservice"}]}}, "need Prometheus"),
    ],
)
def test_what_makes_no_sense_is_told(table: Any, message: str) -> None:
    with pytest.raises(StackError, match=message):
        made({"rollout": table})


def test_another_version_is_another_generation() -> None:
    first = made()
    second = with_version(first, "v2")
    assert second["spec"]["bundle"] == {"image": "v2"}
    assert (first["metadata"]["generation"], second["metadata"]["generation"]) == (1, 2)
    assert with_version(second, "v2") == second
    assert parse(second).generation == 2


@given(st.from_regex(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?", fullmatch=True))
def test_each_model_has_a_name_for_its_rollout(model: str) -> None:
    import msgspec

    assert msgspec.convert(rollout_name(model), RolloutName)


@pytest.mark.parametrize(("model", "name"), [("time-estimator", "time-estimator"), ("9_Lives", "m-9-lives")])
def test_a_name_is_near_to_the_models(model: str, name: str) -> None:
    assert rollout_name(model) == name
