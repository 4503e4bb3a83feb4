"""Which part of the canary's failures came from one client, where the gateway knows clients. It decides nothing."""

from __future__ import annotations

import msgspec

from tandem_rollout.analysis.reading import Counted, Readings
from tandem_rollout.analysis.record import Gathered, Record
from tandem_rollout.cause import Cause


def with_client_shares(record: Record, readings: Readings) -> Record:
    """The record with what the last reading says of clients.

    Args:
        record: The record.
        readings: What was read last.
    """
    known = {
        name: msgspec.structs.replace(record.metrics.get(name, Gathered()), client_share=reading.client_share)
        for name, reading in readings.items()
        if isinstance(reading, Counted) and reading.client_share is not None
    }
    return msgspec.structs.replace(record, metrics={**record.metrics, **known}) if known else record


def client_share(gathered: Gathered) -> Cause | None:
    """The same in words; None where nothing is known."""
    share = gathered.client_share
    return None if share is None else Cause("OneClient", f"{share:.0%} of the canary's failures came from one client")
