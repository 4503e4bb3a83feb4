"""What two versions predicted for their training data: how far apart their predictions will probably be."""

from __future__ import annotations

from pathlib import Path

import msgspec

from tandem import Bundle
from tandem_cli.errors import AdvisedError
from tandem_rollout.analysis.distance import psi


class Predictions(msgspec.Struct, frozen=True):
    """The histogram of one version's predictions for its training data.

    Attributes:
        edges: Upper edges of the buckets of the contract.
        rows: Predictions in each; the last one is open.
    """

    edges: tuple[float, ...]
    rows: tuple[int, ...]


class Expected(msgspec.Struct, frozen=True):
    """How far apart two versions' predictions will probably be.

    Attributes:
        distance: Population stability index of their training predictions.
        bins: Buckets that either predicted into.
    """

    distance: float
    bins: int


def predictions(bundle: Bundle) -> Predictions | None:
    """The training predictions of a bundle; None where its contract has no buckets for them."""
    rows = bundle.manifest.training_histogram
    return Predictions(bundle.manifest.contract.prediction.buckets, rows) if sum(rows) else None


def expected(stable: Predictions | None, canary: Predictions | None) -> Expected | None:
    """What to expect of two versions; None where they are not counted in the same buckets."""
    if stable is None or canary is None or stable.edges != canary.edges or len(stable.rows) != len(canary.rows):
        return None
    bins = [(ours, theirs) for ours, theirs in zip(canary.rows, stable.rows, strict=True) if ours or theirs]
    ours, theirs = zip(*bins, strict=True)
    return Expected(psi(ours, theirs), len(bins))


def expected_of_bundles(stable: Path, canary: Path) -> Expected:
    """What to expect of two bundles.

    Args:
        stable: Directory of the bundle that serves.
        canary: Directory of the one that is to follow.

    Raises:
        BundleError: One of them cannot be read.
        AdvisedError: They do not say it.
    """
    both = {path: predictions(Bundle.open(path)) for path in (stable, canary)}
    for path, each in both.items():
        if each is None:
            raise AdvisedError(
                f"{path}: the bundle has no histogram of predictions",
                advice="declare Prediction(buckets=…) in the contract, and train again",
            )
    found = expected(both[stable], both[canary])
    if found is None:
        raise AdvisedError(
            f"{stable} and {canary} count predictions in different buckets",
            advice="keep Prediction(buckets=…) of the contract as it is from version to version",
        )
    return found
