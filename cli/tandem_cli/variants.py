"""The versions that a local stack serves, and their weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from tandem import Bundle
from tandem.bundle_directory import find
from tandem.package import ModelPackage
from tandem_cli.local import LocalVariant, StackError


def parse_weights(texts: Sequence[str]) -> dict[str, int]:
    """Weights from options such as ``v1=90``.

    Raises:
        typer.BadParameter: if a text is not of this form.
    """
    weights = {}
    for text in texts:
        version, separator, weight = text.partition("=")
        if not (version and separator and weight.isdecimal()):
            raise typer.BadParameter(f"{text!r} is invalid; write VERSION=NUMBER, such as v1=90")
        weights[version] = int(weight)
    return weights


def choose_variants(
    package: ModelPackage,
    *,
    weights: Mapping[str, int],
    bundles: Path | None = None,
    stable: str | None = None,
    canary: str | None = None,
) -> list[LocalVariant]:
    """The versions to serve, one variant each.

    Args:
        package: The model package.
        weights: By version; if empty, those of ``[tool.tandem.weights]``, or else equal ones.
        bundles: Directory of bundles; by default the one that the package names.
        stable: The version that gets all the traffic, instead of weights.
        canary: A version that starts without traffic; without ``stable``, the heaviest of the others is stable.

    Raises:
        StackError: if a bundle is missing, or two have the same version.
        BundleError: if one is damaged.
    """
    directory = bundles or package.path / str(package.settings.get("bundles", "bundles"))
    bundles_by_version = _by_version(directory, package.load().name)
    if not bundles_by_version:
        raise StackError(f"{directory} has no bundle of the model", advice=_train(package))
    stated = stated_weights(package)
    if canary is not None and stable is None:
        stable = _heaviest(stated, [version for version in bundles_by_version if version != canary])
        if stable is None:
            raise StackError(
                f"{canary} needs a second version as stable, and {directory} has none", advice=_train(package)
            )
    variant_weights = dict(weights) or stated or dict.fromkeys(bundles_by_version, 1)
    if stable is not None:
        variant_weights = {**dict.fromkeys([*bundles_by_version, canary or stable], 0), stable: 100}
    if missing := sorted(set(variant_weights) - set(bundles_by_version)):
        raise StackError(
            f"{directory} has no bundle of {', '.join(missing)}, only of {', '.join(bundles_by_version)}",
            advice=_train(package),
        )
    return [LocalVariant(version, bundles_by_version[version], weight) for version, weight in variant_weights.items()]


def _heaviest(weights: Mapping[str, int], versions: Sequence[str]) -> str | None:
    """The first of some versions that has the greatest weight; None where there are none."""
    return max(versions, key=lambda version: weights.get(version, 0), default=None)


def _by_version(directory: Path, model: str) -> dict[str, Bundle]:
    bundles: dict[str, Bundle] = {}
    for bundle in find(directory):
        if bundle.name != model:
            continue
        if earlier := bundles.get(bundle.version):
            raise StackError(
                f"{directory} has two bundles of version {bundle.version}: {earlier.wire_name} and {bundle.wire_name}",
                advice="remove one of them",
            )
        bundles[bundle.version] = bundle
    return bundles


def stated_weights(package: ModelPackage) -> dict[str, int]:
    """Weights by version, as ``[tool.tandem.weights]`` has them.

    Raises:
        StackError: if that is not a table of whole numbers.
    """
    stated: Any = package.settings.get("weights", {})
    # type(), as True is an instance of int
    if not isinstance(stated, dict) or not all(type(weight) is int and weight >= 0 for weight in stated.values()):
        raise StackError(
            f"{package.path}: [tool.tandem.weights] must give a whole number, 0 or more, to each version: v1 = 90"
        )
    return stated


def _train(package: ModelPackage) -> str:
    script = package.settings.get("train")
    return f"train the model: python {package.path / str(script)}" if script else "train the model first"
