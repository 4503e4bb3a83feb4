"""The rollouts of the stacks that ``tandem up`` runs on this machine."""

from __future__ import annotations

import getpass
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

from tandem_cli.rollout.targets.stack_files import StackCommand, StackFiles, list_stacks, state_directory
from tandem_cli.rollout.targets.target import Manifest, NoRolloutError, TargetError
from tandem_cli.rollout.training_predictions import TrainingPredictions
from tandem_rollout.analysis.record import Record
from tandem_rollout.engine.run import Command


class LocalTarget:
    """Stacks on this machine.

    Args:
        under: Directory of all stacks; by default that of this user.
    """

    def __init__(self, under: Path | None = None) -> None:
        self._under = under or state_directory()

    @property
    def place(self) -> str:
        """This machine."""
        return "this machine"

    @property
    def options(self) -> str:
        """The option for this machine."""
        return "--local"

    @property
    def takes_images(self) -> bool:
        """Always false: a stack starts versions of its package."""
        return False

    def names(self) -> list[str]:
        """Names of the running stacks."""
        return list_stacks(self._under)

    def alive(self, name: str) -> bool:
        """Whether a stack of that name runs."""
        return name in self.names()

    def get(self, name: str) -> Manifest:
        """Read the rollout of a stack; if the stack has stopped, its last state.

        Raises:
            NoRolloutError: if there never was a stack of that name.
        """
        manifest = StackFiles(name, self._under).rollout()
        if manifest is None:
            running = ", ".join(self.names())
            raise NoRolloutError(
                f"there is no local stack {name!r}",
                advice=f"choose one of {running}" if running else "start one with `tandem up`, or use --cluster",
            )
        return manifest

    def record(self, name: str, run: int) -> Record | None:
        """Read the evidence of a run."""
        return StackFiles(name, self._under).record(run)

    def revision(self, manifest: Manifest, bundle: str = "") -> str:
        """The version, which is the name of the revision."""
        if not bundle:
            return str(manifest["spec"]["bundle"]["image"])
        variants = (manifest.get("status") or {}).get("variants") or ()
        versions = [variant["name"] for variant in variants]
        if versions and bundle not in versions:
            raise _no_version(manifest["metadata"]["name"], bundle, versions)
        return bundle

    def predictions(self, name: str) -> Mapping[str, TrainingPredictions]:
        """Predictions for the training data, from the bundles of the stack."""
        stack = StackFiles(name, self._under).stack()
        return stack.predictions if stack else {}

    def user(self) -> str:
        """User and host."""
        return describe_user()

    def send(self, name: str, command: Command) -> None:
        """Send a command to a stack."""
        self._send(name, command, "")

    def set_bundle(self, name: str, bundle: str, command: Command) -> None:
        """Send the command that starts another version."""
        stack = self._files(name).stack()
        versions = stack.versions if stack else ()
        if versions and bundle not in versions:
            raise _no_version(name, bundle, versions)
        self._send(name, command, bundle)

    def _send(self, name: str, command: Command, version: str) -> None:
        request = StackCommand(command.id, command.verb, by=command.by, comment=command.comment, version=version)
        self._files(name).write_command(request)

    def _files(self, name: str) -> StackFiles:
        files = StackFiles(name, self._under)
        if not files.alive:
            raise TargetError(f"the local stack {name!r} is not running", advice="start it with `tandem up`")
        return files


def _no_version(name: str, version: str, versions: Sequence[str]) -> TargetError:
    return TargetError(f"the stack {name!r} has no version {version!r}", advice=f"choose one of {', '.join(versions)}")


def describe_user() -> str:
    """The user and the host of this process, such as ``ann@laptop``."""
    try:
        user = getpass.getuser()
    # in a container the user may have no name
    except (KeyError, OSError):
        user = "unknown"
    return f"{user}@{socket.gethostname()}"
