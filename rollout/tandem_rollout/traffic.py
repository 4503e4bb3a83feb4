"""How a request came to a version, as the gateway marks it: the words of :mod:`tandem.telemetry` that rollouts need."""

from tandem.telemetry import PINNED as PINNED
from tandem.telemetry import PREVIEW as PREVIEW
from tandem.telemetry import TRAFFIC_HEADER as HEADER
from tandem.telemetry import UNIT_HEADER as UNIT_HEADER
from tandem.telemetry import WEIGHTED as WEIGHTED

__all__ = ["HEADER", "PINNED", "PREVIEW", "UNIT_HEADER", "WEIGHTED"]
