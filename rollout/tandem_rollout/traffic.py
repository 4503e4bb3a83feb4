"""How a request came to a version. The gateway marks every request, and transformers count by the mark.

What decides about a version is only what the weights sent there: any client may pin a version and send it whatever it
likes.
"""

from __future__ import annotations

from typing import Final

HEADER: Final = "x-tandem-traffic"
"""The gateway sets it on every request, so that a client's own is replaced."""

UNIT_HEADER: Final = "x-tandem-unit"
"""The gateway names in it the client that has presented a token or key."""

WEIGHTED: Final = "weighted"
"""The weights sent it there, or it is a copy of such a request."""

PINNED: Final = "pinned"
"""The client chose the version, by header or by path."""

PREVIEW: Final = "preview"
"""It was sent to the preview host of blue/green."""
