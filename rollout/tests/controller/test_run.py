"""The controller's process: it starts, works, goes on when something fails, and ends when it is told to."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from rollout.tests.rollouts import manifest

from tandem_rollout.controller.cluster import LiveCluster
from tandem_rollout.controller.interface import Refutation
from tandem_rollout.controller.metrics import Metrics
from tandem_rollout.controller.reconciler import Key, Reconciler
from tandem_rollout.controller.run import SHARE, look_after, namespace_of
from tandem_rollout.controller.work import Work
from tandem_rollout.observation import Proof
from tandem_rollout.platform import Platform
from tandem_rollout.revision import Revision

from .apiserver import ApiServer, Lost
from .world import World, world


async def until(here: World, holds: Callable[[], bool]) -> None:
    """Let the world turn, and a second pass, at every change until something holds."""
    async with asyncio.timeout(60):
        while True:
            here.server.changed.clear()
            here.now += 1.0
            here.turn()
            if holds():
                return
            await here.server.changed.wait()


class Hasty(Work[Key]):
    """A queue in which what comes within a minute comes within a moment."""

    def add(self, key: Key, after: float = 0.0) -> None:
        super().add(key, after / 1000 if after < 60 else after)


@asynccontextmanager
async def working(here: World, bugs: int = 0) -> AsyncIterator[Metrics]:
    """Caches and workers; so many passes over the rollout ``bad`` meet a bug of the program."""
    left = [bugs]

    class Broken(Reconciler):
        async def reconcile(self, manifest: Mapping[str, Any]) -> float:
            if manifest["metadata"]["name"] == "bad" and left[0]:
                left[0] -= 1
                raise RuntimeError("a bug")
            return await super().reconcile(manifest)

    work = Hasty(group=namespace_of, share=SHARE)
    metrics = Metrics()
    async with here.server.client() as client:
        cluster = LiveCluster(client, here, lambda *key: work.add(key), clock=lambda: here.now)
        tasks = [asyncio.create_task(cache.run()) for cache in cluster.caches]
        tasks.append(asyncio.create_task(look_after(work, cluster, Broken(cluster, Platform()), metrics)))
        try:
            yield metrics
        finally:
            assert not any(task.done() for task in tasks)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def named(name: str, image: str) -> dict[str, Any]:
    made = manifest(bundle={"image": image})
    return {**made, "metadata": {**made["metadata"], "name": name}}


async def test_changes_are_acted_upon_as_they_come() -> None:
    async with world() as here, working(here) as metrics:
        here.server.put("inferencerollouts", manifest())
        await until(here, lambda: here.status().ready == "2/2" and len(here.weights()) == 2)
        name = here.status().variants[1].inference_service
        here.pods["athlete:v2"] = lambda half, wanted: []
        await until(here, lambda: here.weights() == {"athlete:v1": 90})
        here.pods.clear()
        await until(here, lambda: here.ready(name) and len(here.weights()) == 2)
        here.server.remove("inferencerollouts", "time-estimator")
        await until(here, lambda: not here.server.all("httproutes"))
        assert metrics.registry.get_sample_value("tandem_controller_reconcile_errors_total") == 0


async def test_a_rollout_that_breaks_the_program_does_not_stop_the_others() -> None:
    async with world() as here, working(here, bugs=-1) as metrics:
        here.server.put("inferencerollouts", named("bad", "athlete:v1"))
        here.server.put("inferencerollouts", named("good", "athlete:v1"))
        await until(here, lambda: here.status("good").ready == "1/1")
        assert here.status("bad").ready == ""
        assert (metrics.registry.get_sample_value("tandem_controller_reconcile_errors_total") or 0) >= 1


async def test_a_pass_that_failed_is_made_again() -> None:
    async with world() as here, working(here, bugs=3) as metrics:
        here.server.put("inferencerollouts", named("bad", "athlete:v1"))
        await until(here, lambda: here.status("bad").ready == "1/1")
        assert metrics.registry.get_sample_value("tandem_controller_reconcile_errors_total") == 3


class Slow(World):
    """A world in which the transformers of the namespace ``slow`` never answer when they are asked for their proof."""

    async def prove(self, revision: Revision) -> Proof | Refutation:
        if revision.rollout.namespace == "slow":
            self.asked.append(revision.name)
            self.server.changed.set()
            await asyncio.Event().wait()
        return await super().prove(revision)


async def test_transformers_of_one_namespace_hold_up_no_other_one() -> None:
    async with world() as plain:
        here = Slow(plain.server)
        async with working(here):
            for number in range(20):
                made = named(f"slow-{number}", "athlete:v1")
                here.server.put("inferencerollouts", {**made, "metadata": {**made["metadata"], "namespace": "slow"}})
            await until(here, lambda: len(here.asked) == SHARE)
            here.server.put("inferencerollouts", named("good", "athlete:v1"))
            await until(here, lambda: here.status("good").ready == "1/1")
            assert len(here.asked) == SHARE + 1


@asynccontextmanager
async def process(server: ApiServer, folder: Path, *flags: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """The program itself, with a kubeconfig of the API server."""
    config = {
        "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": server.url}}],
        "users": [{"name": "c", "user": {}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
    }
    (folder / "config").write_text(json.dumps(config))
    started = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tandem_rollout", *flags),
        env={"KUBECONFIG": str(folder / "config"), "TANDEM_DOMAIN": "models.example"},
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield started
    finally:
        if started.returncode is None:
            started.kill()
            await started.communicate()


async def ended(started: asyncio.subprocess.Process) -> tuple[int | None, list[dict[str, Any]]]:
    """The exit code after SIGTERM, and the log."""
    started.send_signal(signal.SIGTERM)
    async with asyncio.timeout(60):
        _, log = await started.communicate()
    return started.returncode, [json.loads(line) for line in log.splitlines()]


async def test_the_program_applies_reports_and_ends_in_order(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    async with world() as here:
        here.server.put("inferencerollouts", manifest())
        flags = ("--metrics_port", str(port), "--transformer_image", "own/transformer:1")
        async with process(here.server, tmp_path, *flags) as started:
            async with asyncio.timeout(60):
                while here.status().ready != "0/2":
                    here.server.changed.clear()
                    await here.server.changed.wait()
            async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/metrics") as answer:
                text = await answer.text()
            code, log = await ended(started)
    assert here.status().url == "http://time-estimator.models.models.example"
    services = here.server.all("inferenceservices")
    images = {each["spec"]["transformer"]["containers"][0]["image"] for each in services}
    assert images == {"own/transformer:1"}
    assert "tandem_controller_reconcile_seconds_count" in text
    assert (code, [each["message"] for each in log]) == (0, ["started"])


async def test_the_program_ends_in_order_without_an_api_server(tmp_path: Path) -> None:
    async with world() as here:
        called = asyncio.Event()

        def fault(call: Any) -> Lost:
            called.set()
            return Lost(done=False)

        here.server.fault = fault
        async with process(here.server, tmp_path, "--metrics_port", "0") as started:
            async with asyncio.timeout(60):
                await called.wait()
            code, log = await ended(started)
    assert code == 0
    assert all(each["level"] == "warning" for each in log)
