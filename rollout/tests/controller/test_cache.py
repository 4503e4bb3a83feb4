"""Copies of the API server's objects."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from rollout.tests.render.made import bundled, of_kind

from tandem_rollout.controller import kinds
from tandem_rollout.controller.cache import MAX_BYTES, Cache

from .apiserver import Answer, ApiServer, Call, Fault, Lost, serving


class Told:
    """Who is told of changes."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._news = asyncio.Event()

    def __call__(self, plain: dict[str, Any]) -> None:
        self.names.append(plain["metadata"]["name"])
        self._news.set()

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not holds():
                self._news.clear()
                await self._news.wait()


def route(name: str, team: str | None, namespace: str = "models", **spec: Any) -> dict[str, Any]:
    labels = {"team": team} if team else {}
    return {"metadata": {"name": name, "namespace": namespace, "labels": labels}, "spec": spec}


@asynccontextmanager
async def caching(server: ApiServer, changes: Told, **options: Any) -> AsyncIterator[tuple[Cache, list[float]]]:
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        await asyncio.sleep(0)

    async with serving(server), server.client() as client:
        cache = Cache(client, kinds.HTTPRoute, changes, sleep=sleep, **options)
        task = asyncio.create_task(cache.run())
        try:
            yield cache, waits
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def names(objects: list[dict[str, Any]]) -> list[str]:
    return sorted(manifest["metadata"]["name"] for manifest in objects)


async def test_objects_are_found_by_the_value_of_a_label() -> None:
    server, changes = ApiServer(), Told()
    for manifest in (
        route("a", "one"),
        route("b", "one"),
        route("c", "two"),
        route("d", "one", "water"),
        route("e", None),
    ):
        server.put("httproutes", manifest)
    async with caching(server, changes, labels={"team": None}, index="team") as (cache, _):
        await cache.filled.wait()
        assert names(cache.labelled("models", "one")) == ["a", "b"]
        assert names(cache.labelled("water", "one")) == ["d"]
        assert cache.labelled("models", "three") == []
        assert cache.get("models", "e") is None

        server.edit("httproutes", "b", lambda live: live["metadata"]["labels"].update(team="three"))
        server.remove("httproutes", "a")
        await changes.until(lambda: cache.get("models", "a") is None)
        assert cache.labelled("models", "one") == []
        assert names(cache.labelled("models", "three")) == ["b"]


async def test_one_namespace_only() -> None:
    server, changes = ApiServer(), Told()
    server.put("httproutes", route("a", "one"))
    server.put("httproutes", route("d", "one", "water"))
    async with caching(server, changes, namespace="water") as (cache, _):
        await cache.filled.wait()
        assert names(list(cache.all())) == ["d"]


async def test_after_a_gap_only_what_changed_is_told() -> None:
    server, changes = ApiServer(), Told()
    for name in ("same", "edited", "gone"):
        server.put("httproutes", route(name, "one"))
    async with caching(server, changes) as (cache, _):
        await cache.filled.wait()
        await changes.until(lambda: len(changes.names) == 3)
        changes.names.clear()
        server.end_watches(forget=True)
        server.edit("httproutes", "edited", lambda live: live["spec"].update(x=1))
        server.remove("httproutes", "gone")
        server.put("httproutes", route("new", "one"))
        await changes.until(lambda: len(changes.names) == 3)
        assert sorted(changes.names) == ["edited", "gone", "new"]


async def test_an_api_server_that_is_down_is_asked_less_and_less_often() -> None:
    server, changes = ApiServer(), Told()
    server.put("httproutes", route("a", "one"))
    countdown = [8]

    def fault(call: Call) -> Fault | None:
        countdown[0] -= 1
        return Lost(done=False) if countdown[0] >= 0 else None

    server.fault = fault
    async with caching(server, changes) as (cache, waits):
        await changes.until(lambda: cache.filled.is_set())
        assert waits == [1, 2, 4, 8, 16, 30, 30, 30]
        # once it has answered, the next gap is a short one again
        server.put("httproutes", route("b", "one"))
        await changes.until(lambda: cache.get("models", "b") is not None)
        server.end_watches()
        server.put("httproutes", route("c", "one"))
        await changes.until(lambda: cache.get("models", "c") is not None)
        assert waits[8:] == [1]


