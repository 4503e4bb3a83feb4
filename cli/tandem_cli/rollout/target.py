"""Where rollouts are: a cluster, or a stack on this machine, behind one protocol."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from tandem_cli.errors import AdvisedError
from tandem_cli.rollout.training import Predictions
from tandem_rollout.analysis.record import Record
from tandem_rollout.engine.run import Command

Manifest = dict[str, Any]
"""An InferenceRollout, spec and status, as an API server has it."""


class NoRolloutError(AdvisedError):
    """There is no rollout of that name."""


class TargetError(AdvisedError):
    """What was asked for cannot be done there."""


class Target(Protocol):
    """Where rollouts are."""

    @property
    def place(self) -> str:
        """Which one it is, for people."""
        ...

    @property
    def options(self) -> str:
        """Options of the command line that lead here."""
        ...

    @property
    def takes_images(self) -> bool:
        """Whether versions are images of bundles."""
        ...

    def names(self) -> list[str]:
        """Names of the rollouts."""
        ...

    def alive(self, name: str) -> bool:
        """Whether anything there carries out commands."""
        ...

    def get(self, name: str) -> Manifest:
        """A rollout.

        Raises:
            NoRolloutError: There is none.
            TargetError: It cannot be read.
        """
        ...

    def record(self, name: str, run: int) -> Record | None:
        """Evidence of a run; None where there is none, or none that this program can read."""
        ...

    def revision(self, manifest: Manifest, bundle: str = "") -> str:
        """Name of the revision that a rollout asks for, as a run names its versions.

        Args:
            manifest: The rollout.
            bundle: As if it asked for this one: an image; on this machine a version.

        Raises:
            TargetError: There is no such bundle, or the spec is invalid with it.
        """
        ...

    def predictions(self, name: str) -> Mapping[str, Predictions]:
        """What versions predicted for their training data, by version; empty where that is not known here."""
        ...

    def asks_as(self) -> str:
        """Who asks, as it is written down; nothing secret."""
        ...

    def command(self, name: str, command: Command) -> None:
        """Ask for something."""
        ...

    def set_bundle(self, name: str, bundle: str, command: Command) -> None:
        """Ask for another version.

        Args:
            name: Name of the rollout.
            bundle: Image of its bundle; on this machine its version.
            command: The start.
        """
        ...
