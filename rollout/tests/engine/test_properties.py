"""What holds of runs whatever is seen, in whatever order."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from rollout.tests.nonsense import nonsense

from tandem_rollout.analysis.verdict import Decision, Verdict
from tandem_rollout.cause import Cause
from tandem_rollout.engine.decide import decide
from tandem_rollout.engine.desired import WHOLE, desired, pods_for
from tandem_rollout.engine.due import due
from tandem_rollout.engine.run import ENDS, MOST_HEARD, RETURNS, Command, Run, State, Verb
from tandem_rollout.engine.schedule import Schedule, Step
from tandem_rollout.engine.seen import Arm, Seen
from tandem_rollout.engine.written import read, write
from tandem_rollout.status import LastCommand

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
        steps=tuple(Step(weight=weight, hold=draw(TIMES), gate=draw(st.booleans())) for weight in weights),
        bake=draw(TIMES),
        holdback=draw(st.sampled_from([0, 5, 50])) if kind == "canary" else 0,
        progress_deadline=draw(TIMES),
        timeout=draw(st.sampled_from([0.0, 60.0, 600.0])),
        on_timeout=draw(st.sampled_from(["pause", "abort", "promote"])),
        weight_drift=draw(st.sampled_from(["enforce", "adopt", "pause"])),
    )


DECISIONS = st.none() | st.builds(Decision, st.sampled_from(Verdict), st.just(("errors",)))
COMMANDS = st.none() | st.builds(
    Command, id=st.sampled_from("123456789"), verb=st.sampled_from(get_args(Verb)), by=st.sampled_from(["", "ann"])
)
ARMS = st.builds(
    Arm, pods=PODS, most=PODS, fit=st.booleans(), refused=st.sampled_from([None, None, BREAKS]), problem=st.none()
)
SEEN = st.builds(
    Seen,
    wanted=st.sampled_from(["a", "b", "c", ""]),
    plan=st.sampled_from("pq"),
    serving=st.sampled_from(["a", "b", "c", ""]),
    stable=ARMS,
    canary=ARMS,
    decision=DECISIONS,
    looks=st.integers(0, 2),
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
    floor=PODS,
    before=st.none() | STATES.filter(lambda state: state not in ENDS),
    hurried=st.booleans(),
    reason=st.sampled_from(["", "MetricsFailed"]),
    message=st.sampled_from(["", "x", "cannot resume while Aborting; x"]),
    by=st.sampled_from(["", "ann"]),
    started_by=st.sampled_from(["", "bob"]),
    start_comment=st.sampled_from(["", "monday"]),
    last_command=st.none() | st.builds(LastCommand, st.sampled_from("12"), st.just("pause"), st.just("Accepted")),
    pending=st.sampled_from(["", "2", "3"]),
    heard=st.lists(st.sampled_from("345"), max_size=3, unique=True).map(tuple),
)


def garbled_seen(seen: Seen) -> Seen:
    """The same things seen, in other words."""

    def other(arm: Arm) -> Arm:
        causes = {
            name: Cause(cause.reason, nonsense(cause.message))
            for name in ("refused", "problem")
            if (cause := getattr(arm, name))
        }
        return replace(arm, **causes)

    return replace(seen, stable=other(seen.stable), canary=other(seen.canary))


def silent(run: Run | None) -> Run | None:
    """A run without words."""
    if run is None:
        return None
    answer = run.last_command
    return replace(run, message="", last_command=answer and msgspec.structs.replace(answer, message=""))


def settled(schedule: Schedule, run: Run | None, seen: Seen, now: float) -> Run | None:
    """The run when nothing more happens; it must come to that soon."""
    for _ in range(3 * len(schedule.steps) + 16):
        after = decide(schedule, run, seen, now)
        if after == run:
            return run
        run = after
    raise AssertionError(f"it does not come to rest: {run}")


@given(schedules(), RUNS, SEEN)
@settings(max_examples=500, deadline=None)
def test_whatever_is_written_and_whatever_is_seen_there_is_one_answer(
    schedule: Schedule, run: Run | None, seen: Seen
) -> None:
    assert decide(schedule, run, seen, START) == decide(schedule, run, seen, START)
    at_rest = settled(schedule, run, seen, START)
    assert decide(schedule, at_rest, seen, START) == at_rest
    if at_rest is not None:
        world = desired(schedule, at_rest, seen.stable, seen.canary)
        assert sum(world.weights.values()) in (0, WHOLE)
        assert at_rest.ended is not world.kept


@given(schedules(), RUNS, SEEN)
@settings(max_examples=300, deadline=None)
def test_a_run_that_is_written_down_and_read_is_decided_alike(schedule: Schedule, run: Run | None, seen: Seen) -> None:
    after = decide(schedule, run, seen, START)
    if run is not None and after is not None:
        again = read(write(run, steps=len(schedule.steps)))
        assert again == run
        assert decide(schedule, again, seen, START) == after


@given(schedules(), RUNS, SEEN, st.floats(0.0, 0.999))
@settings(max_examples=300, deadline=None)
def test_nobody_has_to_look_before_it_is_due(schedule: Schedule, run: Run | None, seen: Seen, part: float) -> None:
    at_rest = settled(schedule, run, seen, START)
    if at_rest is not None and not at_rest.ended:
        then = due(schedule, at_rest, START)
        assert then > START
        later = START + part * (min(then, START + 1e9) - START)
        assert decide(schedule, at_rest, seen, later) == at_rest


@given(schedules(), RUNS.filter(lambda run: run is not None and not run.ended), SEEN)
@settings(max_examples=300, deadline=None)
def test_whatever_is_under_way_can_be_ended_by_a_person(schedule: Schedule, run: Run, seen: Seen) -> None:
    """In a few moves, if the route follows and stable runs."""
    order = Command(id="end", verb="abort", by="ann")
    seen = replace(seen, command=order, stable=replace(seen.stable, pods=(99, 99)), edited=False)
    states = []
    for _ in range(6):
        after = decide(schedule, run, seen, START)
        assert after is not None
        states.append(after.state)
        if after.ended:
            break
        run, seen = after, replace(seen, routed=after.weight)
    if "Observing" in states:
        assert states[0] == "Observing"
    else:
        assert states[-1] == ("RolledBack" if states[0] in ("RollingBack", "RolledBack") else "Aborted")


def may_abort(schedule: Schedule, run: Run, seen: Seen, now: float) -> bool:
    """Whether there is reason to take a canary back, reckoned once more and from what people are told."""
    command = seen.command
    told = command is not None and not run.knows(command.id) and command.verb in ("abort", "rollback")
    spec = seen.deleted or seen.wanted != run.canary or seen.plan != run.plan
    failed = seen.decision is not None and seen.decision.verdict is Verdict.FAIL
    dead = run.weight > 0 and not seen.canary.running
    late = run.state == "Analysing" and schedule.on_timeout == "abort" and now >= (run.deadline or now)
    unready = run.state in ("Preparing", "Scaling") and not run.weight and now >= run.since + schedule.progress_deadline
    return told or spec or failed or dead or late or unready or seen.canary.refused is not None


class Runs(RuleBasedStateMachine):
    """A rollout, and all that can befall it."""

    def __init__(self) -> None:
        super().__init__()
        self.schedule = Schedule(steps=())
        self.run: Run | None = None
        self.now = START
        self.seen = Seen(wanted="b", plan="p", serving="a")
        self.given = 0
        self.obeyed: list[str] = []

    @initialize(schedule=schedules(), good=st.booleans())
    def begin(self, schedule: Schedule, good: bool) -> None:
        self.schedule = schedule
        if good:
            well = Arm(pods=(9, 9), fit=True)
            self.seen = replace(self.seen, stable=well, canary=well, routed=0, looks=1)

    # what befalls it

    @rule(pods=PODS)
    def pods_of_stable(self, pods: tuple[int, int]) -> None:
        self.seen = replace(self.seen, stable=replace(self.seen.stable, pods=pods))

    @rule(pods=PODS)
    def pods_of_the_canary(self, pods: tuple[int, int]) -> None:
        self.seen = replace(self.seen, canary=replace(self.seen.canary, pods=pods))

    @rule(fit=st.booleans(), refused=st.sampled_from([None, None, None, BREAKS]))
    def proof(self, fit: bool, refused: Cause | None) -> None:
        self.seen = replace(self.seen, canary=replace(self.seen.canary, fit=fit, refused=refused))

    @rule(decision=DECISIONS, looks=st.integers(0, 2))
    def metrics(self, decision: Decision | None, looks: int) -> None:
        self.seen = replace(self.seen, decision=decision, looks=looks)

    @rule(verb=st.sampled_from(get_args(Verb)))
    def person(self, verb: Any) -> None:
        self.given += 1
        self.seen = replace(self.seen, command=Command(id=str(self.given), verb=verb, by="ann"))

    @precondition(lambda self: self.obeyed)
    @rule(verb=st.sampled_from(get_args(Verb)), back=st.integers(1, MOST_HEARD))
    def somebody_applies_an_old_command_again(self, verb: Any, back: int) -> None:
        old = self.obeyed[-min(back, len(self.obeyed))]
        self.seen = replace(self.seen, command=Command(id=old, verb=verb, by="git"))

    @rule(routed=st.none() | st.integers(0, 100))
    def somebody_edits_the_route(self, routed: int | None) -> None:
        self.seen = replace(self.seen, routed=routed, edited=True)

    @precondition(lambda self: self.run is not None)
    @rule()
    def route_follows(self) -> None:
        assert self.run is not None
        world = desired(self.schedule, self.run, self.seen.stable, self.seen.canary)
        self.seen = replace(self.seen, routed=world.weights.get(self.run.canary, 0), edited=False)
        if self.run.ended and world.weights:
            self.seen = replace(self.seen, serving=next(iter(world.weights)))

    @rule(wanted=st.sampled_from("abc"), plan=st.sampled_from("pq"))
    def spec(self, wanted: str, plan: str) -> None:
        self.seen = replace(self.seen, wanted=wanted, plan=plan)

    @rule(deleted=st.sampled_from([False, False, True]))
    def deletion(self, deleted: bool) -> None:
        self.seen = replace(self.seen, deleted=deleted)

    @rule(seconds=st.sampled_from([1.0, 30.0, 60.0, 60.0, 600.0, 600.0, 1e8, -30.0, -600.0, -1e6]))
    def clock(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.run is not None)
    @rule()
    def crash(self) -> None:
        assert self.run is not None
        self.run = read(write(self.run, steps=len(self.schedule.steps)))

    # what must hold

    @rule(moves=st.integers(1, 4))
    def move(self, moves: int) -> None:
        for _ in range(moves):
            before = self.run
            after = decide(self.schedule, before, self.seen, self.now)
            assert decide(self.schedule, before, self.seen, self.now) == after
            settled(self.schedule, after, self.seen, self.now)
            other = decide(self.schedule, garbled(before), garbled_seen(self.seen), self.now)
            assert silent(other) == silent(after), "a message has decided something"
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
                assert may_abort(self.schedule, before, self.seen, self.now), (before, after)
        if last(after) != last(before):
            assert self.seen.command is not None
            assert last(after) == self.seen.command.id
            assert last(after) not in self.obeyed
            self.obeyed.append(last(after))

    def _check_beginning(self, before: Run | None, after: Run) -> None:
        assert before is None or before.ended
        assert after.number == (before.number + 1 if before else 1)
        assert after.state in ("Preparing", "Observing")
        assert after.weight == 0
        assert not self.seen.deleted
        assert after.stable != after.canary
        if before is not None and (before.canary, before.plan) == (after.canary, after.plan):
            command = self.seen.command
            assert command is not None
            assert (command.verb, command.id) == ("start", last(after))
            assert not before.knows(command.id)
        if after.started_by:
            command = self.seen.command
            assert command is not None
            assert (command.verb, command.by) == ("start", after.started_by)
            assert before is None or not before.knows(command.id) or before.pending == command.id
        if last(after) and last(after) not in self.obeyed:
            self.obeyed.append(last(after))

    def _check_end(self, before: Run, after: Run) -> None:
        if after.state == before.state:
            assert after.weight == before.weight
            return
        command = self.seen.command
        assert (before.state, after.state) == ("Promoted", "RollingBack")
        assert command is not None
        assert command.verb == "rollback"
        assert self.seen.stable.running

    def _check_weight(self, before: Run, after: Run) -> None:
        adopted = self.seen.edited and self.schedule.weight_drift == "adopt" and after.weight == self.seen.routed
        if adopted and after.state == before.state and after.weight != before.weight:
            assert 0 < after.weight < WHOLE
            return
        if after.weight < before.weight:
            assert after.weight == 0
            assert after.state in RETURNS
            assert self.seen.stable.running
        if after.weight > before.weight:
            assert (before.state in ("Preparing", "Scaling")) or (before.state, after.state) == ("Baking", "Promoted")
            assert self.seen.canary.running
            if before.state != "Baking":
                # for all of the requests before it bakes, so that what was held back follows without another wait
                whole = WHOLE if after.state == "Baking" else after.weight
                assert self.seen.canary.fit
                assert self.seen.canary.has(pods_for(whole, before, self.seen.stable, self.seen.canary))
        last = before.step < len(self.schedule.steps) <= after.step
        if last:  # from here on nothing but pods is waited for
            command = self.seen.command
            assert (
                (self.seen.decision is not None and self.seen.decision.verdict is Verdict.PASS and self.seen.looks > 0)
                or (before.state == "Gated" and command is not None and command.verb == "resume")
                or (command is not None and command.verb == "promote" and command.id == last(after))
                or (self.schedule.on_timeout == "promote" and self.now >= (before.deadline or self.now))
            ), (before, after)
        if after.state == "Gated" != before.state and before.state != "Paused":
            assert self.seen.decision is not None
            assert self.seen.decision.verdict is Verdict.PASS or (
                self.seen.decision.verdict is Verdict.INCONCLUSIVE and before.step < len(self.schedule.steps) - 1
            )
        if after.weight == WHOLE != before.weight:
            assert after.step == len(self.schedule.steps)
        if after.state == "Promoted" != before.state:
            assert after.weight == WHOLE
        if after.state == "Baking":
            held = self.schedule.holdback if self.schedule.bake else 0
            assert after.weight >= WHOLE - held


TestRuns = Runs.TestCase
TestRuns.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)


# crashes

EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("pods"), st.sampled_from([(0, 0), (1, 1), (2, 2), (9, 9)])),
        st.tuples(st.just("decision"), DECISIONS),
        st.tuples(st.just("verb"), st.sampled_from(get_args(Verb))),
        st.tuples(st.just("wanted"), st.sampled_from("abc")),
        st.tuples(st.just("wait"), st.sampled_from([1.0, 60.0, 600.0])),
        st.tuples(st.just("wait"), st.sampled_from([1.0, 60.0, 600.0])),
    ),
    max_size=25,
)


def followed(schedule: Schedule, run: Run | None, seen: Seen) -> Seen:
    """What is seen when the route is as a run wants it."""
    if run is None:
        return seen
    weights = desired(schedule, run, seen.stable, seen.canary).weights
    serving = max(weights, key=lambda name: weights[name]) if weights else seen.serving
    return replace(seen, routed=weights.get(run.canary, 0), serving=serving)


def lived(schedule: Schedule, events: list[tuple[str, Any]], crashes: frozenset[int]) -> list[Run | None]:
    """The runs as they were after each event, with what decides starting anew at some moves."""
    well = Arm(pods=(9, 9), fit=True)
    seen = Seen(wanted="b", plan="p", serving="a", stable=well, canary=well, routed=0, looks=1)
    run: Run | None = None
    now, moves, given, found = START, 0, 0, []
    for what, value in [("wait", 0.0), *events]:
        if what == "pods":
            seen = replace(seen, canary=replace(seen.canary, pods=value))
        elif what == "verb":
            given += 1
            seen = replace(seen, command=Command(id=str(given), verb=value))
        elif what == "wait":
            now += value
        else:
            seen = replace(seen, **{what: value})
        for _ in range(40):
            after = decide(schedule, run, seen, now)
            moves += 1
            if moves in crashes and after is not None and after != run:
                # this is written down, and the world is not yet as it says
                run = read(write(after, steps=len(schedule.steps)))
                continue
            made = followed(schedule, after, seen)
            if (after, made) == (run, seen):
                break
            run, seen = after, made
        found.append(run)
    return found


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
        (what, Decision(verdict, ("errors",)) if what == "decision" else value)
        for what, value in events
        if what in ("decision", "wait")
    ]
    quiet = replace(schedule, on_timeout="pause")
    states = [run.state for run in lived(quiet, harmless, frozenset()) if run]
    assert not {"Aborting", "Aborted", "Baking", "Promoted"} & set(states)
