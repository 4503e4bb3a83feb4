"""The words by which transformers are observed: they write them, rollouts and the command line read them.

The gateway says with each request how it came to a version, by a header that it sets on every request, so that a
client's own is replaced. Transformers count by it. What decides about a version is only what the weights sent there:
any client may pin a version and send it whatever it likes.
"""

from __future__ import annotations

from typing import Final

TRAFFIC_HEADER: Final = "x-tandem-traffic"
"""Request header with which the gateway says how a request came to a version."""

UNIT_HEADER: Final = "x-tandem-unit"
"""Request header with which the gateway names the client that has presented a token or key."""

WEIGHTED: Final = "weighted"
"""Traffic: the weights sent the request to this version, or it is a copy of such a request."""

PINNED: Final = "pinned"
"""Traffic: the client chose the version, by header or by path."""

PREVIEW: Final = "preview"
"""Traffic: the request was sent to the preview host of blue/green."""

DIRECT: Final = "direct"
"""Traffic: the request did not come through the gateway."""

SURPLUS: Final = "surplus"
"""Traffic: the weights sent the request, but its client has contributed enough to what decides."""

ANSWERED: Final = "answered"
"""Outcome: the request was answered."""

REFUSED: Final = "refused"
"""Outcome: the client's own mistake, or too much load (4xx)."""

EXPIRED: Final = "expired"
"""Outcome: the client went away, or the deadline that it set itself passed."""

FAILED: Final = "failed"
"""Outcome: 5xx."""

DECODE: Final = "decode"
LOOKUP: Final = "lookup"
ON_DEMAND: Final = "odt"
MODEL_DEPENDENT: Final = "mdt"
PREDICT: Final = "predict"
POST: Final = "post"

STAGES: Final = (DECODE, LOOKUP, ON_DEMAND, MODEL_DEPENDENT, PREDICT, POST)
"""Stages of a batch in a transformer, in order; label ``stage`` of ``tandem_stage_seconds``."""
