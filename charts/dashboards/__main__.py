"""Writes the dashboards into the chart."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from charts.dashboards.grafana import text
from charts.dashboards.model import MODEL
from charts.dashboards.rollouts import ROLLOUTS

DIRECTORY: Final = Path(__file__).parents[1] / "tandem" / "dashboards"
"""Where the chart has them."""


def files() -> dict[str, str]:
    """Text by name of file."""
    return {f"{dashboard.name}.json": text(dashboard) for dashboard in (MODEL, ROLLOUTS)}


def main() -> None:
    """Write all of them."""
    for name, content in files().items():
        (DIRECTORY / name).write_text(content)


if __name__ == "__main__":
    main()
