"""A model on a stream: the records of a Kafka topic become predictions in another one, exactly once.

So do events the windows of a feature view, see :mod:`tandem_stream.windows`. See ``docs/stream.md``.
"""

from tandem_stream.running import run
from tandem_stream.settings import StreamSettings
from tandem_stream.topics import StreamError
from tandem_stream.windows.running import run_windows
from tandem_stream.windows.settings import WindowSettings

__all__ = ["StreamError", "StreamSettings", "WindowSettings", "run", "run_windows"]
