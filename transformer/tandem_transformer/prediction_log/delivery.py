"""Delivery of completed segments, in a process of its own so that it takes no time of those that answer.

``python -m tandem_transformer.prediction_log.delivery DIRECTORY ADDRESS``

With ``--until_eof`` it ends when its standard input does. A segment is removed once all of it has been taken. After a
failure it is sent again from its beginning, so each record arrives at least once, with the same id.
"""

from __future__ import annotations

import fcntl
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import Final

from tandem import logs
from tandem.errors import LogError
from tandem.prediction_log.segments import read_segment, recover
from tandem.prediction_log.spool import segments
from tandem_transformer.prediction_log.events import events
from tandem_transformer.prediction_log.sinks import EventsRejected, Sink, SinkUnavailable, open_sink

log = logging.getLogger(__name__)

REJECTED: Final = ".rejected"
"""What the name of a segment ends with that the sink does not take, or that cannot be read. It is kept."""

UNTIL_EOF: Final = "--until_eof"

_BATCH: Final = 500
_POLL_S: Final = 0.5
_LONGEST_PAUSE_S: Final = 30.0


def deliver(directory: Path, sink: Sink, stop: threading.Event, *, poll_s: float = _POLL_S) -> None:
    """Deliver completed segments, oldest first, until told to stop; what is complete by then is tried once more.

    Args:
        directory: Of the log.
        sink: Where to.
        stop: Ends it.
        poll_s: Seconds between two looks for segments, and the shortest pause after a failure.
    """
    pause_s = poll_s
    while True:
        last = stop.is_set()
        try:
            recover(directory)
            for path in sorted(segments(directory, complete=True), key=_age):
                _deliver_segment(path, sink)
            pause_s = poll_s
        except (SinkUnavailable, OSError) as error:
            log.warning("predictions are not delivered: %s", error, extra={"retry_s": pause_s})
            stop.wait(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        if last:
            return
        stop.wait(poll_s)


def main(arguments: Sequence[str] | None = None) -> int:
    """Deliver until SIGTERM, SIGINT or, where that is asked for, the end of standard input.

    Returns:
        0 when it was told to stop, 1 if the address cannot be used.
    """
    directory, address, *options = sys.argv[1:] if arguments is None else arguments
    logs.configure()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    if UNTIL_EOF in options:
        # a terminal sends SIGINT to all: the parent completes its segment first
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        threading.Thread(target=_wait_for_eof, args=(stop,), daemon=True).start()
    else:
        signal.signal(signal.SIGINT, lambda *_: stop.set())
    try:
        sink = open_sink(address)
    except (SinkUnavailable, EventsRejected) as error:
        log.error("%s", error)
        return 1
    deliver(Path(directory), sink, stop)
    sink.close()
    return 0


def _wait_for_eof(stop: threading.Event) -> None:
    # not sys.stdin, whose lock would be held when the interpreter ends
    while os.read(0, 1):
        pass
    stop.set()


def _deliver_segment(path: Path, sink: Sink) -> None:
    with _owned(path) as is_owned:
        if not is_owned:
            return
        try:
            for kind, records in read_segment(path):
                remaining = events(kind, records)
                while batch := list(islice(remaining, _BATCH)):
                    sink.send(batch)
        except (EventsRejected, LogError) as error:
            log.error("a segment is not delivered but kept as *%s: %s", REJECTED, error, extra={"segment": path.name})
            path.rename(path.with_suffix(REJECTED))
        else:
            path.unlink(missing_ok=True)


@contextmanager
def _owned(path: Path) -> Iterator[bool]:
    """Whether nobody else delivers the segment meanwhile: several processes may share a directory."""
    with ExitStack() as stack:
        try:
            file = stack.enter_context(path.open("rb"))
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # it may have been delivered between the look and the lock
            is_owned = path.exists()
        except (BlockingIOError, FileNotFoundError):
            is_owned = False
        yield is_owned


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


if __name__ == "__main__":
    sys.exit(main())
