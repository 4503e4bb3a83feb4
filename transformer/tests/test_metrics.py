from __future__ import annotations

import asyncio
import re
from types import SimpleNamespace
from typing import Any

import numpy as np
import prometheus_client
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from tandem import Bundle, Prediction
from tandem.bulk_histogram import BulkHistogram
from tandem.inputs import Degradation
from tandem.telemetry import STAGES
from tandem_transformer.batch import BatchAnswer
from tandem_transformer.batch_metrics import BatchMetrics
from tandem_transformer.metrics import Recorder
from tandem_transformer.traffic import TRAFFIC, WEIGHTED

from . import world
from .client import Client
from .servers import Server, transformer, wait_until
from .world import STANDING_DEPOT, good_row

EDGES = (-1.0, 0.0, 0.5, 1.0, 10.0)
LABELS = '{model="parcels",version="v1"}'
DIRECT = '{model="parcels",traffic="direct",version="v1"}'


def samples(histogram: prometheus_client.Histogram) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    (family,) = histogram.collect()
    return {(sample.name, tuple(sample.labels.items())): sample.value for sample in family.samples}


@given(st.lists(st.lists(st.sampled_from(EDGES) | st.floats(-100, 100) | st.just(float("nan")))))
def test_many_observations_at_once_count_like_one_by_one(batches: list[list[float]]) -> None:
    single = prometheus_client.Histogram("h", "h", buckets=EDGES, registry=CollectorRegistry())
    many = BulkHistogram("h", "h", buckets=EDGES, registry=CollectorRegistry())
    for batch in batches:
        many.observe_many(batch)
        for value in batch:
            if not np.isnan(value):
                single.observe(value)
    expected, actual = samples(single), samples(many)
    assert actual.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_allclose(actual[key], value, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("prediction", "low"),
    [
        (Prediction("v", "float32[2]", buckets=(1.0, 5.0)), 1),
        (Prediction("v", classes=["a", "b"], buckets=(3.0, 5.0)), 2),
    ],
)
def test_an_array_is_counted_by_one_number_for_each_row(prediction: Prediction, low: int) -> None:
    registry = CollectorRegistry()
    bundle: Any = SimpleNamespace(manifest=SimpleNamespace(views=()), contract=SimpleNamespace(prediction=prediction))
    metrics = BatchMetrics(registry, bundle, ("m", "v1"))
    # norms 5, 0.5 and 4.2; largest numbers 4, 0.5 and 3
    columns = {"v": np.array([[3.0, 4.0], [0.0, 0.5], [3.0, 3.0]])}
    times = np.full(3, np.datetime64("2026-05-01", "us"))
    metrics.count([(BatchAnswer(columns, {}, {}, (0.0,) * len(STAGES)), [1, 2], [WEIGHTED, WEIGHTED], (), times)])
    own = {"model": "m", "version": "v1", "traffic": TRAFFIC[WEIGHTED]}
    edges = [str(edge) for edge in (*prediction.buckets, "+Inf")]
    counts = [registry.get_sample_value("tandem_prediction_bucket", {**own, "le": edge}) for edge in edges]
    assert counts == [low, 3, 3]


