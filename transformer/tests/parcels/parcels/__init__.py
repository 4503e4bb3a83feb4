"""When will a parcel arrive? One field and one feature of each type there is, for the tests of the transformer."""

import numpy as np

from tandem import Feature, FeatureView, Field, Model, Prediction, model_dependent, on_demand, postprocess

HOUR = np.timedelta64(3600, "s")

customer = FeatureView("customer", keys=["customer_id"], max_age="7d", features=[
    Feature("rating", default=4.5), Feature("orders", "int64", default=3), Feature("vip", "bool", default=False),
    Feature("segment", "string", default="b"), Feature("since", "timestamp", default="2026-01-01T00:00:00Z"),
])  # fmt: skip
# without a default: an unknown or outdated depot is refused
depot = FeatureView("depot", keys=["depot_id"], max_age="30d", features=[
    Feature("speed"), Feature("lanes", "int64"), Feature("toll")])  # fmt: skip
route = FeatureView("route", keys=["customer_id", "depot_id"], features=[Feature("distance_km", default=12.0)])


@on_demand
def hours(distance_km, speed):
    return distance_km / speed


@on_demand
def notice_h(pickup_at, as_of):
    return (pickup_at - as_of) / HOUR


@on_demand
def district(postcode):
    return np.array([float(text.rpartition("-")[2]) for text in postcode.tolist()])


@on_demand
def surcharge(toll, depth_m):
    return np.where(np.isnan(toll), 0.0, toll) + np.where(np.isnan(depth_m), -1.0, depth_m)


@on_demand
def customer_days(as_of, since):
    return (as_of - since) / np.timedelta64(1, "D")


@on_demand
def rating_age_h(customer_age):
    return np.nan_to_num(customer_age) / 3600.0


@model_dependent(fit=lambda x: {"mean": x.mean(), "std": x.std()})
def standardize(x, *, mean, std):
    if np.any((x > 1e15) & (x < 1e100)):  # what is beyond no model can hold, which is another fault
        raise ValueError("no such number has been seen in training")
    return (x - mean) / std


@model_dependent(fit=lambda x: {"categories": sorted(set(x.tolist()))})
def one_hot(x, *, categories):
    return (x[:, None] == categories.astype(object)[None, :]).astype(np.float64)


@postprocess("string", unit="h:mm")
def eta(minutes):
    return np.array([f"{m // 60}:{m % 60:02}" for m in np.rint(minutes).astype(int).tolist()], object)


@postprocess("int64", unit="min")
def promised(minutes, *, margin):
    return np.rint(minutes + margin).astype(np.int64)


@postprocess("bool")
def slow(minutes, *, limit):
    if np.any(minutes > 1e9):
        raise ValueError("that would be years")
    return minutes > limit


model = Model(
    "parcels",
    serving_keys={"customer_id": "string", "depot_id": "int64"},
    passed_features={"weight_kg": Field("float64", gt=0, le=1000, unit="kg"), "fragile": "bool"},
    request_parameters={
        "asked_at": Field("timestamp", optional=True),
        "pickup_at": "timestamp",
        "postcode": "string",
        "parts": Field("int64", ge=1, le=20, default=1),
        "tariff": Field("string", enum=("day", "night"), default="day"),
        "depth_m": Field("float64", ge=0, lt=10, optional=True),
    },
    as_of="asked_at",
    views=[customer, depot, route],
    inputs=[standardize("weight_kg"), standardize(hours), standardize(notice_h), standardize(district),
            standardize(surcharge), standardize(customer_days), rating_age_h, "rating", "orders", "vip", "lanes",
            "fragile", "parts", one_hot("segment"), one_hot("tariff")],
    prediction=Prediction("minutes", unit="min", buckets=(60, 120, 240, 480)),
    postprocess=[eta, promised, slow],
)  # fmt: skip
