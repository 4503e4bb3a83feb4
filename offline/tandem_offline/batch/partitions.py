"""Rows that an engine such as Spark or Ray has divided among processes: each of these opens the version once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pyarrow as pa

from tandem.bundle import Bundle
from tandem.embedded import EmbeddedModel
from tandem.errors import DefinitionError
from tandem_offline.batch.layout import Layout
from tandem_offline.batch.plan import check_columns
from tandem_offline.batch.scoring import score


@dataclass(frozen=True)
class PartitionScorer:
    """Predicts for batches of rows with their features; it can be sent to other processes.

    Attributes:
        digest: Of the version, so that a process never predicts with another one.
        run_id: Name of the run, which is written with each row.
        keep: Further columns that are written too.
        threads: Threads of ONNX Runtime within one call.
    """

    digest: str
    run_id: str = ""
    keep: Sequence[str] = ()
    threads: int = 1

    def rows(self, directory: str, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The rows of a batch, as :class:`~tandem_offline.batch.Layout` describes them.

        Args:
            directory: Of the bundle, on this machine.
            batch: Rows with the columns of a :class:`~tandem_offline.feature_table.FeatureTable`.

        Raises:
            DefinitionError: if the bundle is another version, or a column is missing or of another type.
            BundleError: if the bundle is refused.
        """
        model = _open(directory, self.threads)
        if model.bundle.digest != self.digest:
            raise DefinitionError(f"{directory} is version {model.bundle.digest[:8]}, not {self.digest[:8]}")
        layout = self.layout(model.bundle, batch.schema)
        return (
            layout.rows(batch, score(model, batch)) if batch.num_rows else layout.schema.empty_table().to_batches()[0]
        )

    def layout(self, bundle: Bundle, features: pa.Schema) -> Layout:
        """The columns that are written.

        Raises:
            DefinitionError: naming a column that is missing, of another type, or would be written twice, or whose times
                have no zone.
        """
        check_columns(bundle.model, features)
        for column in features:
            if pa.types.is_timestamp(column.type) and column.type.tz is None:
                raise DefinitionError(f"column {column.name!r} has times without a zone, which are no points in time")
        return Layout(bundle, features, run_id=self.run_id, keep=self.keep)


def open_bundle(bundle: Bundle | Path | str) -> Bundle:
    """A bundle that is open already, or the one of a directory.

    Raises:
        BundleError: if it is refused.
    """
    return bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)


@lru_cache(maxsize=4)
def _open(directory: str, threads: int) -> EmbeddedModel:
    return EmbeddedModel.open(directory, threads=threads)
