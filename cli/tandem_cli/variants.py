"""Which versions the local stack serves, and with which weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from tandem import Bundle
from tandem.bundle import find
from tandem.package import ModelPackage
from tandem_cli.local import StackError, Variant


def parse_weights(texts: Sequence[str]) -> dict[str, int]:
    """Weights from options such as ``v1=90``.

    Raises:
        typer.BadParameter: for anything else.
    """
    weights = {}
    for text in texts:
        version, separator, weight = text.partition("=")
        if not (version and separator and weight.isdecimal()):
            raise typer.BadParameter(f"{text!r} is no weight; write VERSION=NUMBER, such as v1=90")
        weights[version] = int(weight)
    return weights


def choose(
    package: ModelPackage,
    *,
    weights: Mapping[str, int],
    bundles: Path | None = None,
    stable: str | None = None,
    canary: str | None = None,
) -> list[Variant]:
    """The versions to serve, one variant each.

    Args:
        package: The model package.
        weights: By version; where empty, those of ``[tool.tandem.weights]``, else all versions alike.
        bundles: Directory of bundles; by default the one that the package names.
        stable: The version that has all the traffic, instead of weights; the others wait for theirs.
        canary: A version that will get some; without ``stable``, what has the greatest weight besides is stable.

    Raises:
        StackError: if a bundle is missing, or two have the same version.
        BundleError: if one is damaged.
    """
    directory = bundles or package.path / str(package.settings.get("bundles", "bundles"))
    found = _by_version(directory, package.load().name)
    if not found:
        raise StackError(f"there are no bundles of the model under {directory}; {_train(package)}")
    stated = stated_weights(package)
    if canary is not None and stable is None:
        others = {version: stated.get(version, 0) for version in found if version != canary}
        if not others:
            raise StackError(f"{canary} needs another version beside it, to take the traffic from; {_train(package)}")
        stable = max(others, key=lambda version: others[version])
    wanted = dict(weights) or stated or dict.fromkeys(found, 1)
    if stable is not None:
        wanted = {**dict.fromkeys([*found, canary or stable], 0), stable: 100}
    if missing := sorted(set(wanted) - set(found)):
        raise StackError(
            f"{directory} has no bundle of {', '.join(missing)}, only of {', '.join(found)}; {_train(package)}"
        )
    return [Variant(version, found[version], weight) for version, weight in wanted.items()]


def _by_version(directory: Path, model: str) -> dict[str, Bundle]:
    found: dict[str, Bundle] = {}
    for bundle in find(directory):
        if bundle.name != model:
            continue
        if other := found.get(bundle.version):
            raise StackError(
                f"{directory} has two bundles of version {bundle.version}, {other.hop_name} and {bundle.hop_name}; "
                "remove one"
            )
        found[bundle.version] = bundle
    return found


def stated_weights(package: ModelPackage) -> dict[str, int]:
    """Weights by version, as ``[tool.tandem.weights]`` has them.

    Raises:
        StackError: if that is no table of whole numbers.
    """
    stated: Any = package.settings.get("weights", {})
    if not isinstance(stated, dict) or not all(type(weight) is int and weight >= 0 for weight in stated.values()):
        raise StackError(
            f"{package.path}: [tool.tandem.weights] must give a whole number, 0 or more, to each version: v1 = 90"
        )
    return stated


def _train(package: ModelPackage) -> str:
    script = package.settings.get("train")
    return f"train the model: python {package.path / str(script)}" if script else "train the model first"
