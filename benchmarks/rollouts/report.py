"""The table, the file of raw numbers, and the plots."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.rollouts.findings import Found, headline
from benchmarks.rollouts.scenario import HORIZON, INTERVAL, PER_SECOND
from tandem_rollout.simulation.outcome import PROMOTED, ROLLED_BACK, TAKEN_BACK, UNDECIDED

mpl.use("Agg")
from matplotlib import pyplot as plt

COLOURS = {
    "tandem": "#1f77b4",
    "flagger-1": "#d62728",
    "flagger-5": "#ff9896",
    "argo": "#7f7f7f",
    "argo-unclear": "#c7c7c7",
    "argo-early": "#333333",
}
_SHOWN = ("flagger-1", "flagger-5", "argo", "argo-unclear")


def show(results: Sequence[Found], console: Console) -> None:
    """Print the table."""
    table = Table(
        title="Ends of rollouts in per cent (baking: taken back while it baked); canary requests and minutes "
        "until the decision; other rules' wrong decisions in per cent; * counts for the last line; ×SPRT of limits "
        "before the run: requests over those of the true quantile",
        title_justify="left",
    )
    table.add_column("scenario", no_wrap=True)
    headings = ("promoted", "back", "baking", "undecided", "×SPRT", "requests", "p90", "min", "p90")
    for heading in (*headings, *_SHOWN):
        table.add_column(heading, justify="right", no_wrap=True)
    previous = None
    for result in results:
        if previous not in (None, result.scenario.group):
            table.add_section()
        previous = result.scenario.group
        table.add_row(*_cells(result))
    console.print(table)


def _cells(result: Found) -> list[str]:
    engine = result.engine
    shares = [f"{engine.share(how):.2%}"[:-1] for how in (PROMOTED, ROLLED_BACK, TAKEN_BACK, UNDECIDED)]
    cost = result.vs_sprt or result.vs_quantile
    decided = engine.ended != UNDECIDED
    minutes: list[str] = []
    for values, unit in ((engine.requests, 1.0), (engine.seconds, 60.0)):
        ends = np.quantile(values[decided] / unit, [0.5, 0.9]) if decided.any() else []
        minutes += [f"{end:,.0f}" for end in ends] or ["", ""]
    wrong = [result.wrong(result.others[rule]) if rule in result.others else None for rule in _SHOWN]
    return [
        f"{result.scenario.name}{' *' if result.scenario.main else ''}",
        *shares,
        f"{cost[0]:.2f}" if cost else "",
        *minutes,
        *("" if share is None else f"{share:.1%}"[:-1] for share in wrong),
    ]


def write(results: Sequence[Found], directory: Path, machine: Mapping[str, object]) -> None:
    """Write ``rollouts.json``, ``rollouts.png`` and ``rollouts-cost.png``."""
    directory.mkdir(parents=True, exist_ok=True)
    content = {
        "headline": headline(results),
        "settings": {"requests_per_second": PER_SECOND, "interval_s": INTERVAL, "horizon_s": HORIZON},
        "machine": dict(machine),
        "scenarios": [result.as_json() for result in results],
    }
    text = json.dumps(_plain(content), indent=1, allow_nan=False)
    (directory / "rollouts.json").write_text(text + "\n")
    _plot_wrong(results, directory / "rollouts.png")
    _plot_cost(results, directory / "rollouts-cost.png")


def _plot_wrong(results: Sequence[Found], path: Path) -> None:
    """Wrong decisions by rule, of what should be promoted and of what should not."""
    figure, axes = plt.subplots(1, 2, figsize=(15, 11), layout="constrained")
    for at, (truth, title) in enumerate((("good", "good canaries rolled back"), ("bad", "bad canaries promoted"))):
        rows = [result for result in results if result.scenario.truth == truth and "argo" in result.others]
        names = [result.scenario.name for result in rows]
        for offset, (rule, colour) in enumerate(COLOURS.items()):
            if rule == "argo-early":
                continue
            places = [row + 0.12 * (offset - 2) for row in range(len(rows))]
            values = [
                result.wrong(result.engine if rule == "tandem" else result.others[rule]) or 0.0 for result in rows
            ]
            shown = [max(value, _LEAST) for value in values]
            axes[at].scatter(shown, places, s=36 if rule == "tandem" else 18, label=rule, color=colour)
        axes[at].set_yticks(range(len(rows)), names, fontsize=7)
        axes[at].set_xscale("log")
        axes[at].axvline(0.01, color="black", linewidth=0.8, linestyle="--")
        axes[at].set_title(f"{title}; left edge: none")
        axes[at].invert_yaxis()
    axes[0].legend(fontsize=8)
    figure.savefig(path, dpi=100)
    plt.close(figure)


_LEAST = 1e-5


def _plot_cost(results: Sequence[Found], path: Path) -> None:
    """What a decision takes: requests over those of the SPRT, and minutes."""
    rows = [result for result in results if result.vs_sprt is not None]
    figure, (cost, time) = plt.subplots(1, 2, figsize=(15, 9), layout="constrained")
    for at, result in enumerate(rows):
        ratio, low, high = result.vs_sprt or (0.0, 0.0, 0.0)
        cost.errorbar(ratio, at, xerr=[[ratio - low], [high - ratio]], fmt="o", color="#1f77b4", markersize=4)
        decided = result.engine.ended != UNDECIDED
        if decided.any():
            low, middle, high = np.quantile(result.engine.seconds[decided] / 60.0, [0.1, 0.5, 0.9])
            time.plot([low, high], [at, at], color="#9ecae1", linewidth=3)
            time.plot([middle], [at], "o", color="#1f77b4", markersize=4)
    for axes, title in ((cost, "canary requests over the SPRT's"), (time, "minutes to decision, p10 p50 p90 (log)")):
        axes.set_yticks(range(len(rows)), [result.scenario.title for result in rows], fontsize=7)
        axes.set_title(title)
        axes.invert_yaxis()
    time.set_xscale("log")
    figure.savefig(path, dpi=100)
    plt.close(figure)


def _plain(value: Any) -> Any:
    if isinstance(value, float | np.floating):
        return round(float(value), 6) if np.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    return [_plain(entry) for entry in value] if isinstance(value, list | tuple) else value
