"""What reads the events of a stream, by their format."""

from __future__ import annotations

from tandem.contract import Contract
from tandem.errors import DefinitionError
from tandem_stream.cloudevents import CloudEventDecoder
from tandem_stream.decoding import Decoder, JsonDecoder
from tandem_stream.settings import WorkerSettings


def open_decoder(contract: Contract, settings: WorkerSettings) -> Decoder:
    """A decoder of events with the fields of a contract.

    Args:
        contract: The contract.
        settings: Tell the format, and where schemas are.

    Raises:
        DefinitionError: if a library is missing.
        StoreError: if the URL of the schema registry is none.
    """
    rows = JsonDecoder(contract, unknown_fields=settings.unknown_fields)
    if settings.format == "avro":
        return _avro_decoder(rows, settings.schema_registry)
    return CloudEventDecoder(rows) if settings.format == "cloudevents" else rows


def _avro_decoder(rows: JsonDecoder, registry: str) -> Decoder:
    try:
        # imported late: an extra
        from tandem_stream.avro import AvroDecoder, SchemaRegistry
    except ModuleNotFoundError as error:
        raise DefinitionError(f"Avro needs {error.name}; install tandem-stream[avro]") from None
    return AvroDecoder(rows, SchemaRegistry(registry).fetch)
