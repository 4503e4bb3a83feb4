"""What a person is told about a spec: the field, and what it must be, never a regular expression."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rollout.tests import specs
from rollout.tests.rollouts import manifest
from rollout.tests.specs import bundled, canary, variants

from tandem_rollout.api.crd import build_crd
from tandem_rollout.api.fields import PATTERNS, InvalidSpecError
from tandem_rollout.api.manifest import parse
from tandem_rollout.api.messages import did_you_mean
from tandem_rollout.api.text import one_line


def message(spec: Any) -> str:
    with pytest.raises(InvalidSpecError) as caught:
        parse({**manifest(), "spec": spec})
    return str(caught.value)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (
            {"variants": variants("V1")},
            "spec.variants[0].name: must be a DNS label: lower-case letters, digits and -, beginning with a letter, "
            "such as time-estimator (14 characters at most)",
        ),
        (
            bundled(route={"timeout": "10"}),
            "spec.route.timeout: must be a duration with units, such as 10s, 1m30s or 500ms; h is the longest unit "
            "(28 characters at most)",
        ),
        (bundled(route={"timeout": 10}), "spec.route.timeout: must be a duration with units"),
        (bundled(replicas=2), "spec: unknown field 'replicas'"),
        (
            bundled(autoscaling={"transformer": {"minreplicas": 2}}),
            "spec.autoscaling.transformer: unknown field 'minreplicas'; did you mean 'minReplicas'?",
        ),
        (bundled(predictor={"gpu": {"count": 17}}), "spec.predictor.gpu.count: must be a whole number from 1 to 16"),
        (
            bundled(predictor={"runtime": "tensorflow"}),
            "spec.predictor.runtime: must be one of onnxruntime, triton",
        ),
        (bundled(store={"urlFrom": {"name": "s"}}), "spec.store.urlFrom: key is required"),
        (
            bundled(transformer={"env": [{"name": "A", "value": 5}]}),
            "spec.transformer.env[0].value: must be a string, not a whole number; put it in quotes",
        ),
        (
            bundled(nodeSelector={"a": "b", "gpu": True}),
            "spec.nodeSelector.gpu: must be a string, not true or false; put it in quotes",
        ),
        (bundled(route={"hostnames": "a.example"}), "spec.route.hostnames: must be a list of at most 16, not a string"),
        (bundled(network=5), "spec.network: must be a map, not a whole number"),
        ("x", "spec: must be a map, not a string"),
        (
            canary(analysis={"metrics": [{"type": "errors", "margin": 1}]}),
            "spec.analysis.metrics[0].margin: must be a number above 1 and not above 100",
        ),
        (bundled(store={"url": "redis://:secret@store"}), "spec.store.url: must be a URL such as redis://store:6379"),
        (bundled(store={"url": "redis+ring://store"}), "spec.store.url: must be a URL such as redis://store:6379"),
        (bundled(store={"url": "redis+cluster://a,:pw@b"}), "spec.store.url: must be a URL such as redis://store:6379"),
        (bundled(store={"url": "redis://store:port"}), "spec.store.url: must be a URL such as redis://store:6379"),
    ],
)
def test_the_field_and_what_it_must_be(spec: Any, expected: str) -> None:
    assert message(spec).startswith(expected)


def test_passwords_are_not_repeated() -> None:
    assert "secret" not in message(bundled(store={"url": "redis://:secret@store"})).removeprefix("a Secret")


@pytest.mark.parametrize("name", ["Est", "e" * 23])
def test_names_of_rollouts(name: str) -> None:
    with pytest.raises(InvalidSpecError, match=r"^metadata\.name: must be a DNS label: .* \(22 characters at most\)$"):
        parse({**manifest(), "metadata": {"name": name}})


def every(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield schema
    children = [*schema.get("properties", {}).values(), schema.get("items"), schema.get("additionalProperties")]
    for child in children:
        if isinstance(child, dict):
            yield from every(child)


def test_an_api_server_says_the_same_as_it_would_show_a_pattern() -> None:
    schemas = list(every(build_crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]))
    assert not [schema for schema in schemas if "pattern" in schema]
    validations = [validation for schema in schemas for validation in schema.get("x-kubernetes-validations", ())]
    worded = {
        validation["message"]: validation["rule"]
        for validation in validations
        if validation["rule"].startswith("self.matches")
    }
    for pattern, words in PATTERNS.items():
        assert any(text.startswith(f"must be {words}") and pattern in worded[text] for text in worded), pattern
    # the API server bounds what a rule may cost, by the length of what it is about
    assert all(
        "maxLength" in schema
        for schema in schemas
        if "self.matches(" in str(schema.get("x-kubernetes-validations")) and schema.get("type") == "string"
    )


ANYTHING = st.sampled_from([None, 5, 0.5, -1, True, "", "x", "A_b", [], {}, [5], {"x": 5}, [{"name": 5}]])


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container in a value, with each of its keys."""
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield value, key
        yield from places(value[key])


@given(st.data())
def test_every_spec_is_taken_or_its_message_begins_with_a_field_and_has_no_pattern(data: st.DataObject) -> None:
    spec = copy.deepcopy(data.draw(st.sampled_from([*specs.GOOD.values()])))
    holder, key = data.draw(st.sampled_from(list(places(spec))))
    if isinstance(holder, dict) and data.draw(st.booleans()):
        key = data.draw(st.sampled_from(["x", "nmae", 5]))
    holder[key] = data.draw(ANYTHING)
    try:
        parse({**manifest(), "spec": spec})
    except InvalidSpecError as error:
        assert str(error).startswith("spec")
        assert "regex" not in str(error) and "^" not in str(error)


@pytest.mark.parametrize(
    ("name", "hint"), [("buldes", "; did you mean 'bundles'?"), ("TRAIN", "; did you mean 'train'?"), ("zzz", "")]
)
def test_unknown_names_have_a_hint_where_one_is_near(name: str, hint: str) -> None:
    assert did_you_mean(name, ["bundles", "train", "model"]) == hint


def test_messages_of_others_have_nothing_that_a_terminal_obeys() -> None:
    assert one_line("\x1b[2J\x1b]0;owned\x07 all\nis \u202ewell\x9b") == "�[2J�]0;owned� all is �well�"
