"""What all structs of the spec are made of: the base class, and types with their patterns and ranges."""

from __future__ import annotations

import re
from typing import Annotated

import msgspec
from msgspec import Meta

from tandem.errors import TandemError

Name = Annotated[str, Meta(pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$", max_length=14)]
RolloutName = Annotated[str, Meta(pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$", max_length=22)]
"""InferenceServices are named after both and a hash, and KServe labels their pods ``isvc.NAME-transformer``: a label
may have 63 characters."""

Weight = Annotated[int, Meta(ge=0, le=1000)]
Replicas = Annotated[int, Meta(ge=1, le=1000)]
HOSTNAME = r"^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
Hostname = Annotated[str, Meta(pattern=HOSTNAME, max_length=253)]
Duration = Annotated[str, Meta(pattern=r"^([0-9]{1,5}(h|m|s|ms)){1,4}$", description="Like 10s, 1m30s or 500ms.")]


class InvalidSpecError(TandemError):
    """A spec breaks a rule; the message names the field and the rule."""


class Struct(msgspec.Struct, rename="camel", forbid_unknown_fields=True, omit_defaults=True, kw_only=True, frozen=True):
    """Field names in camel case, as everywhere in Kubernetes."""


_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


def seconds(duration: str) -> float:
    """Seconds of a duration such as ``1m30s``."""
    return sum(float(value) * _UNITS[unit] for value, unit in re.findall(r"(\d+)(ms|h|m|s)", duration))
