"""What the simulation found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.rollouts.interval import of_means, wilson
from benchmarks.rollouts.scenario import DRIFTED, QUANTILE, Scenario
from tandem_rollout.simulation.outcome import PROMOTED, ROLLED_BACK, TAKEN_BACK, UNDECIDED, Outcomes, spread


@dataclass(frozen=True)
class Found:
    """Outcomes of one scenario.

    Attributes:
        scenario: The scenario.
        engine: Outcomes of our engine.
        others: Outcomes of other rules on the same traffic, by name.
    """

    scenario: Scenario
    engine: Outcomes
    others: dict[str, Outcomes]

    @property
    def vs_sprt(self) -> tuple[float, float, float] | None:
        """Canary requests over those of the SPRT, with the interval."""
        sprt = self.others.get("sprt")
        return of_means(self.engine.samples, sprt.samples) if sprt is not None else None

    @property
    def vs_quantile(self) -> tuple[float, float, float] | None:
        """Canary requests over those with the true quantile as limit of latency, with the interval."""
        quantile = self.others.get(QUANTILE)
        return of_means(self.engine.requests, quantile.requests) if quantile is not None else None

    def wrong(self, outcomes: Outcomes) -> float | None:
        """Share of wrong decisions; None where none is wrong."""
        if self.scenario.truth == "between":
            return None
        if self.scenario.dark:
            return outcomes.share(ROLLED_BACK, TAKEN_BACK, PROMOTED)
        return outcomes.share(*(_BACK if self.scenario.truth == "good" else _THROUGH))

    def as_json(self) -> dict[str, Any]:
        """Plain types."""
        scenario, case = self.scenario, self.scenario.case
        return {
            "group": scenario.group,
            "title": scenario.title,
            "truth": scenario.truth,
            "main": scenario.main,
            "ratio": scenario.ratio,
            "seed": scenario.seed,
            "weights": [step.weight for step in case.schedule.steps],
            "horizon_s": case.schedule.timeout,
            "bake_s": case.schedule.bake,
            "holdback": case.schedule.holdback,
            "traffic": asdict(case.traffic),
            "outage": asdict(case.outage) if case.outage else None,
            "lies": asdict(case.lies) if case.lies else None,
            "dispersion": case.dispersion,
            "pods": case.pods,
            "vs_sprt": self.vs_sprt,
            "vs_quantile": self.vs_quantile,
            "rules": {name: _numbers(result) for name, result in {"tandem": self.engine, **self.others}.items()},
        }


_BACK = (ROLLED_BACK, TAKEN_BACK)
_THROUGH = (PROMOTED, TAKEN_BACK)
_MAIN_WEIGHT = 10


def headline(results: Sequence[Found]) -> dict[str, float]:
    """The figures of the last line: the worst main scenario, by the adverse end of its interval."""
    main = [result for result in results if result.scenario.main]
    good = [result for result in main if result.scenario.truth == "good"]
    bad = [result for result in main if result.scenario.truth == "bad"]
    lit = [result for result in good if not result.scenario.dark]
    drifted = {
        truth: [result for result in of if result.scenario.group == DRIFTED]
        for truth, of in (("good", good), ("bad", bad))
    }
    plain = [(result.scenario.ratio, result.vs_sprt[2]) for result in main if result.vs_sprt is not None]
    return {
        "false_rollback": max((_upper(result, *_BACK) for result in good), default=1.0),
        "false_promote": max((_upper(result, *_THROUGH) for result in bad if result.scenario.margin), default=1.0),
        "healthy_promoted": min((_lower(result, PROMOTED) for result in lit), default=0.0),
        "bad_detected": min((_lower(result, ROLLED_BACK) for result in bad), default=0.0),
        "samples_vs_sprt": max((high for ratio, high in plain if ratio <= 2.0), default=float("inf")),
        "samples_vs_sprt_r5": max((high for ratio, high in plain if ratio > 2.0), default=float("inf")),
        "latency_vs_quantile": max(
            (result.vs_quantile[2] for result in main if result.vs_quantile is not None), default=float("inf")
        ),
        "outage_rollbacks": sum(_owed_to_outage(result) for result in results if result.scenario.truth == "good"),
        "drift_false_rollback": max((_upper(result, *_BACK) for result in drifted["good"]), default=1.0),
        "drift_detected": min((_lower(result, ROLLED_BACK) for result in drifted["bad"]), default=0.0),
    }


def outside(results: Sequence[Found]) -> list[str]:
    """The worst results that the last line omits, at the weights of the last line."""
    lines = []
    for truth, outcome in (("good", "good canaries rolled back"), ("bad", "bad canaries promoted")):
        left_out = [
            (wrong, result.scenario.name)
            for result in results
            if result.scenario.truth == truth
            and not result.scenario.main
            and max(step.weight for step in result.scenario.case.schedule.steps) <= _MAIN_WEIGHT
            and (wrong := result.wrong(result.engine)) is not None
        ]
        lines += [
            f"not in the last line: {wrong:.2%} of {outcome} in {name}" for wrong, name in sorted(left_out)[:-4:-1]
        ]
    return lines


def last_line(results: Sequence[Found]) -> str:
    """One line for machines."""
    figures = headline(results)
    shown = {name: f"{value:.2f}" if "_vs_" in name else f"{value:.4f}" for name, value in figures.items()}
    shown["outage_rollbacks"] = f"{figures['outage_rollbacks']:.0f}"
    return "sim: " + " ".join(f"{name}={value}" for name, value in shown.items())


def _owed_to_outage(result: Found) -> int:
    """Good canaries that were rolled back at a sample without counts, or in a rollout without any counts."""
    if not result.scenario.outage:
        return 0
    return result.engine.count(*_BACK) if result.scenario.dark else int(result.engine.unseen.sum())


def _upper(result: Found, *how: int) -> float:
    return wilson(result.engine.count(*how), len(result.engine))[1]


def _lower(result: Found, *how: int) -> float:
    return wilson(result.engine.count(*how), len(result.engine))[0]


def _numbers(outcomes: Outcomes) -> dict[str, Any]:
    decided = outcomes.ended != UNDECIDED
    names = {"promoted": PROMOTED, "rolled_back": ROLLED_BACK, "taken_back": TAKEN_BACK, "undecided": UNDECIDED}
    spreads = {name: spread(getattr(outcomes, name)[decided]) for name in ("samples", "requests", "seconds")}
    return {
        "rollouts": len(outcomes),
        **{name: outcomes.count(how) for name, how in names.items()},
        "intervals": {name: wilson(outcomes.count(how), len(outcomes)) for name, how in names.items()},
        "rolled_back_unseen": int(outcomes.unseen.sum()),
        **{name: asdict(value) if value else None for name, value in spreads.items()},
    }
