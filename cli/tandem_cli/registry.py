"""The registry that the command line uses, and bundles by their names in it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from tandem import DefinitionError
from tandem.package import ModelPackage
from tandem.sources import read_sources
from tandem_cli.errors import AdvisedError
from tandem_cli.rollout.targets.stack_files import state_directory

if TYPE_CHECKING:
    from tandem_offline.registry import FollowedAlias, Reference, Registry

VARIABLE: Final = "MLFLOW_TRACKING_URI"
"""Environment variable with the registry; the one of MLflow's own tools."""

SCHEME: Final = "models:/"
"""What the name of a version in a registry begins with."""

RegistryOption = Annotated[
    str | None,
    typer.Option(
        "--registry",
        metavar="URI",
        envvar=VARIABLE,
        help="MLflow tracking server, or sqlite:///FILE; by default a file in the state directory of this user.",
    ),
]


def open_registry(uri: str | None, *, create: bool = False) -> Registry:
    """The registry at a URI, or that of this user.

    Args:
        uri: The URI; None for the file in the state directory of this user.
        create: Whether its SQLite file is made if it does not exist.

    Raises:
        AdvisedError: if MLflow is not installed.
        RegistryError: if it cannot be opened.
    """
    with _needing_extra():
        from tandem_offline.registry import Registry

    if uri is None:
        directory = state_directory()
        if create:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        uri = f"sqlite:///{directory / 'registry.db'}"
    return Registry(uri, create=create)


def open_alias(registry: Registry, reference: Reference, *, tag: str) -> FollowedAlias:
    """An alias of a registry, to be followed.

    Args:
        registry: The registry.
        reference: The alias.
        tag: Key of the tag of a version in which the ends of runs are recorded.
    """
    from tandem_offline.registry import FollowedAlias

    return FollowedAlias(registry.uri, reference.name, reference.alias or "", tag=tag)


def parse_reference(text: str) -> Reference:
    """The version that a text names.

    Raises:
        typer.BadParameter: if it names none.
    """
    with _needing_extra():
        from tandem_offline.registry import Reference

    try:
        return Reference.parse(text)
    except DefinitionError as error:
        raise typer.BadParameter(str(error)) from None


def bundle_path(text: str) -> Path:
    """The directory of a bundle, which is given, or named by a version in a registry and then downloaded.

    Args:
        text: A directory, or ``models:/NAME/3`` or ``models:/NAME@ALIAS``.

    Raises:
        typer.BadParameter: if there is no such directory, or no version is named.
        RegistryError: if the registry has no such version.
        BundleError: if the version is damaged.
    """
    if text.startswith(SCHEME):
        registry = open_registry(os.environ.get(VARIABLE))
        version = registry.resolve(parse_reference(text))
        return registry.download(version, state_directory() / "bundles").path
    if not Path(text).is_dir():
        raise typer.BadParameter(f"directory {text!r} does not exist")
    return Path(text)


BundleArgument = Annotated[
    Path,
    typer.Argument(
        metavar="BUNDLE", parser=bundle_path, help="Directory of a bundle, or a version, models:/NAME@ALIAS."
    ),
]


def read_lineage(package: ModelPackage) -> dict[str, str]:
    """Where a version comes from, as tags: the git commit of its package, and the tables of its feature views.

    Raises:
        DefinitionError: if a table cannot be read.
    """
    tags = {}
    for view, source in read_sources(package).items():
        if source.exists:
            tags[f"tandem.data.{view}"] = f"{source.name}, {source.open().count_rows()} rows"
    if git := shutil.which("git"):
        command = [git, "-C", str(package.path), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode == 0:
            # the name under which MLflow shows it
            tags["mlflow.source.git.commit"] = result.stdout.strip()
    return tags


@contextmanager
def _needing_extra() -> Iterator[None]:
    # MLflow takes seconds to import, and is an extra
    try:
        yield
    except ModuleNotFoundError as error:
        raise AdvisedError(f"{error.name} is not installed", advice="install tandem-cli[registry]") from None
