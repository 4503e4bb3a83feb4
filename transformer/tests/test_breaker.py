from __future__ import annotations

from tandem_transformer.breaker import FAILURES, PROBE_S, Breaker


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def opened(clock: Clock) -> Breaker:
    breaker = Breaker(clock)
    for _ in range(FAILURES):
        breaker.failed()
    return breaker


def test_failures_in_a_row_open_it_and_others_do_not() -> None:
    breaker = Breaker(Clock())
    for _ in range(10):
        for _ in range(FAILURES - 1):
            breaker.failed()
        assert not breaker.is_open
        breaker.succeeded()
    assert opened(Clock()).is_open


def test_an_open_one_takes_a_probe_from_time_to_time() -> None:
    clock = Clock()
    breaker = opened(clock)
    assert not breaker.takes_probe()
    clock.now += 1.1 * PROBE_S
    assert breaker.takes_probe()
    assert not breaker.takes_probe()
    clock.now += 1.1 * PROBE_S
    assert breaker.takes_probe()
    breaker.failed()
    assert breaker.is_open
    assert not breaker.takes_probe()


def test_a_probe_that_succeeds_closes_it() -> None:
    breaker = opened(Clock())
    breaker.succeeded()
    assert not breaker.is_open
    breaker.failed()
    assert not breaker.is_open
