"""Logged predictions against those of another version for the same inputs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from tandem.dtypes import Column
from tandem.embedded import EmbeddedModel
from tandem.errors import LogError
from tandem.prediction_log.records import Records


@dataclass(slots=True)
class Replay:
    """What came of it.

    Attributes:
        rows: Predictions that were computed with the other version.
        differing: Those that differ from what was answered.
        skipped: Records without an answer, and those that the simpler model or a prediction computed ahead answered.
        differences: Other prediction less logged one, of all that differ, where predictions are numbers.
        mean_logged: Mean of the logged predictions; NaN where they are not numbers.
        mean_replayed: Mean of those of the other version.
    """

    rows: int = 0
    differing: int = 0
    skipped: int = 0
    differences: Column = field(default_factory=lambda: np.zeros(0))
    mean_logged: float = float("nan")
    mean_replayed: float = float("nan")

    @property
    def largest(self) -> float:
        """The largest absolute difference; 0 where there is none."""
        return float(np.abs(self.differences).max(initial=0.0))

    def quantile(self, share: float) -> float:
        """The absolute difference that so large a share of all predictions does not exceed."""
        if not self.rows or not len(self.differences):
            return 0.0
        every = np.concatenate([np.zeros(self.rows - len(self.differences)), np.abs(self.differences)])
        return float(np.quantile(every, share))


def replay_against(model: EmbeddedModel, parts: Iterable[Records]) -> Replay:
    """Predict with another version what was logged, from the same requests and the same looked-up features.

    Args:
        model: The other version.
        parts: Records of a log.

    Raises:
        LogError: naming what the other version needs and the log does not have.
        RequestError: if a row cannot be computed.
    """
    replay = Replay()
    prediction = model.bundle.contract.prediction
    differences: list[Column] = []
    sums = [0.0, 0.0]
    for part in parts:
        records = part.by_model
        replay.skipped += part.rows - records.rows
        logged = records.columns.get(f"answer/{prediction.name}")
        if logged is None:
            replay.skipped += records.rows
            continue
        if not records.rows:
            continue
        replayed = model.predict_columns(records.inputs(model.bundle.model))[prediction.name]
        if (replayed.dtype == object) != (logged.dtype == object):
            raise LogError(f"the prediction {prediction.name!r} is {replayed.dtype} now, and was {logged.dtype}")
        differs = replayed != logged
        replay.rows += records.rows
        replay.differing += int(np.count_nonzero(differs))
        if logged.dtype != object:
            differences.append((replayed[differs] - logged[differs]).astype(np.float64))
            sums[0] += float(logged.sum())
            sums[1] += float(replayed.sum())
    if differences:
        replay.differences = np.concatenate(differences)
        replay.mean_logged, replay.mean_replayed = (total / max(1, replay.rows) for total in sums)
    return replay
