"""Predictions for Ray datasets, with the same pipeline and the same columns as ``tandem batch``.

Needs Ray Data, and this package where the actors run: the extra ``ray``.

    from tandem_offline.ray import predict

    predict(ray.data.read_parquet("features"), "bundles/time-estimator-1a2b3c4d").write_parquet("predictions")
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from ray.data import Dataset

from tandem.bundle import Bundle
from tandem_offline.batch.partitions import PartitionScorer, open_bundle
from tandem_offline.batch.plan import ROWS_PER_BATCH


class _Actor:
    """One process that predicts; it opens the version before its first batch."""

    def __init__(self, scorer: PartitionScorer, directory: str) -> None:
        self._scorer = scorer
        self._directory = directory

    def __call__(self, table: pa.Table) -> pa.Table:
        batches = [self._scorer.rows(self._directory, batch) for batch in table.combine_chunks().to_batches()]
        return pa.Table.from_batches(batches) if batches else pa.table({})


def predict(
    features: Dataset,
    bundle: Bundle | Path | str,
    *,
    run_id: str = "",
    keep: Sequence[str] = (),
    threads: int = 1,
    concurrency: int | tuple[int, int] = 1,
    rows_per_batch: int = ROWS_PER_BATCH,
    **resources: Any,
) -> Dataset:
    """A row for each row: keys, time, prediction, ``degraded`` and ``error``, as ``docs/batch.md`` lists them.

    A pool of actors computes it when the result is read. A row without a prediction has an error, and fails no others.

    Args:
        features: Rows with their features, such as those of :meth:`~tandem_offline.OfflineStore.batch_data`.
        bundle: The version, or its directory, which all nodes of the cluster can read: the path is sent, not the files.
        run_id: Name of the run, which is written with each row.
        keep: Further columns that are written too.
        threads: Threads of ONNX Runtime within one call.
        concurrency: Actors, or the least and the most of them.
        rows_per_batch: Rows that are predicted at once.
        resources: Of each actor, as for ``Dataset.map_batches``: ``num_cpus``, ``num_gpus``, ``memory`` …

    Raises:
        DefinitionError: naming a column that is missing, of another type, or would be written twice.
        BundleError: if the bundle is refused.
    """
    opened = open_bundle(bundle)
    scorer = PartitionScorer(opened.digest, run_id, tuple(keep), threads)
    schema = features.schema()
    if schema is not None:
        scorer.layout(opened, pa.schema(list(zip(schema.names, schema.types, strict=True))))
    return features.map_batches(
        _Actor,
        fn_constructor_args=(scorer, str(Path(opened.path).resolve())),
        batch_format="pyarrow",
        batch_size=rows_per_batch,
        concurrency=concurrency,
        zero_copy_batch=True,
        **resources,
    )
