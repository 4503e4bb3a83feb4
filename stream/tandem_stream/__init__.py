"""A model on a stream: the records of a Kafka topic become predictions in another one, exactly once.

See ``docs/stream.md``.
"""

from tandem_stream.running import run
from tandem_stream.settings import StreamSettings
from tandem_stream.topics import StreamError

__all__ = ["StreamError", "StreamSettings", "run"]
