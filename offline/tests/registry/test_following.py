"""An alias as a rollout follows it, on MLflow with an SQLite file."""

from __future__ import annotations

from pathlib import Path

import pytest
from mlflow import MlflowClient

from tandem_offline.registry import AliasState, FollowedAlias, Registry, RegistryError

TAG = "tandem.rollout.laptop.small"


@pytest.fixture
def client(registry: Registry) -> MlflowClient:
    """A client of a registry with three versions, the first of which is champion."""
    client = MlflowClient(tracking_uri=registry.uri, registry_uri=registry.uri)
    client.create_registered_model("small")
    for _ in range(3):
        client.create_model_version("small", "file:///nowhere")
    client.set_registered_model_alias("small", "champion", "1")
    return client


@pytest.fixture
def alias(registry: Registry, client: MlflowClient) -> FollowedAlias:
    return FollowedAlias(registry.uri, "small", "champion", tag=TAG)


def test_an_alias_is_read_with_the_tags_of_versions(alias: FollowedAlias) -> None:
    assert alias.read([2, 9]) == AliasState(version=1, tags={1: None, 2: None})
    alias.tag(2, "Aborted", "{}")
    assert alias.read([2]) == AliasState(version=1, tags={1: None, 2: "{}"})


def test_tags_are_the_verdict_and_the_text_of_this_rollout(
    registry: Registry, alias: FollowedAlias, client: MlflowClient
) -> None:
    FollowedAlias(registry.uri, "small", "champion", tag="tandem.rollout.other.small").tag(2, "Promoted", "other")
    alias.tag(2, "Aborted", "own")
    tags = client.get_model_version("small", "2").tags
    assert tags == {"tandem.verdict": "Aborted", TAG: "own", "tandem.rollout.other.small": "other"}
    assert alias.read([2]).tags[2] == "own"


def test_an_alias_is_put_back_with_an_entry_in_the_history(registry: Registry, alias: FollowedAlias) -> None:
    assert alias.put_back(2, expected=1, reason="MetricsFailed: failed by errors")
    assert alias.read([]).version == 2
    (move,) = registry.history("small")
    assert (move.action, move.number, move.previous, move.reason) == (
        "rollback",
        2,
        1,
        "MetricsFailed: failed by errors",
    )


def test_an_alias_that_a_person_has_moved_is_not_put_back(registry: Registry, alias: FollowedAlias) -> None:
    assert not alias.put_back(2, expected=3, reason="")
    assert alias.put_back(1, expected=3, reason="")
    assert alias.read([]).version == 1
    assert registry.history("small") == []


def test_an_alias_goes_with_its_version(alias: FollowedAlias, client: MlflowClient) -> None:
    client.delete_model_version("small", "1")
    assert alias.read([1, 2]) == AliasState(version=None, tags={2: None})
    with pytest.raises(RegistryError, match="registry sqlite:"):
        alias.tag(1, "Promoted", "{}")


def test_a_model_that_does_not_exist_has_no_alias(registry: Registry) -> None:
    assert FollowedAlias(registry.uri, "other", "champion", tag=TAG).read([1]) == AliasState(version=None, tags={})


def test_a_registry_that_is_gone_is_an_error_and_is_not_made_again(alias: FollowedAlias, tmp_path: Path) -> None:
    (tmp_path / "registry.db").rename(tmp_path / "away.db")
    for call in (
        lambda: alias.read([1]),
        lambda: alias.put_back(2, expected=1, reason=""),
        lambda: alias.tag(1, "", ""),
    ):
        with pytest.raises(RegistryError, match="does not exist"):
            call()
    assert not (tmp_path / "registry.db").exists()
    (tmp_path / "away.db").rename(tmp_path / "registry.db")
    assert alias.read([]).version == 1


def test_a_server_that_does_not_answer_is_an_error() -> None:
    with pytest.raises(RegistryError, match=r"registry http://127\.0\.0\.1:1"):
        FollowedAlias("http://127.0.0.1:1", "small", "champion", tag=TAG).read([1])
