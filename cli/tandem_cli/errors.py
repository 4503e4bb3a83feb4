"""How errors reach the person at the terminal: what is wrong, and what to do next."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from tandem import BundleError, DefinitionError, StoreError, TandemError
from tandem_cli.local import ChildDied
from tandem_cli.output import Console
from tandem_rollout.fields import InvalidSpecError

FAILED = 1
"""Exit code: a check found something, or something did not work."""

USAGE = 2
"""Exit code: the command line is invalid."""


class AdvisedError(TandemError):
    """An error that knows what to do next.

    Args:
        message: What is wrong.
        advice: What to do next; None where nobody knows.
    """

    def __init__(self, message: str, *, advice: str | None = None) -> None:
        super().__init__(message)
        self.advice = advice


_NEXT: dict[type[TandemError], str] = {
    DefinitionError: "correct the model package and run `tandem check` on it",
    BundleError: "write the bundle anew, or get an undamaged copy",
    InvalidSpecError: "correct the manifest",
    StoreError: "see that the online store runs, and that --store names it",
}


class TellingGroup(TyperGroup):
    """Commands whose errors are told in a line or two instead of a traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except TandemError as error:
            tell(error)
            raise typer.Exit(FAILED) from None


def tell(error: TandemError) -> None:
    """Print an error, and what to do about it."""
    console = Console(stderr=True, highlight=False)
    console.print("error:", style="bold red", end=" ")
    console.print(str(error), markup=False, soft_wrap=True)
    if advice := _next(error):
        console.print(f"next: {advice}", markup=False, soft_wrap=True)


def _next(error: TandemError) -> str | None:
    if isinstance(error, AdvisedError):
        return error.advice
    if isinstance(error, ChildDied) and error.port_was_taken:
        return "another program has the port; choose one with --port, or leave it out"
    return next((advice for kind, advice in _NEXT.items() if isinstance(error, kind)), None)
