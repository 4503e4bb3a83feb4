"""Several predictions of one model, arrays as predictions, and classes with names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from skl2onnx import to_onnx
from sklearn.linear_model import LinearRegression, LogisticRegression

from tandem import (
    Bundle,
    Contract,
    DefinitionError,
    EmbeddedModel,
    Field,
    Model,
    Prediction,
    fit,
    inputs_from_table,
    write_bundle,
)
from tandem.answers import check_answer
from tandem.check import check_model
from tandem.errors import Internal
from tandem.package import ModelPackage

SOURCE = """
import numpy as np
from tandem import Field, Model, Prediction, postprocess

{step}

model = Model("sizes", serving_keys={{"id": "string"}}, passed_features={{"x": "float64", "photo": Field("bytes")}},
              inputs=["x"], {predictions}, postprocess=[step])
"""
ROWS = 40
X = np.linspace(-1, 1, ROWS)
TABLE: dict[str, Any] = {
    "id": ["a"] * ROWS,
    "x": X,
    "photo": [bytes([row, 0]) for row in range(ROWS)],
    "as_of": np.full(ROWS, np.datetime64("2026-05-01")),
}


def write(make_package: Any, estimator: Any, expected: Any, options: Any = None, **parts: str) -> Bundle:
    package: Path = make_package(source=SOURCE.format(**parts))
    inputs = inputs_from_table(ModelPackage.read(package).load(), TABLE)
    pipeline = fit(ModelPackage.read(package).load(), inputs)
    onnx = to_onnx(estimator, X[:1, None].astype(np.float32), options=options).SerializeToString()
    return write_bundle(
        package.parent / "bundles",
        package=package,
        version="v1",
        pipeline=pipeline,
        onnx=onnx,
        golden=inputs,
        expected=expected(X[:, None]),
    )


PREDICTIONS = (
    'predictions=[Prediction("width", column=0, buckets=(-1, 0, 1)), Prediction("height", column=1), '
    'Prediction("both", "float32[2]")]'
)


@pytest.fixture
def sizes(make_package: Any) -> Bundle:
    """Two columns of one output, and the output itself."""
    estimator = LinearRegression().fit(X[:, None], np.stack([X, 3 * X + 1], axis=1))
    step = '@postprocess("float32[2]")\ndef step(both):\n    return both / 2'
    return write(make_package, estimator, estimator.predict, predictions=PREDICTIONS, step=step)


def test_columns_of_one_output_and_the_output_itself(sizes: Bundle) -> None:
    (answer,) = EmbeddedModel.open(sizes.path).predict([{"id": "a", "x": 0.5, "photo": b"\0\xff"}])
    assert list(answer) == ["width", "height", "both", "step"]
    assert [answer["width"], answer["height"]] == pytest.approx([0.5, 2.5], rel=1e-5)
    assert answer["both"] == [answer["width"], answer["height"]]
    assert answer["step"] == pytest.approx([0.25, 1.25], rel=1e-5)
    assert sum(sizes.manifest.training_histogram) == ROWS
    contract = sizes.contract
    assert msgspec.json.decode(msgspec.json.encode(contract), type=Contract) == contract
    assert contract.answer_schema()["properties"]["both"]["minItems"] == 2


def test_bytes_are_among_golden_rows(sizes: Bundle) -> None:
    assert sizes.golden_inputs().known_inputs.request["photo"].tolist() == TABLE["photo"]


CLASSIFIER = LogisticRegression().fit(X[:, None], np.digitize(X, [-0.3, 0.3]))
SURENESS = '@postprocess("float32")\ndef step(size):\n    return size.max(axis=1).astype(np.float32)'


def write_classifier(make_package: Any, classes: str) -> Bundle:
    return write(
        make_package,
        CLASSIFIER,
        lambda x: {"probabilities": CLASSIFIER.predict_proba(x)},
        {"zipmap": False},
        predictions=f'prediction=Prediction("size", tensor="probabilities", classes={classes}, buckets=(0.5, 0.9))',
        step=SURENESS,
    )


def test_probabilities_by_class(make_package: Any) -> None:
    bundle = write_classifier(make_package, '["s", "m", "l"]')
    answers = EmbeddedModel.open(bundle.path).predict({name: TABLE[name] for name in ("id", "x", "photo")})
    expected = CLASSIFIER.predict_proba(X[:, None])
    assert [list(answer["size"]) for answer in answers] == [["s", "m", "l"]] * ROWS
    np.testing.assert_allclose([list(answer["size"].values()) for answer in answers], expected, rtol=1e-4, atol=1e-5)
    assert [answer["step"] for answer in answers] == [max(answer["size"].values()) for answer in answers]
    largest = expected.max(axis=1)
    assert bundle.manifest.training_histogram == (
        int((largest <= 0.5).sum()), int(((largest > 0.5) & (largest <= 0.9)).sum()), int((largest > 0.9).sum()),
    )  # fmt: skip
    assert bundle.contract.answer_schema()["properties"]["size"] == {
        "type": "object",
        "properties": {name: {"type": "number"} for name in "sml"},
        "required": ["s", "m", "l"],
    }


def test_another_number_of_classes_than_the_output_has(make_package: Any) -> None:
    with pytest.raises(DefinitionError, match=r"has shape \(-1, 3\); a float64\[2\] has 2 numbers in each row"):
        write_classifier(make_package, '["s", "m"]')


def test_histograms_count_one_number_for_each_row() -> None:
    rows = np.array([[3.0, 4.0], [0.0, -1.0]], np.float32)
    assert Prediction("y", "float32[2]").histogram_values(rows).tolist() == [5, 1]
    assert Prediction("y", "float32", classes=["a", "b"]).histogram_values(rows).tolist() == [4, 0]
    assert Prediction("y", "int64").histogram_values(np.array([2, 3])).tolist() == [2, 3]


@pytest.mark.parametrize(
    ("values", "type_", "reason"),
    [
        (np.zeros(2), "float64[2]", r"y must have 2 numbers per row, not shape \(2,\)"),
        (np.zeros((2, 3)), "float64[2]", r"y must have 2 numbers per row, not shape \(2, 3\)"),
        (np.zeros((2, 2)), "float64", r"y must have one value per row, not shape \(2, 2\)"),
        (np.zeros((2, 2)), "int64[2]", r"y must be of type int64\[2\]"),
        (np.array([[0.0, 1.0], [2.0, np.nan]]), "float32[2]", r"row 1: y is \[ 2. nan\]"),
        (np.array([0.0, np.inf], np.float32), "float32", "row 1: y is inf"),
    ],
)
def test_answers_that_are_not_what_they_should_be(values: Any, type_: str, reason: str) -> None:
    with pytest.raises(Internal, match=reason):
        check_answer("y", values, type_)


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ({}, "give prediction=, or predictions= for several"),
        ({"prediction": Prediction("y"), "predictions": [Prediction("z")]}, "give prediction=, or predictions="),
        ({"predictions": [Prediction("y"), Prediction("z", buckets=(1, 2))]}, "'z': only the first prediction has"),
        ({"predictions": [Prediction("y"), Prediction("y")]}, "y named twice"),
        ({"prediction": Prediction("recent_mask")}, "recent_mask named twice"),
        ({"prediction": Prediction("y"), "inputs": ["photo"]}, "reads 'photo', which is bytes"),
    ],
)
def test_models_that_cannot_be_declared(parts: dict[str, Any], reason: str) -> None:
    fields = {"recent": Field("int64[<=3]", default=[]), "photo": Field("bytes")}
    with pytest.raises(DefinitionError, match=reason):
        Model("m", **{"serving_keys": {"id": "string"}, "passed_features": fields, "inputs": ["recent"]} | parts)


def test_tandem_check_reads_a_mask_as_its_array() -> None:
    model = Model(
        "m",
        serving_keys={"id": "string"},
        passed_features={"recent": Field("int64[<=3]", default=[])},
        inputs={"recent": ["recent"], "mask": ["recent_mask"]},
        predictions=[Prediction("y", "float32[2]"), Prediction("z", "int64[3]"), Prediction("c", classes=["a"])],
    )
    findings = {finding.name: finding for finding in check_model(model)}
    assert [finding for finding in findings.values() if finding.status == "failed"] == []
    assert "recent" not in findings
