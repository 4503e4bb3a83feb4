"""What the cluster tests measured: a table, and a line for programs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

_LINE: Final = ("lost_requests", "transformer_mb", "ready_s")


@dataclass
class Figures:
    """Measurements, as they come.

    Attributes:
        rows: What was measured, what came out, and the bar.
        lost: Failed requests of all loads.
        single: Figures of the last line.
    """

    rows: list[tuple[str, str, str]] = field(default_factory=list)
    lost: int = 0
    single: dict[str, float] = field(default_factory=dict)

    def add(self, name: str, value: str, bound: str = "") -> None:
        """A row of the table."""
        self.rows.append((name, value, bound))

    def table(self) -> str:
        """The rows, aligned."""
        widths = [max((len(row[column]) for row in self.rows), default=0) for column in range(3)]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in self.rows
        )

    def line(self, passed: int, failed: int) -> str:
        """The closing line."""
        values = {"lost_requests": self.lost, **self.single}
        figures = " ".join(f"{name}={values.get(name, float('nan')):g}" for name in _LINE)
        return f"e2e: passed={passed} failed={failed} {figures}"


FIGURES: Final = Figures()
