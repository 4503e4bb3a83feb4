"""The list of modes. A further one is a function that opens it, and a line here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from tandem_cli.parity.library import Run, open_batch, open_embedded, open_stream
from tandem_cli.parity.served import open_grpc, open_oip_binary, open_oip_json, open_v1
from tandem_cli.parity.service import open_alone, open_coalesced
from tandem_cli.parity.session import Session


@dataclass(frozen=True)
class Mode:
    """A way to have rows predicted.

    Attributes:
        name: Its name.
        open: Prepares it; the function that it returns predicts the rows of a sample.
        extra: The extra of ``tandem-cli`` that it needs; empty for none.
        is_served: Whether it needs processes of its own.
    """

    name: str
    open: Callable[[Session], Run]
    extra: str = ""
    is_served: bool = False


MODES: Final[Sequence[Mode]] = (
    Mode("embedded", open_embedded),
    Mode("batch", open_batch, extra="offline"),
    Mode("stream", open_stream, extra="stream"),
    Mode("transformer-alone", open_alone),
    Mode("transformer-coalesced", open_coalesced),
    Mode("v1-json", open_v1, is_served=True),
    Mode("oip-json", open_oip_json, is_served=True),
    Mode("oip-binary", open_oip_binary, is_served=True),
    Mode("grpc", open_grpc, is_served=True),
)
"""All modes."""

IN_PROCESS: Final = tuple(mode for mode in MODES if not mode.is_served)
"""Those that start no process."""
