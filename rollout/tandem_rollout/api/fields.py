"""The base class of the structs of the spec, and field types with their patterns and ranges."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from tandem.errors import TandemError

DNS_LABEL: Final = "^[a-z]([-a-z0-9]*[a-z0-9])?$"
HOSTNAME: Final = "^([*][.])?[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
HEADER: Final = "^[a-z0-9-]+$"
# the format of durations in the Gateway API (GEP-2257), which the timeouts of routes must have
DURATION: Final = "^([0-9]{1,5}(h|m|s|ms)){1,4}$"
MODEL: Final = "^$|^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$"
BUNDLE_DIGEST: Final = "^$|^[0-9a-f]{64}$"
BUNDLE_VERSION: Final = "^$|^[A-Za-z0-9][-A-Za-z0-9_.+]*$"
BUNDLE_URI: Final = "^$|^[a-z0-9+]+://.+"
_STORE_HOST: Final = r"([-A-Za-z0-9_.]*|\[[0-9a-fA-F:.]+\])(:[0-9]{1,5})?"
STORE_URL: Final = (
    rf"^$|^rediss?(\+sentinel|\+cluster)?://([^:@/]*@)?{_STORE_HOST}(,{_STORE_HOST})*([/?][^@]*)?$"
    "|^(unix|memory)://([^:@/]*@)?[^@]*$"
)
HTTPS_URL: Final = "^https://.+"
REGISTRY_URL: Final = "^https?://[^@?# ]+$"
REGISTRY_MODEL: Final = "^[^/:]+$"
REGISTRY_ALIAS: Final = "^[A-Za-z0-9_-]+$"

_DNS_LABEL = "a DNS label: lower-case letters, digits and -, beginning with a letter, such as {}"
_HOSTNAME = "a DNS name in lower case, such as models.example.com or *.example.com"
PATTERNS: Final[Mapping[str, str]] = {
    DNS_LABEL: _DNS_LABEL.format("time-estimator"),
    f"^$|{DNS_LABEL}": _DNS_LABEL.format("slow-answers"),
    HOSTNAME: _HOSTNAME,
    f"^$|{HOSTNAME}": _HOSTNAME,
    HEADER: "the name of a header in lower case, such as x-user-id",
    DURATION: "a duration with units, such as 10s, 1m30s or 500ms; h is the longest unit",
    MODEL: "letters, digits, -, _ and . with a letter or a digit at both ends, such as time-estimator",
    BUNDLE_DIGEST: "64 hexadecimal digits in lower case",
    BUNDLE_VERSION: "letters, digits, -, _, . and +, beginning with a letter or a digit, such as v1",
    BUNDLE_URI: "a URI with its scheme, such as s3://bucket/path",
    STORE_URL: "a URL such as redis://store:6379 without a password; for a URL with a password use urlFrom",
    HTTPS_URL: "a URL that begins with https://",
    REGISTRY_URL: "a URL that begins with http:// or https://, without a password, such as http://mlflow.mlflow:5000",
    REGISTRY_MODEL: "a name without / and :",
    REGISTRY_ALIAS: "letters, digits, - and _, such as champion",
}
"""Description of each pattern, which messages show in place of the regular expression. No pattern has a single quote,
so that each can be a raw string in a CEL rule."""

Name = Annotated[str, Meta(pattern=DNS_LABEL, max_length=14)]
RolloutName = Annotated[str, Meta(pattern=DNS_LABEL, max_length=22)]
"""The name of an InferenceService consists of both names and a hash. KServe labels its pods ``isvc.NAME-transformer``,
and a label may have 63 characters."""

# times PASSING_FACTOR it is the maximum weight of the Gateway API, 1,000,000
Weight = Annotated[int, Meta(ge=0, le=1000)]
Replicas = Annotated[int, Meta(ge=1, le=1000)]
Hostname = Annotated[str, Meta(pattern=HOSTNAME, max_length=253)]
Duration = Annotated[str, Meta(pattern=DURATION, max_length=28, description="A duration such as 10s, 1m30s or 500ms.")]
Quantity = int | str
"""A quantity of Kubernetes, such as ``2``, ``500m`` or ``1Gi``."""


class InvalidSpecError(TandemError):
    """The spec is invalid. The message names the field and the rule."""


# with omit_defaults the hash of a revision stays the same when a release adds a field
class Struct(msgspec.Struct, rename="camel", forbid_unknown_fields=True, omit_defaults=True, kw_only=True, frozen=True):
    """Base class of the structs of the spec. Field names are in camel case, as in Kubernetes."""


_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


def seconds(duration: str) -> float:
    """Seconds of a duration such as ``1m30s``."""
    # ms is before m in the pattern, or the m of ms would be taken for minutes
    return sum(float(value) * _UNITS[unit] for value, unit in re.findall(r"(\d+)(ms|h|m|s)", duration))
