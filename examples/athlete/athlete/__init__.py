"""Predict the time of a road race from an athlete's training load."""

import numpy as np
from tandem import Feature, FeatureView, Field, Model, Prediction, model_dependent, on_demand, postprocess

training_load = FeatureView("training_load", keys=["athlete_id"], max_age="7d", features=[
    Feature("ctl_42d", default=35.0, unit="km/week", description="chronic training load"),
    Feature("acwr", default=1.0, description="acute to chronic workload ratio"),
    Feature("pace_90d", default=385.0, unit="s/km", description="average pace in training"),
])  # fmt: skip
profile = FeatureView("profile", keys=["athlete_id"], features=[
    Feature("age", default=37.0, unit="years"), Feature("sex", "string", default="F")])  # fmt: skip


@on_demand
def pace_deviation(current_pace, pace_90d):
    return (current_pace - pace_90d) / pace_90d  # positive: slower than usual


@on_demand
def even_pace_time(pace_90d, distance_km):
    return pace_90d * distance_km


@on_demand
def is_male(sex):
    return (sex == "M").astype(np.float64)


@model_dependent(fit=lambda x: {"mean": x.mean(), "std": x.std()})
def standardize(x, *, mean, std):
    return (x - mean) / std


def hms(seconds):
    whole = np.rint(seconds).astype(int).tolist()
    return np.array([f"{s // 3600}:{s // 60 % 60:02}:{s % 60:02}" for s in whole], dtype=object)


@postprocess("string", unit="h:mm:ss")
def finish_time(predicted_time_s):
    return hms(predicted_time_s)


@postprocess("string", unit="h:mm:ss", description="Four in five races of such athletes end within this time.")
def finish_time_range(predicted_time_s, *, below, above):
    return hms(predicted_time_s * below) + " to " + hms(predicted_time_s * above)


model = Model(
    "time-estimator",
    serving_keys={"athlete_id": "string"},
    passed_features={"current_pace": Field("float64", ge=120, le=900, unit="s/km")},
    request_parameters={"ts": "timestamp", "distance_km": Field("float64", gt=0, le=100, default=16.09344, unit="km")},
    as_of="ts",
    views=[training_load, profile],
    inputs=[*map(standardize, ["ctl_42d", "acwr", "age", pace_deviation, even_pace_time]), is_male],
    prediction=Prediction("predicted_time_s", unit="s", buckets=tuple(range(2400, 11400, 600))),
    postprocess=[finish_time, finish_time_range],
)
