"""Series, and the targets that export them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

_ABOUT_TARGET: Final = frozenset({"__name__", "namespace", "pod", "instance", "job"})
"""Labels that identify a target."""

WHOLE: Final = "all"
"""Target of series without labels of a target."""


@dataclass(frozen=True, slots=True)
class Series:
    """A series with its value at one time.

    Attributes:
        name: Its name, such as ``tandem_requests_total``; empty for a result of PromQL.
        labels: Its labels.
        value: Its value; it may be NaN or infinite.
    """

    name: str
    labels: Mapping[str, str]
    value: float


Targets = Mapping[str, Sequence[Series]]
"""Series of one arm, by the name of the target. A target without a series has an empty list."""


def by_target(series: Iterable[Series]) -> dict[str, list[Series]]:
    """Series by target: by pod, else by instance, else one target for all.

    If two jobs scrape a pod, only the series of the first job are used, as the scrapes of another job may be older and
    would look like a restart.
    """
    entries = list(series)
    # a job without the label pod may scrape the same pod as another job
    pods = {entry.labels["instance"]: pod for entry in entries if (pod := entry.labels.get("pod")) and _instance(entry)}
    targets: dict[str, dict[str, list[Series]]] = {}
    for entry in entries:
        instance = _instance(entry)
        target = entry.labels.get("pod") or pods.get(instance, instance) or WHOLE
        targets.setdefault(target, {}).setdefault(entry.labels.get("job", ""), []).append(entry)
    # by its name, so that each reading chooses the same job
    return {target: jobs[min(jobs)] for target, jobs in targets.items()}


def identity(labels: Mapping[str, str], *without: str) -> str:
    """The identity of a series within its target.

    Args:
        labels: Its labels.
        without: Labels that are ignored.
    """
    names = sorted(name for name in labels if name not in _ABOUT_TARGET and name not in without)
    return ",".join(f"{name}={labels[name]!r}" for name in names)


def _instance(series: Series) -> str:
    return series.labels.get("instance", "")
