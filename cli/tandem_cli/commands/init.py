"""``tandem init``: write a new model package, small and complete, to start from."""

from __future__ import annotations

import keyword
import re
import sys
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer

from tandem_cli.errors import AdvisedError
from tandem_rollout.api.fields import RolloutName
from tandem_rollout.api.messages import rule

_FILES: Final = {
    "pyproject.toml.txt": "pyproject.toml",
    "model.py.txt": "my_model/__init__.py",
    "train.py.txt": "train.py",
    "README.md.txt": "README.md",
    "gitignore.txt": ".gitignore",
}
_TAKEN: Final = sys.stdlib_module_names | {"numpy", "onnx", "pyarrow", "tandem", "train"}
"""Modules that a package of the same name would hide from its own code, or that would hide it."""


def init_package(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the model, such as delivery-time.")],
    directory: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Directory to write to; by default NAME in this directory.")
    ] = None,
) -> None:
    """Write a new model package: a declaration, a training script and settings, with comments.

    It passes `tandem check`, trains in seconds and is served by `tandem up`.

    Exit codes: 0 written, 1 the package cannot be written, 2 the command line is invalid.
    """
    check_name(name)
    path = directory or Path(name)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise AdvisedError(f"{path} already exists; nothing was written", advice="choose another name, or --directory")
    try:
        write(path, name)
    except OSError as error:
        raise AdvisedError(f"{path} cannot be written: {error.strerror}", advice="choose another --directory") from None
    typer.echo(f"wrote {path}: a model that predicts how long a delivery takes; replace it with your own")
    typer.echo("next steps:")
    for command in (f"cd {path}", "tandem check .", "python train.py", "tandem up . --port 8080"):
        typer.echo(f"  {command}")


def check_name(name: str) -> None:
    """Check the name of a new model.

    Raises:
        typer.BadParameter: if it is invalid, with the rule that it breaks.
    """
    schema = msgspec.json.schema(RolloutName)
    if not re.fullmatch(schema["pattern"], name) or len(name) > schema["maxLength"]:
        raise typer.BadParameter(f"{name!r} must be {rule(schema)}", param_hint="NAME")
    module = _module(name)
    if keyword.iskeyword(module) or module in _TAKEN:
        raise typer.BadParameter(
            f"{name!r} would be the Python module {module!r}, which already exists", param_hint="NAME"
        )


def write(path: Path, name: str) -> None:
    """Write a model package.

    Args:
        path: Its directory, which is created if it does not exist.
        name: Name of the model, which :func:`check_name` accepts.

    Raises:
        OSError: if a file cannot be written.
    """
    for source, target in _FILES.items():
        file = path / target.replace("my_model", _module(name))
        file.parent.mkdir(parents=True, exist_ok=True)
        text = (files("tandem_cli") / "template" / source).read_text()
        file.write_text(text.replace("my_model", _module(name)).replace("my-model", name))


def _module(name: str) -> str:
    return name.replace("-", "_")
