"""What becomes of a batch of records, whatever the worker makes of them, and how long each stage takes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from tandem.errors import DeadlineExceeded, Overloaded, RequestError, Unavailable

OUTAGES: Final = (Unavailable, Overloaded, DeadlineExceeded)
"""No record can be the cause of these: the same batch will be done when the backend answers again."""


class Stages(dict[str, float]):
    """Seconds by stage; a stage that runs in several parts has their sum."""

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the time that the block takes to a stage."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self[stage] = self.get(stage, 0.0) + time.perf_counter() - started


@dataclass(slots=True)
class Outcome:
    """What became of a batch of records.

    Attributes:
        rejected: For each record that becomes a dead letter, why; by record.
        stages: Seconds of each stage.
    """

    rejected: dict[int, RequestError] = field(default_factory=dict)
    stages: Stages = field(default_factory=Stages)
