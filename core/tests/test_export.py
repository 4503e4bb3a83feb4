from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from skl2onnx import to_onnx
from sklearn.linear_model import LogisticRegression

from tandem import Bundle, BundleError, DefinitionError, EmbeddedModel, Inputs, Tolerance, fit, inputs_from_table
from tandem.comparison import check_outputs

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


def weights_beside(directory: Path, location: str = "model.onnx.data") -> Path:
    """``total()`` with its weights in a file of their own."""
    directory.mkdir(exist_ok=True)
    path = directory / "net.onnx"
    model = onnx.load_from_string(total())
    weights = numpy_helper.from_array(numpy_helper.to_array(model.graph.initializer[0]), "w")
    model.graph.initializer[0].CopyFrom(weights)
    onnx.save_model(model, str(path), save_as_external_data=True, location=location, size_threshold=0)
    return path


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
        fields = {"inputs": '["a", "b"]', "prediction": 'Prediction("y")', "extra": "", "more": ""} | (parts or {})
        package = make_package(source=PACKAGE.format(**fields))
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
    (ADD, {"inputs": '["a"]', "prediction": 'Prediction("y", tensor="sum")'}, "no column goes into input 'b'"),
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
    with pytest.raises(DefinitionError, match="use letters"):
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
    ("actual", "expected", "wrong"),
    [
        ([1.0, 2.0], [1.0, 2.0], None),
        ([1.0, 2.1], [1.0, 2.0], "row 1"),
        ([1.0, np.nan], [1.0, 2.0], "row 1"),
        ([1.0, np.nan], [1.0, np.nan], None),
        ([np.inf, 1.0], [np.inf, 1.0], None),
        ([1.0, 2.0], [np.nan, 2.0], "row 0"),
    ],
)
def test_outputs_are_compared_within_the_tolerance(actual: Any, expected: Any, wrong: str | None) -> None:
    tensors = {"y": np.array(actual)}, {"y": np.array(expected)}
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


def test_weights_in_a_file_of_their_own(small: Any, tmp_path: Path) -> None:
    bundle = small(weights_beside(tmp_path / "trained"), A + B)
    assert {"model.onnx", "model.onnx.data"} <= bundle.manifest.files.keys()
    assert (bundle.path / "model.onnx.data").read_bytes() == (tmp_path / "trained" / "model.onnx.data").read_bytes()
    assert EmbeddedModel.open(bundle.path).predict([{"id": "x", "a": 1.0, "b": 2.0}]) == [{"y": 3.0}]
    assert bundle == Bundle.open(bundle.path)
    (bundle.path / "model.onnx.data").write_bytes(b"\0" * 8)
    with pytest.raises(BundleError, match=r"model\.onnx\.data is damaged"):
        Bundle.open(bundle.path)
    (bundle.path / "model.onnx.data").unlink()
    with pytest.raises(BundleError, match=r"model\.onnx\.data: No such file"):
        Bundle.open(bundle.path)


