from __future__ import annotations

from rich.console import Console

from tandem_cli.local.progress import heading, verdicts
from tandem_cli.local.runner import Moment
from tandem_rollout.analysis.result import MetricResult
from tandem_rollout.analysis.verdict import Verdict
from tandem_rollout.api.status import RolloutStatus
from tandem_rollout.engine.run import Run

LINES = (
    MetricResult(
        name="errors-in-pods",
        type="errors",
        verdict=Verdict.INCONCLUSIVE,
        stable=0.0112,
        canary=0.0198,
        stable_requests=90_000,
        canary_requests=10_000,
        ratio=1.77,
        low=1.21,
        high=2.5,
        limit="x2",
        needed=12_345,
    ),
    MetricResult(
        name="latency",
        type="latency",
        verdict=Verdict.FAIL,
        stable=0.05,
        canary=1.0,
        canary_requests=250,
        ratio=19.71,
        low=11.97,
        limit="x2 > 8/10 ms",
    ),
    MetricResult(
        name="drift", type="drift", verdict=Verdict.PASS, canary=0.0412, canary_requests=9_000, limit="PSI 0.1"
    ),
    MetricResult(name="degraded", type="degraded", verdict=Verdict.NO_DATA),
)


def test_the_verdicts_fit_a_terminal() -> None:
    console = Console(width=82, record=True, quiet=True)
    with console.capture() as captured:
        console.quiet = False
        console.print(verdicts(LINES))
    header, pods, latency, drift, degraded = captured.get().splitlines()
    assert header.split() == ["metric", "stable", "canary", "ratio", "interval", "n", "needed", "limit", "verdict"]
    assert pods.split() == [
        *("errors-in-pods", "1.12%", "1.98%", "1.77", "1.21–2.50", "10k", "12.3k", "x2", "inconclusive")
    ]
    assert latency.split() == ["latency", "5.00%", "100%", "20", "12–…", "250", "x2", ">", "8/10", "ms", "fail"]
    assert drift.split() == ["drift", "0.041", "9000", "PSI", "0.1", "pass"]
    assert degraded.split() == ["degraded", "0", "no-data"]


def test_a_heading_says_where_a_run_stands_and_why() -> None:
    run = Run(
        number=2,
        stable="v1",
        canary="v2",
        plan="p",
        state="Aborting",
        started=0,
        since=0,
        reason="MetricsFailed",
        message="failed by errors",
    )
    status = RolloutStatus(progress="Aborting 0% 1/2", weights="v1=100")
    assert heading(Moment(run, status=status)) == ("rollout 2, v1 to v2: Aborting 0% 1/2 (v1=100): failed by errors")
    assert heading(Moment()) == ""
    assert (
        heading(Moment(status=RolloutStatus(reason="UnknownVersion", message="v9 is not here")))
        == "rollout: v9 is not here"
    )
