"""Errors of the command line: each is printed with a hint about what to do next."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from tandem import BundleError, DefinitionError, StoreError, TandemError
from tandem.errors import SnapshotError
from tandem_cli.output import Console
from tandem_rollout.api.fields import InvalidSpecError

FAILED = 1
"""Exit code: a check failed, or an error occurred."""

USAGE = 2
"""Exit code: the command line is invalid."""


class AdvisedError(TandemError):
    """An error that carries a hint.

    Args:
        message: What is wrong.
        advice: The hint about what to do next; None if there is none.
    """

    def __init__(self, message: str, *, advice: str | None = None) -> None:
        super().__init__(message)
        self.advice = advice


_HINTS: dict[type[TandemError], str] = {
    DefinitionError: "correct the model package and run `tandem check` on it",
    BundleError: "write the bundle again, or get an undamaged copy",
    InvalidSpecError: "correct the manifest",
    SnapshotError: "build it with `tandem snapshot`, or get an undamaged copy",
    StoreError: "check that the online store runs, and that --store names it",
}
"""Hints for errors of the packages below, which know nothing of the command line."""


class ErrorPrintingGroup(TyperGroup):
    """Commands whose errors are printed in a line or two instead of a traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except TandemError as error:
            print_error(error)
            raise typer.Exit(FAILED) from None


def print_error(error: TandemError) -> None:
    """Print an error, and its hint, to standard error."""
    console = Console(stderr=True, highlight=False)
    console.print("error:", style="bold red", end=" ")
    console.print(str(error), markup=False, soft_wrap=True)
    if hint := _hint(error):
        console.print(f"hint: {hint}", markup=False, soft_wrap=True)


def _hint(error: TandemError) -> str | None:
    if isinstance(error, AdvisedError):
        return error.advice
    return next((hint for kind, hint in _HINTS.items() if isinstance(error, kind)), None)
