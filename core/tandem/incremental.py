"""Materializing what is new since the last run, in pieces: an interrupted run continues with the piece it was in.

A column of the view's table tells what is new: the time since when a row is known, where the table has that, or else
the event time. Its greatest value that was read, the watermark, is kept in the online store. As rows do not arrive in
the order of their times, each run reads again what lies within ``lateness`` before the watermark. The store keeps the
newest row of an entity, so that it does not matter how often a row is written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import msgspec
import numpy as np

from tandem.arrow_tables import check_schema, naming_file, naming_view
from tandem.durations import parse_duration
from tandem.errors import DefinitionError
from tandem.features import FeatureView
from tandem.materialize import Summary, materialize
from tandem.packed_rows import RowLayout
from tandem.sources import Source
from tandem.stores import OnlineStore
from tandem.table_pieces import Piece, all_of, at_or_after, before, fingerprint, greater, split
from tandem.watermarks import RunProgress, Watermark, read_watermark, write_watermark


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What a run has done so far.

    Attributes:
        rows: Rows of the table that it reads in all.
        rows_read: Rows that it has read, with those that the interrupted run before had read.
        rows_written: Rows that were written: in each piece, the newest one of each entity.
        rows_older: Such rows that were not written, since the store had newer ones.
        newest: Greatest event time of the rows that were read, ``datetime64[us]``; NaT for none.
        since: Value of the watermark's column from which on rows are read; None for all rows.
        resumed: Whether it continues an interrupted run.
    """

    rows: int
    rows_read: int = 0
    rows_written: int = 0
    rows_older: int = 0
    newest: np.datetime64 = field(default_factory=lambda: np.datetime64("NaT", "us"))
    since: np.datetime64 | None = None
    resumed: bool = False


@dataclass(frozen=True)
class Selection:
    """Which rows of a table a run reads.

    Attributes:
        start: First event time; None for no bound.
        end: Event time at which the range ends, itself not in it; None for no bound.
        full: Read all rows in the range, whatever earlier runs have read.
        lateness: How long after others, by the watermark's column, a row may arrive.
        partial: Whether the table is not the view's own one, or a part of it.
    """

    start: datetime | None = None
    end: datetime | None = None
    full: bool = False
    lateness: str = "1d"
    partial: bool = False

    def __post_init__(self) -> None:
        parse_duration(self.lateness)
        for name, moment in (("start", self.start), ("end", self.end)):
            if moment is not None and moment.tzinfo is None:
                raise DefinitionError(f"{name} {moment} has no time zone")
        if self.start is not None and self.end is not None and self.start >= self.end:
            raise DefinitionError(f"start {self.start} is not before end {self.end}")

    @property
    def moves_watermark(self) -> bool:
        """Whether a run says something about all rows of the view's table."""
        return self.start is None and self.end is None and not self.partial


async def materialize_new(
    view: FeatureView,
    source: Source,
    store: OnlineStore,
    *,
    now: datetime,
    selection: Selection | None = None,
    overwrite: bool = False,
    ttl_s: float | None = None,
    progress: Callable[[RunSummary], None] | None = None,
) -> RunSummary:
    """Write the newest values of entities to the online store, from the rows that are new since the last run.

    Args:
        view: The feature view.
        source: Its table.
        store: Where to write.
        now: The present time, with a zone.
        selection: Which rows to read; by default those that are new. A run over a range of time leaves the watermark
            where it is.
        overwrite: Write whatever the store has. Such a run is not continued if it is interrupted.
        ttl_s: Seconds after which the rows that are written expire in the store; None for never.
        progress: Called after each batch with what was done so far.

    Raises:
        DefinitionError: naming view, table and column, as :func:`tandem.materialize.materialize`.
        StoreError: if the store cannot be reached or refuses.
    """
    selection = selection or Selection()
    run = await _plan(view, source, store, selection, whole=overwrite)
    if progress is not None:
        progress(run.summary)
    for piece in run.pieces[run.progress.pieces :]:
        base = run.summary

        def report(summary: Summary, base: RunSummary = base) -> None:
            if progress is not None:
                progress(_added(base, summary))

        try:
            written = await materialize(
                view,
                piece.table,
                store,
                event_time=source.event_time,
                overwrite=overwrite,
                ttl_s=ttl_s,
                progress=report,
            )
        except DefinitionError as error:
            raise DefinitionError(f"feature view {view.name!r}: {source.name}: {error}") from error
        run.add(piece, written)
        # after the last piece the run is at its end
        if selection.moves_watermark and run.progress.pieces < len(run.pieces):
            await write_watermark(view, store, msgspec.structs.replace(run.watermark, run=run.progress))
    if selection.moves_watermark:
        await write_watermark(view, store, run.watermark_at_end(now))
    return run.summary


