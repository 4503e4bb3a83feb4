"""``tandem snapshot``: the newest features of every entity in one file, for programs without an online store."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.progress import Progress, TaskID

from tandem import Bundle, FeatureView
from tandem.manifest import MANIFEST
from tandem.package import ModelPackage
from tandem.snapshots import Rows, rows_of_store, rows_of_tables, write_snapshot
from tandem.sources import Source, check_sources, read_sources
from tandem.stores import open_store
from tandem.stores.snapshot import SnapshotStore
from tandem.stores.snapshot_format import Footer, verify_snapshot
from tandem_cli.batch import parse_pairs
from tandem_cli.features import TableOption, row_progress
from tandem_cli.output import Console, Format, OutputOption, print_document
from tandem_cli.registry import bundle_path

ModelArgument = Annotated[
    str | None,
    typer.Argument(metavar="MODEL", help="Directory of a bundle or of a model package, or models:/NAME@ALIAS."),
]
ToOption = Annotated[Path | None, typer.Option("--to", metavar="FILE", dir_okay=False, help="Write to this file.")]
StoreOption = Annotated[
    str | None,
    typer.Option(metavar="URL", help="Read this online store; by default the tables of the feature views are read."),
]
PackageOption = Annotated[
    Path | None,
    typer.Option(
        metavar="PATH",
        exists=True,
        file_okay=False,
        help="Model package whose \\[tool.tandem.features] names the tables, if MODEL is not a package itself.",
    ),
]
VerifyOption = Annotated[
    Path | None,
    typer.Option("--verify", metavar="FILE", dir_okay=False, help="Write nothing; read this file and verify it."),
]


def write_features(
    model: ModelArgument = None,
    to: ToOption = None,
    store: StoreOption = None,
    package: PackageOption = None,
    table: TableOption = None,
    verify: VerifyOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Write the newest features of every entity to one file: a store for --store snapshot:///PATH/FILE.

    With --verify, compare a file with its digest, and with the feature views of MODEL if one is given.

    Exit codes: 0 written or whole, 1 a table, the store or the file failed, 2 the command line is invalid.
    """
    # a document has the standard output for itself
    console = Console(stderr=output.is_document)
    if verify is not None:
        if to or store or package or table:
            raise typer.BadParameter("writes nothing, so it takes none of --to, --store, --package and --table")
        path, footer = verify, _verify(verify, {} if model is None else _views(model), console)
    elif model is None or to is None:
        raise typer.BadParameter("give MODEL and --to, or --verify")
    else:
        if store is not None and (package or table):
            raise typer.BadParameter("is read in place of tables", param_hint="--store")
        views = _views(model)
        path, footer = to, _write(to, views, store, {} if store else _sources(model, views, package, table), console)
    document = _document(path, footer)
    if output.is_document:
        print_document(document, output)
    else:
        _print(console, document)


def _views(model: str) -> dict[str, FeatureView]:
    """The feature views of a bundle or of a model package, by name."""
    if _is_package(model):
        uses = ModelPackage.read(model).load().views
    else:
        uses = Bundle.open(bundle_path(model)).manifest.views
    return {use.view.name: use.view for use in uses}


def _is_package(model: str) -> bool:
    return not (Path(model) / MANIFEST).exists() and (Path(model) / "pyproject.toml").exists()


def _sources(
    model: str, views: Mapping[str, FeatureView], package: Path | None, tables: list[str] | None
) -> dict[str, Source]:
    """The tables of feature views, which exist."""
    directory = package or (Path(model) if _is_package(model) else None)
    sources = {} if directory is None else read_sources(ModelPackage.read(directory))
    sources |= {view: Source(Path(path).resolve()) for view, path in parse_pairs("--table", tables or []).items()}
    check_sources(views, sources)
    return sources


def _write(
    path: Path, views: Mapping[str, FeatureView], url: str | None, sources: Mapping[str, Source], console: Console
) -> Footer:
    with row_progress(console) as progress:
        bars = _Bars(progress, {view: source.open().count_rows() for view, source in sources.items() if view in views})
        if url is None:
            return write_snapshot(path, list(views.values()), rows_of_tables(sources), progress=bars.show)
        store: Any = open_store(url, views.values())
        try:
            return write_snapshot(path, list(views.values()), _listed(store, url), progress=bars.show)
        finally:
            asyncio.run(store.close())


def _listed(store: Any, url: str) -> Rows:
    scheme = url.partition("://")[0]
    if scheme == "memory" or not hasattr(store, "scan_now"):
        raise typer.BadParameter(f"the rows of {scheme}:// cannot be listed; name the tables", param_hint="--store")
    return rows_of_store(store)


class _Bars:
    """A progress bar for each view, and one for the file."""

    def __init__(self, progress: Progress, totals: Mapping[str, int]) -> None:
        self._progress = progress
        self._totals = dict(totals)
        self._tasks: dict[str, TaskID] = {}
        self._read: dict[str, int] = {}

    def show(self, phase: str, done: int) -> None:
        if phase not in self._tasks:
            # all that was read is written
            total = sum(self._read.values()) if phase == "write" else self._totals.get(phase)
            self._tasks[phase] = self._progress.add_task(phase, total=total)
        self._read[phase] = done
        self._progress.update(self._tasks[phase], completed=done)


def _verify(path: Path, views: Mapping[str, FeatureView], console: Console) -> Footer:
    # first what can be seen at once
    asyncio.run(SnapshotStore(path, views.values()).close())
    with row_progress(console, "bytes") as progress:
        task = progress.add_task(path.name, total=None)
        return verify_snapshot(path, progress=lambda done, total: progress.update(task, completed=done, total=total))


def _document(path: Path, footer: Footer) -> dict[str, Any]:
    return {
        "file": str(path),
        "bytes": path.stat().st_size,
        "digest": footer.digest,
        "createdAt": _instant(footer.created_at),
        "views": [
            {
                "view": view.name,
                "version": view.version,
                "entities": view.entities,
                "newest": None if view.newest is None else _instant(view.newest),
            }
            for view in footer.views
        ],
    }


def _print(console: Console, document: Mapping[str, Any]) -> None:
    def line(text: str) -> None:
        console.print(text, highlight=False, soft_wrap=True, markup=False)

    line(f"{document['file']}: {document['bytes']:,} bytes, of {document['createdAt']}, digest {document['digest']}")
    for view in document["views"]:
        newest = "" if view["newest"] is None else f"; newest {view['newest']}"
        line(f"{view['view']} version {view['version']}: {view['entities']:,} entities{newest}")


def _instant(microseconds: int) -> str:
    return f"{np.datetime64(microseconds, 'us')}Z"
