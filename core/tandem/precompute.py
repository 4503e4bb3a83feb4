"""From a table of requests to predictions computed ahead in the online store.

The features are those of the same store, so that a prediction is what the transformer would answer at the time of the
run. The table is read in batches, so that it may be larger than memory. Running it again is safe: a row that is newer
in the store is left as it is. The store removes rows when they are too old to answer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tandem.arrow_tables import TableSource, naming_file, open_table, without_string_views
from tandem.clock import utc_now
from tandem.dtypes import Columns
from tandem.embedded import EmbeddedModel
from tandem.errors import DefinitionError
from tandem.inputs import Inputs
from tandem.lookup import LookupPlan
from tandem.precomputed import PrecomputedPredictions
from tandem.request_tables import read_rows
from tandem.rows import RowReader
from tandem.stores import OnlineStore
from tandem.tables import missing_column

ROWS_PER_BATCH = 5_000


@dataclass(frozen=True, slots=True)
class Summary:
    """What :func:`precompute` did.

    Attributes:
        rows_read: Rows of the table so far.
        rows_written: Those whose prediction is in the store now.
        rows_degraded: Those that were left out, since stored values are lacking: the transformer would flag or refuse
            them.
        rows_newer: Those that were left alone, since the store had a prediction of a later time.
    """

    rows_read: int = 0
    rows_written: int = 0
    rows_degraded: int = 0
    rows_newer: int = 0


async def precompute(
    model: EmbeddedModel,
    table: TableSource,
    store: OnlineStore,
    *,
    progress: Callable[[Summary], None] | None = None,
) -> Summary:
    """Predict the rows of a table of requests, and write the predictions to the online store.

    Args:
        model: The version that predicts; only this one will answer with what is written.
        table: Has a column for each field of the contract; those that may be left out it may lack. Further columns are
            not read. Without a value of the contract's ``as_of``, a prediction is about the time of the run.
        store: Where features are looked up, and predictions written.
        progress: Called after each batch with what was done so far.

    Raises:
        ContractViolation: naming field and rule, and the row of its batch where there is one.
        DefinitionError: if the model takes no predictions computed ahead, or the table lacks a column or is none.
        StoreError: if the store cannot be reached or refuses.
    """
    precomputed = PrecomputedPredictions(model.bundle)
    contract = model.bundle.contract
    with naming_file(table):
        source = open_table(table)
        for name, field in contract.inputs.items():
            if field.required and name not in source.schema.names:
                raise DefinitionError(f"{missing_column(name, source.schema.names)}; it is a field of each request")
    names = [name for name in contract.inputs if name in source.schema.names]
    summary = Summary()
    for batch in map(without_string_views, source.to_batches(columns=names, batch_size=ROWS_PER_BATCH)):
        if not batch.num_rows:
            continue
        with naming_file(table):
            request = read_rows(contract, batch)
        summary = await _write(model, precomputed, request, store, summary)
        if progress is not None:
            progress(summary)
    return summary


async def _write(
    model: EmbeddedModel, precomputed: PrecomputedPredictions, request: Columns, store: OnlineStore, before: Summary
) -> Summary:
    """Predict the rows of a batch and write them; returns what has been done by then."""
    plan = LookupPlan(model.bundle.model.views)
    rows = len(next(iter(request.values())))
    # the only clock: the pipeline itself reads none
    now = utc_now()
    as_of = RowReader(model.bundle.contract).as_of(request, now)
    values = await store.get(plan.keys(request)) if plan.uses else []
    inputs = Inputs(request, plan.unpack(values, rows), as_of)
    features = model.pipeline.features(inputs)
    # an answer that would be flagged must not come back without its flag
    whole = np.delete(np.arange(rows), sorted(features.refused.keys() | features.degraded.keys()))
    newer: list[bytes] = []
    if len(whole):
        inputs = inputs.take(whole)
        packed = precomputed.pack(model.predict_columns(inputs), inputs.as_of)
        rows_by_key = zip(precomputed.keys(inputs.request), packed, strict=True)
        newer = await store.put(rows_by_key, ttl_s=precomputed.useful_s(inputs.as_of, now))
    return Summary(
        before.rows_read + rows,
        before.rows_written + len(whole) - len(newer),
        before.rows_degraded + rows - len(whole),
        before.rows_newer + len(newer),
    )
