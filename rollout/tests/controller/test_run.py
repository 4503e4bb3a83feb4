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
from tandem_rollout.controller.interface import VerificationFailure
from tandem_rollout.controller.metrics import ControllerMetrics
from tandem_rollout.controller.observation import Verification
from tandem_rollout.controller.reconciler import Key, Reconciler
from tandem_rollout.controller.run import unready
from tandem_rollout.controller.term import SHARE, Term, namespace_of
from tandem_rollout.controller.work_queue import WorkQueue
from tandem_rollout.render.platform import Platform
from tandem_rollout.render.revision import Revision

from .apiserver import ApiServer, Call, Fault, Lost
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


class Hasty(WorkQueue[Key]):
    """A queue in which what comes within a minute comes within a moment."""

    def add(self, key: Key, after: float = 0.0) -> None:
        super().add(key, after / 1000 if after < 60 else after)


@asynccontextmanager
async def working(here: World, bugs: int = 0) -> AsyncIterator[ControllerMetrics]:
    """Caches and workers; so many passes over the rollout ``bad`` meet a bug of the program."""
    countdown = [bugs]

    class Broken(Reconciler):
        async def reconcile(self, manifest: Mapping[str, Any]) -> float:
            if manifest["metadata"]["name"] == "bad" and countdown[0]:
                countdown[0] -= 1
                raise RuntimeError("a bug")
            return await super().reconcile(manifest)

    work = Hasty(group=namespace_of, share=SHARE)
    metrics = ControllerMetrics()
    async with here.server.client() as client:
        cluster = LiveCluster(client, here, lambda *key: work.add(key), clock=lambda: here.now)
        tasks = [asyncio.create_task(cache.run()) for cache in cluster.caches]
        async with asyncio.timeout(60):
            for cache in cluster.caches:
                await cache.filled.wait()
        tasks.append(asyncio.create_task(Term(work, cluster, Broken(cluster, Platform()), metrics).run()))
        try:
            yield metrics
        finally:
            assert not any(task.done() for task in tasks)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def named(name: str, image: str) -> dict[str, Any]:
    resource = manifest(bundle={"image": image})
    return {**resource, "metadata": {**resource["metadata"], "name": name}}


async def test_changes_are_acted_upon_as_they_come() -> None:
    async with world() as here, working(here) as metrics:
        here.server.put("inferencerollouts", manifest())
        await until(here, lambda: here.status().ready == "2/2" and len(here.weights()) == 2)
        name = here.status().variants[1].inference_service
        here.pods["athlete:v2"] = lambda half, specified: []
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

    async def verify(self, revision: Revision) -> Verification | VerificationFailure:
        if revision.rollout.namespace == "slow":
            self.asked.append(revision.name)
            self.server.changed.set()
            await asyncio.Event().wait()
        return await super().verify(revision)


async def test_transformers_of_one_namespace_hold_up_no_other_one() -> None:
    async with world() as plain:
        here = Slow(plain.server)
        async with working(here):
            for number in range(20):
                resource = named(f"slow-{number}", "athlete:v1")
                here.server.put(
                    "inferencerollouts", {**resource, "metadata": {**resource["metadata"], "namespace": "slow"}}
                )
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


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


async def fetched(port: int, path: str) -> tuple[int, str]:
    url = f"http://127.0.0.1:{port}{path}"
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return response.status, await response.text()


async def held(here: World, other_than: str = "") -> str:
    """Who has the Lease, once somebody else than before has it."""
    async with asyncio.timeout(60):
        while True:
            here.server.changed.clear()
            lease = here.server.get("leases", "tandem-controller", "tandem-system") or {"spec": {}}
            if (holder := lease["spec"].get("holderIdentity", "")) not in ("", other_than):
                return str(holder)
            await here.server.changed.wait()


async def test_the_program_applies_reports_and_ends_in_order(tmp_path: Path) -> None:
    port = free_port()
    async with world() as here:
        here.server.put("inferencerollouts", manifest())
        flags = ("--metrics_port", str(port), "--transformer_image", "own/transformer:1")
        async with process(here.server, tmp_path, *flags) as started:
            async with asyncio.timeout(60):
                while here.status().ready != "0/2":
                    here.server.changed.clear()
                    await here.server.changed.wait()
            holder = await held(here)
            _, text = await fetched(port, "/metrics")
            probes = [await fetched(port, path) for path in ("/healthz", "/readyz")]
            code, log = await ended(started)
    assert here.status().url == "http://time-estimator.models.models.example"
    services = here.server.all("inferenceservices")
    images = {service["spec"]["transformer"]["containers"][0]["image"] for service in services}
    assert images == {"own/transformer:1"}
    assert "tandem_controller_reconcile_seconds_count" in text
    assert "tandem_controller_leader 1.0" in text
    assert "tandem_controller_leader_transitions_total 1.0" in text
    assert probes == [(200, "ok\n")] * 2
    lines = ["started", f"{holder} became the leader", f"{holder} stopped leading"]
    assert (code, [entry["message"] for entry in log]) == (0, lines)
    # whoever comes next need not wait
    (lease,) = here.server.all("leases")
    assert "holderIdentity" not in lease["spec"]


