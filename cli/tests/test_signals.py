from __future__ import annotations

import os
import signal
import sys
import threading

import pytest

from tandem_cli.local.signals import until_interrupted


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_body_and_another_does_not_disturb_its_end(number: signal.Signals) -> None:
    stopped = False
    before = signal.getsignal(number)
    with until_interrupted():
        try:
            os.kill(os.getpid(), number)
            signal.pause()
        finally:
            os.kill(os.getpid(), number)
            stopped = True
    assert stopped
    assert signal.getsignal(number) is before


class Thrown:
    """What is interrupted while it is thrown away."""

    def __del__(self) -> None:
        signal.raise_signal(signal.SIGINT)


def test_a_signal_that_comes_while_an_object_is_thrown_away_is_not_lost() -> None:
    ended = False
    with until_interrupted():
        Thrown()
        try:
            assert not threading.Event().wait(10), "nothing came"
        finally:
            ended = sys.exc_info()[0] is KeyboardInterrupt
    assert ended
