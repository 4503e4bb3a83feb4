"""What ``tandem batch`` asks for, and what it prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import typer
from rich.table import Table

from tandem import Bundle
from tandem.package import ModelPackage
from tandem.sources import Source, read_sources
from tandem_cli.output import Console

if TYPE_CHECKING:
    from tandem_offline.batch import BatchPlan, BatchSummary, Estimate


_DAYS: Final = {"yesterday": timedelta(days=1), "today": timedelta()}
"""Words for the times at which days begin, in UTC: how long before the current day each is."""


@dataclass(frozen=True)
class Selection:
    """The rows to predict for.

    Attributes:
        start: First event time of a range.
        end: Event time at which it ends.
        as_of: The time as of which the newest row of each entity is taken.
        spine: A table of rows.
    """

    start: datetime | None = None
    end: datetime | None = None
    as_of: datetime | None = None
    spine: Path | None = None

    def query(self) -> dict[str, Any]:
        """Arguments of :meth:`~tandem_offline.OfflineStore.batch_data`."""
        if self.spine is not None:
            return {"spine": self.spine}
        if self.as_of is not None:
            return {"latest": True, "as_of": self.as_of}
        return {"start_time": self.start, "end_time": self.end}


def read_selection(
    range_: tuple[str, str] | None, *, latest: bool, as_of: str | None, spine: Path | None, is_named: bool
) -> Selection:
    """The rows that the command line asks for.

    Args:
        range_: First event time, and the one at which the range ends.
        latest: Whether the newest row of each entity is asked for.
        as_of: The time of that.
        spine: A table of rows.
        is_named: Whether the run has a name, so that it must be the same when it is continued.

    Raises:
        typer.BadParameter: if not one of them is asked for, or a time is none.
    """
    # both ends of a range of yesterday and today belong to one day, also at midnight
    now = datetime.now(UTC)
    if (range_ is not None) + latest + (spine is not None) != 1:
        raise typer.BadParameter("give one of --range, --latest and --spine")
    if as_of is not None and not latest:
        raise typer.BadParameter("is for --latest only", param_hint="--as-of")
    if spine is not None:
        return Selection(spine=spine.resolve())
    if range_ is not None:
        start, end = (_day_or_moment(text, "--range", now) for text in range_)
        return Selection(start, end)
    if as_of is None and is_named:
        raise typer.BadParameter(
            "with --latest also needs --as-of, or the run would be another one when it is continued",
            param_hint="--run-id",
        )
    return Selection(as_of=now if as_of is None else _day_or_moment(as_of, "--as-of", now))


def read_tables(bundle: Bundle, package: Path | None, tables: Sequence[str]) -> dict[str, Source]:
    """The tables of the feature views of a bundle.

    Args:
        bundle: The bundle.
        package: A model package whose ``[tool.tandem.features]`` names them; None for that of the current directory,
            which is read only if the bundle has a view without a table.
        tables: ``VIEW=PATH``, in place of those of the package.

    Raises:
        typer.BadParameter: if one is not written so.
        DefinitionError: if the package cannot be read.
    """
    sources = {view: Source(path) for view, path in parse_pairs("--table", tables).items()}
    views = {use.view.name for use in bundle.manifest.views}
    if package is None and (views <= sources.keys() or not Path("pyproject.toml").exists()):
        return sources
    return read_sources(ModelPackage.read(package or Path())) | sources


def read_request(bundle: Bundle, values: Sequence[str]) -> dict[str, Any]:
    """Values of fields of the contract, the same for all rows.

    Args:
        bundle: The bundle.
        values: ``NAME=VALUE``; numbers, booleans and lists as in JSON.

    Raises:
        typer.BadParameter: if one is not written so.
    """
    request: dict[str, Any] = {}
    for name, text in parse_pairs("--request", values).items():
        entry = bundle.contract.inputs.get(name)
        kind = "string" if entry is None else entry.type
        request[name] = _moment(text, "--request") if kind == "timestamp" else _value(text, kind)
    return request


def parse_pairs(option: str, texts: Sequence[str]) -> dict[str, str]:
    """Texts by name.

    Raises:
        typer.BadParameter: naming the option, if one of them is not ``NAME=TEXT``.
    """
    pairs = [text.partition("=") for text in texts]
    for name, sign, text in pairs:
        if not (name and sign and text):
            raise typer.BadParameter(f"{name}{sign}{text} is not NAME=VALUE", param_hint=option)
    return {name: text for name, _, text in pairs}


def describe_plan(plan: BatchPlan, bundle: Bundle, to: str, expected: Estimate, rows_before: int) -> dict[str, Any]:
    """A plan as a document."""
    return {
        "run": plan.run_id,
        "model": bundle.wire_name,
        "version": bundle.version,
        "digest": bundle.digest,
        "to": to,
        "rows": plan.rows,
        "parts": plan.parts,
        "rowsPerPart": plan.rows_per_part,
        "rowsBefore": rows_before,
        "firstRowSeconds": round(expected.first_row_s, 3),
        "rowsPerSecond": None if expected.rows_per_s is None else round(expected.rows_per_s),
        "seconds": round(expected.total_s, 3),
        "columns": [{"name": column.name, "type": str(column.type)} for column in plan.layout.schema],
    }


def describe_summary(summary: BatchSummary, bundle: Bundle, to: str, seconds: float) -> dict[str, Any]:
    """What a run did, as a document."""
    return {
        "run": summary.run_id,
        "model": bundle.wire_name,
        "version": bundle.version,
        "digest": bundle.digest,
        "to": to,
        "rows": summary.rows,
        "rowsBefore": summary.rows_before,
        "rowsWritten": summary.rows_written,
        "degraded": summary.degraded,
        "errors": dict(summary.errors),
        "changed": summary.changed,
        "seconds": round(seconds, 3),
    }


def print_plan(console: Console, document: Mapping[str, Any]) -> None:
    """Print a plan for people."""
    rate = document["rowsPerSecond"]
    speed = "" if rate is None else f": {document['firstRowSeconds']:,.1f} s for the join, then {rate:,} rows/s"
    lines = [
        f"run {document['run']} of {document['model']} to {document['to']}",
        f"{document['rows']:,} rows in {document['parts']:,} parts; {document['rowsBefore']:,} are there",
        f"about {document['seconds']:,.1f} s{speed}",
    ]
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True)
    table = Table("column", "type")
    for column in document["columns"]:
        table.add_row(column["name"], column["type"])
    console.print(table)


def print_summary(console: Console, document: Mapping[str, Any]) -> None:
    """Print what a run did for people."""
    if not document["rowsWritten"] and (document["rowsBefore"] or document["changed"]):
        text = f"run {document['run']} is complete already"
        text += "; its tables, version or arguments have changed since" if document["changed"] else ""
    else:
        text = f"run {document['run']}: {document['rowsWritten']:,} rows written to {document['to']}"
        text += f", after {document['rowsBefore']:,} of before" if document["rowsBefore"] else ""
        text += f"; {document['degraded']:,} degraded" if document["degraded"] else ""
        codes = ", ".join(f"{count:,} {code}" for code, count in sorted(document["errors"].items()))
        text += f"; without a prediction: {codes}" if codes else ""
    console.print(text, highlight=False, soft_wrap=True)


def _day_or_moment(text: str, option: str, now: datetime) -> datetime:
    if text in _DAYS:
        return now.replace(hour=0, minute=0, second=0, microsecond=0) - _DAYS[text]
    return _moment(text, option)


def _moment(text: str, option: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a time, such as 2026-05-01T08:00:00Z", param_hint=option) from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def _value(text: str, kind: str) -> Any:
    if kind in ("string", "bytes"):
        return text
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        raise typer.BadParameter(f"{text!r} is not a {kind}", param_hint="--request") from None
