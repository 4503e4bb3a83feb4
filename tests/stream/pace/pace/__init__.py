"""A model that reads the pace of the last minute."""

from tandem import Feature, FeatureView, Model, Prediction, Statistic, Window

live_pace = FeatureView(
    "live_pace",
    keys=["athlete_id"],
    window=Window(size="10s", event_time="sent_at", grace="2s"),
    features=[
        Feature("pace_mean", unit="s/km", statistic=Statistic("mean", "pace")),
        Feature("pace_variance", statistic=Statistic("variance", "pace")),
        Feature("pace_last", unit="s/km", statistic=Statistic("last", "pace")),
        Feature("steps", "int64", default=0, statistic=Statistic("sum", "steps", "int64")),
        Feature("newest", "timestamp", statistic=Statistic("max", "sent_at", "timestamp")),
        Feature("device", "string", default="", statistic=Statistic("last", "device", "string")),
        Feature("events", "int64", default=0, statistic=Statistic("count")),
    ],
)
profile = FeatureView("profile", keys=["athlete_id"], features=[Feature("height_cm")])

model = Model(
    "pace",
    serving_keys={"athlete_id": "int64"},
    request_parameters={"ts": "timestamp"},
    as_of="ts",
    views=[live_pace, profile],
    inputs=["pace_mean", "height_cm"],
    prediction=Prediction("minutes"),
)
