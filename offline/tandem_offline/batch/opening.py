"""The table at a path: of which format it is, and what writes that."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from tandem.errors import DefinitionError
from tandem_offline.batch.outputs import Format, Output, OutputError
from tandem_offline.batch.parquet_output import ParquetOutput


def open_output(path: Path | str, format: Format | None = None) -> Output:
    """The table at a path, which need not exist.

    Args:
        path: A directory; for Delta also a URL that delta-rs knows, such as ``s3://bucket/table``.
        format: None for Delta where the directory has a Delta log, and for Parquet otherwise.

    Raises:
        DefinitionError: if the format is none, or is not for a URL, or Delta is not installed.
        OutputError: if there is a file or a table of the other format.
    """
    is_delta = (Path(path) / "_delta_log").is_dir()
    form = format or ("delta" if is_delta else "parquet")
    if form not in get_args(Format):
        raise DefinitionError(f"format is {form!r}; it is one of {', '.join(get_args(Format))}")
    if form == "parquet" and "://" in str(path):
        raise DefinitionError(f"{path} is a URL; Parquet files are written to a directory, use the format delta")
    if Path(path).is_file():
        raise OutputError(f"{path} is a file; the output is a directory")
    if form == "parquet":
        if is_delta:
            raise OutputError(f"{path} is a Delta table; it cannot be written as plain Parquet files")
        return ParquetOutput(Path(path))
    try:
        from tandem_offline.batch.delta_output import DeltaOutput
    except ModuleNotFoundError as error:
        raise DefinitionError(f"a Delta table needs {error.name}; install tandem-offline[delta]") from None
    return DeltaOutput(str(path))