def test_graph_as_a_path_without_other_files(small: Any, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(total())
    assert small(str(path), A + B).digest == small(total(), A + B).digest


def test_weights_that_are_not_there(small: Any, tmp_path: Path) -> None:
    path = weights_beside(tmp_path / "trained")
    with pytest.raises(DefinitionError, match=r"keeps weights in model\.onnx\.data: give onnx= its path"):
        small(path.read_bytes(), A + B)
    (path.parent / "model.onnx.data").unlink()
    with pytest.raises(DefinitionError, match=r"net\.onnx keeps weights in model\.onnx\.data, which is not beside it"):
        small(path, A + B)
    with pytest.raises(DefinitionError, match=r"nothing\.onnx: No such file"):
        small(tmp_path / "nothing.onnx", A + B)


@pytest.mark.parametrize("location", ["tandem.json", "golden.npz", "model.onnx", "w.whl", "a b", ".hidden"])
def test_weights_in_a_file_that_no_bundle_can_have(small: Any, tmp_path: Path, location: str) -> None:
    path = weights_beside(tmp_path / "trained", location)
    with pytest.raises(DefinitionError, match="cannot be the name of a file in a bundle"):
        small(path, A + B)


TEXT = """
from tandem import Field, Model, Prediction

model = Model("texts", serving_keys={"id": "string"}, passed_features={"surface": "string", "km": "float64",
              "since": Field("timestamp", optional=True)},
              inputs=INPUTS, prediction=Prediction("y"))
"""
SURFACE = helper.make_node(
    "LabelEncoder",
    ["surface"],
    ["code"],
    domain="ai.onnx.ml",
    keys_strings=["road", "träil"],
    values_floats=[1.0, 2.0],
    default_float=0.0,
)
TEXTS = helper.make_model(
    helper.make_graph(
        [SURFACE, helper.make_node("Add", ["code", "km"], ["y"])],
        "g",
        [tensor("surface", ["n", 1], TensorProto.STRING), tensor("km", ["n", 1])],
        [tensor("y", ["n", 1])],
    ),
    opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)],
    ir_version=9,
).SerializeToString()
TABLE = {
    "id": ["x"] * 4,
    "surface": ["road", "träil", "", "road"],
    "km": [1.0, 2.0, 3.0, 4.0],
    "as_of": np.full(4, np.datetime64("2026-05-01", "us")),
}


def write_texts(make_package: Any, inputs: str, onnx: bytes = TEXTS) -> Any:
    from tandem import write_bundle
    from tandem.package import ModelPackage

    package = make_package(source=TEXT.replace("INPUTS", inputs))
    model = ModelPackage.read(package).load()
    batch = inputs_from_table(model, TABLE)
    return write_bundle(
        package.parent / "bundles", package=package, version="v1", pipeline=fit(model, batch), onnx=onnx, golden=batch,
        expected=[2.0, 4.0, 3.0, 5.0])  # fmt: skip


@pytest.mark.parametrize("inputs", ['["surface", "km"]', '{"km": ["km"], "surface": ["surface"]}'])
def test_strings_as_inputs(make_package: Any, inputs: str) -> None:
    bundle = write_texts(make_package, inputs)
    assert {spec.name: spec.dtype for spec in bundle.signature.inputs} == {"surface": "object", "km": "float32"}
    assert bundle.golden().vectors["surface"].tolist() == [["road"], ["träil"], [""], ["road"]]
    rows = [{"id": "x", "surface": surface, "km": 1.0} for surface in ("träil", "sand", "")]
    assert [row["y"] for row in EmbeddedModel.open(bundle.path).predict(rows)] == [3.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("inputs", "onnx", "reason"),
    [
        ('{"surface": ["km"], "km": ["surface"]}', TEXTS, "'surface' of the ONNX model takes strings, column 'km' is"),
        ('["surface", "km"]', total("X"), "has no input 'surface'|takes float32, column 'surface' is strings"),
        ('{"X": ["surface", "km"]}', total("X"), "tensor 'X' has strings and numbers among surface, km"),
        ('["since"]', total("X", ("n", 1)), "'since' is datetime64.* a model input is a number, boolean or string"),
    ],
)
def test_columns_of_another_kind_than_the_tensor(make_package: Any, inputs: str, onnx: bytes, reason: str) -> None:
    with pytest.raises(DefinitionError, match=reason):
        write_texts(make_package, inputs, onnx)


def classifier() -> tuple[Any, bytes, np.ndarray]:
    x = np.stack([A, B], axis=1).astype(np.float32)
    estimator = LogisticRegression().fit(x, [0, 1, 1])
    return estimator, to_onnx(estimator, x[:1], options={"zipmap": False}).SerializeToString(), x


WIDE = {"CPUExecutionProvider": Tolerance(1e-4, 1e-4)}


