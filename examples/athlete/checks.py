"""The checks of the demo: the split, every vector bit for bit, and every prediction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tandem import Pipeline, TandemError
from tandem.comparison import first_difference
from tandem_cli.local.scrape import split

from races import inputs_of
from traffic import Answer
from train import Trained

REQUESTS = 3_000
SPLIT_TOLERANCE = 0.03


class DemoError(TandemError):
    """A check of the demo failed."""


def check_split(weights: Mapping[str, int], answers: Sequence[Answer]) -> str:
    """Compare the measured split with the weights.

    Raises:
        DemoError: if they are three points apart or more; further for less than 3,000 requests, by chance alone.
    """
    tolerance = SPLIT_TOLERANCE * max(1.0, REQUESTS / len(answers)) ** 0.5
    targets = split(weights)
    counts = Counter(answer.variant for answer in answers)
    shares = split({name: counts[name] for name in targets})
    text = ", ".join(f"{name} {share:.1%} set, {shares[name]:.1%} measured" for name, share in targets.items())
    if any(abs(shares[name] - share) > tolerance for name, share in targets.items()):
        raise DemoError(f"the split differs from the weights: {text}")
    return f"split of {len(answers):,} requests: {text}"


def check_statuses(answers: Sequence[Answer], *, faulty: str = "") -> str:
    """Check that every request is answered; those to a faulty version need not be.

    Raises:
        DemoError: if the status of a response is not 200.
    """
    failed = [answer for answer in answers if answer.status != 200]
    if unexpected := [answer for answer in failed if answer.variant != faulty]:
        raise DemoError(
            f"status {unexpected[0].status} of {unexpected[0].variant or 'Envoy'}, {len(unexpected):,} times"
        )
    result = f"{len(failed):,} of them with an error, all by {faulty}" if failed else "all with 200"
    return f"{len(answers):,} requests answered, {result}"


def check_answers(trained: Mapping[str, Trained], races: pd.DataFrame, answers: Sequence[Answer]) -> list[str]:
    """Compare every answer with the tables and with scikit-learn.

    Returns:
        A line for each version.

    Raises:
        DemoError: naming the first athlete whose vector, prediction or reason differs.
    """
    lines = []
    for version, result in trained.items():
        mine = [answer for answer in answers if answer.variant == version and answer.status == 200]
        own = races.iloc[[answer.race for answer in mine]].reset_index(drop=True)
        lines.append(f"{version}: {_check_version(result, own, [answer.prediction for answer in mine])}")
    return lines


def _check_version(trained: Trained, races: pd.DataFrame, predictions: list[dict[str, Any]]) -> str:
    bundle, pipeline = trained.bundle, trained.bundle.pipeline()
    inputs = inputs_of(bundle.model, races)
    (offline,) = pipeline.vectors(inputs).values()
    online = _vectors(pipeline, predictions)
    if difference := first_difference(online, offline):
        row, column = difference
        raise DemoError(
            f"{races['athlete_id'][row]}: {bundle.signature.columns[column]} is {online[row, column]!r} online, "
            f"{offline[row, column]!r} offline"
        )
    tolerance = bundle.tolerance("CPUExecutionProvider")
    expected = trained.estimator.predict(offline)
    values = np.array([prediction["predicted_time_s"] for prediction in predictions])
    differences = np.abs(values - expected)
    allowed = tolerance.atol + tolerance.rtol * np.abs(expected)
    if (differences > allowed).any():
        row = int(np.argmax(differences - allowed))
        raise DemoError(f"{races['athlete_id'][row]}: {values[row]} s online, {expected[row]} s by scikit-learn")
    degraded = pipeline.features(inputs).degraded
    for row, prediction in enumerate(predictions):
        if prediction.get("degraded", {}) != msgspec.to_builtins(degraded.get(row, {})):
            raise DemoError(
                f"{races['athlete_id'][row]}: degraded is {prediction.get('degraded')}, not {degraded.get(row)}"
            )
    return (
        f"{len(values):,} vectors equal offline bit for bit, predictions differ from scikit-learn's by at most "
        f"{(differences / allowed).max():.0%} of the tolerance, {len(degraded)} rows are degraded as expected"
    )


def _vectors(pipeline: Pipeline, predictions: list[dict[str, Any]]) -> NDArray[np.float32]:
    """Online vectors in the order of the signature; shape ``(rows, columns)``."""
    columns = pipeline.signature.columns
    rows = [[prediction["vector"][name] for name in columns] for prediction in predictions]
    # null stands for NaN in JSON
    return np.array(rows, dtype=np.float64).astype(np.float32)
