from __future__ import annotations

from pathlib import Path

import pytest

from tandem.errors import DefinitionError
from tandem.fields import Field
from tandem_stream.windows.running import find_view
from tandem_stream.windows.settings import parse

TOPICS = ["--source", "kafka://b:9092/watches", "--sink", "kafka://b:9092/pace"]
PACKAGE = Path(__file__).parents[3] / "tests/stream/pace"


def test_names_follow_from_the_topics() -> None:
    settings = parse(TOPICS)
    _, sink, dead_letters = settings.topics()
    assert (settings.changelog_topic(sink).name, dead_letters.name) == ("pace-changelog", "pace-dead-letters")
    assert settings.group_of("live_pace", sink) == "tandem-live_pace-pace"
    assert (settings.unknown_fields, settings.max_batch_rows, settings.store) == ("ignore", 10_000, "")
    assert parse([*TOPICS, "--changelog", "state"]).changelog_topic(sink).name == "state"


@pytest.mark.parametrize("flags", [TOPICS[:2], [*TOPICS, "--table_format", "csv"], [*TOPICS, "--max_ahead_s", "-1"]])
def test_settings_that_cannot_be_are_refused(flags: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        parse(flags)


def test_the_view_with_a_window_need_not_be_named() -> None:
    view, keys = find_view(PACKAGE)
    assert (view.name, keys) == ("live_pace", {"athlete_id": Field("int64")})
    assert find_view(PACKAGE, "live_pace")[0] == view


def test_a_view_without_a_window_is_refused() -> None:
    with pytest.raises(DefinitionError, match="a feature view that has a window, not 'profile'; there are live_pace"):
        find_view(PACKAGE, "profile")
