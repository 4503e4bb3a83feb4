from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper
from skl2onnx import to_onnx
from sklearn.linear_model import LogisticRegression

from tandem import BundleError, DefinitionError, Inputs, Tolerance, fit
from tandem.golden import check_outputs

Trained = Any
PACKAGE = """
import numpy as np
from tandem import Model, Prediction, postprocess

{extra}
model = Model("small", serving_keys={{"id": "string"}}, passed_features={{"a": "float64", "b": "float64"}},
              inputs={inputs}, prediction={prediction}{more})
"""


def tensor(name: str, shape: list[Any], kind: int = TensorProto.FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def graph(nodes: list[Any], inputs: list[Any], outputs: list[Any]) -> bytes:
    model = helper.make_model(
        helper.make_graph(nodes, "g", inputs, outputs), opset_imports=[helper.make_opsetid("", 17)], ir_version=9
    )
    return bytes(model.SerializeToString())


def total(name: str = "X", shape: Any = ("n", 2), kind: int = TensorProto.FLOAT) -> bytes:
    """A model that adds the columns of one tensor."""
    node = helper.make_node("Gemm", [name, "w"], ["y"])
    weights = helper.make_tensor("w", kind, [2, 1], [1.0, 1.0])
    model = helper.make_model(
        helper.make_graph([node], "g", [tensor(name, list(shape), kind)], [tensor("y", ["n", 1], kind)], [weights]),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=9,
    )
    return bytes(model.SerializeToString())


ADD = graph(
    [helper.make_node("Add", ["a", "b"], ["sum"]), helper.make_node("Sub", ["a", "b"], ["difference"])],
    [tensor("a", ["n"]), tensor("b", ["n"])],
    [tensor("sum", ["n"]), tensor("difference", ["n"])],
)


@pytest.fixture
def small(make_package: Any) -> Any:
    """Writes a bundle of a model with two inputs: ``small(onnx, expected, inputs=…)``."""

    def write(onnx: bytes, expected: Any, *, parts: dict[str, str] | None = None, **more: Any) -> Any:
        given = {"inputs": '["a", "b"]', "prediction": 'Prediction("y")', "extra": "", "more": ""} | (parts or {})
        package = make_package(source=PACKAGE.format(**given))
        from tandem import write_bundle
        from tandem.package import ModelPackage

        model = ModelPackage.read(package).load()
        batch = rows()
        return write_bundle(
            package.parent / "bundles", package=package, version="v1", pipeline=fit(model, batch), onnx=onnx,
            golden=batch, expected=expected, **more)  # fmt: skip

    return write


A, B = np.array([1.0, 2.0, 3.0]), np.array([10.0, 20.0, 40.0])


def rows() -> Inputs:
    request = {"id": np.array(["x", "y", "z"], object), "a": A, "b": B}
    return Inputs(request, (), np.full(3, np.datetime64("2026-05-01", "us")))


def test_one_tensor_for_all_inputs_whatever_its_name(small: Any) -> None:
    bundle = small(total("whatever"), A + B)
    assert bundle.signature.inputs[0].name == "whatever"
    assert bundle.signature.columns == ("a", "b")


def test_double_precision_is_kept(small: Any) -> None:
    bundle = small(total(kind=TensorProto.DOUBLE), A + B)
    assert bundle.golden().vectors["X"].dtype == np.float64


def test_a_tensor_for_each_input_is_bound_by_name(small: Any) -> None:
    bundle = small(ADD, A - B, parts={"inputs": '["b", "a"]', "prediction": 'Prediction("y", tensor="difference")'})
    assert [spec.name for spec in bundle.signature.inputs] == ["b", "a"]
    assert bundle.golden().answers["y"].tolist() == (A - B).tolist()


def test_inputs_by_tensor_name(small: Any) -> None:
    parts = {"inputs": '{"X": ["b", "a"]}'}
    assert small(total(), A + B, parts=parts).signature.columns == ("b", "a")


def test_postprocessing_reads_other_outputs(small: Any) -> None:
    extra = '@postprocess("float64")\ndef half(difference):\n    return difference / 2\n'
    parts = {"prediction": 'Prediction("y", tensor="sum")', "extra": extra, "more": ", postprocess=[half]"}
    bundle = small(ADD, {"sum": A + B, "difference": A - B}, parts=parts)
    assert bundle.golden().answers["half"].tolist() == ((A - B) / 2).tolist()


REFUSED = [
    (total("X"), {"inputs": '{"Z": ["a", "b"]}'}, "has no input 'Z'; it has X"),
    (total(shape=(1, 2)), {}, "takes exactly 1 row"),
    (total(), {"inputs": '["a"]'}, r"has shape \(-1, 2\), the model package gives it 1 column"),
    (ADD, {"inputs": '["a", "b"]'}, "name its output with tensor=, one of sum, difference"),
    (ADD, {"inputs": '["a"]', "prediction": 'Prediction("y", tensor="sum")'}, "nothing is given to input 'b'"),
    (ADD, {"prediction": 'Prediction("y", tensor="z")'}, "one of sum, difference"),
    (ADD, {"inputs": '{"a": ["a", "b"], "b": ["b"]}'}, "twice among its inputs"),
]


@pytest.mark.parametrize(("onnx", "parts", "reason"), REFUSED)
def test_graph_that_does_not_fit_is_refused(small: Any, onnx: bytes, parts: dict[str, str], reason: str) -> None:
    with pytest.raises(DefinitionError, match=reason):
        small(onnx, A + B, parts=parts)


def test_dictionaries_of_classes_are_refused(small: Any) -> None:
    x = np.stack([A, B], axis=1).astype(np.float32)
    classifier = LogisticRegression().fit(x, [0, 1, 1])
    with pytest.raises(DefinitionError, match="zipmap=False"):
        small(to_onnx(classifier, x[:1]).SerializeToString(), A)


def test_classifier_without_zipmap(small: Any) -> None:
    x = np.stack([A, B], axis=1).astype(np.float32)
    classifier = LogisticRegression().fit(x, ["no", "yes", "yes"])
    extra = '@postprocess("float64")\ndef confidence(probabilities):\n    return probabilities.max(axis=1)\n'
    parts = {
        "prediction": 'Prediction("y", "string", tensor="label")',
        "extra": extra,
        "more": ", postprocess=[confidence]",
    }
    expected = {"label": classifier.predict(x), "probabilities": classifier.predict_proba(x)}
    onnx = to_onnx(classifier, x[:1], options={"zipmap": False}).SerializeToString()
    bundle = small(onnx, expected, parts=parts, tolerances={"CPUExecutionProvider": Tolerance(1e-4, 1e-4)})
    assert bundle.golden().answers["y"].tolist() == ["no", "yes", "yes"]


def test_no_onnx_at_all(small: Any) -> None:
    with pytest.raises(DefinitionError, match="ONNX Runtime cannot read the model"):
        small(b"hello", A)


def test_other_predictions_than_in_training_are_refused(small: Any) -> None:
    with pytest.raises(BundleError, match=r"row 1 of output 'y' is \[22.\], training says \[23.\]"):
        small(total(), [11, 23, 43])


@pytest.mark.parametrize("expected", [[1.0, 2.0], [[1.0, 2.0]] * 3, {"z": [1.0] * 3}, [], {}])
def test_expected_predictions_of_another_shape_are_refused(small: Any, expected: Any) -> None:
    with pytest.raises((DefinitionError, BundleError), match="expected"):
        small(total(), expected)


@pytest.mark.parametrize("version", ["", "a/b", "..", "a b", ".hidden"])
def test_version_that_would_be_no_path(trained: Trained, tmp_path: Any, version: str) -> None:
    with pytest.raises(DefinitionError, match="a version has"):
        trained.write(tmp_path, version=version)


def test_transform_that_leaks_is_refused(small: Any) -> None:
    extra = '@postprocess("float64")\ndef share(y):\n    return y / y.sum()\n'
    with pytest.raises(DefinitionError, match="share is not row-independent"):
        small(total(), A + B, parts={"extra": extra, "more": ", postprocess=[share]"})


def test_state_that_is_missing_is_named(trained: Trained, tmp_path: Any) -> None:
    with pytest.raises(DefinitionError, match="minutes has no state for per_minute"):
        trained.write(tmp_path, postprocess_state={})


def test_pipeline_of_another_model_is_refused(trained: Trained, make_package: Any, source: str, tmp_path: Any) -> None:
    package = make_package(source=source.replace("le=500", "le=400"))
    with pytest.raises(BundleError, match="are not those in"):
        trained.write(tmp_path / "bundles", package=package)
    assert not (tmp_path / "bundles").exists()


def test_package_that_cannot_be_built(trained: Trained, tmp_path: Any, make_package: Any) -> None:
    pyproject = (trained.package / "pyproject.toml").read_text()
    broken = make_package(pyproject=pyproject.replace("hatchling.build", "no_such_backend"))
    with pytest.raises(DefinitionError, match=r"cannot be built into a wheel: .*no_such_backend"):
        trained.write(tmp_path / "bundles", package=broken)


def test_histogram_of_the_training_predictions(trained: Trained, tmp_path: Any) -> None:
    bundle = trained.write(tmp_path, training_predictions=[1, 5, 5.1, 10, 19, 20, 21, 22])
    assert bundle.manifest.training_histogram == (2, 2, 2, 2)


@pytest.mark.parametrize(
    ("found", "expected", "wrong"),
    [
        ([1.0, 2.0], [1.0, 2.0], None),
        ([1.0, 2.1], [1.0, 2.0], "row 1"),
        ([1.0, np.nan], [1.0, 2.0], "row 1"),
        ([1.0, np.nan], [1.0, np.nan], None),
        ([np.inf, 1.0], [np.inf, 1.0], None),
        ([1.0, 2.0], [np.nan, 2.0], "row 0"),
    ],
)
def test_outputs_are_compared_within_the_tolerance(found: Any, expected: Any, wrong: str | None) -> None:
    tensors = {"y": np.array(found)}, {"y": np.array(expected)}
    if wrong is None:
        check_outputs(*tensors, Tolerance())
    else:
        with pytest.raises(BundleError, match=wrong):
            check_outputs(*tensors, Tolerance())


CENTRED = graph(
    [
        helper.make_node("Add", ["a", "b"], ["sum"]),
        helper.make_node("ReduceMean", ["sum"], ["mean"], axes=[0], keepdims=1),
        helper.make_node("Sub", ["sum", "mean"], ["y"]),
    ],
    [tensor("a", ["n"]), tensor("b", ["n"])],
    [tensor("y", ["n"])],
)


def test_graph_whose_rows_depend_on_each_other_is_refused(small: Any) -> None:
    whole = A + B - (A + B).mean()
    with pytest.raises(BundleError, match=r"output 'y' is .* among 3 rows and .* among 1: the graph's rows depend on"):
        small(CENTRED, whole)


def test_golden_without_rows_is_refused(trained: Trained, tmp_path: Any) -> None:
    with pytest.raises(DefinitionError, match="golden has no rows"):
        trained.write(tmp_path, golden=trained.inputs.take(slice(0, 0)), expected=[])