def test_degraded_rows_are_counted_by_reason_and_source(bundle: Bundle) -> None:
    registry = CollectorRegistry()
    metrics = BatchMetrics(registry, bundle, ("m", "v1"))
    inputs = world.offline_inputs([good_row()] * 4)
    degraded = {
        # once for a reason, with the source that has less of the stored values
        0: {"depot": Degradation("unavailable", "default"), "customer": Degradation("unavailable", "last_known", 2.0)},
        1: {"depot": Degradation("unavailable", "last_known", 90.0), "customer": Degradation("stale", "default")},
        2: {"customer.orders": Degradation("null", "default")},
        3: {"depot": Degradation("missing", "simpler_model"), "customer": Degradation("missing", "default")},
    }
    answer = BatchAnswer({"minutes": np.full(4, 100.0)}, {}, degraded, (0.0,) * len(STAGES))
    metrics.count([(answer, [4], [WEIGHTED], inputs.views, inputs.as_of)])
    family = next(family for family in registry.collect() if family.name == "tandem_degraded")
    assert {(sample.labels["reason"], sample.labels["source"]): sample.value for sample in family.samples} == {
        ("unavailable", "default"): 1,
        ("unavailable", "last_known"): 1,
        ("stale", "default"): 1,
        ("missing", "simpler_model"): 1,
    }
    ages = {
        view: registry.get_sample_value(
            "tandem_last_known_age_seconds_sum", {"model": "m", "version": "v1", "view": view}
        )
        for view in ("depot", "customer")
    }
    assert ages == {"depot": 90.0, "customer": 2.0}


async def test_names_and_labels(client: Client) -> None:
    """What dashboards, KEDA and canary gates read; see the list of metrics in the documentation."""
    await client.predict(good_row(), good_row(customer_id="nobody"))
    text = (await client.get("/metrics")).text
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    assert kinds == {
        "tandem_requests_total": "counter",
        "tandem_request_seconds": "histogram",
        "tandem_failed_request_seconds_total": "counter",
        "tandem_inflight_requests": "gauge",
        "tandem_predictor_endpoints": "gauge",
        "tandem_predictor_second_calls_total": "counter",
        "tandem_queued_rows": "gauge",
        "tandem_queued_rows_limit": "gauge",
        "tandem_shed_total": "counter",
        "tandem_unit_failures": "gauge",
        "tandem_unit_failures_max": "gauge",
        "tandem_rows_per_batch": "histogram",
        "tandem_rows_total": "counter",
        "tandem_stage_seconds": "histogram",
        "tandem_degraded_total": "counter",
        "tandem_feature_nulls_total": "counter",
        "tandem_feature_age_seconds": "histogram",
        "tandem_last_known_age_seconds": "histogram",
        "tandem_prediction": "histogram",
        "tandem_prediction_cache_total": "counter",
        "tandem_precomputed_misses_total": "counter",
    }
    metrics = await client.metrics()
    for stage in ("decode", "lookup", "odt", "mdt", "predict", "post"):
        assert metrics[f'tandem_stage_seconds_count{{model="parcels",stage="{stage}",version="v1"}}'] == 1
    assert not any("_created" in name for name in metrics)


async def test_what_is_counted(client: Client) -> None:
    await client.predict(good_row(), good_row(customer_id="nobody"))
    await client.predict(good_row())
    await client.predict(good_row(parts=99))
    await client.predict(good_row(depot_id=77))
    await client.predict(good_row(depot_id=STANDING_DEPOT))
    await client.get("/v2/health/ready")
    metrics = await client.metrics()
    requests = {
        key.split('code="')[1][:3]: value for key, value in metrics.items() if key.startswith("tandem_requests_total")
    }
    assert requests == {"200": 2, "422": 1, "404": 1, "500": 1}
    assert sum(value for key, value in metrics.items() if "request_seconds_count" in key) == 5
    assert metrics[f"tandem_rows_total{DIRECT}"] == 3
    assert metrics[f"tandem_rows_per_batch_sum{LABELS}"] == 3
    assert metrics[f"tandem_inflight_requests{LABELS}"] == 0
    missing = 'reason="missing",source="default",traffic="direct"'
    assert metrics[f'tandem_degraded_total{{model="parcels",{missing},version="v1"}}'] == 1
    assert metrics[f"tandem_prediction_count{DIRECT}"] == 3
    assert metrics['tandem_feature_age_seconds_count{model="parcels",version="v1",view="depot"}'] == 3
    # the unknown customer has no age
    assert metrics['tandem_feature_age_seconds_count{model="parcels",version="v1",view="customer"}'] == 2


