"""``make bench-controller``: the controller with many rollouts, against a real API server."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from benchmarks import cpu
from benchmarks.controller import control_plane, neighbours, process, report
from benchmarks.controller.api import DEFINITIONS, RBAC, Api
from benchmarks.controller.fleet import Fleet
from benchmarks.controller.processes import Processes, StartError, free_port
from benchmarks.controller.surroundings import Surroundings
from benchmarks.controller.window import Meter, Window

RESULTS: Final = Path(__file__).parent.parent / "results"
ROOT: Final = Path(__file__).resolve().parents[2]
_LONGEST_START_S: Final = 1800.0

QUICK: Final = {"idle": 20, "moving": 3, "rest": 10.0, "seconds": 40.0, "warmup": 15.0, "settle": 3.0}
FULL: Final = {"idle": 1000, "moving": 50, "rest": 60.0, "seconds": 180.0, "warmup": 60.0, "settle": 15.0}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure a controller; table, raw numbers, one line of figures.

    Returns:
        0, or 1 if something did not start, or the rollouts did not come to rest.
    """
    arguments = _parse(argv)
    console = Console(width=150 if not sys.stdout.isatty() else None)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder = Path(arguments.keep or tempfile.mkdtemp(prefix="tandem-controller-"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with contextlib.ExitStack() as stack:
            if not arguments.keep:
                stack.enter_context(_removed(folder))
            processes = stack.enter_context(Processes(folder))
            findings = asyncio.run(_run(arguments, processes, folder, console))
    except (StartError, TimeoutError) as error:
        console.print(f"{type(error).__name__}: {error}", style="red", markup=False)
        return 1
    except KeyboardInterrupt:
        return 130
    report.show(findings, console)
    report.write(findings, arguments.results)
    print(report.last_line(findings))
    return 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.controller", description=main.__doc__)
    parser.add_argument("--quick", action="store_true", help="20 idle and 3 moving rollouts, short windows")
    parser.add_argument("--idle", type=int, help=f"rollouts with nothing to do; default {FULL['idle']}")
    parser.add_argument("--moving", type=int, help=f"rollouts that get new versions; default {FULL['moving']}")
    parser.add_argument("--seconds", type=float, help="measured, with moving rollouts")
    parser.add_argument("--rest", type=float, help="measured, with none that moves")
    parser.add_argument("--warmup", type=float, help="seconds over which the moving ones begin, before it is measured")
    parser.add_argument("--settle", type=float, help="seconds between all being ready and the first window")
    parser.add_argument("--verification", type=float, default=0.1, help="seconds of a verification")
    parser.add_argument("--ready", type=float, default=1.0, help="seconds that a pod takes to be ready")
    parser.add_argument("--profile", default="", help="file for a profile of the controller, which slows it down")
    parser.add_argument("--keep", default="", help="folder for data and logs, which stays")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where controller.json goes")
    arguments = parser.parse_args(argv)
    for name, value in (QUICK if arguments.quick else FULL).items():
        if getattr(arguments, name) is None:
            setattr(arguments, name, value)
    return arguments


async def _run(arguments: argparse.Namespace, processes: Processes, folder: Path, console: Console) -> report.Findings:
    machine = cpu.machine()
    console.print("starting etcd and kube-apiserver …")
    plane = await control_plane.start(processes, folder)
    async with Api(plane) as api, neighbours.serving(arguments.verification) as address:
        fleet = Fleet(api, arguments.idle, arguments.moving)
        await _prepare(api, fleet, console)
        async with _background(Surroundings(api, arguments.ready).run(), fleet.follow(), _checked(processes)):
            pids = {**plane.pids, "benchmark": os.getpid()}

            def controller(profile: str = "") -> tuple[int, Meter]:
                port = free_port()
                pid = _start(processes, plane, address, port, profile)
                return pid, Meter(pid, port, plane.audit, pids, fleet)

            windows: list[Window] = []

            async def measured(meter: Meter, name: str, until: Awaitable[object]) -> None:
                console.print(f"{name} …")
                windows.append(await meter.measure(name, until))

            pid, meter = controller(arguments.profile)
            await measured(meter, "from nothing", asyncio.wait_for(fleet.all_ready(), _LONGEST_START_S))
            await asyncio.sleep(arguments.settle)
            await measured(meter, "idle", asyncio.sleep(arguments.rest))
            async with _background(fleet.move(arguments.warmup)):
                await asyncio.sleep(arguments.warmup)
                await measured(meter, "moving", asyncio.sleep(arguments.seconds))
            processes.stop(pid)
            _, meter = controller()
            await measured(meter, "started again", asyncio.wait_for(_passed(meter, fleet), _LONGEST_START_S))
    settings = {name: value for name, value in vars(arguments).items() if name not in ("keep", "results", "profile")}
    return report.Findings(
        arguments.idle, arguments.moving, settings, machine, {window.name: window for window in windows}
    )


async def _prepare(api: Api, fleet: Fleet, console: Console) -> None:
    definitions = control_plane.definitions()
    for manifest in definitions:
        await api.create(DEFINITIONS, manifest)
    for manifest in control_plane.grants():
        await api.create((RBAC, f"{manifest['kind'].lower()}s"), manifest)
    for manifest in definitions:
        await api.served(manifest, within=60.0)
    console.print(f"making {len(fleet.followed)} rollouts …")
    await fleet.create()


def _start(processes: Processes, plane: control_plane.ControlPlane, address: str, port: int, profile: str) -> int:
    """Start a controller with what the chart gives it."""
    env = {"KUBECONFIG": str(plane.kubeconfig), process.PAIRS: f"{address}/pairs", "PYTHONPATH": str(ROOT)}
    if profile:
        env[process.PROFILE] = str(Path(profile).resolve())
    # the namespace of the chart is not there
    flags = ["--metrics_port", str(port), "--prometheus", address, "--controller_namespace", "default"]
    return processes.start("controller", [sys.executable, "-m", process.__name__, *flags], env)


async def _passed(meter: Meter, fleet: Fleet) -> None:
    """Wait until a controller has reconciled all rollouts once."""
    while True:
        if (await meter.scrape()).passes >= len(fleet.followed):
            return
        await asyncio.sleep(0.5)


async def _checked(processes: Processes) -> None:
    """See that all processes go on."""
    while True:
        processes.check()
        await asyncio.sleep(1.0)


@asynccontextmanager
async def _background(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Have something done meanwhile; if it fails, so does what is done with it."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(coroutine) for coroutine in work]
            yield
            for task in tasks:
                task.cancel()
    except BaseExceptionGroup as group_of_errors:
        raise _leaf(group_of_errors) from group_of_errors


def _leaf(error: BaseException) -> BaseException:
    """The first error of a group of groups."""
    return _leaf(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error


@contextlib.contextmanager
def _removed(folder: Path) -> Iterator[None]:
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