async def test_a_watch_that_is_dead_without_anybody_knowing() -> None:
    server, changes = ApiServer(), Told()
    server.put("httproutes", route("a", "one"))
    never = asyncio.Event()
    server.fault = lambda call: never if call.verb == "watch" else None
    async with caching(server, changes, silence=0.01) as (cache, waits):
        await cache.filled.wait()
        server.put("httproutes", route("b", "one"))
        await changes.until(lambda: cache.get("models", "b") is not None)
        assert waits == []
    never.set()


async def test_an_answer_without_a_content_type_is_a_failure_like_any_other() -> None:
    server, changes = ApiServer(), Told()
    server.put("httproutes", route("a", "one"))
    answers = [b"HTTP/1.1 500 no\r\nContent-Length: 0\r\n\r\n"]

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answers[0])
        answers.append(b"")
        await writer.drain()
        writer.close()

    bad = await asyncio.start_server(proxy, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{bad.sockets[0].getsockname()[1]}"
    waited = asyncio.Event()

    async def sleep(seconds: float) -> None:
        waited.set()
        await asyncio.Event().wait()

    async with server.client() as client:
        task = asyncio.create_task(Cache(client, kinds.HTTPRoute, changes, sleep=sleep).run())
        async with asyncio.timeout(30):
            await waited.wait()
        assert not task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    bad.close()
    await bad.wait_closed()


async def test_what_nobody_reads_is_not_kept() -> None:
    server, changes = ApiServer(), Told()
    fields = [{"manager": "somebody", "fieldsV1": {"f:spec": {}}}]

    def managed(name: str) -> dict[str, Any]:
        manifest = route(name, "one", hostnames=["example.com"])
        manifest["metadata"]["managedFields"] = fields
        return {**manifest, "status": {"parents": []}}

    server.put("httproutes", managed("listed"))
    async with caching(server, changes, without=("spec",)) as (cache, _):
        await cache.filled.wait()
        server.put("httproutes", managed("watched"))
        await changes.until(lambda: cache.get("models", "watched") is not None)
        for name in ("listed", "watched"):
            entry = cache.get("models", name)
            assert entry is not None
            assert entry["status"] == {"parents": []}
            assert entry["metadata"]["labels"] == {"team": "one"}
            assert "spec" not in entry
            assert "managedFields" not in entry["metadata"]


async def test_the_namespace_with_the_most_is_the_one_that_loses() -> None:
    server, changes = ApiServer(), Told()
    server.put("httproutes", route("small", None, "water", text="x" * 1000))
    for number in range(5):
        server.put("httproutes", route(f"large-{number}", None, "models", text="x" * 20_000))
    async with caching(server, changes, most=60_000) as (cache, _):
        await cache.filled.wait()
        assert names(list(cache.all())) == ["large-0", "large-1", "small"]
        server.put("httproutes", route("another", None, "water", text="x" * 1000))
        await changes.until(lambda: "another" in changes.names)
        assert cache.get("water", "another") is not None
        server.put("httproutes", route("another-large", None, "models", text="x" * 20_000))
        await changes.until(lambda: "another-large" in changes.names)
        assert names(list(cache.all())) == ["another", "large-0", "large-1", "small"]
        # what goes makes room for what comes
        server.remove("httproutes", "large-0")
        server.put("httproutes", route("last", None, "models", text="x" * 20_000))
        await changes.until(lambda: "last" in changes.names)
        assert names(list(cache.all())) == ["another", "large-1", "last", "small"]


async def test_the_services_of_thousands_of_rollouts_are_kept() -> None:
    (service,) = of_kind(bundled(), "InferenceService")
    service["metadata"] |= {"name": "a", "namespace": "models", "resourceVersion": "1"}
    server, changes = ApiServer(), Told()
    server.put("httproutes", service)
    # what the API server and KServe add to it is less than as much again
    async with caching(server, changes, most=MAX_BYTES // 4000 // 2) as (cache, _):
        await cache.filled.wait()
        entry = cache.get("models", "a")
        assert entry is not None
        assert entry["spec"] == service["spec"]


async def test_an_object_that_is_nested_too_deeply_ends_no_watch() -> None:
    server, changes = ApiServer(), Told()
    server.put("httproutes", route("a", None))

    def deep(call: Call) -> Fault | None:
        server.fault = lambda call: None
        return Answer(200, "[" * 5000 + "]" * 5000, plain=True)

    server.fault = deep
    async with caching(server, changes) as (cache, waits):
        await cache.filled.wait()
        assert names(list(cache.all())) == ["a"]
    assert len(waits) == 1
