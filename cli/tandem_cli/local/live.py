"""A live table of what the local stack does, and plain lines instead where there is no terminal."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NoReturn

from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from tandem.telemetry import STAGES
from tandem_cli.local.following import AliasFollower
from tandem_cli.local.progress import alias_heading, heading, verdicts
from tandem_cli.local.runner import Moment, RolloutRunner
from tandem_cli.local.scrape import TOTAL, PairMetrics, StageHistogram, read_metrics, split
from tandem_cli.local.stack import LocalStack
from tandem_cli.output import Console

WINDOW_SECONDS = 10.0
"""The table shows this last period."""

REFRESH_SECONDS = 1.0
LINE_SECONDS = 10.0
CHECK_SECONDS = 0.2
"""From one check of the processes to the next."""


@dataclass(frozen=True)
class Scraped:
    """What all variants measured up to one moment.

    Attributes:
        at: Seconds on a monotonic clock.
        variants: What each variant measured since its start.
    """

    at: float
    variants: Mapping[str, PairMetrics]

    @classmethod
    def now(cls, stack: LocalStack) -> Scraped:
        """Scrape the transformers of a stack, except those of variants with one that has ended.

        Raises:
            OSError: if a transformer cannot be reached.
        """
        # a transformer that has ended would make the whole scrape fail
        running = {name for name, pair in stack.pairs.items() if all(child.runs for child in pair.transformers)}
        variants = {variant: read_metrics(urls) for variant, urls in stack.metrics_urls.items() if variant in running}
        return cls(time.monotonic(), variants)


@dataclass(frozen=True)
class TrafficWindow:
    """What all variants measured between two scrapes.

    Attributes:
        seconds: Time between them.
        variants: What each variant measured.
    """

    seconds: float
    variants: Mapping[str, PairMetrics]

    @classmethod
    def between(cls, earlier: Scraped, later: Scraped) -> TrafficWindow:
        """The window from one scrape to a later one."""
        # a variant that was added meanwhile has measured nothing before
        variants = {
            name: measured - earlier.variants.get(name, PairMetrics()) for name, measured in later.variants.items()
        }
        return cls(later.at - earlier.at, variants)

    @property
    def shares(self) -> dict[str, float]:
        """Share of each variant in the traffic."""
        return split({name: measured.requests for name, measured in self.variants.items()})


def table(window: TrafficWindow, weights: Mapping[str, int]) -> Table:
    """A table that fits a terminal of 80 columns.

    Args:
        window: The window to show.
        weights: The weights that are set, by variant.
    """
    grid = Table(caption="milliseconds: p50 / p95 / p99 of the last seconds", caption_justify="left")
    grid.add_column("")
    for variant in window.variants:
        grid.add_column(variant, justify="right")
    targets, shares = split(weights), window.shares
    columns = [(name, measured) for name, measured in window.variants.items()]
    # a variant that was removed a moment ago has no weight
    grid.add_row(
        "share set / had", *(f"{_percent(targets.get(name, 0.0))} / {_percent(shares[name])}" for name, _ in columns)
    )
    grid.add_row("requests per second", *(f"{_rate(measured, window):.1f}" for _, measured in columns))
    grid.add_row("errors", *(_alarming(measured.errors) for _, measured in columns))
    grid.add_row("degraded rows", *(f"{sum(measured.degraded.values()):.0f}" for _, measured in columns))
    grid.add_section()
    for stage in (TOTAL, *STAGES):
        grid.add_row(stage, *(_quantiles(measured.seconds.get(stage, StageHistogram())) for _, measured in columns))
    return grid


def line(window: TrafficWindow, weights: Mapping[str, int]) -> str:
    """The same on one line of text."""
    targets, shares = split(weights), window.shares
    return "; ".join(
        f"{name} {_percent(targets.get(name, 0.0))} set, {_percent(shares[name])} had, "
        f"{_rate(measured, window):.1f} req/s, "
        f"{_quantiles(measured.seconds.get(TOTAL, StageHistogram()))} ms, {measured.errors:.0f} errors"
        for name, measured in window.variants.items()
    )


def watch(
    stack: LocalStack,
    console: Console,
    runner: RolloutRunner | None = None,
    follower: AliasFollower | None = None,
) -> NoReturn:
    """Show what a stack does, until an interruption.

    Args:
        stack: The stack.
        console: The console that shows it.
        runner: The runner of its rollout, which is shown too.
        follower: Follows an alias for the stack; None if it follows none.

    Raises:
        ChildDied: if a process ends that the stack needs.
        KeyboardInterrupt: on Ctrl-C.
    """
    notices = _Notices(stack, console, runner, follower)
    if console.is_terminal:
        with Live(console=console, auto_refresh=False, transient=True) as live:
            live.update(table(TrafficWindow.between(*[Scraped.now(stack)] * 2), stack.weights), refresh=True)
            _watch(
                stack,
                REFRESH_SECONDS,
                lambda window: live.update(_renderable(window, stack, runner), refresh=True),
                notices,
            )
    _watch(stack, LINE_SECONDS, lambda window: _print_line(window, stack, console), notices)


class _Notices:
    """Prints each event once: the end of a variant that the stack can lose, and changes of rollout and alias."""

    def __init__(
        self, stack: LocalStack, console: Console, runner: RolloutRunner | None, follower: AliasFollower | None
    ) -> None:
        self._stack, self._console, self._runner, self._follower = stack, console, runner, follower
        self._ended: set[str] = set()
        self._heading = self._alias = ""

    def check(self) -> None:
        for variant, died in self._stack.check().items():
            if variant not in self._ended:
                self._ended.add(variant)
                self._print(f"{died}\n{variant} is out of service; the stack goes on without it")
        if self._runner is not None:
            self._runner.check()
            current, alias = heading(self._runner.now), alias_heading(self._runner.now.status)
            if alias != self._alias:
                self._alias = alias
                self._print(alias)
            if current != self._heading:
                self._heading = current
                self._print(current)
        if self._follower is not None:
            self._follower.check()

    def _print(self, text: str) -> None:
        self._console.print(text, soft_wrap=True, highlight=False, markup=False)


def _watch(stack: LocalStack, interval: float, show: Callable[[TrafficWindow], None], notices: _Notices) -> NoReturn:
    """Call ``show`` with the last window at each interval."""
    history = deque([Scraped.now(stack)])
    due = time.monotonic() + interval
    while True:
        time.sleep(CHECK_SECONDS)
        notices.check()
        if time.monotonic() < due:
            continue
        due += interval
        try:
            history.append(Scraped.now(stack))
        except OSError:
            continue  # a transformer is ending: the next check reports it
        while history[-1].at - history[0].at > max(WINDOW_SECONDS, 1.5 * interval):
            history.popleft()
        show(TrafficWindow.between(history[0], history[-1]))


def _renderable(window: TrafficWindow, stack: LocalStack, runner: RolloutRunner | None) -> RenderableType:
    grid = table(window, stack.weights)
    moment = runner.now if runner is not None else Moment()
    if not moment.judgement.results:
        return grid
    return Group(grid, verdicts(moment.judgement.results))


def _print_line(window: TrafficWindow, stack: LocalStack, console: Console) -> None:
    if any(measured.requests for measured in window.variants.values()):
        console.print(line(window, stack.weights), soft_wrap=True, highlight=False)


def _rate(measured: PairMetrics, window: TrafficWindow) -> float:
    return measured.requests / window.seconds if window.seconds else 0.0


def _quantiles(seconds: StageHistogram) -> str:
    return " / ".join(_milliseconds(seconds.quantile(q)) for q in (0.5, 0.95, 0.99))


def _milliseconds(seconds: float) -> str:
    return "–" if math.isnan(seconds) else f"{seconds * 1000:.2f}"


def _percent(share: float) -> str:
    return "–" if math.isnan(share) else f"{share * 100:.1f} %"


def _alarming(errors: float) -> Text:
    return Text(f"{errors:.0f}", style="bold red" if errors else "")
