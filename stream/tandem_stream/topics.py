"""Where a stream comes from and goes to: topics by their URLs, ``kafka://broker:9092,broker:9092/TOPIC``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from tandem.errors import TandemError

_URL: Final = re.compile(r"kafka://(?P<brokers>[^/@\s]+)/(?P<name>[A-Za-z0-9._-]{1,249})")


class StreamError(TandemError):
    """A stream cannot be read or written: an address, a topic, a broker, or another worker of the same name."""


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic of a Kafka cluster.

    Attributes:
        brokers: ``host:port`` of some of its brokers, separated by commas.
        name: Name of the topic.
    """

    brokers: str
    name: str

    def __str__(self) -> str:
        return f"kafka://{self.brokers}/{self.name}"

    def beside(self, suffix: str) -> Topic:
        """The topic of the same cluster whose name has a suffix."""
        return Topic(self.brokers, self.name + suffix)


def parse_topic(url: str) -> Topic:
    """The topic that a URL names.

    Raises:
        StreamError: if it is not such a URL.
    """
    match = _URL.fullmatch(url)
    if match is None:
        raise StreamError(f"{url!r} is not the URL of a topic; write kafka://broker:9092/TOPIC")
    return Topic(match["brokers"], match["name"])


def parse_properties(text: str) -> dict[str, str]:
    """Properties of Kafka's clients, as their files have them: ``name=value`` lines; ``#`` begins a comment.

    Raises:
        StreamError: naming the line that is none of these.
    """
    properties = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith(("#", "!")):
            continue
        name, separator, value = line.partition("=")
        if not separator:
            # the line may hold a password
            raise StreamError(f"line {number} of the properties must be name=value")
        properties[name.strip()] = value.strip()
    return properties
