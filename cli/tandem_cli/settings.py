"""The checks that `tandem check` makes of ``[tool.tandem]``: all that would stop a later command.

Nothing is run, and of a feature table only the schema is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tandem import DefinitionError, FeatureView, TandemError
from tandem.check import Finding
from tandem.package import ModelPackage
from tandem.sources import Source, read_sources
from tandem_cli.features import views_of
from tandem_cli.local import StackError, manifest
from tandem_cli.variants import stated_weights
from tandem_rollout.api.messages import did_you_mean

SETTINGS: Final = ("model", "train", "bundles", "features", "weights", "rollout")
"""Keys of ``[tool.tandem]``."""


def check_settings(package: ModelPackage) -> Iterator[Finding]:
    """Check ``[tool.tandem]`` of a model package.

    Args:
        package: The package. If its model cannot be imported, checks that depend on it are left out.

    Yields:
        Findings, named as in the file, such as ``features.training_load``.
    """
    for key in package.settings:
        if key not in SETTINGS:
            hint = did_you_mean(key, SETTINGS) or f"; there are {', '.join(SETTINGS)}"
            yield Finding(key, "failed", f"[tool.tandem] has no setting {key!r}{hint}")
    yield from _paths(package)
    yield from _features(package)
    yield from _weights(package)
    yield from _rollout(package)


def _paths(package: ModelPackage) -> Iterator[Finding]:
    for key in ("train", "bundles"):
        value = package.settings.get(key, "")
        if not isinstance(value, str):
            yield Finding(key, "failed", f'must be a path in quotes, such as {key} = "{_example(key)}"')
        elif key == "train" and value and not (package.path / value).is_file():
            yield Finding(key, "failed", f"{package.path / value} does not exist")
        elif key == "bundles" and (package.path / value).is_file():
            yield Finding(key, "failed", f"{package.path / value} is a file; it must be a directory")


def _example(key: str) -> str:
    return "train.py" if key == "train" else "bundles"


def _features(package: ModelPackage) -> Iterator[Finding]:
    try:
        sources = read_sources(package)
    except DefinitionError as error:
        yield Finding("features", "failed", str(error))
        return
    try:
        views = views_of(package.load())
    except TandemError:
        return  # the check of the model reports it
    for name in sources:
        if name not in views:
            hint = did_you_mean(name, views) or f"; it has {', '.join(views) or 'none'}"
            yield Finding(f"features.{name}", "failed", f"the model has no feature view {name!r}{hint}")
    for name, view in views.items():
        if name in sources:
            yield _table(f"features.{name}", view, sources[name])
        else:
            message = "the view has no table here: `tandem up` needs one, and `tandem materialize` one or --source"
            yield Finding(f"features.{name}", "warning", message)


def _table(name: str, view: FeatureView, source: Source) -> Finding:
    from tandem.arrow_tables import check_table

    if not source.exists:
        return Finding(name, "warning", f"{source.name} does not exist yet; write it before `tandem up`")
    try:
        table = source.open() if source.is_delta else source.table
        check_table(view, table, event_time=source.event_time)
    except DefinitionError as error:
        return Finding(name, "failed", str(error))
    columns = len(view.keys) + len(view.features) + 1
    return Finding(name, "ok", f"{Path(source.name).name} has the {columns} columns of the view")


def _weights(package: ModelPackage) -> Iterator[Finding]:
    try:
        weights = stated_weights(package)
    except StackError as error:
        yield Finding("weights", "failed", str(error))
        return
    if weights and not any(weights.values()):
        yield Finding("weights", "failed", "at least one version needs a weight above 0")
    elif weights:
        yield Finding("weights", "ok", ", ".join(f"{version} {weight}" for version, weight in weights.items()))


def _rollout(package: ModelPackage) -> Iterator[Finding]:
    if "rollout" not in package.settings:
        return
    try:
        manifest.build_manifest(package.settings, name="check", model="check", version="check")
    except StackError as error:
        yield Finding("rollout", "failed", str(error))
    else:
        yield Finding("rollout", "ok", "strategy and analysis are valid")
