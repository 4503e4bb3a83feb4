"""Probes and metrics, as the kubelet and Prometheus ask for them."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tandem_rollout.controller.endpoints import Heartbeat, application, serve
from tandem_rollout.controller.metrics import ControllerMetrics


@contextmanager
def server(probes: dict[str, Callable[[], str]]) -> Iterator[Callable[[str], tuple[int, str]]]:
    """Asks a server, on a free port, for a path: the status and the text."""
    serving = serve(application(ControllerMetrics().registry, probes), 0)

    def ask(path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{serving.server_port}{path}", timeout=60) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    try:
        yield ask
    finally:
        serving.shutdown()
        serving.server_close()


def test_a_probe_says_what_is_wrong() -> None:
    problems = {"/healthz": "", "/readyz": "waiting for the first list of Pod"}
    with server({path: lambda path=path: problems[path] for path in problems}) as ask:  # type: ignore[misc]
        assert ask("/healthz") == (200, "ok\n")
        assert ask("/readyz") == (503, "waiting for the first list of Pod\n")
        problems["/readyz"] = ""
        assert ask("/readyz") == (200, "ok\n")
        status, text = ask("/metrics")
        assert status == 200
        assert "tandem_controller_leader 0.0" in text
        assert ask("/")[0] == ask("/debug")[0] == 404


async def test_a_loop_that_hangs_is_noticed_while_it_hangs() -> None:
    clock = [0.0]
    heartbeat = Heartbeat(lambda: clock[0])
    beating = asyncio.create_task(heartbeat.run())
    await asyncio.sleep(0)
    with server({"/healthz": heartbeat.problem}) as ask:
        # from here on this loop does not run, and is asked all the same
        assert ask("/healthz") == (200, "ok\n")
        clock[0] = 30.0
        assert ask("/healthz") == (200, "ok\n")
        clock[0] = 31.0
        assert ask("/healthz") == (503, "the event loop has not run for 31 s\n")
        heartbeat.beat()
        assert ask("/healthz") == (200, "ok\n")
    beating.cancel()
    await asyncio.gather(beating, return_exceptions=True)


async def test_a_loop_that_runs_beats() -> None:
    clock = [0.0]
    heartbeat = Heartbeat(lambda: clock[0])
    clock[0] = 60.0
    assert heartbeat.problem()
    beating = asyncio.create_task(heartbeat.run())
    await asyncio.sleep(0)
    assert heartbeat.problem() == ""
    beating.cancel()
    await asyncio.gather(beating, return_exceptions=True)
