from __future__ import annotations

import pytest

from tandem_stream.topics import StreamError, Topic, parse_properties, parse_topic


def test_a_url_names_brokers_and_topic() -> None:
    topic = parse_topic("kafka://a:9092,b:9093/rides.v1")
    assert topic == Topic("a:9092,b:9093", "rides.v1")
    assert str(topic) == "kafka://a:9092,b:9093/rides.v1"


@pytest.mark.parametrize("url", ["", "rides", "kafka://a:9092", "kafka:///rides", "kafka://a/b/c", "http://a:1/rides"])
def test_what_is_no_topic_is_refused(url: str) -> None:
    with pytest.raises(StreamError, match="write kafka://broker:9092/TOPIC"):
        parse_topic(url)


def test_properties_are_read_as_kafka_writes_them() -> None:
    text = "# of staging\n\nsecurity.protocol=SASL_SSL\nsasl.password = a=b \n"
    assert parse_properties(text) == {"security.protocol": "SASL_SSL", "sasl.password": "a=b"}


def test_a_line_that_is_no_property_is_named_and_not_shown() -> None:
    with pytest.raises(StreamError, match=r"^line 2 of the properties must be name=value$"):
        parse_properties("a=b\nsecret")
