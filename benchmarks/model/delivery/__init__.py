"""Predict how long a delivery takes, from what is known of courier and restaurant: 12 features, 12 model inputs."""

from tandem import Feature, FeatureView, Field, Model, Prediction, model_dependent, on_demand

courier = FeatureView("courier", keys=["courier_id"], max_age="7d", features=[
    Feature("avg_speed_kmh", default=18.0, unit="km/h"),
    Feature("deliveries_30d", default=120.0),
    Feature("courier_rating", default=4.5),
    Feature("late_share_30d", default=0.1),
    Feature("shift_hours", default=4.0, unit="h"),
])  # fmt: skip
restaurant = FeatureView("restaurant", keys=["restaurant_id"], max_age="7d", features=[
    Feature("prep_minutes_7d", default=14.0, unit="min"),
    Feature("prep_spread_7d", default=4.0, unit="min"),
    Feature("open_orders", default=3.0),
    Feature("cooks", default=2.0),
    Feature("restaurant_rating", default=4.3),
    Feature("basket_eur_30d", default=24.0, unit="EUR"),
    Feature("lunch_share", default=0.4),
])  # fmt: skip


@on_demand
def travel_minutes(distance_km, avg_speed_kmh):
    """How long the courier rides."""
    return 60.0 * distance_km / avg_speed_kmh


@on_demand
def backlog(open_orders, cooks):
    """Orders that each cook has open."""
    return open_orders / cooks


@model_dependent(fit=lambda x: {"mean": x.mean(), "std": x.std()})
def standardize(x, *, mean, std):
    """Distance from the mean, in standard deviations."""
    return (x - mean) / std


model = Model(
    "delivery-time",
    serving_keys={"courier_id": "string", "restaurant_id": "string"},
    passed_features={
        "distance_km": Field("float64", gt=0, le=60, unit="km"),
        "items": Field("float64", ge=1, le=100),
    },
    views=[courier, restaurant],
    inputs=[
        standardize("deliveries_30d"), "courier_rating", "late_share_30d", "shift_hours",
        standardize("prep_minutes_7d"), "prep_spread_7d", "restaurant_rating", standardize("basket_eur_30d"),
        "lunch_share", backlog, standardize(travel_minutes), "items",
    ],
    prediction=Prediction("delivery_minutes", unit="min", buckets=tuple(range(10, 100, 10))),
)  # fmt: skip