def by_traffic(metrics: dict[str, float], name: str) -> dict[str, float]:
    """What a metric has counted, by the label ``traffic``; only what is not zero."""
    counted: dict[str, float] = {}
    for key, value in metrics.items():
        if value and key.startswith(f"{name}{{"):
            traffic = key.split('traffic="')[1].partition('"')[0]
            counted[traffic] = counted.get(traffic, 0.0) + value
    return counted


async def test_requests_are_counted_apart_by_how_they_came_here(client: Client) -> None:
    """A rollout is decided by what the weights sent: what a client has chosen itself must be told from it."""
    marks = {"weighted": 1, "pinned": 2, "preview": 3, "something": 4}
    for mark, rows in marks.items():
        await client.predict(*[good_row(customer_id="nobody")] * rows, x_tandem_traffic=mark)
    await client.predict(*[good_row()] * 5)
    metrics = await client.metrics()
    requests = {"weighted": 1, "pinned": 1, "preview": 1, "direct": 2}
    rows = {"weighted": 1, "pinned": 2, "preview": 3, "direct": 9}
    assert by_traffic(metrics, "tandem_requests_total") == requests
    assert by_traffic(metrics, "tandem_request_seconds_count") == requests
    assert by_traffic(metrics, "tandem_rows_total") == rows
    assert by_traffic(metrics, "tandem_prediction_count") == rows
    assert by_traffic(metrics, "tandem_degraded_total") == {**rows, "direct": 4}


async def test_rows_of_one_batch_are_counted_apart(client: Client) -> None:
    """Requests that came in different ways travel together, and are told apart all the same."""
    requests = [("pinned", 2, "nobody"), ("weighted", 3, "c1"), ("pinned", 1, "c1"), ("preview", 1, "nobody")]
    replies = await asyncio.gather(
        *(
            client.predict(*[good_row(customer_id=customer)] * rows, x_tandem_traffic=mark)
            for mark, rows, customer in requests
        )
    )
    assert {reply.status_code for reply in replies} == {200}
    metrics = await client.metrics()
    assert by_traffic(metrics, "tandem_rows_total") == {"weighted": 3, "pinned": 3, "preview": 1}
    assert by_traffic(metrics, "tandem_prediction_count") == {"weighted": 3, "pinned": 3, "preview": 1}
    assert by_traffic(metrics, "tandem_degraded_total") == {"pinned": 2, "preview": 1}


async def test_one_client_is_not_most_of_the_evidence(client: Client) -> None:
    """The gateway names clients; what one of them sends beyond its part is counted apart, with its rows."""
    for unit in ("x", "y", "z"):
        await client.predict(good_row(), x_tandem_traffic="weighted", x_tandem_unit=unit)
    for _ in range(5):
        await client.predict(good_row(depot_id=STANDING_DEPOT), x_tandem_traffic="weighted", x_tandem_unit="x")
    await client.predict(good_row(), good_row(), x_tandem_traffic="weighted", x_tandem_unit="x")
    await client.predict(good_row(), x_tandem_traffic="pinned", x_tandem_unit="x")
    metrics = await client.metrics()
    failed = {key: value for key, value in metrics.items() if 'requests_total{code="500"' in key}
    assert by_traffic(failed, "tandem_requests_total") == {"weighted": 1, "surplus": 4}
    assert by_traffic(metrics, "tandem_rows_total") == {"weighted": 3, "surplus": 2, "pinned": 1}
    assert (metrics[f"tandem_unit_failures{LABELS}"], metrics[f"tandem_unit_failures_max{LABELS}"]) == (5, 5)


