"""Timestamps in the format of Kubernetes."""

from __future__ import annotations

from datetime import UTC, datetime


def stamp(at: float) -> str:
    """Seconds since the epoch in RFC 3339, in UTC, whole seconds."""
    return datetime.fromtimestamp(int(at), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def epoch(text: str) -> float:
    """Seconds since the epoch of a time in RFC 3339."""
    return datetime.fromisoformat(text).timestamp()
