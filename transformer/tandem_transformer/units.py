"""How much one client may contribute to the evidence about a version.

Where the gateway knows clients, by token, key or the header of an A/B test, each is a *unit*. But for a few at the
start, no unit makes up more than half of the requests that count, nor more than half of the failures: what goes beyond
is counted apart.
"""

from __future__ import annotations

from typing import Final

_FEW: Final = 3
"""With fewer units than this there is no basis for a comparison."""

_FREE: Final = 100
"""Requests of a unit that count whatever the others do: at the start somebody has to be first."""

_MOST: Final = 16_384
"""Units that are remembered."""


class Units:
    """What units have contributed since the process began.

    Args:
        most: Units that are remembered at most. With more all counts are halved: who has asked least is forgotten.

    Attributes:
        failures: Failed requests of all units, also those that did not count.
        most_failures: Those of the unit that has most of them.
    """

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        # by hash: names may be long, and are not needed
        self._requests: dict[int, int] = {}
        self._failures: dict[int, int] = {}
        self._all_failures: dict[int, int] = {}
        self._requests_sum = self._failures_sum = 0
        self.failures = self.most_failures = 0

    def is_surplus(self, unit: bytes) -> bool:
        """Whether a unit has contributed so much that a further request does not count."""
        if len(self._requests) < _FEW:
            return False
        key = hash(unit)
        requests, failures = self._requests.get(key, 0), self._failures.get(key, 0)
        # of failures more than the others have, not as many: the first of all must count
        return requests >= _FREE + self._requests_sum - requests or failures > self._failures_sum - failures

    def count(self, unit: bytes, *, failed: bool) -> bool:
        """Count a request that was answered; returns whether it is evidence."""
        key = hash(unit)
        if failed:
            self.failures += 1
            self._all_failures[key] = own = self._all_failures.get(key, 0) + 1
            self.most_failures = max(self.most_failures, own)
        if self.is_surplus(unit):
            return False
        self._requests[key] = self._requests.get(key, 0) + 1
        self._requests_sum += 1
        if failed:
            self._failures[key] = self._failures.get(key, 0) + 1
            self._failures_sum += 1
        if len(self._requests) > self._most or len(self._all_failures) > self._most:
            self._forget()
        return True

    def _forget(self) -> None:
        self._requests, self._failures = _halved(self._requests), _halved(self._failures)
        self._all_failures = _halved(self._all_failures)
        self._requests_sum, self._failures_sum = sum(self._requests.values()), sum(self._failures.values())
        self.failures = sum(self._all_failures.values())
        self.most_failures = max(self._all_failures.values(), default=0)


def _halved(counts: dict[int, int]) -> dict[int, int]:
    return {key: count // 2 for key, count in counts.items() if count > 1}
