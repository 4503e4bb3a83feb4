"""A stack that follows an alias: MLflow with an SQLite file, real processes, and requests all the while."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import msgspec
import pytest
from core.tests.small import write_small
from mlflow import MlflowClient

from tandem_cli.local.changing import ChangingStack
from tandem_cli.local.following import AliasFollower, tag_key
from tandem_cli.local.runner import RolloutRunner
from tandem_cli.registered import RegisteredStart, choose_start
from tandem_cli.registry import open_alias
from tandem_cli.rollout.targets.stack_files import StackFiles
from tandem_offline.registry import Reference, Registry
from tandem_rollout.api.status import RegistryStatus, RolloutStatus

LONGEST = 60.0
REFERENCE = Reference.parse("models:/small@champion")
SETTINGS: dict[str, Any] = {
    "rollout": {
        "strategy": {"canary": {"steps": [{"weight": 50, "minDuration": "0s"}], "bake": "0s"}},
        "analysis": {"interval": "1s", "warmup": "0s"},
    }
}


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    """A registry with two versions of a model, and a third one that another tool has registered."""
    path = tmp_path_factory.mktemp("registry")
    registry = Registry(f"sqlite:///{path / 'registry.db'}", create=True)
    for number in (1, 2):
        registry.register(write_small(path / f"v{number}", version=f"v{number}", scale=number))
    MlflowClient(tracking_uri=registry.uri, registry_uri=registry.uri).create_model_version("small", "file:///nowhere")
    return registry


@dataclass
class Clients:
    """Requests one after the other, in a thread, and the statuses and variants of their answers."""

    url: str
    statuses: set[int] = field(default_factory=set)
    variants: list[str] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        body = json.dumps({"instances": [{"id": "a", "x": 1.0, "ts": "2026-05-01T00:00:00Z"}]}).encode()
        request = Request(f"{self.url}/v1/models/small:predict", body, {"content-type": "application/json"})
        while not self.stopping.is_set():
            with urlopen(request) as answer:
                answer.read()
                self.statuses.add(answer.status)
                self.variants.append(answer.headers["x-model-variant"])


@dataclass
class Following:
    """A stack that follows the alias."""

    stack: ChangingStack
    runner: RolloutRunner
    follower: AliasFollower
    clients: Clients

    def until(self, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + LONGEST
        while not holds():
            self.runner.check()
            self.follower.check()
            self.stack.check()
            assert time.monotonic() < deadline, self.runner.status
            time.sleep(0.02)

    def until_state(self, number: int, state: str) -> None:
        def holds() -> bool:
            run = self.runner.now.run
            return run is not None and (run.number, run.state) == (number, state)

        self.until(holds)

    @property
    def registry(self) -> RegistryStatus:
        """The status of the alias, as it is written."""
        rollout = StackFiles(self.runner.name).rollout()
        assert rollout is not None
        registry = msgspec.convert(rollout["status"], RolloutStatus).registry
        assert registry is not None
        return registry


@contextmanager
def following(registry: Registry, start: RegisteredStart, directory: Path) -> Iterator[Following]:
    with ExitStack() as running:
        stack = running.enter_context(ChangingStack([start.variant]))
        runner = running.enter_context(RolloutRunner(stack, SETTINGS, status=start.status))
        alias = open_alias(registry, REFERENCE, tag=tag_key(runner.name))
        follower = running.enter_context(
            AliasFollower(registry, alias, stack, runner, directory=directory, seconds=0.1)
        )
        clients = Clients(stack.url)
        thread = threading.Thread(target=clients.run)
        thread.start()
        try:
            yield Following(stack, runner, follower, clients)
        finally:
            clients.stopping.set()
            thread.join()


def test_an_alias_from_its_first_move_to_the_end_of_the_stack(
    registered: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    client = MlflowClient(tracking_uri=registered.uri, registry_uri=registered.uri)

    def move(number: int) -> None:
        client.set_registered_model_alias("small", "champion", str(number))

    def named() -> int:
        return registered.resolve(REFERENCE).number

    def verdict(number: int) -> str | None:
        return registered.resolve(Reference("small", number)).tags.get("tandem.verdict")

    move(1)
    first = choose_start(registered, REFERENCE, directory=tmp_path / "bundles", resume=True)
    assert first.variant.name == "1"
    with following(registered, first, tmp_path / "bundles") as local:
        assert (local.registry.version, local.registry.digest) == (1, first.variant.bundle.digest)

        # a canary that is aborted: the alias is put back, and the version has the reason
        move(2)
        local.until(lambda: local.stack.weights.get("2") == 50)
        assert local.runner.now.run is not None
        local.runner.send("abort", comment="it is slow")
        local.until(lambda: verdict(2) == "Aborted")
        local.until(lambda: local.registry.closed_run == 1)
        assert (named(), local.registry.version) == (1, 1)
        (tag,) = (text for key, text in registered.resolve(Reference("small", 2)).tags.items() if "rollout" in key)
        assert "it is slow" in tag
        assert [(move.action, move.number) for move in registered.history("small")] == [("rollback", 1)]

        # the same version again, which a person promotes
        move(2)
        local.until(lambda: local.stack.weights.get("2") == 50)
        assert local.runner.now.run is not None and local.runner.now.run.started_by == "models:/small@champion"
        local.runner.send("promote")
        local.until(lambda: verdict(2) == "Promoted")
        assert (named(), local.stack.weights["2"]) == (2, 100)

        # a version that is no bundle, and a registry that is gone: nothing moves, and the status says so
        move(3)
        local.until(lambda: local.registry.reason == "VersionUnusable")
        assert "models:/small/3 is no bundle" in local.registry.message
        move(2)
        local.until(lambda: local.registry.reason == "")
        database = Path(registered.uri.removeprefix("sqlite:///"))
        database.rename(database.with_suffix(".away"))
        local.until(lambda: local.registry.reason == "RegistryUnreachable")
        database.with_suffix(".away").rename(database)
        local.until(lambda: local.registry.reason == "")
        assert local.runner.now.run is not None and local.runner.now.run.number == 2

        # after a rollback too, the alias is put back
        local.runner.send("rollback")
        local.until(lambda: verdict(2) == "RolledBack")
        assert named() == 1
        local.until(lambda: local.stack.weights["1"] == 100)

        # stopped in the middle of a run
        move(2)
        local.until_state(3, "Analyzing")
    assert local.clients.statuses == {200}
    assert set(local.clients.variants) == {"1", "2"}

    # the next stack begins with what this one served, and the alias has moved
    second = choose_start(registered, REFERENCE, directory=tmp_path / "bundles", resume=True)
    assert (second.variant.name, named()) == ("1", 2)
    assert second.status is not None and second.status.registry is not None
    assert second.status.registry.version == 1
    assert next((past.outcome, past.reason) for past in second.status.history) == ("Aborted", "StackStopped")


def test_without_resuming_a_stack_begins_with_what_the_alias_names(
    registered: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    client = MlflowClient(tracking_uri=registered.uri, registry_uri=registered.uri)
    client.set_registered_model_alias("small", "champion", "2")
    files = StackFiles("small")
    before = choose_start(registered, REFERENCE, directory=tmp_path / "bundles", resume=True)
    assert before.variant.name == "2" and before.status is not None and before.status.registry is not None
    served = {"name": "1", "inferenceService": "1", "phase": "Ready", "weight": 100}
    served["digest"] = registered.resolve(Reference("small", 1)).digest
    registry = {"uri": registered.uri, "model": "small", "alias": "champion", "version": 1}
    for status, resume, name in [
        ({"variants": [served], "registry": registry}, True, "1"),
        ({"variants": [served], "registry": registry}, False, "2"),
        # of another alias, of other registries, and of another version of this program
        ({"variants": [served], "registry": {**registry, "alias": "challenger"}}, True, "2"),
        ({"variants": [served], "registry": {**registry, "uri": "http://127.0.0.1:1"}}, True, "2"),
        ({"variants": [{**served, "digest": "0" * 64}], "registry": registry}, True, "2"),
        ({"variants": "nonsense"}, True, "2"),
    ]:
        files.write_rollout({"status": status})
        start = choose_start(registered, REFERENCE, directory=tmp_path / "bundles", resume=resume)
        assert start.variant.name == name
        assert start.status is not None and start.status.registry is not None
        assert start.status.registry.version == int(name)
    fixed = choose_start(registered, Reference("small", 1), directory=tmp_path / "bundles", resume=True)
    assert (fixed.variant.name, fixed.status) == ("1", None)
