"""Predictions for Spark DataFrames, with the same pipeline and the same columns as ``tandem batch``.

Needs PySpark 4.1 or newer, and this package in the Python environment of the executors: the extra ``spark``. The bundle
is sent to them.

    from tandem_offline.spark import predict

    predict(features, "bundles/time-estimator-1a2b3c4d").write.mode("append").parquet("predictions")
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyspark import SparkFiles
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.functions import arrow_udf  # type: ignore[attr-defined]  # missing in its stubs
from pyspark.sql.pandas.types import from_arrow_schema, to_arrow_schema
from pyspark.sql.types import StructType

from tandem.bundle import Bundle
from tandem_offline.batch.partitions import PartitionScorer, open_bundle

_sent: dict[tuple[str, str], str] = {}
"""Names under which executors have bundles, by application and digest."""


def predict(
    features: DataFrame, bundle: Bundle | Path | str, *, run_id: str = "", keep: Sequence[str] = (), threads: int = 1
) -> DataFrame:
    """A row for each row: keys, time, prediction, ``degraded`` and ``error``, as ``docs/batch.md`` lists them.

    It is computed when the result is, by ``mapInArrow``. A row without a prediction has an error, and fails no others.

    Args:
        features: Rows with their features, such as those of :meth:`~tandem_offline.OfflineStore.batch_data`. Times are
            ``timestamp``: a ``timestamp_ntz`` is refused, as a time without a zone.
        bundle: The version, or its directory on the driver.
        run_id: Name of the run, which is written with each row.
        keep: Further columns that are written too.
        threads: Threads of ONNX Runtime within one task.

    Raises:
        DefinitionError: naming a column that is missing, of another type, or would be written twice.
        BundleError: if the bundle is refused.
    """
    opened = open_bundle(bundle)
    scorer = PartitionScorer(opened.digest, run_id, tuple(keep), threads)
    schema = from_arrow_schema(scorer.layout(opened, to_arrow_schema(features.schema, timezone="UTC")).schema)
    name = _send(features.sparkSession, opened)

    def rows(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        directory = SparkFiles.get(name)
        for batch in batches:
            yield scorer.rows(directory, batch)

    return features.mapInArrow(rows, schema)


def predictor_udf(features: DataFrame, bundle: Bundle | Path | str, *, threads: int = 1) -> Callable[..., Any]:
    """A function of columns: from a struct of a row's features to a struct of what :func:`predict` returns for it.

    Args:
        features: Rows with the columns that the struct will have.
        bundle: The version, or its directory on the driver.
        threads: Threads of ONNX Runtime within one task.

    Raises:
        DefinitionError: naming a column that is missing or of another type.
        BundleError: if the bundle is refused.
    """
    opened = open_bundle(bundle)
    scorer = PartitionScorer(opened.digest, threads=threads)
    schema: StructType = from_arrow_schema(
        scorer.layout(opened, to_arrow_schema(features.schema, timezone="UTC")).schema
    )
    name = _send(features.sparkSession, opened)

    def answers(structs: Iterator[pa.Array]) -> Iterator[pa.Array]:  # type: ignore[type-arg]
        directory = SparkFiles.get(name)
        for struct in structs:
            batch = pa.RecordBatch.from_struct_array(struct)  # type: ignore[arg-type]
            yield scorer.rows(directory, batch).to_struct_array()

    udf: Callable[..., Any] = arrow_udf(answers, schema)
    return udf


def _send(session: SparkSession, bundle: Bundle) -> str:
    """Let executors fetch a bundle, once for each application; the name under which they have it."""
    context = session.sparkContext
    key = (context.applicationId or "", bundle.digest)
    if key not in _sent:
        # executors may fetch it as long as the application runs
        directory = tempfile.mkdtemp(prefix="tandem-")
        atexit.register(shutil.rmtree, directory, ignore_errors=True)
        name = f"tandem-{bundle.digest[:16]}"
        archive = shutil.make_archive(str(Path(directory) / name), "zip", bundle.path)
        context.addArchive(f"{archive}#{name}")
        _sent[key] = name
    return _sent[key]
