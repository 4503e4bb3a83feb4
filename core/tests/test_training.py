from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tandem import DefinitionError, Feature, FeatureView, Field, Model, Prediction, fit, inputs_from_table, matrix
from tandem.training import as_column
from tandem.transforms import model_dependent

VIEW = FeatureView("v", keys=["id"], max_age="1h", features=[Feature("speed", default=1.0)])


def model(*inputs: Any, **more: Any) -> Model:
    fields = {"x": Field("float64"), "n": Field("int64", default=4)}
    return Model("m", serving_keys={"id": "string"}, passed_features=fields, views=[VIEW],
                 inputs=inputs or ["x", "n", "speed"], prediction=Prediction("y"), **more)  # fmt: skip


def table(**changes: Any) -> dict[str, Any]:
    given = {
        "id": ["a", "b"],
        "x": [1.0, 2.0],
        "speed": [5.0, 6.0],
        "as_of": np.array(["2026-05-01", "2026-05-02"], "M8[s]"),
    }
    return {name: value for name, value in (given | changes).items() if value is not None}


def test_fields_that_clients_may_leave_out_may_be_missing() -> None:
    inputs = inputs_from_table(model(), table())
    assert inputs.request["n"].tolist() == [4, 4]
    assert inputs.views[0].event_time.tolist() == inputs.as_of.tolist()
    assert len(inputs) == 2


def test_event_times_make_values_stale_as_online() -> None:
    times = np.array(["2026-04-30T23:30", "2026-05-01"], "M8[m]")
    inputs = inputs_from_table(model(), table(v_event_time=times))
    assert fit(model(), inputs).features(inputs).columns["speed"].tolist() == [5.0, 1.0]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"x": None}, "no column 'x'"),
        ({"speed": None}, "no column 'speed' of feature view 'v'"),
        ({"as_of": None}, "no column 'as_of': when was"),
        ({"x": ["a", "b"]}, "column 'x' cannot be read as float64"),
        ({"n": [1.5, 2.0]}, "column 'n' cannot be read as int64"),
        ({"id": np.array([1, None], object)}, "column 'id' has values that are no strings"),
        ({"x": [1.0]}, "column 'x' has 1 rows, the table has 2"),
    ],
)
def test_table_that_does_not_fit(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(DefinitionError, match=reason):
        inputs_from_table(model(), table(**changes))


def test_moment_of_the_question_may_not_be_missing() -> None:
    asked = model(request_parameters={"ts": Field("timestamp", optional=True)}, as_of="ts")
    with pytest.raises(DefinitionError, match="column 'ts' is missing in row 0: when was"):
        inputs_from_table(asked, table())
    given = table(ts=np.array(["2026-05-01", "2026-05-02"], "M8[s]"))
    assert inputs_from_table(asked, given).as_of.tolist() == given["ts"].tolist()


def test_vectors_are_what_the_columns_are() -> None:
    inputs = inputs_from_table(model(), table())
    assert matrix(fit(model(), inputs), inputs).tolist() == [[1, 4, 5], [2, 4, 6]]


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (3, "fit must return a dict of state, not int"),
        ({"k": 1, "z": 1}, "fit returns z, which the transform does not read"),
        ({}, "fit does not return k"),
        ({"k": object()}, "state 'k' must be numbers, strings, booleans or lists of them, not object"),
        ({"k": [None]}, "state 'k' must be numbers"),
    ],
)
def test_state_that_could_not_be_kept_is_refused(state: Any, reason: str) -> None:
    @model_dependent(fit=lambda x: state)
    def scale(x, *, k):
        return x * k

    with pytest.raises(DefinitionError, match=f"scale_x: {reason}"):
        fit(model(scale("x")), inputs_from_table(model(), table()))


def test_state_is_plain_and_exact() -> None:
    @model_dependent(fit=lambda x: {"k": x.mean(), "edges": np.array([0.1, 0.2])})
    def scale(x, *, k, edges):
        return x * k + np.searchsorted(edges, x)

    pipeline = fit(model(scale("x")), inputs_from_table(model(), table(x=[0.1, 0.2])))
    assert pipeline.state == {"scale_x": {"k": np.array([0.1, 0.2]).mean(), "edges": [0.1, 0.2]}}
    assert type(pipeline.state["scale_x"]["k"]) is float


@pytest.mark.parametrize(
    ("values", "type_", "dtype"),
    [
        ([1, 2], "float64", "f8"),
        (np.array([1, 2], np.int8), "int64", "i8"),
        (np.array([1.0, 2.0], np.float32), "float64", "f8"),
        ([True], "bool", "?"),
        (["2026-05-01"], "timestamp", "M8[us]"),
        (np.array(["2026-05-01"], "M8[ns]"), "timestamp", "M8[us]"),
        (np.array(["a"]), "string", "O"),
    ],
)
def test_as_column(values: Any, type_: Any, dtype: str) -> None:
    assert as_column("c", values, type_).dtype == np.dtype(dtype)
