"""Rollouts of stacks that ``tandem up`` runs on this machine."""

from __future__ import annotations

import getpass
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

from tandem_cli.rollout.state import Asked, StackFiles, root, stacks
from tandem_cli.rollout.target import Manifest, NoRolloutError, TargetError
from tandem_cli.rollout.training import Predictions
from tandem_rollout.analysis.record import Record
from tandem_rollout.engine.run import Command


class LocalTarget:
    """Stacks on this machine.

    Args:
        under: Directory of all stacks; by default this user's.
    """

    def __init__(self, under: Path | None = None) -> None:
        self._under = under or root()

    @property
    def place(self) -> str:
        """This machine."""
        return "this machine"

    @property
    def options(self) -> str:
        """A stack of this machine."""
        return "--local"

    @property
    def takes_images(self) -> bool:
        """It starts versions of the package."""
        return False

    def names(self) -> list[str]:
        """Names of the stacks that run."""
        return stacks(self._under)

    def alive(self, name: str) -> bool:
        """Whether a stack of that name runs."""
        return name in self.names()

    def get(self, name: str) -> Manifest:
        """The rollout of a stack; of one that has stopped as it was then.

        Raises:
            NoRolloutError: There never was a stack of that name.
        """
        found = StackFiles(name, self._under).rollout()
        if found is None:
            running = ", ".join(self.names())
            raise NoRolloutError(
                f"there is no local stack {name!r}",
                advice=f"name one that runs: {running}" if running else "start one with `tandem up`, or use --cluster",
            )
        return found

    def record(self, name: str, run: int) -> Record | None:
        """Evidence of a run."""
        return StackFiles(name, self._under).record(run)

    def revision(self, manifest: Manifest, bundle: str = "") -> str:
        """The version: revisions are called so."""
        if not bundle:
            return str(manifest["spec"]["bundle"]["image"])
        versions = [each["name"] for each in (manifest.get("status") or {}).get("variants") or ()]
        if versions and bundle not in versions:
            name = manifest["metadata"]["name"]
            raise _no_version(name, bundle, versions)
        return bundle

    def predictions(self, name: str) -> Mapping[str, Predictions]:
        """As the stack's bundles have it."""
        stack = StackFiles(name, self._under).stack()
        return stack.predictions if stack else {}

    def asks_as(self) -> str:
        """User and machine."""
        return here()

    def command(self, name: str, command: Command) -> None:
        """Ask the stack for something."""
        self._ask(name, command, "")

    def set_bundle(self, name: str, bundle: str, command: Command) -> None:
        """Ask the stack for another version."""
        stack = self._files(name).stack()
        versions = stack.versions if stack else ()
        if versions and bundle not in versions:
            raise _no_version(name, bundle, versions)
        self._ask(name, command, bundle)

    def _ask(self, name: str, command: Command, version: str) -> None:
        asked = Asked(command.id, command.verb, by=command.by, comment=command.comment, version=version)
        self._files(name).ask(asked)

    def _files(self, name: str) -> StackFiles:
        files = StackFiles(name, self._under)
        if not files.alive:
            raise TargetError(f"the local stack {name!r} does not run", advice="start it with `tandem up`")
        return files


def _no_version(name: str, version: str, versions: Sequence[str]) -> TargetError:
    return TargetError(f"the stack {name!r} has no version {version!r}", advice=f"choose one of {', '.join(versions)}")


def here() -> str:
    """User and machine."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = "somebody"
    return f"{user}@{socket.gethostname()}"
