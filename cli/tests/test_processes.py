from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tandem_cli.local import processes
from tandem_cli.local.processes import ChildDied, StackError

ENDLESS = "import signal; print('up', flush=True); signal.pause()"
STUBBORN = "import signal; signal.signal(15, signal.SIG_IGN); print('up', flush=True)\nwhile True: signal.pause()"


def python(name: str, code: str, log: Path) -> processes.Child:
    return processes.start(name, [sys.executable, "-c", code], log=log)


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_child_that_ends_is_named_with_code_and_log(tmp_path: Path) -> None:
    child = python("worker", "import sys; print('out of luck'); sys.exit(7)", tmp_path / "log")
    child.process.wait()
    with pytest.raises(ChildDied, match=r"worker ended with exit code 7.*\nout of luck") as caught:
        child.check()
    assert (caught.value.name, caught.value.exit_code) == ("worker", 7)


def test_a_child_ended_by_a_signal_is_named_with_the_signal(tmp_path: Path) -> None:
    child = python("worker", "import os; os.kill(os.getpid(), 9)", tmp_path / "log")
    child.process.wait()
    with pytest.raises(ChildDied, match="worker was ended by SIGKILL; its log is empty"):
        child.check()


def test_stopping_is_no_death(tmp_path: Path, eventually: Callable[[Callable[[], bool]], None]) -> None:
    child = python("worker", ENDLESS, tmp_path / "log")
    eventually(lambda: "up" in child.log_tail())
    processes.stop([child])
    assert child.process.returncode == -signal.SIGTERM
    child.check()


def test_a_child_that_ignores_sigterm_is_killed(
    tmp_path: Path, eventually: Callable[[Callable[[], bool]], None]
) -> None:
    child = python("worker", STUBBORN, tmp_path / "log")
    eventually(lambda: "up" in child.log_tail())
    processes.stop([child], grace=0.1)
    assert child.process.returncode == -signal.SIGKILL


def test_what_a_child_started_goes_with_it(tmp_path: Path, eventually: Callable[[Callable[[], bool]], None]) -> None:
    code = (
        f"import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', {STUBBORN!r}]).pid, flush=True)\n"
        + ENDLESS
    )
    child = python("worker", code, tmp_path / "log")
    eventually(lambda: child.log_tail().count("up") == 2)
    grandchild = int(child.log_tail().splitlines()[0])
    processes.stop([child])
    eventually(lambda: not runs(grandchild))


@pytest.mark.skipif(sys.platform != "linux", reason="asks the Linux kernel")
def test_children_end_with_a_parent_that_is_killed(
    tmp_path: Path, eventually: Callable[[Callable[[], bool]], None]
) -> None:
    code = (
        "import pathlib, signal, sys; from tandem_cli.local import processes\n"
        f"log = pathlib.Path({str(tmp_path / 'log')!r})\n"
        f"print(processes.start('worker', [sys.executable, '-c', {STUBBORN!r}], log=log).pid, flush=True)\n"
        "signal.pause()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert runs(child)
        os.kill(parent.pid, signal.SIGKILL)
    eventually(lambda: not runs(child))


def test_waiting_ends_when_a_child_ends(tmp_path: Path) -> None:
    child = python("worker", "raise SystemExit(3)", tmp_path / "log")
    with pytest.raises(ChildDied, match="exit code 3"):
        processes.wait_until(lambda: False, [child], seconds=60, what="nothing")


def test_waiting_ends_in_time(tmp_path: Path) -> None:
    child = python("worker", ENDLESS, tmp_path / "log")
    try:
        with pytest.raises(StackError, match="timed out after 0 s waiting for a miracle"):
            processes.wait_until(lambda: False, [child], seconds=0, what="a miracle")
    finally:
        processes.stop([child])


def test_a_program_that_does_not_exist_is_told(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="worker cannot be started"):
        processes.start("worker", [tmp_path / "none"], log=tmp_path / "log")


@pytest.mark.parametrize("words", ["Address already in use", "anything else"])
def test_a_taken_port_is_recognised_whatever_the_log_says(tmp_path: Path, words: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        child = processes.start("worker", ["sh", "-c", f"echo {words}; exit 3"], log=tmp_path / "log", ports=[port])
        child.process.wait()
        with pytest.raises(ChildDied) as caught:
            child.check()
        assert caught.value.port_was_taken
    with pytest.raises(ChildDied) as caught:
        child.check()
    assert (caught.value.port_was_taken, caught.value.exit_code) == (False, 3)


def test_the_hint_of_a_process_that_ended_names_the_option_for_its_port() -> None:
    assert "--port" in str(ChildDied("x", 1, "Address already in use", port_was_taken=True).advice)
    assert ChildDied("x", 1, "Address already in use").advice is None
