"""``tandem rollout status`` and ``history``: a rollout as it is now, in a form for programs."""

from __future__ import annotations

from tandem_cli.rollout import exits, words
from tandem_cli.rollout.current import Current
from tandem_cli.rollout.forms import Arm, History, LastCommand, Metric, Past, Run, Status
from tandem_rollout.analysis.record import Record
from tandem_rollout.analysis.result import MetricResult
from tandem_rollout.api.status import LastCommand as Answered
from tandem_rollout.api.status import PastRun, RunStatus
from tandem_rollout.api.times import epoch
from tandem_rollout.engine.run import ENDS


def standing(current: Current, record: Record | None) -> Status:
    """How a rollout stands.

    Args:
        current: The rollout.
        record: Evidence of its present run; without it, what the status says of the metrics is shown.
    """
    run, status = current.run, current.status
    return Status(
        name=current.name,
        namespace=current.namespace,
        strategy=current.spec.strategy.name if current.spec else None,
        weights=status.weights,
        reason=status.reason or ("Invalid" if current.spec is None else ""),
        message=status.message if status.reason else current.trouble,
        current=current.seen,
        run=_run(current, run) if run else None,
        metrics=metrics(current, record),
        exit_code=exits.of_state(run.state if run else None),
    )


def metrics(current: Current, record: Record | None) -> list[Metric]:
    """What the metrics say: by the evidence, or in the words of the status."""
    judged = current.judged(record)
    if judged is not None:
        return [metric(line) for line in judged[0]]
    return [
        Metric(name=each.name, verdict=each.verdict, reason=each.reason, message=each.summary)
        for each in current.status.metrics
    ]


def metric(line: MetricResult) -> Metric:
    """What one metric says."""
    interval = line.ratio is not None or line.high is not None
    return Metric(
        name=line.name,
        type=line.type,
        gate=line.gate,
        verdict=line.verdict.value,
        stable=line.stable,
        stable_requests=line.stable_requests,
        canary=line.canary,
        canary_requests=line.canary_requests,
        ratio=line.ratio,
        ratio_low=line.low if interval else None,
        ratio_high=line.high,
        limit=line.limit,
        passing_limit=line.passing,
        needed=line.needed,
        reason=line.reason,
        message=words.plain(line.message),
    )


def history(current: Current) -> History:
    """The runs of a rollout."""
    runs = [_past(current, each) for each in current.runs()]
    return History(name=current.name, namespace=current.namespace, runs=runs)


def _run(current: Current, run: RunStatus) -> Run:
    return Run(
        number=run.number,
        state=run.state,
        ended=run.state in ENDS,
        step=run.step + 1,
        steps=run.steps,
        weight=run.weight,
        measured=run.measured,
        stable=_arm(current, run.stable),
        canary=_arm(current, run.canary),
        started=run.started,
        since=run.since,
        deadline=run.deadline or None,
        paused_from=run.paused_from or None,
        verdict=run.verdict or None,
        reason=run.reason,
        message=run.message,
        by=run.by,
        started_by=run.started_by,
        start_comment=run.start_comment,
        last_command=last_command(run.last_command),
    )


def last_command(answer: Answered | None) -> LastCommand | None:
    """The last command, and what became of it."""
    if answer is None:
        return None
    return LastCommand(
        id=words.plain(answer.id),
        verb=words.plain(answer.verb),
        by=words.plain(answer.by),
        result=answer.result,
        reason=answer.reason,
        message=words.plain(answer.message),
    )


def _arm(current: Current, service: str) -> Arm:
    return Arm(service=service, version=current.version(service))


def _past(current: Current, run: PastRun) -> Past:
    seconds = epoch(run.ended) - epoch(run.started) if run.ended and run.started else None
    return Past(
        number=run.number,
        outcome=run.outcome,
        stable=_arm(current, run.stable),
        canary=Arm(service=run.canary, version=run.version or current.version(run.canary)),
        started=run.started,
        ended=run.ended or None,
        seconds=seconds,
        reason=run.reason,
        message=run.message,
        by=run.by,
        started_by=run.started_by,
        start_comment=run.start_comment,
    )
