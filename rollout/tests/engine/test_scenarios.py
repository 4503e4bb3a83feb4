"""What becomes of a run, told as stories."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tandem_rollout.api.cause import Cause
from tandem_rollout.engine.desired import derive_desired
from tandem_rollout.engine.run import MAX_PREVIOUS_COMMANDS, Command, Verb
from tandem_rollout.engine.schedule import Schedule, ScheduledStep

from .walk import (
    FAIL,
    HELD,
    INCONCLUSIVE,
    NO_DATA,
    ONE,
    PASS,
    PREVIEW,
    PROVIDER_ERROR,
    THREE,
    WATCHED,
    Walk,
    last,
    rejection,
)

UNDER_WAY = ("Preparing", "Analyzing", "AwaitingApproval", "Scaling", "Paused", "Baking")
WITH_WEIGHT = ("Analyzing", "AwaitingApproval", "Scaling", "Paused", "Baking")


# what goes well


def test_a_good_canary_goes_through_its_steps_and_its_gate() -> None:
    walk = Walk().to("Analyzing")
    walk.wait(60)
    walk.wait(60)
    walk.at("AwaitingApproval", 25)
    walk.wait(86400)
    walk.at("AwaitingApproval", 25)
    walk.says("resume")
    walk.at("Analyzing", 50)
    walk.wait(60)
    walk.at("Analyzing", 50)
    walk.sees(decision=PASS)
    walk.at("Baking", 100)
    walk.wait(299)
    walk.at("Baking", 100)
    walk.wait(1)
    assert walk.history == [
        ("Preparing", 0),
        ("Analyzing", 10),
        ("Scaling", 10),
        ("Analyzing", 25),
        ("AwaitingApproval", 25),
        ("Scaling", 25),
        ("Analyzing", 50),
        ("Scaling", 50),
        ("Baking", 100),
        ("Promoted", 100),
    ]
    assert walk.here.message == "passed by errors"


def test_blue_green_is_judged_on_its_preview_and_then_gets_all() -> None:
    walk = Walk(schedule=PREVIEW).to("Analyzing")
    walk.at("Analyzing", 0)
    walk.wait(60)
    walk.at("Analyzing", 0)
    walk.sees(decision=PASS)
    walk.at("Baking", 100)
    walk.wait(300)
    walk.at("Promoted", 100)


def test_blue_green_that_fails_never_meets_a_client() -> None:
    walk = Walk(schedule=PREVIEW).to("Analyzing")
    walk.sees(decision=FAIL)
    assert [weight for _, weight in walk.history] == [0] * len(walk.history)
    walk.at("Aborted", 0)


def test_an_ab_test_ends_at_its_horizon_and_stays_ended() -> None:
    walk = Walk(schedule=WATCHED)
    walk.sees(decision=FAIL)
    walk.at("Observing", 0)
    walk.wait(999)
    walk.at("Observing", 0)
    walk.wait(1)
    walk.at("Completed", 0)
    walk.says("start")
    walk.wait(1e6)
    walk.at("Completed", 0)
    walk.sees(plan="q")
    walk.at("Observing", 0)
    assert walk.here.number == 2


def test_an_ab_test_has_nothing_that_a_person_could_move() -> None:
    verbs: tuple[Verb, ...] = ("promote", "pause", "resume", "abort", "rollback")
    for verb in verbs:
        walk = Walk(schedule=WATCHED).to("Observing")
        walk.says(verb)
        walk.at("Observing", 0)
        assert rejection(walk.here) == ("InvalidState", f"cannot {verb} while Observing")


def test_one_version_alone_is_no_ab_test() -> None:
    walk = Walk(schedule=WATCHED)
    walk.inputs = replace(walk.inputs, specified="a")
    assert not walk.move()
    assert walk.run is None


# what is held back


def test_while_it_bakes_a_part_is_held_back_and_then_it_has_all() -> None:
    walk = Walk(schedule=HELD).to("Analyzing")
    walk.wait(60)
    walk.inputs = replace(walk.inputs, decision=PASS)
    walk.wait(60)
    walk.at("Baking", 95)
    walk.wait(299)
    walk.at("Baking", 95)
    walk.wait(1)
    assert walk.history[-3:] == [("Scaling", 50), ("Baking", 95), ("Promoted", 100)]
    assert walk.here.message == "passed by errors"


def test_what_fails_against_what_is_held_back_goes_back_at_once() -> None:
    walk = Walk(schedule=HELD).to("Baking")
    min_pods = derive_desired(HELD, walk.here, walk.inputs.stable, walk.inputs.canary).min_pods
    assert min_pods == {"a": (4, 2), "b": (4, 2)}
    walk.sees(decision=FAIL)
    walk.at("Aborted", 0)


def test_who_is_to_have_all_soon_has_the_pods_for_it_before_it_bakes() -> None:
    walk = Walk(schedule=replace(HELD, holdback=50)).to("Analyzing")
    walk.inputs = replace(walk.inputs, stable=replace(walk.inputs.stable, pods=(4, 4)))
    walk.sees(canary=replace(walk.inputs.canary, pods=(2, 2)))
    walk.says("promote")
    walk.at("Scaling", 10)
    assert derive_desired(walk.schedule, walk.here, walk.inputs.stable, walk.inputs.canary).min_pods["b"] == (4, 4)
    walk.sees(canary=replace(walk.inputs.canary, pods=(4, 4)))
    walk.at("Baking", 50)


def test_no_bake_time_holds_nothing_back() -> None:
    walk = Walk(schedule=replace(HELD, bake=0)).to("Analyzing")
    walk.says("promote")
    assert walk.history[-2:] == [("Baking", 100), ("Promoted", 100)]


def test_a_weight_that_is_higher_already_is_kept_while_it_bakes() -> None:
    walk = Walk(schedule=replace(HELD, steps=(ScheduledStep(weight=97, min_duration=60),))).to("Baking")
    walk.at("Baking", 97)
    adopting = Walk(schedule=replace(HELD, weight_drift="adopt")).to("Analyzing")
    adopting.sees(routed=98, edited=True)
    adopting.at("Analyzing", 98)
    adopting.says("promote")
    adopting.at("Baking", 98)


def test_another_version_that_is_wanted_while_it_bakes_finds_it_promoted_with_all() -> None:
    walk = Walk(schedule=HELD).to("Baking")
    walk.inputs = replace(walk.inputs, specified="c")
    walk.move()
    walk.at("Promoted", 100)
    walk.settle()
    assert (walk.here.stable, walk.here.canary, walk.here.number) == ("b", "c", 2)


# what was said before


def test_an_old_command_that_is_applied_again_says_nothing() -> None:
    """From a backup, or from a repository that has an annotation of last month."""
    walk = Walk().to("Analyzing")
    walk.says("pause")
    walk.says("resume")
    walk.says("abort")
    walk.at("Aborted", 0)
    walk.says("start")
    walk.at("Analyzing", 10)
    for old, verb in (("1", "pause"), ("3", "abort"), ("2", "resume"), ("4", "start")):
        walk.sees(command=Command(id=old, verb=verb, by="git"))
        walk.at("Analyzing", 10)
        assert walk.here.number == 2
    walk.says("pause")
    walk.at("Paused", 10)


def test_commands_are_remembered_beyond_a_crash_and_not_without_end() -> None:
    walk = Walk(crashing=True).to("Analyzing")
    for _ in range(20):
        walk.says("pause")
        walk.says("resume")
    assert len(walk.here.previous_commands) == MAX_PREVIOUS_COMMANDS
    walk.sees(command=Command(id=str(40 - MAX_PREVIOUS_COMMANDS), verb="abort", by="git"))
    walk.at("Analyzing", 10)


# what waits


@pytest.mark.parametrize("decision", [None, NO_DATA, PROVIDER_ERROR])
def test_a_canary_of_which_nothing_is_known_stays_where_it_is(decision: Any) -> None:
    walk = Walk().to("Analyzing")
    walk.sees(decision=decision)
    walk.wait(3599)
    walk.at("Analyzing", 10)


def test_a_step_lasts_until_counters_were_read_at_its_weight() -> None:
    walk = Walk().to("Analyzing")
    walk.inputs = replace(walk.inputs, samples_at_weight=0)
    walk.wait(600)
    walk.at("Analyzing", 10)
    walk.sees(samples_at_weight=1)
    walk.at("Analyzing", 25)


def test_the_last_step_takes_a_pass() -> None:
    walk = Walk(schedule=ONE).to("Analyzing")
    for decision in (INCONCLUSIVE, NO_DATA, PROVIDER_ERROR):
        walk.inputs = replace(walk.inputs, decision=decision)
        walk.wait(60)
        walk.at("Analyzing", 20)
    walk.sees(decision=PASS)
    walk.at("Baking", 100)


def test_a_canary_has_its_pods_before_it_has_weight() -> None:
    walk = Walk()
    walk.sees(canary=replace(walk.inputs.canary, pods=(0, 0)))
    walk.at("Preparing", 0)
    walk.sees(canary=replace(walk.inputs.canary, pods=(1, 0)))
    walk.at("Preparing", 0)
    walk.sees(canary=replace(walk.inputs.canary, pods=(1, 1)))
    walk.at("Analyzing", 10)
    walk.sees(stable=replace(walk.inputs.stable, pods=(20, 2)))
    walk.wait(60)
    walk.at("Scaling", 10)
    walk.sees(canary=replace(walk.inputs.canary, pods=(5, 1)))
    walk.at("Analyzing", 25)


def test_a_canary_that_may_have_fewer_pods_needs_no_more() -> None:
    walk = Walk()
    walk.sees(
        stable=replace(walk.inputs.stable, pods=(40, 40)),
        canary=replace(walk.inputs.canary, pods=(3, 2), most=(3, 2)),
    )
    walk.at("Analyzing", 10)


def test_no_autoscaling_is_no_leave_to_have_no_pods() -> None:
    walk = Walk()
    walk.sees(canary=replace(walk.inputs.canary, pods=(0, 0), most=(0, 0)))
    walk.at("Preparing", 0)


# what goes wrong


@pytest.mark.parametrize("state", WITH_WEIGHT)
def test_a_canary_that_fails_goes_back_from_everywhere(state: str) -> None:
    walk = Walk().to(state)
    walk.sees(decision=FAIL)
    walk.at("Aborted", 0)
    assert walk.here.message == "failed by errors"
    assert walk.here.by == ""


@pytest.mark.parametrize("state", WITH_WEIGHT)
@pytest.mark.parametrize("pods", [(0, 0), (1, 0), (0, 1)])
def test_a_canary_without_ready_endpoints_goes_back_at_once(state: str, pods: tuple[int, int]) -> None:
    walk = Walk().to(state)
    # stable has lost pods too: what is harmful does not wait for them
    walk.sees(canary=replace(walk.inputs.canary, pods=pods), stable=replace(walk.inputs.stable, pods=(1, 1)))
    walk.at("Aborted", 0)
    assert walk.here.message == "the canary has weight and no ready pods"


def test_a_canary_that_dies_while_it_is_aborted_does_not_wait_for_pods_of_stable() -> None:
    walk = Walk().to("Aborting")
    walk.at("Aborting", 10)
    walk.sees(canary=replace(walk.inputs.canary, pods=(0, 1)))
    walk.at("Aborted", 0)


def test_a_rollout_that_is_deleted_while_aborting_does_not_wait_for_pods_of_stable() -> None:
    walk = Walk().to("Aborting")
    walk.sees(deleted=True)
    walk.at("Aborted", 0)


@pytest.mark.parametrize("state", UNDER_WAY)
def test_a_canary_that_is_refused_goes_back(state: str) -> None:
    walk = Walk().to(state)
    walk.sees(canary=replace(walk.inputs.canary, rejected=Cause("ContractBroken", "its contract breaks")))
    walk.at("Aborted", 0)
    assert walk.here.message == "its contract breaks"


def test_nothing_goes_back_to_a_stable_without_pods() -> None:
    walk = Walk().to("Analyzing")
    walk.sees(stable=replace(walk.inputs.stable, pods=(0, 2)), decision=FAIL)
    walk.wait(1e6)
    walk.at("Aborting", 10)
    walk.sees(stable=replace(walk.inputs.stable, pods=(1, 2)))
    walk.at("Aborted", 0)


def test_an_abort_waits_for_the_pods_that_stable_had_but_not_for_ever() -> None:
    walk = Walk().to("Aborting")
    walk.wait(599)
    walk.at("Aborting", 10)
    walk.wait(1)
    walk.at("Aborted", 0)


def test_an_abort_is_over_when_the_route_has_let_go() -> None:
    walk = Walk().to("Analyzing")
    walk.stuck = True
    walk.says("abort")
    walk.at("Aborting", 0)
    walk.sees(routed=0)
    walk.at("Aborted", 0)


def test_a_canary_that_is_never_ready_is_given_up() -> None:
    walk = Walk().to("Preparing")
    walk.wait(599)
    walk.at("Preparing", 0)
    walk.wait(1)
    walk.at("Aborted", 0)
    assert "not ready for 10 % within 600 s: it is not verified" in walk.here.message


def test_a_canary_that_gets_no_more_pods_keeps_the_weight_it_has() -> None:
    walk = Walk().to("Scaling")
    walk.wait(600)
    walk.at("Paused", 10)
    assert "within 600 s: it does not have 2 and 2 ready pods" in walk.here.message
    walk.says("resume")
    walk.at("Scaling", 10)
    walk.sees(canary=replace(walk.inputs.canary, pods=(2, 2)))
    walk.at("Analyzing", 25)


@pytest.mark.parametrize(
    ("policy", "state", "weight"), [("pause", "Paused", 10), ("abort", "Aborted", 0), ("promote", "Baking", 100)]
)
@pytest.mark.parametrize("decision", [None, NO_DATA, PROVIDER_ERROR])
def test_without_a_decision_in_time_the_policy_says_what_happens(
    policy: Any, state: str, weight: int, decision: Any
) -> None:
    walk = Walk(schedule=replace(THREE, on_timeout=policy)).to("Analyzing")
    walk.sees(decision=decision)
    walk.wait(3599)
    walk.at("Analyzing", 10)
    walk.wait(1)
    walk.at(state, weight)
    verdict = "no-data" if decision is None else decision.verdict.value
    assert f"timed out after 3600 s without a decision: {verdict}" in walk.here.message


def test_time_is_up_for_a_canary_that_is_neither_good_nor_bad() -> None:
    walk = Walk(schedule=ONE).to("Analyzing")
    walk.wait(3600)
    walk.at("Paused", 20)
    walk.says("resume")
    walk.wait(3599)
    walk.at("Analyzing", 20)
    walk.wait(1)
    walk.at("Paused", 20)


# what people say


def test_a_pause_keeps_the_step_and_the_time_that_is_left() -> None:
    walk = Walk().to("Analyzing")
    walk.wait(60)
    walk.at("Analyzing", 25)
    walk.sees(decision=NO_DATA)
    walk.wait(940)
    walk.says("pause")
    walk.wait(1e6)
    walk.at("Paused", 25)
    walk.says("resume")
    walk.at("Analyzing", 25)
    walk.wait(2599)
    walk.at("Analyzing", 25)
    walk.wait(1)
    walk.at("Paused", 25)


@pytest.mark.parametrize("policy", ["pause", "abort", "promote"])
def test_the_time_that_a_person_takes_at_a_gate_does_not_count(policy: Any) -> None:
    walk = Walk(schedule=replace(THREE, on_timeout=policy)).to("AwaitingApproval")
    walk.wait(7 * 86400)
    walk.says("resume")
    walk.at("Analyzing", 50)
    walk.wait(3600 - 120 - 1)
    walk.at("Analyzing", 50)


@pytest.mark.parametrize("state", ["Preparing", "Analyzing", "AwaitingApproval", "Scaling"])
def test_a_pause_goes_back_to_where_it_came_from(state: str) -> None:
    walk = Walk().to(state)
    step, weight = walk.here.step, walk.here.weight
    walk.says("pause", comment="lunch")
    assert walk.here.message == "paused by ann: lunch"
    walk.wait(1e6)
    walk.at("Paused", weight)
    walk.says("resume")
    walk.at(state, weight)
    assert walk.here.step == step


@pytest.mark.parametrize("state", UNDER_WAY)
@pytest.mark.parametrize("verb", ["abort", "rollback"])
def test_a_person_can_end_it_everywhere(state: str, verb: Any) -> None:
    walk = Walk().to(state)
    walk.inputs = replace(walk.inputs, stable=replace(walk.inputs.stable, pods=(9, 9)))
    walk.says(verb, comment="no")
    walk.at("Aborted", 0)
    assert (walk.here.message, walk.here.by) == ("aborted by ann: no", "ann")


@pytest.mark.parametrize("state", ["Preparing", "Analyzing", "AwaitingApproval", "Scaling", "Paused"])
def test_a_person_can_promote_without_evidence_but_not_without_pods(state: str) -> None:
    walk = Walk().to(state)
    weight = walk.here.weight
    walk.inputs = replace(walk.inputs, canary=replace(walk.inputs.canary, pods=(1, 1), fit=True))
    walk.says("promote")
    walk.at("Scaling", weight)
    walk.sees(canary=replace(walk.inputs.canary, pods=(8, 8)))
    walk.at("Baking", 100)
    walk.wait(300)
    walk.at("Promoted", 100)
    assert (walk.here.message, walk.here.by) == ("promoted without waiting for evidence by ann", "ann")


def test_what_the_engine_does_is_not_said_to_be_a_persons_doing() -> None:
    walk = Walk().to("Analyzing")
    walk.says("pause")
    walk.says("resume")
    assert walk.here.by == "ann"
    walk.sees(decision=FAIL)
    assert (walk.here.message, walk.here.by) == ("failed by errors", "")


def test_an_order_from_before_the_run_is_not_said_to_have_begun_it() -> None:
    walk = Walk()
    walk.says("abort")
    assert (walk.here.by, last(walk.here)) == ("", "1")
    assert rejection(walk.here) == ("InvalidState", "cannot abort while Preparing")
    walk.at("Analyzing", 10)


def test_why_a_run_ended_is_not_forgotten_for_an_order_that_makes_no_sense() -> None:
    walk = Walk().to("Analyzing")
    walk.stuck = True
    walk.sees(decision=FAIL)
    walk.at("Aborting", 0)
    for _ in range(3):
        walk.says("promote")
        assert walk.here.message == "failed by errors"
        assert rejection(walk.here) == ("InvalidState", "cannot promote while Aborting")
    walk.sees(routed=0)
    walk.at("Aborted", 0)
    assert walk.here.message == "failed by errors"


def test_a_message_that_looks_like_an_answer_is_kept() -> None:
    walk = Walk().to("Analyzing")
    message = "cannot start while Paused; the volume is gone"
    walk.sees(canary=replace(walk.inputs.canary, rejected=Cause("VerificationFailed", message)))
    walk.at("Aborted", 0)
    assert (walk.here.reason, walk.here.message, walk.here.last_command) == ("VerificationFailed", message, None)


@pytest.mark.parametrize(
    ("state", "verb"),
    [
        ("Preparing", "resume"),
        ("Analyzing", "resume"),
        ("Analyzing", "start"),
        ("Scaling", "resume"),
        ("AwaitingApproval", "start"),
        ("Paused", "pause"),
        ("Baking", "promote"),
        ("Baking", "pause"),
        ("Aborting", "abort"),
        ("Aborting", "promote"),
        ("Aborting", "pause"),
        ("Aborting", "resume"),
    ],
)
def test_orders_that_make_no_sense_change_nothing_and_are_answered(state: str, verb: Any) -> None:
    walk = Walk().to(state)
    weight = walk.here.weight
    walk.says(verb)
    walk.at(state, weight)
    assert rejection(walk.here) == ("InvalidState", f"cannot {verb} while {state}")


def test_an_order_is_obeyed_once() -> None:
    walk = Walk().to("AwaitingApproval")
    walk.says("resume")
    walk.at("Analyzing", 50)
    walk.says("pause")
    walk.says("resume")
    order = walk.inputs.command
    walk.says("pause")
    walk.at("Paused", 50)
    walk.wait(1000)
    walk.at("Paused", 50)
    assert order is not None
    assert last(walk.here) != order.id


# after the end


def test_a_version_that_failed_is_not_tried_again_unasked() -> None:
    walk = Walk().to("Analyzing")
    walk.sees(decision=FAIL)
    walk.sees(decision=INCONCLUSIVE)
    walk.wait(1e6)
    walk.at("Aborted", 0)
    walk.says("start", by="bob")
    walk.at("Analyzing", 10)
    assert (walk.here.number, walk.here.stable, walk.here.canary) == (2, "a", "b")


def test_who_starts_again_is_written_down() -> None:
    walk = Walk().to("Aborted")
    walk.inputs = replace(walk.inputs, canary=replace(walk.inputs.canary, fit=False))
    walk.says("start", by="bob", comment="store is back")
    walk.at("Preparing", 0)
    assert (walk.here.message, walk.here.by) == ("started again by bob: store is back", "bob")


@pytest.mark.parametrize("end", ["abort", "promote"])
def test_who_started_it_and_why_is_known_until_its_end(end: Any) -> None:
    walk = Walk()
    walk.says("start", by="bob", comment="new features")
    assert (walk.here.state, walk.here.message, walk.here.by) == ("Analyzing", "", "")
    walk.says(end)
    walk.wait(300)
    assert walk.here.ended
    assert (walk.here.started_by, walk.here.start_comment) == ("bob", "new features")
    walk.says("start", by="eve", comment="once more")
    assert (walk.here.started_by, walk.here.start_comment) == (
        ("eve", "once more") if end == "abort" else ("bob", "new features")
    )


@pytest.mark.parametrize(
    "state", ["Preparing", "Analyzing", "AwaitingApproval", "Scaling", "Paused", "Baking", "Aborting"]
)
def test_who_starts_another_version_in_mid_run_is_known_in_the_next_run(state: str) -> None:
    walk = Walk(crashing=True).to(state)
    walk.inputs = replace(walk.inputs, stable=replace(walk.inputs.stable, pods=(4, 2)), specified="c")
    walk.says("start", by="bob", comment="new features")
    assert (walk.here.number, walk.here.canary) == (2, "c")
    assert (walk.here.started_by, walk.here.start_comment) == ("bob", "new features")
    walk.says("abort")
    walk.sees(specified="d")
    assert (walk.here.number, walk.here.started_by, walk.here.start_comment) == (3, "", "")


def test_a_start_that_was_refused_begins_nothing_later() -> None:
    walk = Walk().to("Analyzing")
    walk.says("start", by="bob", comment="more")
    assert rejection(walk.here) == ("InvalidState", "cannot start while Analyzing")
    walk.sees(specified="c")
    assert (walk.here.number, walk.here.canary, walk.here.started_by) == (2, "c", "")


def test_an_ab_test_that_a_person_starts_says_who_and_why() -> None:
    walk = Walk(schedule=WATCHED).to("Completed")
    walk.says("start")
    assert (walk.here.reason, walk.here.message) == ("HorizonReached", "the horizon was reached")
    assert rejection(walk.here) == ("InvalidState", "cannot start while Completed")
    walk.inputs = replace(walk.inputs, plan="q")
    walk.says("start", by="bob", comment="again")
    assert (walk.here.number, walk.here.state, walk.here.started_by) == (2, "Observing", "bob")


def test_what_was_never_tried_is_not_started_again() -> None:
    walk = Walk()
    walk.inputs = replace(walk.inputs, canary=replace(walk.inputs.canary, fit=False))
    walk.says("start", by="bob", comment="monday")
    assert (walk.here.message, walk.here.by) == ("started by bob: monday", "bob")


def test_another_plan_for_a_version_that_failed_is_another_run() -> None:
    walk = Walk().to("Aborted")
    walk.sees(plan="q")
    walk.at("Analyzing", 10)
    assert walk.here.number == 2


def test_another_plan_for_the_version_that_serves_is_nothing_to_do() -> None:
    walk = Walk().to("Promoted")
    walk.sees(plan="q")
    walk.at("Promoted", 100)


@pytest.mark.parametrize("verb", ["start", "promote", "pause", "resume", "abort"])
def test_a_version_that_serves_is_left_alone(verb: Any) -> None:
    walk = Walk().to("Promoted")
    walk.says(verb)
    walk.wait(1e6)
    walk.at("Promoted", 100)
    assert walk.here.reason == "PromotedByUser"
    assert rejection(walk.here) == (
        ("NothingToStart", "there is nothing to start: the version of the spec already serves")
        if verb == "start"
        else ("InvalidState", f"cannot {verb} while Promoted")
    )


def test_a_promoted_version_can_be_rolled_back_while_the_old_one_is_there() -> None:
    walk = Walk().to("Promoted")
    walk.inputs = replace(walk.inputs, stable=replace(walk.inputs.stable, pods=(1, 1)))
    walk.says("rollback", comment="complaints")
    walk.at("RollingBack", 100)
    walk.sees(stable=replace(walk.inputs.stable, pods=(4, 2)))
    walk.at("RolledBack", 0)
    assert (walk.here.message, walk.here.by) == ("rolled back by ann: complaints", "ann")
    walk.wait(1e6)
    walk.at("RolledBack", 0)
    walk.says("start", by="bob")
    walk.at("Analyzing", 10)
    assert (walk.here.number, walk.here.stable, walk.here.canary) == (2, "a", "b")


def test_a_rollback_before_the_promotion_is_an_abort() -> None:
    walk = Walk().to("Baking")
    walk.says("rollback")
    walk.at("Aborted", 0)


def test_another_version_waits_until_the_one_before_is_rolled_back() -> None:
    walk = Walk().to("RollingBack")
    walk.sees(specified="c")
    walk.at("RollingBack", 100)
    walk.sees(stable=replace(walk.inputs.stable, pods=(4, 2)))
    assert ("RolledBack", 0) in walk.history
    assert (walk.here.number, walk.here.stable, walk.here.canary) == (2, "a", "c")


def test_a_promoted_version_cannot_be_rolled_back_to_nothing() -> None:
    walk = Walk().to("Promoted")
    walk.inputs = replace(walk.inputs, stable=replace(walk.inputs.stable, pods=(0, 0)))
    walk.says("rollback")
    walk.at("Promoted", 100)
    assert rejection(walk.here) == ("StableGone", "cannot roll back: a has no ready pods")
    walk.sees(stable=replace(walk.inputs.stable, pods=(4, 2)))
    walk.at("Promoted", 100)


def test_after_a_promotion_nothing_begins_before_the_route_has_followed() -> None:
    walk = Walk().to("Promoted")
    # a crash has come between what was written and what is made of it
    walk.stuck = True
    walk.sees(specified="c", serving="a")
    walk.at("Promoted", 100)
    walk.sees(serving="b")
    assert (walk.here.number, walk.here.stable) == (2, "b")


def test_the_pods_that_stable_keeps_are_those_of_the_stable_of_this_run() -> None:
    walk = Walk().to("Promoted")
    # after a promotion it is the version before that is looked at as stable: somebody may want it back
    walk.inputs = replace(walk.inputs, stable=replace(walk.inputs.stable, pods=(0, 0)), specified="c", serving="b")
    walk.move()
    walk.at("Preparing", 0)
    walk.sees(stable=replace(walk.inputs.stable, pods=(7, 3)))
    walk.at("Analyzing", 10)
    assert walk.here.min_pods == (7, 3)


# other specs


@pytest.mark.parametrize("state", ["Preparing", "Analyzing", "AwaitingApproval", "Scaling", "Paused", "Aborting"])
@pytest.mark.parametrize("change", [{"specified": "c"}, {"plan": "q"}])
def test_a_newer_spec_aborts_and_then_starts(state: str, change: dict[str, Any]) -> None:
    walk = Walk().to(state)
    before = len(walk.history)
    walk.inputs = replace(walk.inputs, stable=replace(walk.inputs.stable, pods=(4, 2)))
    walk.inputs = replace(walk.inputs, canary=replace(walk.inputs.canary, fit=False), **change)
    walk.settle()
    assert ("Aborted", 0) in walk.history[before:]
    walk.at("Preparing", 0)
    assert (walk.here.number, walk.here.stable) == (2, "a")
    assert (walk.here.canary, walk.here.plan) == (change.get("specified", "b"), change.get("plan", "p"))


@pytest.mark.parametrize("change", [{"specified": "c"}, {"specified": "c", "plan": "q"}])
def test_a_newer_spec_promotes_what_was_found_good_and_then_starts(change: dict[str, str]) -> None:
    walk = Walk().to("Baking")
    walk.sees(**change)
    assert ("Promoted", 100) in walk.history
    assert (walk.here.number, walk.here.stable, walk.here.canary) == (2, "b", "c")


@pytest.mark.parametrize("state", UNDER_WAY)
def test_a_spec_that_asks_for_stable_again_ends_the_run(state: str) -> None:
    walk = Walk().to(state)
    walk.sees(specified="a", plan="q", stable=replace(walk.inputs.stable, pods=(9, 9)))
    walk.at("Aborted", 0)
    assert walk.here.message == "the spec specifies a again"
    walk.wait(1e6)
    walk.at("Aborted", 0)


@pytest.mark.parametrize("state", UNDER_WAY)
def test_deletion_gives_stable_its_weight_back(state: str) -> None:
    walk = Walk().to(state)
    walk.sees(deleted=True, stable=replace(walk.inputs.stable, pods=(1, 1)))
    walk.at("Aborted", 0)
    walk.wait(1e6)
    walk.sees(specified="c")
    walk.at("Aborted", 0)


def test_nothing_begins_that_is_being_deleted() -> None:
    walk = Walk()
    walk.inputs = replace(walk.inputs, deleted=True)
    assert not walk.move()


@pytest.mark.parametrize("change", [{"serving": ""}, {"specified": ""}, {"specified": "a"}])
def test_the_first_version_is_no_canary(change: dict[str, Any]) -> None:
    walk = Walk()
    walk.inputs = replace(walk.inputs, **change)
    assert not walk.move()


def test_a_canary_whose_strategy_becomes_an_ab_test_goes_back_first() -> None:
    walk = Walk().to("Analyzing")
    walk.schedule = WATCHED
    walk.sees(plan="q")
    assert walk.history[-2:] == [("Aborted", 0), ("Observing", 0)]


def test_an_ab_test_whose_strategy_becomes_a_canary_is_concluded_first() -> None:
    walk = Walk(schedule=WATCHED).to("Observing")
    walk.schedule = ONE
    walk.sees(plan="q", canary=replace(walk.inputs.canary, fit=True))
    assert walk.history[-3:] == [("Completed", 0), ("Preparing", 0), ("Analyzing", 20)]


# somebody else's hands


def edited(policy: Any, weight: int, state: str = "Analyzing", schedule: Schedule = THREE) -> Walk:
    walk = Walk(schedule=replace(schedule, weight_drift=policy)).to(state)
    walk.stuck = True
    walk.sees(routed=weight, edited=True)
    walk.stuck = False
    return walk


@pytest.mark.parametrize("weight", [0, 5, 40, 100])
def test_weights_of_others_are_set_right(weight: int) -> None:
    walk = edited("enforce", weight)
    walk.at("Analyzing", 10)


@pytest.mark.parametrize("state", ["Analyzing", "AwaitingApproval"])
def test_weights_of_others_are_taken_over(state: str) -> None:
    walk = edited("adopt", 40, state)
    walk.at(state, 40)
    assert walk.here.since == walk.now
    assert walk.here.message == "the canary's weight was changed to 40 % in the route"


def test_a_weight_that_was_taken_over_does_not_fall_at_the_next_step() -> None:
    walk = edited("adopt", 40)
    walk.wait(60)
    walk.at("Analyzing", 40)
    walk.wait(60)
    walk.at("AwaitingApproval", 40)
    walk.says("resume")
    walk.at("Analyzing", 50)


def test_a_lower_weight_that_was_taken_over_rises_at_the_next_step() -> None:
    walk = edited("adopt", 5)
    walk.at("Analyzing", 5)
    walk.wait(60)
    walk.at("Analyzing", 25)


@pytest.mark.parametrize("weight", [0, 100])
def test_all_or_nothing_is_not_taken_over(weight: int) -> None:
    walk = edited("adopt", weight)
    walk.at("Paused", 10)


@pytest.mark.parametrize("state", ["Analyzing", "AwaitingApproval"])
def test_weights_of_others_hold_the_run(state: str) -> None:
    walk = edited("pause", 40, state)
    weight = 10 if state == "Analyzing" else 25
    walk.at("Paused", weight)
    walk.inputs = replace(walk.inputs, routed=weight, edited=False)
    walk.says("resume")
    walk.at(state, weight)


# clocks


def test_a_clock_that_jumps_back_makes_nothing_happen_twice() -> None:
    walk = Walk().to("Analyzing")
    walk.wait(60)
    history = list(walk.history)
    walk.wait(-7200)
    assert walk.history == history


def test_a_clock_that_jumps_far_ahead_promotes_nothing_unseen() -> None:
    walk = Walk().to("Analyzing")
    walk.sees(decision=PROVIDER_ERROR)
    walk.wait(1e9)
    walk.at("Paused", 10)


# whatever is written


def test_a_run_that_was_changed_by_hand_is_no_crash() -> None:
    walk = Walk().to("Analyzing")
    walk.run = replace(walk.here, step=17)
    walk.wait(60)
    walk.sees(decision=PASS)
    assert walk.here.state in ("Analyzing", "Scaling", "Baking")
