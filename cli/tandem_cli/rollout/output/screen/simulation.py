"""The table of ``tandem rollout simulate``."""

from __future__ import annotations

from typing import Final

from rich.table import Table

from tandem_cli.rollout.output.documents.simulation import Distribution, SimulatedCanaries, SimulationDocument

WIDTH: Final = 140
"""Columns of the table where there is no terminal."""


def render_simulation(simulation: SimulationDocument) -> Table:
    """The outcomes, a line for each kind of canary."""
    table = Table(
        title=_title(simulation),
        title_justify="left",
        box=None,
        caption=None
        if simulation.decides
        else f"{simulation.worse} is only reported (gate: false): it rolls nothing back",
        caption_justify="left",
    )
    worse = simulation.worse
    table.add_column(worse if simulation.limit is None else f"{worse}, PSI over {simulation.limit:g}")
    for heading in ("promoted", "rolled back", "undecided", "requests p50", "p90", "minutes p50", "p90"):
        table.add_column(heading, justify="right")
    for index, canaries in enumerate(simulation.canaries):
        table.add_row("as good" if index == 0 else f"×{canaries.ratio:g}", *_outcomes(canaries))
    return table


def _title(simulation: SimulationDocument) -> str:
    rates = ", ".join(f"{metric} {rate:.3%}" for metric, rate in simulation.rates.items())
    weights = ", ".join(map(str, simulation.weights))
    return (
        f"{simulation.canaries[0].rollouts} rollouts of each kind at {simulation.requests_per_second:g} requests/s; "
        f"{rates}; weights {weights} %; {simulation.on_timeout} after {simulation.timeout_seconds / 60.0:g} min"
    )


def _outcomes(canaries: SimulatedCanaries) -> list[str]:
    baking = f" + {canaries.taken_back:.1%} baking" if canaries.taken_back else ""
    return [
        f"{canaries.promoted:.1%}",
        f"{canaries.rolled_back:.1%}{baking}",
        f"{canaries.undecided:.1%}",
        *_quantiles(canaries.requests, "{:,.0f}"),
        *_quantiles(canaries.minutes, "{:,.1f}"),
    ]


def _quantiles(distribution: Distribution | None, pattern: str) -> list[str]:
    if distribution is None:
        return ["-", "-"]
    return [pattern.format(distribution.median), pattern.format(distribution.p90)]