def test_a_column_of_an_output_is_the_prediction(small: Any) -> None:
    estimator, graph, x = classifier()
    parts = {"prediction": 'Prediction("chance", tensor="probabilities", column=1, buckets=(0.1, 0.5, 0.9))'}
    expected = estimator.predict_proba(x)
    bundle = small(graph, {"probabilities": expected}, parts=parts, tolerances=WIDE)
    assert bundle.golden().answers["chance"].tolist() == expected.astype(np.float32)[:, 1].astype(float).tolist()
    assert sum(bundle.manifest.training_histogram) == 3
    (answer,) = EmbeddedModel.open(bundle.path).predict([{"id": "x", "a": 2.0, "b": 20.0}])
    assert answer["chance"] == pytest.approx(expected[1, 1], rel=1e-4)


@pytest.mark.parametrize(
    ("prediction", "expected", "reason"),
    [
        ('"p", tensor="probabilities"', "both", r"its output has shape \(-1, 2\); choose one of its columns.* column="),
        ('"p", tensor="probabilities", column=2', "both", "has no column 2"),
        ('"p", "int64", tensor="label", column=0', "label", "has no column 0"),
        ('"p", tensor="probabilities", column=1', "second", r"has shape \(3,\); for 3 golden rows it must be \(3, 2\)"),
    ],
)
def test_a_prediction_that_is_not_one_value_per_row(small: Any, prediction: str, expected: str, reason: str) -> None:
    estimator, graph, x = classifier()
    both = estimator.predict_proba(x)
    values = {"both": {"probabilities": both}, "label": {"label": estimator.predict(x)}, "second": both[:, 1]}
    with pytest.raises(DefinitionError, match=reason):
        small(graph, values[expected], parts={"prediction": f"Prediction({prediction})"}, tolerances=WIDE)


def test_an_output_that_only_a_step_reads_must_be_expected_too(small: Any) -> None:
    estimator, graph, x = classifier()
    parts = {
        "prediction": 'Prediction("churns", "int64", tensor="label")',
        "extra": '@postprocess("float64")\ndef chance(probabilities):\n    return probabilities[:, 1].astype(float)\n',
        "more": ", postprocess=[chance]",
    }
    label = {"label": estimator.predict(x)}
    with pytest.raises(DefinitionError, match="values of output 'probabilities' are missing, which chance reads"):
        small(graph, label, parts=parts, tolerances=WIDE)
    bundle = small(graph, {**label, "probabilities": estimator.predict_proba(x)}, parts=parts, tolerances=WIDE)
    assert bundle.golden().answers["churns"].tolist() == [0, 1, 1]


def test_labels_that_claim_to_be_one(small: Any) -> None:
    node = helper.make_node("ArgMax", ["X"], ["label"], axis=1, keepdims=0)
    labels = graph([node], [tensor("X", ["n", 2])], [tensor("label", [1], TensorProto.INT64)])
    bundle = small(labels, [1, 1, 1], parts={"prediction": 'Prediction("winner", "int64")'})
    assert bundle.signature.outputs[0].shape == (-1,)
    assert EmbeddedModel.open(bundle.path).predict([{"id": "x", "a": 5.0, "b": 2.0}] * 3) == [{"winner": 0}] * 3


def test_an_output_without_a_row_for_each_is_refused(small: Any) -> None:
    node = helper.make_node("ReduceMean", ["X"], ["y"], axes=[0], keepdims=1)
    with pytest.raises(DefinitionError, match=r"output 'y' .* has shape \(1, 2\) for 3 row\(s\), not a row for each"):
        small(graph([node], [tensor("X", ["n", 2])], [tensor("y", ["n", 2])]), A)


def test_a_graph_that_fails_on_the_golden_rows(small: Any) -> None:
    nodes = [
        helper.make_node("Cast", ["X"], ["at"], to=TensorProto.INT64),
        helper.make_node("GatherND", ["X", "at"], ["y"]),
    ]
    with pytest.raises(BundleError, match="ONNX Runtime fails on the golden rows"):
        small(graph(nodes, [tensor("X", ["n", 2])], [tensor("y", ["n"])]), A)
