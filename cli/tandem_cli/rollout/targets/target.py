"""The protocol of a target: a cluster, or the stacks on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from tandem_cli.errors import AdvisedError
from tandem_cli.rollout.training_predictions import TrainingPredictions
from tandem_rollout.analysis.record import Record
from tandem_rollout.engine.run import Command

Manifest = dict[str, Any]
"""An InferenceRollout with spec and status, as an API server returns it."""


class NoRolloutError(AdvisedError):
    """The target has no rollout with that name."""


class TargetError(AdvisedError):
    """The target cannot do what was requested."""


class Target(Protocol):
    """A place where rollouts run."""

    @property
    def place(self) -> str:
        """The target in words, for messages."""
        ...

    @property
    def options(self) -> str:
        """Options of the command line that select this target."""
        ...

    @property
    def takes_images(self) -> bool:
        """Whether versions are images of bundles."""
        ...

    def names(self) -> list[str]:
        """Names of the rollouts."""
        ...

    def alive(self, name: str) -> bool:
        """Whether a process executes the commands to a rollout."""
        ...

    def get(self, name: str) -> Manifest:
        """Read a rollout.

        Raises:
            NoRolloutError: if there is none of that name.
            TargetError: if it cannot be read.
        """
        ...

    def record(self, name: str, run: int) -> Record | None:
        """Read the evidence of a run; None if there is none that this program can read.

        Raises:
            TargetError: if it cannot be read.
        """
        ...

    def revision(self, manifest: Manifest, bundle: str = "") -> str:
        """Name of the revision that a rollout desires.

        Args:
            manifest: The rollout.
            bundle: The revision with this bundle instead: an image; on this machine, a version.

        Raises:
            TargetError: if there is no such bundle, or the spec is invalid with it.
        """
        ...

    def predictions(self, name: str) -> Mapping[str, TrainingPredictions]:
        """Predictions for the training data, by version; empty if the target does not know them."""
        ...

    def user(self) -> str:
        """Name of the user, for the history."""
        ...

    def send(self, name: str, command: Command) -> None:
        """Send a command to a rollout.

        Raises:
            TargetError: if it cannot be written.
        """
        ...

    def set_bundle(self, name: str, bundle: str, command: Command) -> None:
        """Change the bundle of a rollout, and send the command that starts it.

        Args:
            name: Name of the rollout.
            bundle: Image of the bundle; on this machine, its version.
            command: The command.

        Raises:
            TargetError: if it cannot be written, or there is no such version.
        """
        ...