@pytest.mark.parametrize(
    ("status", "own_deadline", "outcome"),
    [
        (200, False, "answered"),
        (422, False, "refused"),
        (429, False, "refused"),
        (499, False, "expired"),
        (504, True, "expired"),
        (504, False, "failed"),
        (500, True, "failed"),
        (503, False, "failed"),
    ],
)
def test_whose_doing_an_answer_is(bundle: Bundle, status: int, own_deadline: bool, outcome: str) -> None:
    recorder = Recorder(bundle, "parcels")
    recorder.answered(status, 0.1, WEIGHTED, own_deadline=own_deadline)
    text = recorder.exposition().decode()
    about = f'model="parcels",outcome="{outcome}",traffic="weighted",version="v1"'
    assert f'tandem_requests_total{{code="{status}",{about}}} 1.0' in text
    assert f"tandem_request_seconds_count{{{about}}} 1.0" in text


async def test_predictions_are_counted_in_the_contracts_buckets(client: Client) -> None:
    reply = await client.predict(*[row | {"tariff": "day"} for row in world.rows(50, seed=5)])
    minutes = np.array([prediction["minutes"] for prediction in reply.json()["predictions"]])
    metrics = await client.metrics()
    for edge in (60, 120, 240, 480):
        key = f'tandem_prediction_bucket{{le="{edge}.0",model="parcels",traffic="direct",version="v1"}}'
        assert metrics[key] == np.count_nonzero(minutes <= edge)


async def test_nothing_refused_counts_as_a_prediction(client: Client) -> None:
    await client.predict(good_row(), good_row(parts=99))
    metrics = await client.metrics()
    assert not any("tandem_prediction_count" in key and value for key, value in metrics.items())
    assert metrics[f"tandem_rows_per_batch_count{LABELS}"] == 0


def scraped(server: Server) -> dict[str, float]:
    lines = server.request("GET", "/metrics").content.decode().splitlines()
    return {
        name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if not line.startswith("#"))
    }


def test_several_processes_count_together(bundle: Bundle) -> None:
    """Any process tells about all of them, and all of them answer."""
    # neither of the predictors is there, nor asked
    flags = ["--predictor_host", "127.0.0.1:1,127.0.0.1:2", "--processes", 2, "--max_batch_rows", 0]
    with transformer(bundle.path, *flags, environment={"PYTHONWARNINGS": "ignore"}) as server:
        count = 60
        # without a store, no depot is known
        statuses = [server.predict(good_row(parts=number)).status for number in range(count)]
        depot_count = 20
        assert statuses == [422] + [404] * depot_count + [422] * (count - depot_count - 1)

        def counted() -> bool:
            metrics = scraped(server)
            requests = {name: value for name, value in metrics.items() if name.startswith("tandem_requests_total")}
            return sum(requests.values()) == count

        wait_until(counted)  # the process that is not asked is late by a quarter of a second at most
        metrics = scraped(server)
        refused = '{code="404",model="parcels",outcome="refused",traffic="direct",version="v1"}'
        assert metrics[f"tandem_requests_total{refused}"] == depot_count
        assert sum(value for name, value in metrics.items() if "request_seconds_count" in name) == count
        assert metrics[f"tandem_predictor_endpoints{LABELS}"] == 2
        assert server.stop() == 0


async def test_nulls_are_counted_by_feature_and_reported_by_row(client: Client) -> None:
    instances = [good_row(customer_id=f"c{index}") for index in range(world.CUSTOMERS)]
    customers = world.offline_inputs(instances).views[0]
    young = {row for row in range(len(instances)) if not np.isnat(customers.event_time[row])}
    row = next(row for row in np.flatnonzero(customers.nulls["orders"]).tolist() if row in young)
    answer = (await client.predict(instances[row], good_row())).json()["predictions"][0]
    assert answer["degraded"]["customer.orders"] == {"reason": "null", "source": "default"}
    metrics = await client.metrics()
    labels = 'feature="orders",model="parcels",version="v1",view="customer"'
    assert metrics[f"tandem_feature_nulls_total{{{labels}}}"] == 1
    assert not any("tandem_degraded_total" in key and 'reason="null"' in key for key in metrics)
