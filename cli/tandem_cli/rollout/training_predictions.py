"""The predictions of versions for their training data, and the expected distance of two versions."""

from __future__ import annotations

from pathlib import Path

import msgspec

from tandem import Bundle
from tandem_cli.errors import AdvisedError
from tandem_rollout.analysis.distance import psi


class TrainingPredictions(msgspec.Struct, frozen=True):
    """The histogram of the predictions of one version for its training data.

    Attributes:
        edges: Upper edges of the buckets of the contract.
        rows: Number of predictions in each bucket; the last bucket is open.
    """

    edges: tuple[float, ...]
    rows: tuple[int, ...]


class ExpectedDistance(msgspec.Struct, frozen=True):
    """The expected distance of the predictions of two versions.

    Attributes:
        distance: Population stability index of their training predictions.
        bins: Number of buckets with predictions of either.
    """

    distance: float
    bins: int


def read_predictions(bundle: Bundle) -> TrainingPredictions | None:
    """The training predictions of a bundle; None if its contract has no buckets for them."""
    rows = bundle.manifest.training_histogram
    return TrainingPredictions(bundle.manifest.contract.prediction.buckets, rows) if sum(rows) else None


def compare_predictions(
    stable: TrainingPredictions | None, canary: TrainingPredictions | None
) -> ExpectedDistance | None:
    """The expected distance of two versions; None if they are not counted in the same buckets."""
    if stable is None or canary is None or stable.edges != canary.edges or len(stable.rows) != len(canary.rows):
        return None
    # buckets without predictions add nothing to the distance, and no degree of freedom
    bins = [(ours, theirs) for ours, theirs in zip(canary.rows, stable.rows, strict=True) if ours or theirs]
    ours, theirs = zip(*bins, strict=True)
    return ExpectedDistance(psi(ours, theirs), len(bins))


def compare_bundles(stable: Path, canary: Path) -> ExpectedDistance:
    """The expected distance of two bundles.

    Args:
        stable: Directory of the bundle that serves.
        canary: Directory of the bundle that replaces it.

    Raises:
        BundleError: if one of them cannot be read.
        AdvisedError: if one has no histogram, or they have different buckets.
    """
    histograms = {path: read_predictions(Bundle.open(path)) for path in (stable, canary)}
    for path, histogram in histograms.items():
        if histogram is None:
            raise AdvisedError(
                f"{path}: the bundle has no histogram of predictions",
                advice="declare Prediction(buckets=…) in the contract and train again",
            )
    distance = compare_predictions(histograms[stable], histograms[canary])
    if distance is None:
        raise AdvisedError(
            f"{stable} and {canary} count predictions in different buckets",
            advice="use the same Prediction(buckets=…) in both contracts",
        )
    return distance
