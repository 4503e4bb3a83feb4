from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from tandem import (
    DefinitionError,
    Feature,
    FeatureView,
    Field,
    Model,
    Pipeline,
    Prediction,
    fit,
    inputs_from_table,
    matrix,
)
from tandem.decorators import model_dependent
from tandem.signature import Signature

VIEW = FeatureView("v", keys=["id"], max_age="1h", features=[Feature("speed", default=1.0)])


def model(*inputs: Any, **more: Any) -> Model:
    fields = {"x": Field("float64"), "n": Field("int64", default=4)}
    return Model("m", serving_keys={"id": "string"}, passed_features=fields, views=[VIEW],
                 inputs=inputs or ["x", "n", "speed"], prediction=Prediction("y"), **more)  # fmt: skip


def table(**changes: Any) -> dict[str, Any]:
    columns = {
        "id": ["a", "b"],
        "x": [1.0, 2.0],
        "speed": [5.0, 6.0],
        "as_of": np.array(["2026-05-01", "2026-05-02"], "M8[s]"),
        "v_event_time": np.array(["2026-05-01", "2026-05-02"], "M8[s]"),
    }
    return {name: value for name, value in (columns | changes).items() if value is not None}


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
        ({"x": None}, "no column 'x'; it has id, speed, as_of, v_event_time"),
        ({"speed": None}, "no column 'speed' of feature view 'v'; it has id, x, as_of, v_event_time"),
        ({"x": [1.0, None]}, "column 'x' is null in row 1; the field is required"),
        ({"speed": [1.0, np.inf]}, "column 'speed' is infinite in row 1; values must be finite"),
        ({"n": [True, False]}, "column 'n' cannot be read as int64: its values are bool"),
        ({"as_of": None}, "no column 'as_of'; it has id, x, speed, v_event_time; it must hold the time"),
        ({"x": ["a", "b"]}, "column 'x' cannot be read as float64"),
        ({"n": [1.5, 2.0]}, "column 'n' cannot be read as int64"),
        ({"id": np.array([1, None], object)}, "column 'id' has values that are not strings"),
        ({"x": [1.0]}, "column 'x' has 1 rows, the table has 2"),
    ],
)
def test_table_that_does_not_fit(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(DefinitionError, match=reason):
        inputs_from_table(model(), table(**changes))


def test_moment_of_the_question_may_not_be_missing() -> None:
    timed_model = model(request_parameters={"ts": Field("timestamp", optional=True)}, as_of="ts")
    with pytest.raises(DefinitionError, match="no column 'ts'; it has id, x, speed, as_of, v_event_time; it must hold"):
        inputs_from_table(timed_model, table())
    with pytest.raises(DefinitionError, match="column 'ts' is null in row 1; it must hold the time"):
        inputs_from_table(timed_model, table(ts=np.array(["2026-05-01", "NaT"], "M8[s]")))
    columns = table(ts=np.array(["2026-05-01", "2026-05-02"], "M8[s]"))
    assert inputs_from_table(timed_model, columns).as_of.tolist() == columns["ts"].tolist()


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


def frame(**changes: Any) -> dict[str, Any]:
    arrays = {name: np.asarray(values) for name, values in table(**changes).items()}
    return {name: array.astype("M8[us]") if array.dtype.kind == "M" else array for name, array in arrays.items()}


@pytest.mark.parametrize("form", [pd.DataFrame, pl.DataFrame, pa.table, lambda data: pa.table(data).to_batches()[0]])
def test_tables_of_any_library(form: Any) -> None:
    expected = inputs_from_table(model(), table())
    source = form(frame())
    pipeline = fit(model(), source)
    assert matrix(pipeline, source).tolist() == matrix(pipeline, expected).tolist() == [[1, 4, 5], [2, 4, 6]]


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (pd.DataFrame([[1, 2]], columns=["x", "x"]), "the table has two columns 'x'"),
        (pa.table([[1], [2]], names=["x", "x"]), "the table has two columns 'x'"),
        (pl.LazyFrame({"x": [1]}), "LazyFrame is not a table"),
        ([{"x": 1}], "list is not a table: give a pandas or polars frame"),
        ({}, "the table has no columns"),
        (pd.DataFrame({"x": [1.0]}), "no column 'id'; it has x"),
    ],
)
def test_what_is_no_table(source: Any, reason: str) -> None:
    with pytest.raises(DefinitionError, match=reason):
        inputs_from_table(model(), source)


def test_event_times_left_out_warn_that_ages_are_taken_as_fresh() -> None:
    with pytest.warns(UserWarning, match="no column v_event_time: all values of v are taken as fresh") as caught:
        inputs = inputs_from_table(model(), table(v_event_time=None))
    assert caught[0].filename == __file__
    assert inputs.views[0].event_time.tolist() == inputs.as_of.tolist()


def test_entities_without_a_row_may_lack_values_that_have_no_default() -> None:
    view = FeatureView("w", keys=["id"], features=[Feature("k", "int64"), Feature("t", "string")])
    needs = Model("m", serving_keys={"id": "string"}, views=[view], inputs=["k"], prediction=Prediction("y"))
    columns = {
        "id": ["a", "b"],
        "as_of": np.array(["2026-05-01"] * 2, "M8[s]"),
        "w_event_time": [np.datetime64("2026-05-01"), None],
        "k": [3, None],
        "t": ["x", None],
    }
    inputs = inputs_from_table(needs, columns)
    assert np.isnat(inputs.views[0].event_time).tolist() == [False, True]
    assert inputs.views[0].nulls == {}
    with pytest.raises(DefinitionError, match="column 'k' is null in row 1; the feature is int64 and has no default"):
        inputs_from_table(needs, columns | {"w_event_time": columns["as_of"]})


MAYBE = {"x": Field("float64", optional=True)}


def scaled(fit_mean: Any) -> Model:
    @model_dependent(fit=lambda x: {"mean": fit_mean(x)})
    def center(x, *, mean):
        return x - mean

    return Model("m", serving_keys={"id": "string"}, passed_features=MAYBE, inputs=[center("x")],
                 prediction=Prediction("y"))  # fmt: skip


def test_state_that_nan_made_is_refused_with_column_rows_and_what_to_do() -> None:
    values = [None if row % 3 else 1.0 for row in range(30)]
    columns = {"id": ["a"] * 30, "x": values, "as_of": np.full(30, np.datetime64("2026-05-01"))}
    with pytest.raises(
        DefinitionError,
        match=r"center_x: state 'mean' is not finite: nan; column 'x' is NaN in rows 1, 2, 4, 5, 7 and 15 more: leave "
        r"these out with np\.nanmean, np\.nanstd and the like, or give the field or feature a default",
    ):
        fit(scaled(np.mean), columns)
    assert fit(scaled(np.nanmean), columns).state == {"center_x": {"mean": 1.0}}


@pytest.mark.parametrize("state", [np.inf, -np.inf, [[1.0], [np.nan]], np.array([np.inf])])
def test_state_that_is_not_finite_is_refused(state: Any) -> None:
    columns = {"id": ["a"], "x": [1.0], "as_of": np.full(1, np.datetime64("2026-05-01"))}
    with pytest.raises(DefinitionError, match="center_x: state 'mean' is not finite"):
        fit(scaled(lambda x: state), columns)
    with pytest.raises(DefinitionError, match="center_x: state 'mean' is not finite"):
        Pipeline(scaled(np.mean), Signature((), ()), {"center_x": {"mean": state}}).check_state()
