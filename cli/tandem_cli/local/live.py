"""A table of what the local stack does at present, and the same as plain lines where there is no terminal."""

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
from tandem_cli.local.progress import heading, verdicts
from tandem_cli.local.runner import Moment, RolloutRunner
from tandem_cli.local.scrape import TOTAL, Histogram, Measured, scrape, split
from tandem_cli.local.stack import LocalStack
from tandem_cli.output import Console

WINDOW_SECONDS = 10.0
"""The table tells about this last stretch of time."""

REFRESH_SECONDS = 1.0
LINE_SECONDS = 10.0
CHECK_SECONDS = 0.2
"""How soon the end of a process is told."""


@dataclass(frozen=True)
class Scraped:
    """All variants at one moment.

    Attributes:
        at: Seconds on a monotonic clock.
        variants: By variant, since its start.
    """

    at: float
    variants: Mapping[str, Measured]

    @classmethod
    def now(cls, stack: LocalStack) -> Scraped:
        """Scrape all transformers of a stack, but those of pairs that have ended.

        Raises:
            OSError: if one cannot be reached.
        """
        running = {name for name, pair in stack.pairs.items() if all(child.runs for child in pair.transformers)}
        urls = {variant: urls for variant, urls in stack.metrics_urls.items() if variant in running}
        return cls(time.monotonic(), {variant: scrape(each) for variant, each in urls.items()})


@dataclass(frozen=True)
class Window:
    """What happened between two scrapes.

    Attributes:
        seconds: Time between them.
        variants: By variant.
    """

    seconds: float
    variants: Mapping[str, Measured]

    @classmethod
    def between(cls, earlier: Scraped, later: Scraped) -> Window:
        """The stretch from one scrape to another."""
        variants = {name: measured - earlier.variants[name] for name, measured in later.variants.items()}
        return cls(later.at - earlier.at, variants)

    @property
    def shares(self) -> dict[str, float]:
        """Share of each variant in the traffic."""
        return split({name: measured.requests for name, measured in self.variants.items()})


def table(window: Window, weights: Mapping[str, int]) -> Table:
    """A table that fits a terminal of 80 columns.

    Args:
        window: What to show.
        weights: The weights that are set, by variant.
    """
    shown = Table(caption="milliseconds: p50 / p95 / p99 of the last seconds", caption_justify="left")
    shown.add_column("")
    for variant in window.variants:
        shown.add_column(variant, justify="right")
    wanted, had = split(weights), window.shares
    columns = [(name, measured) for name, measured in window.variants.items()]
    shown.add_row("share set / had", *(f"{_percent(wanted[name])} / {_percent(had[name])}" for name, _ in columns))
    shown.add_row("requests per second", *(f"{_rate(measured, window):.1f}" for _, measured in columns))
    shown.add_row("errors", *(_alarming(measured.errors) for _, measured in columns))
    shown.add_row("degraded rows", *(f"{sum(measured.degraded.values()):.0f}" for _, measured in columns))
    shown.add_section()
    for stage in (TOTAL, *STAGES):
        shown.add_row(stage, *(_quantiles(measured.seconds.get(stage, Histogram())) for _, measured in columns))
    return shown


def line(window: Window, weights: Mapping[str, int]) -> str:
    """The same on one line."""
    wanted, had = split(weights), window.shares
    return "; ".join(
        f"{name} {_percent(wanted[name])} set, {_percent(had[name])} had, {_rate(measured, window):.1f} req/s, "
        f"{_quantiles(measured.seconds.get(TOTAL, Histogram()))} ms, {measured.errors:.0f} errors"
        for name, measured in window.variants.items()
    )


def watch(stack: LocalStack, console: Console, runner: RolloutRunner | None = None) -> NoReturn:
    """Show what a stack does, until interrupted.

    Args:
        stack: The stack.
        console: Where.
        runner: Of its rollout, which is shown too.

    Raises:
        ChildDied: if a process of the stack ends that is needed.
        KeyboardInterrupt: on Ctrl-C.
    """
    notices = _Notices(stack, console, runner)
    if console.is_terminal:
        with Live(console=console, auto_refresh=False, transient=True) as live:
            live.update(table(Window.between(*[Scraped.now(stack)] * 2), stack.weights), refresh=True)
            _watch(
                stack, REFRESH_SECONDS, lambda window: live.update(_shown(window, stack, runner), refresh=True), notices
            )
    _watch(stack, LINE_SECONDS, lambda window: _print_line(window, stack, console), notices)


class _Notices:
    """Tells once what has happened: to processes that are spared, and to the rollout."""

    def __init__(self, stack: LocalStack, console: Console, runner: RolloutRunner | None) -> None:
        self._stack, self._console, self._runner = stack, console, runner
        self._ended: set[str] = set()
        self._told = ""

    def check(self) -> None:
        for variant, died in self._stack.check().items():
            if variant not in self._ended:
                self._ended.add(variant)
                self._print(f"{died}\n{variant} is out of service; the stack goes on without it")
        if self._runner is not None:
            self._runner.check()
            told = heading(self._runner.now)
            if told != self._told:
                self._told = told
                self._print(told)

    def _print(self, text: str) -> None:
        self._console.print(text, soft_wrap=True, highlight=False, markup=False)


def _watch(stack: LocalStack, interval: float, show: Callable[[Window], None], notices: _Notices) -> NoReturn:
    """Call ``show`` with the last stretch of time, again and again."""
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
            continue  # one that is ending: the next check says which
        while history[-1].at - history[0].at > max(WINDOW_SECONDS, 1.5 * interval):
            history.popleft()
        show(Window.between(history[0], history[-1]))


def _shown(window: Window, stack: LocalStack, runner: RolloutRunner | None) -> RenderableType:
    shown = table(window, stack.weights)
    moment = runner.now if runner is not None else Moment()
    if not moment.judgement.lines:
        return shown
    return Group(shown, verdicts(moment.judgement.lines))


def _print_line(window: Window, stack: LocalStack, console: Console) -> None:
    if any(measured.requests for measured in window.variants.values()):
        console.print(line(window, stack.weights), soft_wrap=True, highlight=False)


def _rate(measured: Measured, window: Window) -> float:
    return measured.requests / window.seconds if window.seconds else 0.0


def _quantiles(seconds: Histogram) -> str:
    return " / ".join(_milliseconds(seconds.quantile(q)) for q in (0.5, 0.95, 0.99))


def _milliseconds(seconds: float) -> str:
    return "–" if math.isnan(seconds) else f"{seconds * 1000:.2f}"


def _percent(share: float) -> str:
    return "–" if math.isnan(share) else f"{share * 100:.1f} %"


def _alarming(errors: float) -> Text:
    return Text(f"{errors:.0f}", style="bold red" if errors else "")
