"""Series as they are read, and which process counted them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

_ABOUT_TARGET: Final = frozenset({"__name__", "namespace", "pod", "instance", "job"})
"""Labels that tell targets apart, and not the series of one."""

WHOLE: Final = "all"
"""Target of series that do not say who counted them."""


@dataclass(frozen=True, slots=True)
class Series:
    """One series at one moment.

    Attributes:
        name: Its name, like ``tandem_requests_total``; empty where PromQL has computed it.
        labels: Its labels.
        value: Its value; it may be NaN or infinite.
    """

    name: str
    labels: Mapping[str, str]
    value: float


Targets = Mapping[str, Sequence[Series]]
"""Series of one arm, by the name of the target. A target that answered without a series has none."""


def by_target(series: Iterable[Series]) -> dict[str, list[Series]]:
    """Series by who counted them: pods, else instances, else one target for all.

    A pod that is scraped by two jobs is taken from one of them, always the same: another one's scrape may be older, and
    counters that fall tell of a restart.
    """
    entries = list(series)
    pods = {entry.labels["instance"]: pod for entry in entries if (pod := entry.labels.get("pod")) and _instance(entry)}
    targets: dict[str, dict[str, list[Series]]] = {}
    for entry in entries:
        instance = _instance(entry)
        target = entry.labels.get("pod") or pods.get(instance, instance) or WHOLE
        targets.setdefault(target, {}).setdefault(entry.labels.get("job", ""), []).append(entry)
    return {target: jobs[min(jobs)] for target, jobs in targets.items()}


def identity(labels: Mapping[str, str], *without: str) -> str:
    """What tells a series of a target from its others.

    Args:
        labels: Its labels.
        without: Labels that do not count.
    """
    names = sorted(name for name in labels if name not in _ABOUT_TARGET and name not in without)
    return ",".join(f"{name}={labels[name]!r}" for name in names)


def _instance(series: Series) -> str:
    return series.labels.get("instance", "")
