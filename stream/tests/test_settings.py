from __future__ import annotations

import pytest

from tandem_stream.settings import StreamSettings, parse
from tandem_stream.topics import StreamError

TOPICS = ["--source", "kafka://b:9092/rides", "--sink", "kafka://b:9092/minutes"]


def test_names_follow_from_the_topics() -> None:
    settings = parse(TOPICS)
    _, sink, dead_letters = settings.topics()
    assert dead_letters.name == "minutes-dead-letters"
    assert settings.group_of("parcels", sink) == "tandem-parcels-minutes"
    assert settings.instance_name()


def test_names_can_be_chosen() -> None:
    settings = parse([*TOPICS, "--group", "g", "--instance", "w1", "--dead_letters", "dead", "--copied_fields", "a, b"])
    assert (settings.group_of("m", settings.topics()[1]), settings.instance_name()) == ("g", "w1")
    assert settings.topics()[2].name == "dead" and settings.copied_fields == ("a", "b")


@pytest.mark.parametrize(
    "flags", [TOPICS[:2], [*TOPICS, "--delivery", "sometimes"], [*TOPICS, "--max_batch_rows", "0"]]
)
def test_what_makes_no_sense_ends_with_2(flags: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        parse(flags)


def test_a_topic_that_is_none_is_refused() -> None:
    with pytest.raises(StreamError):
        StreamSettings(source="rides", sink="kafka://b:9092/minutes").topics()
