"""The rollout strategies: how new versions reach clients."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from msgspec import Meta, field

from tandem_rollout.api.fields import HEADER, HOSTNAME, Duration, Name, Struct

MAX_STEPS: Final = 20
"""Maximum number of steps of a canary."""


class Static(Struct, frozen=True):
    """The weights of the spec are applied as they are."""


class AbTest(Struct, frozen=True):
    """The weights of the spec are applied as they are. A unit, such as a user, always gets the same variant."""

    header: Annotated[
        str, Meta(pattern=HEADER, max_length=128, description="Request header that identifies the unit.")
    ] = "x-user-id"
    horizon: Annotated[
        Duration, Meta(description="With analysis: time after which the report is final. It is fixed at the start.")
    ] = "336h"


class BlueGreen(Struct, frozen=True):
    """One variant gets all requests. The others are reached, and analyzed, at the preview host."""

    active: Annotated[Name, Meta(description="Name of the variant that gets the requests of clients.")]
    preview_hostname: Annotated[
        str,
        Meta(
            pattern=rf"^$|{HOSTNAME}",
            max_length=253,
            description="Hostname of the other variants. Default: the first hostname with the prefix preview-.",
        ),
    ] = ""
    min_duration: Annotated[Duration, Meta(description="With analysis: minimum time on the preview host.")] = "1m"
    bake: Annotated[
        Duration,
        Meta(description="With analysis: time after the switch for which the replaced version keeps its pods."),
    ] = "5m"
    progress_deadline: Annotated[
        Duration, Meta(description="With analysis: maximum time until the new version is ready.")
    ] = "10m"


class Step(Struct, frozen=True):
    """One step of a canary."""

    weight: Annotated[int, Meta(ge=1, le=99, description="Percentage of the requests that the canary gets.")]
    min_duration: Annotated[Duration, Meta(description="Minimum time at this weight.")] = "1m"
    pause: Annotated[bool, Meta(description="Pause after this step until `tandem rollout resume`.")] = False


class Canary(Struct, frozen=True):
    """A new revision gets a growing share of the requests. It is promoted when the metrics pass."""

    steps: Annotated[
        list[Step],
        Meta(
            min_length=1,
            max_length=MAX_STEPS,
            description="Steps, with rising weights. The canary is promoted after the last step.",
        ),
    ] = field(default_factory=lambda: [Step(weight=10)])
    bake: Annotated[
        Duration,
        Meta(
            description="Time after promotion for which the previous version keeps its pods, so that it can take all "
            "requests back at once."
        ),
    ] = "5m"
    holdback: Annotated[
        int,
        Meta(
            ge=0,
            le=50,
            description="Percentage of the requests that the previous version keeps during the bake time, so that the "
            "metrics can still compare. With 0 the errors are compared with a fixed bound only.",
        ),
    ] = 5
    progress_deadline: Annotated[
        Duration,
        Meta(description="Maximum time until the canary is ready, or has the pods for its next weight."),
    ] = "10m"
    weight_drift: Annotated[
        Literal["enforce", "adopt", "pause"],
        Meta(
            description="What happens if another client of the API server changes the weights of the route: enforce "
            "restores them, adopt continues with the changed weights, pause waits for `tandem rollout resume`."
        ),
    ] = "enforce"


class Shadow(Struct, frozen=True):
    """One variant gets copies of the requests. Its responses are discarded."""

    variant: Annotated[Name, Meta(description="Name of the variant. Its weight must be 0.")]
    percent: Annotated[int, Meta(ge=1, le=100, description="Percentage of the requests that are copied.")] = 100


class Strategy(Struct, frozen=True):
    """The strategy of the rollout. At most one may be set; the default is static."""

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
