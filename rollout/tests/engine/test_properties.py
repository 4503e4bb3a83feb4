"""What holds of runs whatever is inputs, in whatever order."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from rollout.tests.nonsense import nonsense

from tandem_rollout.analysis.verdict import MetricsDecision, Verdict
from tandem_rollout.api.cause import Cause
from tandem_rollout.api.status import LastCommand
from tandem_rollout.engine.decide import decide
from tandem_rollout.engine.desired import WHOLE, derive_desired, pods_for
from tandem_rollout.engine.due import compute_due
from tandem_rollout.engine.inputs import RevisionState, RunInputs
from tandem_rollout.engine.run import ENDS, MAX_PREVIOUS_COMMANDS, RETURNS, Command, Run, State, Verb
from tandem_rollout.engine.schedule import Schedule, ScheduledStep
from tandem_rollout.engine.serialization import from_status, to_status

from .walk import START, garbled, last

BREAKS = Cause("ContractBroken", "it breaks")

PODS = st.tuples(st.integers(0, 9), st.integers(0, 9))
TIMES = st.sampled_from([0.0, 1.0, 30.0, 60.0, 600.0])


@st.composite
def schedules(draw: st.DrawFn) -> Schedule:
    """Canaries, blue/green, and what only observes."""
    kind = draw(st.sampled_from(["canary", "canary", "canary", "preview", "observe"]))
    weights = {
        "canary": sorted(draw(st.sets(st.integers(1, 99), min_size=1, max_size=4))),
        "preview": [0],
        "observe": [],
    }[kind]
    return Schedule(
        steps=tuple(
            ScheduledStep(weight=weight, min_duration=draw(TIMES), gate=draw(st.booleans())) for weight in weights
        ),
        bake=draw(TIMES),
        holdback=draw(st.sampled_from([0, 5, 50])) if kind == "canary" else 0,
        progress_deadline=draw(TIMES),
        timeout=draw(st.sampled_from([0.0, 60.0, 600.0])),
        on_timeout=draw(st.sampled_from(["pause", "abort", "promote"])),
        weight_drift=draw(st.sampled_from(["enforce", "adopt", "pause"])),
    )


DECISIONS = st.none() | st.builds(MetricsDecision, st.sampled_from(Verdict), st.just(("errors",)))
COMMANDS = st.none() | st.builds(
    Command, id=st.sampled_from("123456789"), verb=st.sampled_from(get_args(Verb)), by=st.sampled_from(["", "ann"])
)
ARMS = st.builds(
    RevisionState,
    pods=PODS,
    most=PODS,
    fit=st.booleans(),
    rejected=st.sampled_from([None, None, BREAKS]),
    problem=st.none(),
)
SEEN = st.builds(
    RunInputs,
    specified=st.sampled_from(["a", "b", "c", ""]),
    plan=st.sampled_from("pq"),
    serving=st.sampled_from(["a", "b", "c", ""]),
    stable=ARMS,
    canary=ARMS,
    decision=DECISIONS,
    samples_at_weight=st.integers(0, 2),
    routed=st.none() | st.integers(0, 100),
    edited=st.booleans(),
    command=COMMANDS,
    deleted=st.booleans(),
)
STATES = st.sampled_from(get_args(State))
RUNS = st.none() | st.builds(
    Run,
    number=st.integers(1, 9),
    stable=st.just("a"),
    canary=st.sampled_from("bc"),
    plan=st.sampled_from("pq"),
    state=STATES,
    started=st.just(START),
    since=st.sampled_from([START, START - 60, START + 60, START + 1e6]),
    step=st.integers(0, 6),
    weight=st.integers(0, 100),
    deadline=st.none() | st.sampled_from([START, START - 60, START + 60]),
    min_pods=PODS,
    paused_from=st.none() | STATES.filter(lambda state: state not in ENDS),
    immediate_rollback=st.booleans(),
    reason=st.sampled_from(["", "MetricsFailed"]),
    message=st.sampled_from(["", "x", "cannot resume while Aborting; x"]),
    by=st.sampled_from(["", "ann"]),
    started_by=st.sampled_from(["", "bob"]),
    start_comment=st.sampled_from(["", "monday"]),
    last_command=st.none() | st.builds(LastCommand, st.sampled_from("12"), st.just("pause"), st.just("Accepted")),
    pending=st.sampled_from(["", "2", "3"]),
    previous_commands=st.lists(st.sampled_from("345"), max_size=3, unique=True).map(tuple),
)


def garbled_seen(inputs: RunInputs) -> RunInputs:
    """The same things inputs, in other words."""

    def other(arm: RevisionState) -> RevisionState:
        causes = {
            name: Cause(cause.reason, nonsense(cause.message))
            for name in ("rejected", "problem")
            if (cause := getattr(arm, name))
        }
        return replace(arm, **causes)

    return replace(inputs, stable=other(inputs.stable), canary=other(inputs.canary))


def silent(run: Run | None) -> Run | None:
    """A run without words."""
    if run is None:
        return None
    answer = run.last_command
    return replace(run, message="", last_command=answer and msgspec.structs.replace(answer, message=""))


def settled(schedule: Schedule, run: Run | None, inputs: RunInputs, now: float) -> Run | None:
    """The run when nothing more happens; it must come to that soon."""
    for _ in range(3 * len(schedule.steps) + 16):
        after = decide(schedule, run, inputs, now)
        if after == run:
            return run
        run = after
    raise AssertionError(f"it does not come to rest: {run}")


@given(schedules(), RUNS, SEEN)
@settings(max_examples=500, deadline=None)
def test_whatever_is_written_and_whatever_is_seen_there_is_one_answer(
    schedule: Schedule, run: Run | None, inputs: RunInputs
) -> None:
    assert decide(schedule, run, inputs, START) == decide(schedule, run, inputs, START)
    at_rest = settled(schedule, run, inputs, START)
    assert decide(schedule, at_rest, inputs, START) == at_rest
    if at_rest is not None:
        world = derive_desired(schedule, at_rest, inputs.stable, inputs.canary)
        assert sum(world.weights.values()) in (0, WHOLE)
        assert at_rest.ended is not world.retained


@given(schedules(), RUNS, SEEN)
@settings(max_examples=300, deadline=None)
def test_a_run_that_is_written_down_and_read_is_decided_alike(
    schedule: Schedule, run: Run | None, inputs: RunInputs
) -> None:
    after = decide(schedule, run, inputs, START)
    if run is not None and after is not None:
        again = from_status(to_status(run, steps=len(schedule.steps)))
        assert again == run
        assert decide(schedule, again, inputs, START) == after


@given(schedules(), RUNS, SEEN, st.floats(0.0, 0.999))
@settings(max_examples=300, deadline=None)
def test_nobody_has_to_look_before_it_is_due(
    schedule: Schedule, run: Run | None, inputs: RunInputs, part: float
) -> None:
    at_rest = settled(schedule, run, inputs, START)
    if at_rest is not None and not at_rest.ended:
        then = compute_due(schedule, at_rest, START)
        assert then > START
        later = START + part * (min(then, START + 1e9) - START)
        assert decide(schedule, at_rest, inputs, later) == at_rest


@given(schedules(), RUNS.filter(lambda run: run is not None and not run.ended), SEEN)
@settings(max_examples=300, deadline=None)
def test_whatever_is_under_way_can_be_ended_by_a_person(schedule: Schedule, run: Run, inputs: RunInputs) -> None:
    """In a few moves, if the route follows and stable runs."""
    order = Command(id="end", verb="abort", by="ann")
    inputs = replace(inputs, command=order, stable=replace(inputs.stable, pods=(99, 99)), edited=False)
    states = []
    for _ in range(6):
        after = decide(schedule, run, inputs, START)
        assert after is not None
        states.append(after.state)
        if after.ended:
            break
        run, inputs = after, replace(inputs, routed=after.weight)
    if "Observing" in states:
        assert states[0] == "Observing"
    else:
        assert states[-1] == ("RolledBack" if states[0] in ("RollingBack", "RolledBack") else "Aborted")


def may_abort(schedule: Schedule, run: Run, inputs: RunInputs, now: float) -> bool:
    """Whether there is reason to take a canary back, reckoned once more and from what people are told."""
    command = inputs.command
    abort_command = command is not None and not run.knows(command.id) and command.verb in ("abort", "rollback")
    spec = inputs.deleted or inputs.specified != run.canary or inputs.plan != run.plan
    failed = inputs.decision is not None and inputs.decision.verdict is Verdict.FAIL
    dead = run.weight > 0 and not inputs.canary.running
    late = run.state == "Analyzing" and schedule.on_timeout == "abort" and now >= (run.deadline or now)
    unready = run.state in ("Preparing", "Scaling") and not run.weight and now >= run.since + schedule.progress_deadline
    return abort_command or spec or failed or dead or late or unready or inputs.canary.rejected is not None


class Runs(RuleBasedStateMachine):
    """A rollout, and all that can befall it."""

    def __init__(self) -> None:
        super().__init__()
        self.schedule = Schedule(steps=())
        self.run: Run | None = None
        self.now = START
        self.inputs = RunInputs(specified="b", plan="p", serving="a")
        self.given = 0
        self.obeyed: list[str] = []

    @initialize(schedule=schedules(), good=st.booleans())
    def begin(self, schedule: Schedule, good: bool) -> None:
        self.schedule = schedule
        if good:
            well = RevisionState(pods=(9, 9), fit=True)
            self.inputs = replace(self.inputs, stable=well, canary=well, routed=0, samples_at_weight=1)

    # what befalls it

    @rule(pods=PODS)
    def pods_of_stable(self, pods: tuple[int, int]) -> None:
        self.inputs = replace(self.inputs, stable=replace(self.inputs.stable, pods=pods))

    @rule(pods=PODS)
    def pods_of_the_canary(self, pods: tuple[int, int]) -> None:
        self.inputs = replace(self.inputs, canary=replace(self.inputs.canary, pods=pods))

    @rule(fit=st.booleans(), rejected=st.sampled_from([None, None, None, BREAKS]))
    def proof(self, fit: bool, rejected: Cause | None) -> None:
        self.inputs = replace(self.inputs, canary=replace(self.inputs.canary, fit=fit, rejected=rejected))

    @rule(decision=DECISIONS, samples_at_weight=st.integers(0, 2))
    def metrics(self, decision: MetricsDecision | None, samples_at_weight: int) -> None:
        self.inputs = replace(self.inputs, decision=decision, samples_at_weight=samples_at_weight)

    @rule(verb=st.sampled_from(get_args(Verb)))
    def person(self, verb: Any) -> None:
        self.given += 1
        self.inputs = replace(self.inputs, command=Command(id=str(self.given), verb=verb, by="ann"))

    @precondition(lambda self: self.obeyed)
    @rule(verb=st.sampled_from(get_args(Verb)), back=st.integers(1, MAX_PREVIOUS_COMMANDS))
    def somebody_applies_an_old_command_again(self, verb: Any, back: int) -> None:
        old = self.obeyed[-min(back, len(self.obeyed))]
        self.inputs = replace(self.inputs, command=Command(id=old, verb=verb, by="git"))

    @rule(routed=st.none() | st.integers(0, 100))
    def somebody_edits_the_route(self, routed: int | None) -> None:
        self.inputs = replace(self.inputs, routed=routed, edited=True)

    @precondition(lambda self: self.run is not None)
    @rule()
    def route_follows(self) -> None:
        assert self.run is not None
        world = derive_desired(self.schedule, self.run, self.inputs.stable, self.inputs.canary)
        self.inputs = replace(self.inputs, routed=world.weights.get(self.run.canary, 0), edited=False)
        if self.run.ended and world.weights:
            self.inputs = replace(self.inputs, serving=next(iter(world.weights)))

    @rule(specified=st.sampled_from("abc"), plan=st.sampled_from("pq"))
    def spec(self, specified: str, plan: str) -> None:
        self.inputs = replace(self.inputs, specified=specified, plan=plan)

    @rule(deleted=st.sampled_from([False, False, True]))
    def deletion(self, deleted: bool) -> None:
        self.inputs = replace(self.inputs, deleted=deleted)

    @rule(seconds=st.sampled_from([1.0, 30.0, 60.0, 60.0, 600.0, 600.0, 1e8, -30.0, -600.0, -1e6]))
    def clock(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.run is not None)
    @rule()
    def crash(self) -> None:
        assert self.run is not None
        self.run = from_status(to_status(self.run, steps=len(self.schedule.steps)))

    # what must hold

    @rule(moves=st.integers(1, 4))
    def move(self, moves: int) -> None:
        for _ in range(moves):
            before = self.run
            after = decide(self.schedule, before, self.inputs, self.now)
            assert decide(self.schedule, before, self.inputs, self.now) == after
            settled(self.schedule, after, self.inputs, self.now)
            garbled_run = decide(self.schedule, garbled(before), garbled_seen(self.inputs), self.now)
            assert silent(garbled_run) == silent(after), "a message has decided something"
            self._check(before, after)
            self.run = after

    def _check(self, before: Run | None, after: Run | None) -> None:
        if after is None:
            assert before is None
            return
        if before is None or before.number != after.number:
            self._check_beginning(before, after)
            return
        assert (after.stable, after.canary, after.plan) == (before.stable, before.canary, before.plan)
        assert (after.started_by, after.start_comment) == (before.started_by, before.start_comment)
        assert (after.state == "RolledBack") <= (before.state in ("RollingBack", "RolledBack"))
        if before.ended:
            self._check_end(before, after)
        else:
            self._check_weight(before, after)
            if after.state == "Aborting" != before.state or (after.state == "Aborted" and before.state != "Aborting"):
                assert may_abort(self.schedule, before, self.inputs, self.now), (before, after)
        if last(after) != last(before):
            assert self.inputs.command is not None
            assert last(after) == self.inputs.command.id
            assert last(after) not in self.obeyed
            self.obeyed.append(last(after))

    def _check_beginning(self, before: Run | None, after: Run) -> None:
        assert before is None or before.ended
        assert after.number == (before.number + 1 if before else 1)
        assert after.state in ("Preparing", "Observing")
        assert after.weight == 0
        assert not self.inputs.deleted
        assert after.stable != after.canary
        if before is not None and (before.canary, before.plan) == (after.canary, after.plan):
            command = self.inputs.command
            assert command is not None
            assert (command.verb, command.id) == ("start", last(after))
            assert not before.knows(command.id)
        if after.started_by:
            command = self.inputs.command
            assert command is not None
            assert (command.verb, command.by) == ("start", after.started_by)
            assert before is None or not before.knows(command.id) or before.pending == command.id
        if last(after) and last(after) not in self.obeyed:
            self.obeyed.append(last(after))

    def _check_end(self, before: Run, after: Run) -> None:
        if after.state == before.state:
            assert after.weight == before.weight
            return
        command = self.inputs.command
        assert (before.state, after.state) == ("Promoted", "RollingBack")
        assert command is not None
        assert command.verb == "rollback"
        assert self.inputs.stable.running

    def _check_weight(self, before: Run, after: Run) -> None:
        adopted = self.inputs.edited and self.schedule.weight_drift == "adopt" and after.weight == self.inputs.routed
        if adopted and after.state == before.state and after.weight != before.weight:
            assert 0 < after.weight < WHOLE
            return
        if after.weight < before.weight:
            assert after.weight == 0
            assert after.state in RETURNS
            assert self.inputs.stable.running
        if after.weight > before.weight:
            assert (before.state in ("Preparing", "Scaling")) or (before.state, after.state) == ("Baking", "Promoted")
            assert self.inputs.canary.running
            if before.state != "Baking":
                # for all of the requests before it bakes, so that what was held back follows without another wait
                whole = WHOLE if after.state == "Baking" else after.weight
                assert self.inputs.canary.fit
                assert self.inputs.canary.has(pods_for(whole, before, self.inputs.stable, self.inputs.canary))
        passes_last_step = before.step < len(self.schedule.steps) <= after.step
        if passes_last_step:  # from here on nothing but pods is waited for
            command = self.inputs.command
            assert (
                (
                    self.inputs.decision is not None
                    and self.inputs.decision.verdict is Verdict.PASS
                    and self.inputs.samples_at_weight > 0
                )
                or (before.state == "AwaitingApproval" and command is not None and command.verb == "resume")
                or (command is not None and command.verb == "promote" and command.id == last(after))
                or (self.schedule.on_timeout == "promote" and self.now >= (before.deadline or self.now))
            ), (before, after)
        if after.state == "AwaitingApproval" != before.state and before.state != "Paused":
            assert self.inputs.decision is not None
            assert self.inputs.decision.verdict is Verdict.PASS or (
                self.inputs.decision.verdict is Verdict.INCONCLUSIVE and before.step < len(self.schedule.steps) - 1
            )
        if after.weight == WHOLE != before.weight:
            assert after.step == len(self.schedule.steps)
        if after.state == "Promoted" != before.state:
            assert after.weight == WHOLE
        if after.state == "Baking":
            holdback = self.schedule.holdback if self.schedule.bake else 0
            assert after.weight >= WHOLE - holdback


TestRuns = Runs.TestCase
TestRuns.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)


# crashes

EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("pods"), st.sampled_from([(0, 0), (1, 1), (2, 2), (9, 9)])),
        st.tuples(st.just("decision"), DECISIONS),
        st.tuples(st.just("verb"), st.sampled_from(get_args(Verb))),
        st.tuples(st.just("specified"), st.sampled_from("abc")),
        st.tuples(st.just("wait"), st.sampled_from([1.0, 60.0, 600.0])),
        st.tuples(st.just("wait"), st.sampled_from([1.0, 60.0, 600.0])),
    ),
    max_size=25,
)


def followed(schedule: Schedule, run: Run | None, inputs: RunInputs) -> RunInputs:
    """What is observed when the route is as a run wants it."""
    if run is None:
        return inputs
    weights = derive_desired(schedule, run, inputs.stable, inputs.canary).weights
    serving = max(weights, key=lambda name: weights[name]) if weights else inputs.serving
    return replace(inputs, routed=weights.get(run.canary, 0), serving=serving)


def lived(schedule: Schedule, events: list[tuple[str, Any]], crashes: frozenset[int]) -> list[Run | None]:
    """The runs as they were after each event, with what decides starting anew at some moves."""
    well = RevisionState(pods=(9, 9), fit=True)
    inputs = RunInputs(specified="b", plan="p", serving="a", stable=well, canary=well, routed=0, samples_at_weight=1)
    run: Run | None = None
    now, moves, command_count, runs = START, 0, 0, []
    for kind, value in [("wait", 0.0), *events]:
        if kind == "pods":
            inputs = replace(inputs, canary=replace(inputs.canary, pods=value))
        elif kind == "verb":
            command_count += 1
            inputs = replace(inputs, command=Command(id=str(command_count), verb=value))
        elif kind == "wait":
            now += value
        else:
            inputs = replace(inputs, **{kind: value})
        for _ in range(40):
            after = decide(schedule, run, inputs, now)
            moves += 1
            if moves in crashes and after is not None and after != run:
                # this is written down, and the world is not yet as it says
                run = from_status(to_status(after, steps=len(schedule.steps)))
                continue
            next_inputs = followed(schedule, after, inputs)
            if (after, next_inputs) == (run, inputs):
                break
            run, inputs = after, next_inputs
        runs.append(run)
    return runs


@given(schedules(), EVENTS, st.frozensets(st.integers(1, 60), max_size=20))
@settings(max_examples=500, deadline=None)
def test_a_crash_at_any_move_changes_nothing(
    schedule: Schedule, events: list[tuple[str, Any]], crashes: frozenset[int]
) -> None:
    events = [*events, ("wait", 1.0), ("wait", 1.0)]
    assert lived(schedule, events, crashes)[-1] == lived(schedule, events, frozenset())[-1]


@given(st.sampled_from([Verdict.PROVIDER_ERROR, Verdict.NO_DATA]), EVENTS, schedules())
@settings(max_examples=300, deadline=None)
def test_who_sees_nothing_decides_nothing(verdict: Verdict, events: list[tuple[str, Any]], schedule: Schedule) -> None:
    """An outage of the metrics, or of the traffic, neither takes a canary back nor promotes it."""
    harmless = [
        (kind, MetricsDecision(verdict, ("errors",)) if kind == "decision" else value)
        for kind, value in events
        if kind in ("decision", "wait")
    ]
    quiet = replace(schedule, on_timeout="pause")
    states = [run.state for run in lived(quiet, harmless, frozenset()) if run]
    assert not {"Aborting", "Aborted", "Baking", "Promoted"} & set(states)
