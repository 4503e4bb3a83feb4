from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tandem import Bundle, Feature, FeatureView, Field, Model, Prediction, model_dependent, on_demand, postprocess
from tandem.check import Finding, check, check_model
from tandem.package import ModelPackage

VIEW = FeatureView("v", keys=["id"], features=[Feature("f", default=2.0), Feature("g", default=1.0)])


def findings(*inputs: Any, **more: Any) -> dict[str, Finding]:
    parts: dict[str, Any] = {
        "serving_keys": {"id": "string"},
        "passed_features": {"x": Field("float64", ge=0, le=10)},
        "views": [VIEW],
        "inputs": inputs or ["x", "f", "g"],
        "prediction": Prediction("y"),
    }
    results = check_model(Model("m", **(parts | more)))
    return {finding.name: finding for finding in results}


def statuses(results: list[Finding]) -> set[str]:
    return {finding.status for finding in results}


def test_good_package(trained: Any) -> None:
    results = check(ModelPackage.read(trained.package))
    by_name = {finding.name: finding for finding in results}
    assert [finding.name for finding in results[:4]] == ["package", "contract", "tariff", "hours"]
    assert {finding.name for finding in results if finding.status != "ok"} == {"tariff", "minutes"}
    assert "per_minute is given when the bundle is written" in by_name["minutes"].message
    assert (
        by_name["signature"].message.partition(": ")[2].startswith("standardize_distance_km, hours, one_hot_zone[0], ")
    )


def test_good_package_beside_the_version_that_is_served(trained: Any, bundle: Bundle) -> None:
    results = check(ModelPackage.read(trained.package), against=bundle)
    assert "failed" not in statuses(results)
    assert next(finding for finding in results if finding.name == "minutes").status == "ok"
    assert results[-1] == Finding("compatibility", "ok", "the deployment API is unchanged")


def test_breaking_change_fails(bundle: Bundle, make_package: Any, source: str) -> None:
    package = make_package(source=source.replace("le=500", "le=400").replace("le=8", "le=9"))
    results = check(ModelPackage.read(package), against=bundle)
    assert results[-2:] == [
        Finding("distance_km", "failed", "upper bound narrowed"),
        Finding("seats", "ok", "upper bound widened"),
    ]


def test_package_that_cannot_be_imported(make_package: Any) -> None:
    (finding,) = check(ModelPackage.read(make_package(source="1 / 0")))
    assert (finding.name, finding.status) == ("package", "failed")
    assert "ZeroDivisionError" in finding.message


def test_example_passes(athlete: Model) -> None:
    assert "failed" not in statuses(check_model(athlete))


@on_demand
def leaky(x):
    return x - x.mean()


@on_demand
def broken(x):
    raise KeyError("oops")


@on_demand
def lossy(x):
    return x[:1]


@on_demand
def after(broken):
    return broken


@on_demand
def infinite(x, f):
    return f / (x - x)


@on_demand
def instant(as_of):
    return as_of


@model_dependent(fit=lambda x: {"other": 1})
def unfit(x, *, k):
    return x * k


@pytest.mark.parametrize(
    ("step", "name", "status", "message"),
    [
        (leaky, "leaky", "failed", "not row-independent"),
        (broken, "broken", "failed", "KeyError: 'oops'"),
        (lossy, "lossy", "failed", "must return an array of"),
        (after, "after", "warning", "not run, since it reads broken"),
        (infinite, "infinite", "warning", "gives "),
        (instant, "instant", "failed", "a model input is a number"),
        (unfit("x"), "unfit_x", "failed", "fit returns other"),
    ],
)
def test_faulty_step_is_named(step: Any, name: str, status: str, message: str) -> None:
    results = findings("x", "f", "g", step, on_demand=[broken] if step is after else [])
    assert results[name].status == status
    assert message in results[name].message
    assert ("signature" in results) == (status != "failed" and step is not after)


def test_postprocessing_is_tried_on_made_up_predictions() -> None:
    @postprocess("string")
    def wrong_type(y):
        return y * 2

    @postprocess("float64")
    def not_finite(y):
        return np.log(y - y)

    @postprocess("float64")
    def fine(y, fine_too):
        return y + fine_too

    @postprocess("int64")
    def fine_too(y):
        return np.rint(y).astype(np.int64)

    @postprocess("float64")
    def unknown(probabilities):
        return probabilities.max(axis=1)

    results = findings(postprocess=[wrong_type, not_finite, fine, fine_too, unknown])
    assert results["wrong_type"].status == "failed"
    assert "are not strings" in results["wrong_type"].message
    assert results["not_finite"].status == "failed"
    assert results["fine"].status == results["fine_too"].status == "ok"
    assert results["unknown"] == Finding("unknown", "warning", "not run, since it reads probabilities")


def test_what_nothing_reads_is_warned_of() -> None:
    assert findings("x")["v"] == Finding("v", "warning", "looked up, and nothing reads any of its features")
    assert findings("x", "f")["v"] == Finding("v", "warning", "nothing reads g")
    assert findings("f", "g")["x"] == Finding("x", "warning", "clients send it, and nothing reads it")


def test_features_without_default_are_looked_at_where_they_are_known() -> None:
    strict = FeatureView("s", keys=["id"], features=[Feature("h")])
    assert statuses(list(findings("x", "h", views=[strict]).values())) == {"ok"}


def test_signature_tells_the_order_of_the_columns() -> None:
    assert findings("x", "g", "f")["signature"].message.startswith("3 columns: x, g, f; hash ")


def test_state_is_fitted_to_rows_without_nan() -> None:
    """Whether training data have nulls is not known here: a mean is no fault as long as they have none."""

    @model_dependent(fit=lambda x: {"mean": float(x.mean())})
    def center(x, *, mean):
        return x - mean

    fields = {"x": Field("float64", optional=True)}
    model = Model(
        "m", serving_keys={"id": "string"}, passed_features=fields, inputs=[center("x")], prediction=Prediction("y")
    )
    status_by_name = {finding.name: finding.status for finding in check_model(model)}
    assert (status_by_name["center_x"], status_by_name["signature"]) == ("warning", "ok")
