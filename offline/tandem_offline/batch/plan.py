"""What a run is going to do: its rows, the parts in which they are written, and its identity. No row is read."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa

from tandem.arrow_tables import fits
from tandem.bundle import Bundle
from tandem.errors import DefinitionError
from tandem.fields import Field
from tandem.model import Model
from tandem.tables import missing_column
from tandem_offline.batch.layout import Layout
from tandem_offline.feature_table import FeatureTable

ROWS_PER_BATCH: Final = 65_536
"""Rows that are predicted at once."""

ROWS_PER_PART: Final = 1_000_000
"""Rows that are written at once: a file, or a commit."""

_RUN_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class Part:
    """Rows of a run that are written at once.

    Attributes:
        run_id: The run.
        number: Which of its parts, from 0.
        parts: How many parts the run has.
        fingerprint: What the run is made of, as a number of 63 bits.
    """

    run_id: str
    number: int
    parts: int
    fingerprint: int


@dataclass(frozen=True)
class BatchPlan:
    """A run; made by :func:`plan_batch`.

    Attributes:
        run_id: Its name.
        rows: Rows that it reads, and writes.
        rows_per_part: Rows of a part; the last one may have fewer.
        fingerprint: A number of 63 bits that changes with the version, the query, the files that are read, and the
            columns that are written.
        layout: The columns that it writes.
    """

    run_id: str
    rows: int
    rows_per_part: int
    fingerprint: int
    layout: Layout

    @property
    def parts(self) -> int:
        """How many parts there are; one without rows, so that a run without rows is known to be complete."""
        return max(1, -(-self.rows // self.rows_per_part))

    def part(self, number: int) -> Part:
        """A part, by its number."""
        return Part(self.run_id, number, self.parts, self.fingerprint)

    def rows_before(self, number: int) -> int:
        """Rows of all parts before one."""
        return min(self.rows, number * self.rows_per_part)

    def sizes(self, number: int) -> Iterator[int]:
        """Rows of the batches of a part: the same whenever it is written, since the last bit may depend on them."""
        rows = self.rows_before(number + 1) - self.rows_before(number)
        while rows:
            yield min(rows, ROWS_PER_BATCH)
            rows -= min(rows, ROWS_PER_BATCH)


def name_run(bundle: Bundle, arguments: Mapping[str, Any]) -> str:
    """The name of a run, which is the same for the same version and the same arguments.

    Args:
        bundle: The version.
        arguments: What is asked for, of plain types.
    """
    text = json.dumps([bundle.digest, arguments], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def plan_batch(
    bundle: Bundle,
    features: FeatureTable,
    *,
    run_id: str,
    keep: Sequence[str] = (),
    rows_per_part: int = ROWS_PER_PART,
) -> BatchPlan:
    """Check that a version can predict for rows, and count them.

    Args:
        bundle: The version.
        features: The rows, with their features.
        run_id: Name of the run: letters, digits and ``. _ -``, at most 100 of them.
        keep: Further columns of the rows that are written too.
        rows_per_part: Rows that are written at once.

    Raises:
        DefinitionError: naming the column that is missing, of another type, or would be written twice; or if the name
            or the number is not valid.
    """
    if not _RUN_ID.fullmatch(run_id):
        raise DefinitionError(f"{run_id!r} cannot name a run: use letters, digits and . _ -, at most 100 of them")
    if rows_per_part < 1:
        raise DefinitionError(f"a part has at least one row, not {rows_per_part}")
    check_columns(bundle.model, features.schema)
    layout = Layout(bundle, features.schema, run_id=run_id, keep=keep)
    made_of = [bundle.digest, features.identity(), layout.schema.to_string(), rows_per_part]
    digest = hashlib.sha256(json.dumps(made_of).encode()).digest()
    fingerprint = int.from_bytes(digest[:8], "big") >> 1
    return BatchPlan(run_id, features.count(), rows_per_part, fingerprint, layout)


def check_columns(model: Model, schema: pa.Schema) -> None:
    """Make sure that rows have the fields of the contract.

    Raises:
        DefinitionError: naming a column that is missing or of another type.
    """
    for name, field in model.contract.inputs.items():
        if name not in schema.names:
            if field.required:
                message = missing_column(name, schema.names, table="the batch")
                raise DefinitionError(f"{message}; the contract requires it")
        elif not _is_readable(kind := schema.field(name).type, field):
            raise DefinitionError(f"column {name!r} of the batch is {kind}; the field is {field.type}")


def _is_readable(kind: pa.DataType, field: Field) -> bool:
    if field.type == "bytes":
        return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))
    # ids: a key is the same whether its column is of text or of integers
    return fits(kind, field.type) or (field.type == "string" and pa.types.is_integer(kind))
