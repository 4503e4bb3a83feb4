from __future__ import annotations

import os
import signal

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
