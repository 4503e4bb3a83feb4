"""Several server processes behind the same ports."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence

log = logging.getLogger(__name__)


def supervise(arguments: Sequence[str], processes: int) -> int:
    """Run the given number of processes until one ends or a signal asks to stop; then stop all.

    A process that dies takes the others with it: the container is then restarted, and the failure is visible.
    The processes share a directory in which their metrics meet.

    Args:
        arguments: Command line of the transformer.
        processes: How many.

    Returns:
        Exit code: that of the process that ended by itself, 0 after a signal.
    """
    with tempfile.TemporaryDirectory(prefix="tandem-metrics-") as metrics:
        # prometheus_client finds the directory by this variable when it is imported
        environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": metrics}
        command = [
            sys.executable,
            "-m",
            "tandem_transformer",
            *arguments,
            "--processes",
            str(processes),
            "--one_of_many",
        ]
        children = [subprocess.Popen(command, env=environment) for _ in range(processes)]
        signals: list[int] = []

        def stop(number: int, _: object) -> None:
            signals.append(number)
            for child in children:
                child.terminate()

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        pid, status = os.wait()
        code = os.waitstatus_to_exitcode(status)
        if not signals:
            log.error("a server process ended", extra={"pid": pid, "exit_code": code})
            # after a signal the children have been terminated already; at its very end a process ignores signals
            for child in children:
                if child.pid != pid:
                    child.terminate()
        codes = [code, *(child.wait() for child in children if child.pid != pid)]
        if not signals:
            # to end without a signal is a failure whatever the code, so that the container is started again
            return code or 1
        # a process that was stopped before it could listen had nothing to finish
        return max((0 if code == -signal.SIGTERM else code for code in codes), key=abs)
