"""The CRD: the API server takes it, and it refuses what :func:`tandem_rollout.api.spec.parse` refuses."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from cel_expr_python import cel
from hypothesis import given, settings
from hypothesis import strategies as st
from kubernetes_validate import validate
from rollout.tests import specs
from rollout.tests.rollouts import manifest
from rollout.tests.structural import program, violations

from tandem_rollout import API_VERSION, KIND
from tandem_rollout.api.crd import build_crd, build_crds
from tandem_rollout.api.fields import InvalidSpecError
from tandem_rollout.api.manifest import parse
from tandem_rollout.api.rules import RULES, Rule
from tandem_rollout.api.status import Condition, RolloutStatus, VariantStatus

ROOT = Path(__file__).parents[3]
SCHEMA: dict[str, Any] = build_crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
SCALARS = ("string", "integer", "number", "boolean")


def every(schema: dict[str, Any], path: str = "$") -> Iterator[tuple[str, dict[str, Any]]]:
    """A schema and all that it consists of."""
    yield path, schema
    for name, own in schema.get("properties", {}).items():
        yield from every(own, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield from every(schema[key], f"{path}.{key}")


ALL = dict(every(SCHEMA))


def parsed(spec: dict[str, Any], **metadata: Any) -> bool:
    try:
        parse({**manifest(), "metadata": {"name": "est", **metadata}, "spec": spec})
    except InvalidSpecError:
        return False
    return True


def message(spec: dict[str, Any]) -> str:
    """What is said of a spec; empty where it is taken."""
    try:
        parse({**manifest(), "metadata": {"name": "est"}, "spec": spec})
    except InvalidSpecError as error:
        return str(error)
    return ""


def refused(spec: dict[str, Any], **metadata: Any) -> list[str]:
    return violations({**manifest(), "metadata": {"name": "est", **metadata}, "spec": spec}, SCHEMA)


def test_it_is_a_custom_resource_definition() -> None:
    for definition in build_crds():
        validate(definition, "1.34", strict=True)
    spec, (version,) = build_crd()["spec"], build_crd()["spec"]["versions"]
    assert build_crd()["metadata"]["name"] == f"{spec['names']['plural']}.{spec['group']}"
    assert (f"{spec['group']}/{version['name']}", spec["names"]["kind"]) == (API_VERSION, KIND)
    assert version["subresources"] == {"status": {}}


def test_it_is_structural() -> None:
    for path, schema in ALL.items():
        if schema.get("x-kubernetes-int-or-string"):
            assert "type" not in schema, path
            continue
        assert schema.get("type") in (*SCALARS, "object", "array"), path
        assert not {"$ref", "$defs", "anyOf", "oneOf", "allOf", "not", "const", "title", "uniqueItems"} & set(schema), (
            path
        )
        assert schema.get("required") != [], path
        assert not ("properties" in schema and "additionalProperties" in schema), path
        assert schema["type"] != "array" or "items" in schema, path
        assert set(schema.get("required", ())) <= set(schema.get("properties", ())), path


def test_every_object_says_what_it_holds() -> None:
    for path, schema in ALL.items():
        if schema.get("type") == "object" and path != "$.metadata":
            free = schema.get("x-kubernetes-preserve-unknown-fields", False)
            empty = path.endswith(".static")
            assert bool(schema.get("properties")) + bool(schema.get("additionalProperties")) + free == 1 or empty, path


def test_lists_with_keys_have_keys_that_are_always_there() -> None:
    for path, schema in ALL.items():
        if schema.get("x-kubernetes-list-type") == "map":
            items = schema["items"]
            for key in schema["x-kubernetes-list-map-keys"]:
                assert key in items["required"], path
                assert items["properties"][key]["type"] in SCALARS, path
    assert ALL["$.spec.variants"]["x-kubernetes-list-map-keys"] == ["name"]
    assert ALL["$.status.variants"]["x-kubernetes-list-map-keys"] == ["inferenceService"]
    assert ALL["$.status.conditions"]["x-kubernetes-list-map-keys"] == ["type"]
    # errors are counted at the gateway and in the pods: two metrics of one type
    assert "x-kubernetes-list-type" not in ALL["$.spec.analysis.metrics"]


def test_defaults_are_what_their_schemas_allow() -> None:
    for path, schema in ALL.items():
        if "default" in schema:
            wrapped = {"type": "object", "properties": {"spec": schema}}
            assert violations({"spec": schema["default"]}, wrapped) == [], path


def test_every_rule_is_cel_and_stands_where_it_is_meant() -> None:
    environment = cel.NewEnv(variables={"self": cel.Type.DYN})
    for own in RULES:
        program(own.expression)
        assert environment.compile(own.expression).return_type() in (cel.Type.BOOL, cel.Type.DYN)
        schema = ALL[".".join(filter(None, ("$.spec", own.where.replace("[]", ".items"))))]
        (standing,) = [
            validation for validation in schema["x-kubernetes-validations"] if validation["rule"] == own.expression
        ]
        assert (standing["message"], standing.get("fieldPath", "")) == (own.message, own.field and f".{own.field}")
    bundles = [ALL[path] for path in ("$.spec.bundle", "$.spec.variants.items.bundle")]
    assert bundles[0]["x-kubernetes-validations"] == bundles[1]["x-kubernetes-validations"]


def test_a_rule_names_a_field_that_there_is() -> None:
    for path, schema in ALL.items():
        for validation in schema.get("x-kubernetes-validations", ()):
            assert path + validation.get("fieldPath", "") in ALL


def test_fields_are_explained() -> None:
    explained = [path for path, schema in ALL.items() if schema.get("description")]
    for path in ("$", "$.spec", "$.spec.bundle", "$.spec.bundle.image", "$.spec.variants", "$.spec.route.timeout"):
        assert path in explained


@pytest.mark.parametrize("spec", specs.GOOD.values(), ids=specs.GOOD)
def test_good_specs_are_taken(spec: specs.Spec) -> None:
    assert refused(spec) == []


@pytest.mark.parametrize("spec", [spec for spec, _ in specs.BAD.values()], ids=specs.BAD)
def test_bad_specs_are_refused(spec: specs.Spec) -> None:
    assert refused(spec)


@pytest.mark.parametrize("name", ["a", "est", "e" * 22, "e" * 23, "1est", "Est", "est-", "est.v1"])
def test_names_get_the_same_verdict(name: str) -> None:
    assert bool(refused(specs.GOOD["bundle"], name=name)) != parsed(specs.GOOD["bundle"], name=name)


def _merged(base: Any, override: Any) -> Any:
    """Two specs as one; where both say something the second is right."""
    if isinstance(base, dict) and isinstance(override, dict):
        return {**base, **{key: _merged(base[key], own) if key in base else own for key, own in override.items()}}
    return override


_every_spec = st.sampled_from([*specs.GOOD.values(), *(spec for spec, _ in specs.BAD.values())])


@given(st.lists(_every_spec, min_size=1, max_size=3))
def test_any_mixture_gets_the_same_verdict_from_both(mixed: list[specs.Spec]) -> None:
    spec: specs.Spec = {}
    for part in mixed:
        spec = _merged(spec, copy.deepcopy(part))
    assert (refused(spec) == []) == parsed(spec), refused(spec)


NAMES = st.sampled_from(["a", "b", "c"])
DURATIONS = st.sampled_from(["0s", "99ms", "100ms", "999ms", "1s", "59m60s", "1h", "1h1ms", "1h30m5s20ms"])
PROMQL = st.sampled_from(["", "a_total", "a_$inferenceservice", "$inferenceservices", "$inferenceservice{}"])


def some(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """A map with some of these fields."""
    return st.fixed_dictionaries({}, optional=fields)


BUNDLES = some(
    image=st.sampled_from(["", "a:1"]),
    uri=st.sampled_from(["", "s3://a/b"]),
    pvc=st.just({"claimName": "c"}),
    modelcar=st.booleans(),
)
METRICS = st.lists(
    st.fixed_dictionaries(
        {"type": st.sampled_from(["errors", "latency", "drift", "ratio", "assignment"])},
        optional={
            "name": st.sampled_from(["", "errors", "errors-in-pods", "a"]),
            "where": st.sampled_from(["gateway", "pods"]),
            "requests": PROMQL,
            "events": PROMQL,
        },
    ),
    max_size=4,
)
STEPS = st.lists(st.integers(1, 99), min_size=1, max_size=20).map(lambda weights: [{"weight": own} for own in weights])
SCALING = some(
    minReplicas=st.integers(1, 6), maxReplicas=st.integers(1, 6), scaleDownAfter=DURATIONS, inflightPerPod=st.just(2)
)
AUTH = some(jwt=st.just({"issuer": "i", "jwksUri": "https://i"}), apiKeys=st.just({"secretName": "s"}))
ENV = st.lists(NAMES.map(lambda name: {"name": name}), max_size=2)
SPECS = some(
    bundle=BUNDLES,
    variants=st.lists(
        st.fixed_dictionaries({"name": NAMES, "bundle": BUNDLES}, optional={"weight": st.integers(0, 2)}), max_size=3
    ),
    strategy=some(
        static=st.just({}),
        abTest=st.just({}),
        blueGreen=st.fixed_dictionaries({"active": NAMES}),
        canary=some(steps=STEPS | STEPS.map(lambda steps: sorted(steps, key=lambda step: step["weight"]))),
        shadow=st.fixed_dictionaries({"variant": NAMES}),
    ),
    analysis=some(metrics=METRICS, interval=DURATIONS),
    autoscaling=some(transformer=SCALING, predictor=SCALING),
    predictor=some(runtime=st.sampled_from(["onnxruntime", "triton"]), env=ENV),
    transformer=some(env=ENV),
    store=some(url=st.sampled_from(["", "redis://a"]), urlFrom=st.just({"name": "s", "key": "k"})),
    route=some(timeout=DURATIONS, auth=AUTH, pin=some(auth=AUTH)),
)
"""Specs whose fields are each as they must be, so that only rules that span fields can be broken."""

PLAIN = st.sampled_from([specs.bundled(), specs.canary(), {"variants": specs.variants("a", "b")}])


@settings(max_examples=500)
@given(SPECS | st.tuples(PLAIN, SPECS).map(lambda both: _merged(both[1], copy.deepcopy(both[0]))))
def test_a_spec_is_refused_exactly_when_a_rule_is_broken(spec: specs.Spec) -> None:
    """The rules, as another implementation of CEL and of structural schemas evaluates them."""
    broken = refused(spec)
    path, _, rule = message(spec).partition(": ")
    if not broken:
        assert not path
    elif rule.startswith("duplicate value"):
        assert any(": duplicate " in own for own in broken)
    else:
        assert path.startswith("spec")
        assert rule in [own.partition(": ")[2] for own in broken]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.path}: {rule.message}")
def test_each_rule_is_broken_by_a_bad_spec(rule: Rule) -> None:
    """So that none is there that nothing can break, or that is always shadowed by another."""
    problem = f"{rule.path}: {rule.message}".replace("[]", "[0]")
    index = problem.replace("[0]", "[1]")
    bad_specs = [spec for spec, _ in specs.BAD.values()]
    assert any(message(spec) in (problem, index) for spec in [*bad_specs, *specs.more_bad()])


def test_a_status_fits() -> None:
    variant = VariantStatus(name="v1", inference_service="est-v1-00000000", phase="Ready", weight=90)
    condition = Condition(
        type="Ready", status="True", reason="Serving", message="", last_transition_time="2026-01-01T00:00:00Z"
    )
    status = RolloutStatus(observed_generation=1, ready="1/1", variants=[variant], conditions=[condition])
    whole = {**manifest(bundle=specs.IMAGE), "status": msgspec.to_builtins(status)}
    assert violations(whole, SCHEMA) == []
    columns = build_crd()["spec"]["versions"][0]["additionalPrinterColumns"]
    for column in columns:
        if not column["jsonPath"].startswith(".metadata"):
            assert f"${column['jsonPath']}" in ALL


def _written() -> dict[str, dict[str, Any]]:
    """InferenceRollouts in the repository's YAML files; those of the overlays are patches."""
    rollouts = {}
    for directory in ("examples", "docs"):
        for file in sorted((ROOT / directory).rglob("*.yaml")):
            for index, document in enumerate(yaml.safe_load_all(file.read_text())):
                if isinstance(document, dict) and document.get("kind") == KIND and "spec" in document:
                    rollouts[f"{file.relative_to(ROOT)}:{index}"] = document
    return rollouts


def test_what_stands_in_the_repository_is_taken() -> None:
    for where, document in _written().items():
        assert violations(document, SCHEMA) == [], where