async def test_of_two_programs_one_acts_and_the_other_takes_over_when_it_ends(tmp_path: Path) -> None:
    port = free_port()
    async with world() as here:
        flags = [("--metrics_port", str(number)) for number in (0, port)]
        async with process(here.server, tmp_path, *flags[0]) as first:
            before = await held(here)
            async with process(here.server, tmp_path, *flags[1]) as second:
                assert second.stderr is not None
                async with asyncio.timeout(60):
                    messages = [json.loads(await second.stderr.readline())["message"] for _ in range(2)]
                assert messages == ["started", f"the leader is {before}"]
                # who waits has its caches, and shows nothing of rollouts
                assert await fetched(port, "/readyz") == (200, "ok\n")
                assert "tandem_controller_leader 0.0" in (await fetched(port, "/metrics"))[1]
                code, _ = await ended(first)
                after = await held(here, before)
                here.server.put("inferencerollouts", manifest())
                async with asyncio.timeout(60):
                    while here.status().ready != "0/2":
                        here.server.changed.clear()
                        await here.server.changed.wait()
                assert "tandem_controller_leader 1.0" in (await fetched(port, "/metrics"))[1]
                await ended(second)
    assert code == 0
    (lease,) = here.server.all("leases")
    assert lease["spec"]["leaseTransitions"] == 1
    events = [event["message"] for event in here.server.all("events") if event["involvedObject"]["kind"] == "Lease"]
    assert events == [f"{name} became the leader" for name in (before, after)]


async def test_a_program_without_a_lease_acts_at_once(tmp_path: Path) -> None:
    async with world() as here:
        here.server.put("inferencerollouts", manifest())
        async with process(here.server, tmp_path, "--metrics_port", "0", "--lease", "") as started:
            async with asyncio.timeout(60):
                while here.status().ready != "0/2":
                    here.server.changed.clear()
                    await here.server.changed.wait()
            code, log = await ended(started)
    assert here.server.all("leases") == []
    assert (code, [entry["message"] for entry in log]) == (0, ["started"])


async def test_it_is_ready_when_its_caches_are_filled(here: World) -> None:
    async with here.server.client() as client:
        cluster = LiveCluster(client, here, lambda *key: None)
        kinds = ("InferenceRollout", "InferenceService", "HTTPRoute", "Pod")
        assert unready(cluster) == f"waiting for the first list of {', '.join(kinds)}"
        tasks = [asyncio.create_task(cache.run()) for cache in cluster.caches[:-1]]
        async with asyncio.timeout(60):
            for cache in cluster.caches[:-1]:
                await cache.filled.wait()
        assert unready(cluster) == "waiting for the first list of Pod"
        tasks.append(asyncio.create_task(cluster.caches[-1].run()))
        async with asyncio.timeout(60):
            await cluster.caches[-1].filled.wait()
        assert unready(cluster) == ""
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_leader_waits_for_what_the_one_before_has_written(here: World) -> None:
    here.server.put("inferencerollouts", manifest())
    list_call, held_up = asyncio.Event(), asyncio.Event()
    lists = 0

    def fault(call: Call) -> Fault | None:
        nonlocal lists
        if call.resource != "inferencerollouts":
            return None
        lists += call.verb == "list"
        if lists > 3:  # the first one fills the cache
            list_call.set()
        return held_up if call.verb == "watch" else None

    here.server.fault = fault
    phases: list[str] = []
    passed = asyncio.Event()

    class Noting(Reconciler):
        async def reconcile(self, manifest: Mapping[str, Any]) -> float:
            phases.append((manifest.get("status") or {}).get("ready", ""))
            passed.set()
            return 600.0

    work, metrics = Hasty(group=namespace_of, share=SHARE), ControllerMetrics()
    async with here.server.client() as client:
        cluster = LiveCluster(client, here, lambda *key: work.add(key))
        tasks = [asyncio.create_task(cache.run()) for cache in cluster.caches]
        async with asyncio.timeout(60):
            for cache in cluster.caches:
                await cache.filled.wait()
            here.server.edit("inferencerollouts", "time-estimator", lambda live: live.update(status={"ready": "2/2"}))
            tasks.append(asyncio.create_task(Term(work, cluster, Noting(cluster, Platform()), metrics).run()))
            await list_call.wait()
            assert phases == []
            held_up.set()
            await passed.wait()
        assert phases[0] == "2/2"
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_who_leads_no_more_shows_nothing_of_rollouts() -> None:
    async with world() as here:
        async with working(here) as metrics:
            here.server.put("inferencerollouts", manifest())
            await until(here, lambda: here.status().ready == "2/2")
            assert metrics.registry.get_sample_value("tandem_controller_leader") == 1
            labels = {"namespace": "models", "rollout": "time-estimator"}
            assert metrics.registry.get_sample_value("tandem_rollout_ready", labels) is not None
        assert metrics.registry.get_sample_value("tandem_controller_leader") == 0
        assert [
            sample.name
            for metric in metrics.registry.collect()
            for sample in metric.samples
            if sample.name.startswith("tandem_rollout_")
        ] == []


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
    assert all(entry["level"] == "warning" for entry in log)
