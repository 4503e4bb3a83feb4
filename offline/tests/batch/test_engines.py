"""Spark and Ray write what the local engine writes, bit for bit; both are the real ones."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from pyspark.sql import SparkSession, functions

from tandem import Bundle, DefinitionError, EmbeddedModel
from tandem_offline import OfflineStore
from tandem_offline import spark as tandem_spark
from tandem_offline.batch import score
from tandem_offline.batch.partitions import PartitionScorer

from .conftest import tables, times

ROWS = 5_000
KEEP = ("x",)


@pytest.fixture(scope="module")
def features(embedded: EmbeddedModel) -> pa.Table:
    """Rows with their features: some degraded, some unknown, some that break the contract or fail after the model."""
    rng = np.random.default_rng(3)
    x = np.where(rng.random(ROWS) < 0.05, rng.choice([13.0, 17.0, 101.0], ROWS), 100 * rng.random(ROWS))
    spine = pa.table({"id": rng.choice(["a", "b", "c"], ROWS), "ts": times(*np.linspace(2, 3, ROWS)), "x": x})
    joined = OfflineStore(tables()).batch_data(embedded.bundle.model, spine=spine)
    return pa.Table.from_batches(list(joined.batches()), joined.schema)


@pytest.fixture(scope="module")
def expected(embedded: EmbeddedModel, features: pa.Table) -> pa.Table:
    """What the local engine writes."""
    (batch,) = features.combine_chunks().to_batches()
    scorer = PartitionScorer(embedded.bundle.digest, "r1", KEEP)
    return pa.table(scorer.layout(embedded.bundle, batch.schema).rows(batch, score(embedded, batch)))


@pytest.fixture(scope="module")
def session() -> Iterator[SparkSession]:
    # executors take python3 of the path otherwise
    os.environ["PYSPARK_PYTHON"] = sys.executable
    settings = {
        "spark.ui.enabled": "false",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.memory": "512m",
        # not that of the driver, and not UTC: times are points in time all the same
        "spark.sql.session.timeZone": "America/St_Johns",
        "spark.sql.execution.arrow.maxRecordsPerBatch": "1000",
    }
    builder = SparkSession.builder.master("local[2]")
    for name, value in settings.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    # it says what it closes whenever its objects are collected, also in later tests
    logging.getLogger("py4j").setLevel(logging.ERROR)
    yield session
    session.stop()


@pytest.fixture(scope="module")
def ray() -> Iterator[ModuleType]:
    # it changes what all log records have, so it is imported for these tests only
    factory = logging.getLogRecordFactory()
    import ray

    os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
    ray.init(num_cpus=2, include_dashboard=False, object_store_memory=100 * 2**20, logging_level="ERROR")
    ray.data.DataContext.get_current().enable_progress_bars = False
    yield ray
    ray.shutdown()
    logging.setLogRecordFactory(factory)


def ordered(table: pa.Table, schema: pa.Schema) -> list[dict[str, object]]:
    """Rows of the columns of a schema, in the order of their times."""
    rows: list[dict[str, object]] = table.select(schema.names).cast(schema).sort_by("ts").to_pylist()
    return rows


def test_spark_writes_the_same(
    session: SparkSession, bundle: Bundle, features: pa.Table, expected: pa.Table, tmp_path: Path
) -> None:
    frame = session.createDataFrame(features).repartition(3)
    tandem_spark.predict(frame, bundle.path, run_id="r1", keep=KEEP).write.parquet(str(tmp_path / "out"))
    assert ordered(parquet.read_table(tmp_path / "out"), expected.schema) == ordered(expected, expected.schema)
    codes = {row["error"]["code"] for row in expected.to_pylist() if row["error"]}
    assert codes == {"contract_violation", "entity_not_found", "transform_failed", "prediction_not_finite"}


def test_a_function_of_columns_in_spark(
    session: SparkSession, bundle: Bundle, features: pa.Table, expected: pa.Table
) -> None:
    frame = session.createDataFrame(features)
    udf = tandem_spark.predictor_udf(frame, bundle)
    answers = (
        frame.select(udf(functions.struct(*frame.columns)).alias("answer")).select("answer.ts", "answer.y").toArrow()
    )
    schema = pa.schema([expected.schema.field(name) for name in ("ts", "y")])
    assert ordered(answers, schema) == ordered(expected, schema)


def test_ray_writes_the_same(ray: ModuleType, bundle: Bundle, features: pa.Table, expected: pa.Table) -> None:
    from tandem_offline import ray as tandem_ray

    dataset = ray.data.from_arrow(features).repartition(3)
    predictions = tandem_ray.predict(dataset, bundle, run_id="r1", keep=KEEP, rows_per_batch=1000)
    table = pa.concat_tables([pa.table(batch) for batch in predictions.iter_batches(batch_format="pyarrow")])
    assert ordered(table, expected.schema) == ordered(expected, expected.schema)


def test_rows_that_lack_a_column_are_refused_before_a_job_starts(
    session: SparkSession, ray: ModuleType, bundle: Bundle, features: pa.Table
) -> None:
    from tandem_offline import ray as tandem_ray

    narrow = features.drop_columns(["x"])
    with pytest.raises(DefinitionError, match="'x'"):
        tandem_spark.predict(session.createDataFrame(narrow), bundle)
    with pytest.raises(DefinitionError, match="'x'"):
        tandem_ray.predict(ray.data.from_arrow(narrow), bundle)


def test_a_time_without_a_zone_is_refused(session: SparkSession, bundle: Bundle, features: pa.Table) -> None:
    frame = session.createDataFrame(features).withColumn("ts", functions.col("ts").cast("timestamp_ntz"))
    with pytest.raises(DefinitionError, match="'ts' has times without a zone"):
        tandem_spark.predict(frame, bundle)


def test_a_process_never_predicts_with_another_version(bundle: Bundle, features: pa.Table) -> None:
    (batch,) = features.slice(0, 1).to_batches()
    with pytest.raises(DefinitionError, match=f"is version {bundle.digest[:8]}, not ffffffff"):
        PartitionScorer("f" * 64).rows(str(bundle.path), batch)
