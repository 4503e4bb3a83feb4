"""A model with two views, one of which is used twice, under keys of different number and type."""

from __future__ import annotations

import pytest

from tandem import Feature, FeatureView, Field, Model, Prediction

STATION = FeatureView(
    "station",
    keys=["city", "line"],
    max_age="10s",
    features=[Feature("delay"), Feature("name", "string", default="?"), Feature("trains", "int64", default=0)],
)
WEATHER = FeatureView("weather", keys=["city"], features=[Feature("rain")])


@pytest.fixture(scope="session")
def model() -> Model:
    return Model(
        "trips",
        serving_keys={"origin": "string", "destination": "string", "line": "int64"},
        passed_features={"seats": Field("int64", default=1)},
        request_parameters={"at": "timestamp"},
        as_of="at",
        views=[
            STATION.on(prefix="from_", city="origin"),
            STATION.on(prefix="to_", city="destination"),
            WEATHER.on(city="origin"),
        ],
        inputs=["from_delay", "to_delay", "rain", "from_trains", "seats"],
        prediction=Prediction("minutes"),
    )
