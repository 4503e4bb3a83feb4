"""Where the rows of feature views come from: tables on disk, named in ``[tool.tandem.features]`` of a model package.

[tool.tandem.features]
profile = "data/profile.parquet"
training_load = { path = "data/load", format = "delta", event_time = "day", created = "loaded_at" }
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from tandem.errors import DefinitionError
from tandem.features import FeatureView
from tandem.tables import missing_column

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow import dataset

    from tandem.arrow_tables import TableSource
    from tandem.package import ModelPackage

Format = Literal["parquet", "delta"]
"""Formats of tables on disk."""

DEFAULT_CREATED = "created"
"""Column that tells since when a row is known, where a source names no other one."""


@dataclass(frozen=True)
class Source:
    """The table of a feature view: its rows over time, one or more for each entity.

    Attributes:
        table: A Parquet file, a directory of them, or a Delta table, as a path or URL; an Arrow dataset; or a table of
            any library.
        event_time: Column that tells since when a row's values hold.
        created: Column that tells since when a row is known. None for the column ``created``, if there is one; empty
            for none.
        format: Format of a path. None for Delta where the directory has a Delta log, and for Parquet otherwise.
    """

    table: TableSource
    event_time: str = "event_time"
    created: str | None = None
    format: Format | None = None

    @property
    def path(self) -> str | Path | None:
        """The path or URL; None for a table in memory."""
        return self.table if isinstance(self.table, str | Path) else None

    @property
    def name(self) -> str:
        """What messages call it: its path, or ``table``."""
        return "table" if self.path is None else str(self.path)

    @property
    def exists(self) -> bool:
        """Whether there is such a file or directory; always true for URLs and for tables in memory."""
        return self.path is None or is_url(self.path) or Path(self.path).exists()

    @property
    def is_delta(self) -> bool:
        """Whether it is a Delta table."""
        return self.path is not None and (self.format or _detect_format(self.path)) == "delta"

    def open(self) -> dataset.Dataset:
        """The table as an Arrow dataset, as it is now.

        Raises:
            DefinitionError: naming the path, if it cannot be read or needs a library that is not installed.
        """
        from tandem.arrow_tables import naming_file, open_table

        with naming_file(self.table):
            return _open_delta(str(self.path)) if self.is_delta else open_table(self.table)

    def created_column(self, schema: pa.Schema) -> str | None:
        """The column that tells since when a row is known, of a table with this schema; None if there is none.

        Raises:
            DefinitionError: if the column that is named is missing, or it has no timestamps.
        """
        created = self.created if self.created is not None else DEFAULT_CREATED
        if not created or (self.created is None and created not in schema.names):
            return None
        if schema.get_field_index(created) < 0:
            raise DefinitionError(missing_column(created, schema.names))
        if not str(kind := schema.field(created).type).startswith("timestamp"):
            raise DefinitionError(
                f"column {created!r} is {kind}; it must be a timestamp that tells since when a row is known"
            )
        return created


def read_sources(package: ModelPackage) -> dict[str, Source]:
    """The source of each feature view, as ``[tool.tandem.features]`` of a model package names it.

    Raises:
        DefinitionError: naming the view and the setting that is not valid.
    """
    settings = package.settings.get("features", {})
    if not isinstance(settings, Mapping):
        raise DefinitionError(f'{package.path}: [tool.tandem.features] must give a file to each view: view = "file"')
    return {view: _read_source(package.path, view, setting) for view, setting in settings.items()}


def check_sources(views: Mapping[str, FeatureView], sources: Mapping[str, Source]) -> None:
    """Check that each view has a source that exists.

    Raises:
        DefinitionError: naming the view.
    """
    for view in views:
        if view not in sources:
            raise DefinitionError(f"feature view {view!r} has no table; name one in [tool.tandem.features]")
        if not sources[view].exists:
            raise DefinitionError(
                f"feature view {view!r}: {sources[view].name} does not exist; write the package's data first"
            )


def is_url(path: str | Path) -> bool:
    """Whether a path is the URL of an object store."""
    return "://" in str(path)


def _read_source(parent: Path, view: str, setting: Any) -> Source:
    where = f"{parent}: [tool.tandem.features] {view}"
    if isinstance(setting, str):
        setting = {"path": setting}
    allowed = ["path", *(field.name for field in fields(Source) if field.name != "table")]
    if not isinstance(setting, Mapping) or not all(isinstance(value, str) for value in setting.values()):
        raise DefinitionError(f'{where} must give a file to each view: view = "file", or a table with {allowed[0]}')
    if unknown := sorted(setting.keys() - set(allowed)):
        raise DefinitionError(f"{where} has no setting {unknown[0]!r}; there are {', '.join(allowed)}")
    if "path" not in setting:
        raise DefinitionError(f"{where} has no path")
    if setting.get("format", "parquet") not in get_args(Format):
        formats = ", ".join(get_args(Format))
        raise DefinitionError(f"{where}: format is {setting['format']!r}; it is one of {formats}")
    path = setting["path"]
    options = {name: value for name, value in setting.items() if name != "path"}
    return Source(path if is_url(path) else parent / path, **options)


def _detect_format(path: str | Path) -> Format:
    return "delta" if not is_url(path) and (Path(path) / "_delta_log").is_dir() else "parquet"


def _open_delta(path: str) -> dataset.Dataset:
    try:
        from deltalake import DeltaTable
        from deltalake.exceptions import DeltaError
    except ModuleNotFoundError as error:
        raise DefinitionError(f"a Delta table needs {error.name}; install tandem-offline[delta]") from None
    try:
        return DeltaTable(path).to_pyarrow_dataset()
    except (DeltaError, OSError) as error:
        raise DefinitionError(f"cannot be read as a Delta table: {error}") from error
