"""How new versions reach clients, as a person writes it."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from msgspec import Meta, field

from tandem_rollout.api.fields import HEADER, HOSTNAME, Duration, Name, Struct

MAX_STEPS: Final = 20
"""Most steps of a canary."""


class Static(Struct, frozen=True):
    """Weights as written."""


class AbTest(Struct, frozen=True):
    """Weights as written; each unit always meets the same variant."""

    header: Annotated[str, Meta(pattern=HEADER, max_length=128, description="Request header that names the unit.")] = (
        "x-user-id"
    )
    horizon: Annotated[
        Duration, Meta(description="With analysis: the report is final after so long. It is fixed before the start.")
    ] = "336h"


class BlueGreen(Struct, frozen=True):
    """One variant has all the traffic; the others are reached at hosts of their own, and are judged there."""

    active: Annotated[Name, Meta(description="Name of the variant that clients get.")]
    preview_hostname: Annotated[
        str,
        Meta(
            pattern=rf"^$|{HOSTNAME}",
            max_length=253,
            description="Host of the other variants. Default: preview- before the first hostname.",
        ),
    ] = ""
    min_duration: Annotated[Duration, Meta(description="With analysis: least time on the preview host.")] = "1m"
    bake: Annotated[
        Duration,
        Meta(description="With analysis: the version that was replaced keeps its pods for so long after the switch."),
    ] = "5m"
    progress_deadline: Annotated[Duration, Meta(description="With analysis: longest time until it is ready.")] = "10m"


class Step(Struct, frozen=True):
    """One weight of a canary."""

    weight: Annotated[int, Meta(ge=1, le=99, description="Percentage of the requests.")]
    min_duration: Annotated[Duration, Meta(description="Least time at this weight.")] = "1m"
    pause: Annotated[bool, Meta(description="Wait here for `tandem rollout resume`.")] = False


class Canary(Struct, frozen=True):
    """A changed bundle or template gets a growing share of the requests, and all of them once evidence says it may."""

    steps: Annotated[
        list[Step],
        Meta(min_length=1, max_length=MAX_STEPS, description="Weights, rising. After the last one comes promotion."),
    ] = field(default_factory=lambda: [Step(weight=10)])
    bake: Annotated[
        Duration,
        Meta(description="After promotion the version before keeps its pods for so long, ready to take all back."),
    ] = "5m"
    holdback: Annotated[
        int,
        Meta(
            ge=0,
            le=50,
            description="Percentage of the requests that the version before keeps for the bake time, as a control "
            "group: the metrics go on comparing. 0: none, errors are then held against a bound only.",
        ),
    ] = 5
    progress_deadline: Annotated[
        Duration,
        Meta(description="Longest time until a canary is ready, or has the pods that its next weight needs."),
    ] = "10m"
    weight_drift: Annotated[
        Literal["enforce", "adopt", "pause"],
        Meta(
            description="When somebody else has changed the weights of the route: set ours again, go on with theirs, "
            "or hold until `tandem rollout resume`."
        ),
    ] = "enforce"


class Shadow(Struct, frozen=True):
    """One variant gets copies of requests; clients never see its answers."""

    variant: Annotated[Name, Meta(description="Name of the variant; its weight must be 0.")]
    percent: Annotated[int, Meta(ge=1, le=100, description="Percentage of the requests that are copied.")] = 100


class Strategy(Struct, frozen=True):
    """How requests are shared out. At most one; static without any."""

    static: Static | None = None
    ab_test: AbTest | None = None
    blue_green: BlueGreen | None = None
    canary: Canary | None = None
    shadow: Shadow | None = None

    @property
    def name(self) -> str:
        """``static``, ``abTest``, ``blueGreen``, ``canary`` or ``shadow``."""
        strategies = {
            "abTest": self.ab_test,
            "blueGreen": self.blue_green,
            "canary": self.canary,
            "shadow": self.shadow,
        }
        return next((name for name, strategy in strategies.items() if strategy is not None), "static")