class _Run:
    """A run, and how far it is."""

    def __init__(
        self, watermark: Watermark, pieces: Sequence[Piece], summary: RunSummary, progress: RunProgress
    ) -> None:
        self.watermark = watermark
        self.pieces = pieces
        self.summary = summary
        self.progress = progress

    def add(self, piece: Piece, written: Summary) -> None:
        """Count a piece that is written."""
        self.summary = _added(self.summary, written)
        event_time = None if np.isnat(written.newest) else int(written.newest.astype(np.int64))
        self.progress = RunProgress(
            self.progress.plan,
            self.progress.pieces + 1,
            greater(self.progress.newest, piece.newest()),
            greater(self.progress.newest_event_time, event_time),
        )

    def watermark_at_end(self, now: datetime) -> Watermark:
        """The watermark after the run."""
        return Watermark(
            layout=self.watermark.layout,
            column=self.watermark.column,
            newest=self.progress.newest,
            newest_event_time=self.progress.newest_event_time,
            ended_at=_microseconds(now),
        )


async def _plan(view: FeatureView, source: Source, store: OnlineStore, selection: Selection, *, whole: bool) -> _Run:
    """What a run reads, as a whole or in pieces, and where it begins."""
    with naming_view(view):
        table = source.open()
        with naming_file(source.table):
            check_schema(view, table.schema, source.event_time)
            column = source.created_column(table.schema) or source.event_time
    checksum = RowLayout(view).checksum
    watermark = await read_watermark(view, store)
    if watermark is None or (watermark.layout, watermark.column) != (checksum, column):
        watermark = Watermark(layout=checksum, column=column)
    since = None
    if watermark.newest is not None and not selection.full and selection.moves_watermark:
        since = np.datetime64(watermark.newest, "us") - parse_duration(selection.lateness)
    rows = all_of(
        at_or_after(table.schema, source.event_time, selection.start),
        before(table.schema, source.event_time, selection.end),
        at_or_after(table.schema, column, None if since is None else _moment(since)),
    )
    # the store would not keep the newest row of an entity from one piece to the next, if it is told to overwrite
    pieces = [Piece(table, column, rows)] if whole else list(split(table, rows, column))
    plan = fingerprint(pieces, f"{rows}:{checksum}")
    progress = watermark.run
    if progress is None or progress.plan != plan or not selection.moves_watermark:
        # what earlier runs have read says nothing, if all is read anew
        newest = (None, None) if selection.full else (watermark.newest, watermark.newest_event_time)
        progress = RunProgress(plan, 0, *newest)
    counts = [piece.count() for piece in pieces]
    summary = RunSummary(sum(counts), sum(counts[: progress.pieces]), since=since, resumed=progress.pieces > 0)
    return _Run(watermark, pieces, summary, progress)


def _added(summary: RunSummary, written: Summary) -> RunSummary:
    return RunSummary(
        summary.rows,
        summary.rows_read + written.rows_read,
        summary.rows_written + written.entities_written,
        summary.rows_older + written.entities_newer,
        np.fmax(summary.newest, written.newest),
        summary.since,
        summary.resumed,
    )


def _moment(time: np.datetime64) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(time.astype(np.int64)))


def _microseconds(moment: datetime) -> int:
    return int(np.datetime64(moment.astimezone(UTC).replace(tzinfo=None), "us").astype(np.int64))
