"""What the demo makes sure of: the split, every vector bit for bit, every prediction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tandem import Pipeline, TandemError
from tandem.golden import first_difference
from tandem_cli.local.scrape import split

from races import inputs_of
from traffic import Answer
from train import Trained

REQUESTS = 3_000
SPLIT_TOLERANCE = 0.03


class DemoError(TandemError):
    """Something is not as it must be."""


def check_split(weights: Mapping[str, int], answers: Sequence[Answer]) -> str:
    """Compare the measured split with the weights.

    Raises:
        DemoError: if they are three points apart or more; further for less than 3,000 requests, by chance alone.
    """
    tolerance = SPLIT_TOLERANCE * max(1.0, REQUESTS / len(answers)) ** 0.5
    wanted = split(weights)
    counts = Counter(answer.variant for answer in answers)
    had = split({name: counts[name] for name in wanted})
    text = ", ".join(f"{name} {share:.1%} set, {had[name]:.1%} measured" for name, share in wanted.items())
    if any(abs(had[name] - share) > tolerance for name, share in wanted.items()):
        raise DemoError(f"the split is not as set: {text}")
    return f"split of {len(answers):,} requests: {text}"


def check_statuses(answers: Sequence[Answer], *, faulty: str = "") -> str:
    """Make sure that every request is answered; by a faulty version not every one has to be.

    Raises:
        DemoError: with a status that is not 200.
    """
    failed = [answer for answer in answers if answer.status != 200]
    if others := [answer for answer in failed if answer.variant != faulty]:
        raise DemoError(f"status {others[0].status} of {others[0].variant or 'Envoy'}, {len(others):,} times")
    told = f"{len(failed):,} of them with an error, all by {faulty}" if failed else "all with 200"
    return f"{len(answers):,} requests answered, {told}"


def check_answers(trained: Mapping[str, Trained], races: pd.DataFrame, answers: Sequence[Answer]) -> list[str]:
    """Compare every answer with what the tables and scikit-learn say.

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
    found = np.array([prediction["predicted_time_s"] for prediction in predictions])
    apart = np.abs(found - expected)
    allowed = tolerance.atol + tolerance.rtol * np.abs(expected)
    if (apart > allowed).any():
        row = int(np.argmax(apart - allowed))
        raise DemoError(f"{races['athlete_id'][row]}: {found[row]} s online, {expected[row]} s by scikit-learn")
    degraded = pipeline.features(inputs).degraded
    for row, prediction in enumerate(predictions):
        if prediction.get("degraded", {}) != degraded.get(row, {}):
            raise DemoError(
                f"{races['athlete_id'][row]}: degraded is {prediction.get('degraded')}, not {degraded.get(row)}"
            )
    return (
        f"{len(found):,} vectors equal offline bit for bit, predictions at most {(apart / allowed).max():.0%} of the "
        f"tolerance from scikit-learn's, {len(degraded)} degraded rows as expected"
    )


def _vectors(pipeline: Pipeline, predictions: list[dict[str, Any]]) -> NDArray[np.float32]:
    """Online vectors in the order of the signature; shape ``(rows, columns)``."""
    columns = pipeline.signature.columns
    rows = [[prediction["vector"][name] for name in columns] for prediction in predictions]
    # null stands for NaN in JSON
    return np.array(rows, dtype=np.float64).astype(np.float32)
