"""What ``tandem rollout`` prints for programs: ``-o json`` and ``-o yaml``.

Each document names its ``kind`` and :data:`SCHEMA`. Within one version of the schema fields are only added; what is not
known is null, and no field is ever left out.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

SCHEMA: Final = "cli.tandem-serving.io/v1"
"""``apiVersion`` of all documents."""


class Form(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """A part of a document."""


class Arm(Form, frozen=True, kw_only=True):
    """One of the two versions of a run.

    Attributes:
        service: Its InferenceService; on this machine its variant.
        version: Version of its bundle; empty where it is not known.
    """

    service: str
    version: str


class Said(Form, frozen=True, kw_only=True):
    """Something that a person reads, and what it is about for programs.

    Attributes:
        reason: What it is, as a code.
        message: The same in words.
    """

    reason: str
    message: str


class LastCommand(Form, frozen=True, kw_only=True):
    """The last command that a run has answered.

    Attributes:
        id: Its identity.
        verb: What was asked for.
        by: Who asked.
        result: Accepted or Rejected.
        reason: Why it was rejected, as a code; empty where it was accepted.
        message: The same in words.
    """

    id: str
    verb: str
    by: str
    result: str
    reason: str
    message: str


class Run(Form, frozen=True, kw_only=True):
    """A run that is on its way, or has just ended.

    Attributes:
        number: Runs are counted from 1.
        state: Where it stands.
        ended: Whether nothing more happens by itself.
        step: The step, counted from 1; number of steps + 1 past the last one.
        steps: How many steps there are.
        weight: Percentage of the requests that the canary is to have.
        measured: Percentage that it had in the last tick.
        stable: What served before.
        canary: What is to follow it.
        started: When it began.
        since: When the state began.
        deadline: When the analysis is over at the latest.
        paused_from: State that a pause came from.
        verdict: What the metrics say together.
        reason: Why the state is what it is, as a code.
        message: The same in words.
        by: Who wanted it; empty for the controller.
        started_by: Who started it; empty where the spec did.
        start_comment: Why it was started, in the words of that person.
        last_command: The last command, and what became of it; null before the first.
    """

    number: int
    state: str
    ended: bool
    step: int
    steps: int
    weight: int
    measured: float | None
    stable: Arm
    canary: Arm
    started: str
    since: str
    deadline: str | None
    paused_from: str | None
    verdict: str | None
    reason: str
    message: str
    by: str
    started_by: str
    start_comment: str
    last_command: LastCommand | None


class Metric(Form, frozen=True, kw_only=True):
    """What one metric says.

    Attributes:
        name: Its name.
        type: Its type; null where only the status is known.
        gate: Whether it decides.
        verdict: pass, fail, inconclusive, no-data or provider-error.
        stable: Rate of stable's events.
        stable_requests: Requests of stable.
        canary: Rate of the canary's; for drift the distance, for assignment its share of the units.
        canary_requests: Requests of the canary.
        ratio: The canary's rate over stable's.
        ratio_low: Lower end of its interval.
        ratio_high: Upper end; null where nothing bounds it.
        limit: What it is held against.
        passing_limit: Of drift, the least limit that the canary would pass; null for others, and where too little is
            known.
        needed: Requests of the canary that it probably still takes to pass.
        reason: Why it says nothing, or less than it could, as a code.
        message: The same in words.
    """

    name: str
    type: str | None = None
    gate: bool = True
    verdict: str
    stable: float | None = None
    stable_requests: float | None = None
    canary: float | None = None
    canary_requests: float | None = None
    ratio: float | None = None
    ratio_low: float | None = None
    ratio_high: float | None = None
    limit: str = ""
    passing_limit: float | None = None
    needed: int | None = None
    reason: str = ""
    message: str = ""


class Status(Form, frozen=True, kw_only=True):
    """``tandem rollout status``.

    Attributes:
        name: Name of the rollout.
        namespace: Its namespace; empty on this machine.
        strategy: How versions reach clients; null where this program does not understand the spec.
        weights: Weights as the route has them.
        reason: Why the rollout waits, or cannot go on, as a code; empty where neither is so.
        message: The same in words.
        current: Whether the status is about the spec as it is now.
        run: The present run, or the last one; null before the first.
        metrics: What the metrics of that run say.
        exit_code: What ``--exit-code`` would exit with.
    """

    api_version: str = SCHEMA
    kind: Literal["RolloutStatus"] = "RolloutStatus"
    name: str
    namespace: str
    strategy: str | None
    weights: str
    reason: str
    message: str
    current: bool
    run: Run | None
    metrics: list[Metric]
    exit_code: int


class StatusList(Form, frozen=True, kw_only=True):
    """``tandem rollout status`` without a name.

    Attributes:
        items: All rollouts.
    """

    api_version: str = SCHEMA
    kind: Literal["RolloutStatusList"] = "RolloutStatusList"
    items: list[Status]


class Past(Form, frozen=True, kw_only=True):
    """A run of the history.

    Attributes:
        number: Its number.
        outcome: How it ended; its state where it has not.
        stable: What served before.
        canary: What was to follow it.
        started: When it began.
        ended: When it ended; null where it has not.
        seconds: How long it took.
        reason: Why it ended so, as a code.
        message: The same in words.
        by: Who wanted it; empty for the controller.
        started_by: Who started it; empty where the spec did.
        start_comment: Why it was started, in the words of that person.
    """

    number: int
    outcome: str
    stable: Arm
    canary: Arm
    started: str
    ended: str | None
    seconds: float | None
    reason: str
    message: str
    by: str
    started_by: str
    start_comment: str


class History(Form, frozen=True, kw_only=True):
    """``tandem rollout history``.

    Attributes:
        name: Name of the rollout.
        namespace: Its namespace; empty on this machine.
        runs: Its runs, the latest first.
    """

    api_version: str = SCHEMA
    kind: Literal["RolloutHistory"] = "RolloutHistory"
    name: str
    namespace: str
    runs: list[Past]


class Explanation(Form, frozen=True, kw_only=True):
    """``tandem rollout explain``.

    Attributes:
        name: Name of the rollout.
        namespace: Its namespace; empty on this machine.
        state: State of the run; null without one.
        because: Why it is where it is.
        waits_for: What has to happen for it to go on.
        rule: What the engine goes by in this state.
        next: Commands that make sense now, and what they do.
    """

    api_version: str = SCHEMA
    kind: Literal["RolloutExplanation"] = "RolloutExplanation"
    name: str
    namespace: str
    state: str | None
    because: list[Said]
    waits_for: list[Said]
    rule: str
    next: list[Advice]


class Advice(Form, frozen=True, kw_only=True):
    """A command that makes sense.

    Attributes:
        command: What to type.
        effect: What it does.
    """

    command: str
    effect: str


class PlannedStep(Form, frozen=True, kw_only=True):
    """A step of a plan.

    Attributes:
        weight: Percentage of the requests.
        min_duration_seconds: Least time at it.
        gate: Whether it waits for a person.
        canary_requests: Requests of the canary in the hold; null where the rate is not known.
    """

    weight: int
    min_duration_seconds: float
    gate: bool
    canary_requests: float | None


class PlannedMetric(Form, frozen=True, kw_only=True):
    """A metric of a plan.

    Attributes:
        name: Its name.
        type: Its type.
        gate: Whether it decides.
        margin: Ratio of rates at which a version is bad; null for drift and assignment.
        floor: A rate that nobody would mind; null for drift and assignment.
        limit: Distance from which drift is large; null for others.
        distance: The distance to expect, by what both versions predicted for their training data; null for others, and
            where that is not known.
        alpha: Chance at most to roll back a version that is no worse.
        beta: Chance at most to promote a version at the margin.
        rate: Stable's rate that the numbers are for.
        rate_from: Where that comes from: given, measured, quantile or assumed.
        to_pass: Canary requests until a version that is as good passes; of drift rows, of a version at the distance to
            expect, or at none where that is not known. Null where it would not.
        to_pass_minutes: Minutes that they take at the last step's weight.
        to_fail: Canary requests until a version at the margin is rolled back; of drift rows, of a version at the
            distance to expect, or at twice the limit where that is not known. Null where it would not be.
        to_fail_minutes: Minutes that they take.
    """

    name: str
    type: str
    gate: bool
    margin: float | None
    floor: float | None
    limit: float | None
    distance: float | None
    alpha: float
    beta: float
    rate: float | None
    rate_from: str | None
    to_pass: int | None
    to_pass_minutes: float | None
    to_fail: int | None
    to_fail_minutes: float | None


class Plan(Form, frozen=True, kw_only=True):
    """``tandem rollout plan``.

    Attributes:
        name: Name of the rollout.
        namespace: Its namespace; empty on this machine.
        strategy: How the version would reach clients.
        source: Where counters are read.
        interval_seconds: Time between two looks.
        warmup_seconds: So long after its first request latencies of the canary are not judged.
        timeout_seconds: Longest time to a decision; null where there is none.
        on_timeout: What happens then.
        requests_per_second: Of both arms; null where it is not known.
        rate_from: Where that comes from: given or measured.
        share: The canary's share of the requests that the numbers are for.
        steps: The steps.
        metrics: The metrics.
        minutes: About how long it takes until a good version is promoted; null where that is not known.
        in_time: Whether that is within the time-out.
        warnings: What is worth a thought before it starts.
        diff: Lines of spec.bundle that would change.
    """

    api_version: str = SCHEMA
    kind: Literal["RolloutPlan"] = "RolloutPlan"
    name: str
    namespace: str
    strategy: str
    source: str
    interval_seconds: float
    warmup_seconds: float
    timeout_seconds: float | None
    on_timeout: str
    requests_per_second: float | None
    rate_from: str | None
    share: float | None
    steps: list[PlannedStep]
    metrics: list[PlannedMetric]
    minutes: float | None
    in_time: bool | None
    warnings: list[Said]
    diff: list[str]


class Answer(Form, frozen=True, kw_only=True):
    """``start``, ``promote``, ``pause``, ``resume``, ``abort`` and ``rollback``.

    Attributes:
        name: Name of the rollout.
        namespace: Its namespace; empty on this machine.
        verb: What was asked for.
        id: Identity of the command.
        by: Who asked.
        comment: Why, in the words of that person.
        heard: Whether the run has answered it.
        result: Accepted or Rejected; null before the answer.
        reason: Why it was rejected, as a code; empty where it was not.
        message: The same in words.
        state: State of the run after it; null where it is not known.
        exit_code: What the command exits with.
    """

    api_version: str = SCHEMA
    kind: Literal["RolloutAnswer"] = "RolloutAnswer"
    name: str
    namespace: str
    verb: str
    id: str
    by: str
    comment: str
    heard: bool
    result: str | None
    reason: str
    message: str
    state: str | None
    exit_code: int
