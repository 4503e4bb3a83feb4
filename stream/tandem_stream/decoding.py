"""Values of records decoded by the contract: JSON objects with its fields, one for each record."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import msgspec

from tandem.contract import Contract
from tandem.errors import ContractViolation, MalformedRequest, RequestError, RequestTooLarge, Violation
from tandem.oip.jsontext import check_keys, not_json
from tandem.rows import Row, RowReader
from tandem_stream.records import Records

UnknownFields = Literal["reject", "ignore"]
"""What becomes of an event with fields that the contract does not have."""


@dataclass(slots=True)
class DecodedRows:
    """Rows of a batch of records.

    Attributes:
        rows: Those that could be decoded.
        positions: For each of them, which record it is of; ascending.
        rejected: Why others could not, by record.
    """

    rows: list[Row] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    rejected: dict[int, RequestError] = field(default_factory=dict)


class Decoder(Protocol):
    """What turns records into rows of a contract."""

    def decode(self, records: Records) -> DecodedRows:
        """Rows of all records that can be decoded, and the reasons why others cannot."""
        ...


class JsonDecoder:
    """Reads values that are JSON objects, by the same rules as an instance of a request.

    Args:
        contract: The contract.
        unknown_fields: ``"ignore"`` to skip the fields that the contract does not have.
    """

    def __init__(self, contract: Contract, *, unknown_fields: UnknownFields = "reject") -> None:
        self._reader = RowReader(contract)
        self._ignores = unknown_fields == "ignore"
        # the same fields; what a struct forbids, one that is derived from it may allow
        self._row_type: type[Row] = msgspec.defstruct(
            "EventRow", [], bases=(self._reader.row_type,), forbid_unknown_fields=not self._ignores, gc=False
        )
        self._decode = msgspec.json.Decoder(self._row_type).decode
        self._names = frozenset(contract.inputs)
        self._whole = [name for name, field in contract.inputs.items() if field.type == "int64"]

    def decode(self, records: Records) -> DecodedRows:
        """Rows of all records that can be decoded, and the reasons why others cannot."""
        return self.decode_values(records.values)

    def decode_values(self, values: Sequence[bytes | None]) -> DecodedRows:
        """The same for values alone, each a JSON object."""
        return decode_all(values, self._row)

    def to_row(self, fields: Mapping[str, Any]) -> Row:
        """A row of fields by name, with values as Python has them; numbers may be whole floats.

        Raises:
            ContractViolation: naming every broken rule.
        """
        fields = {name: fields[name] for name in fields if name in self._names} if self._ignores else dict(fields)
        for name in self._whole:
            number = fields.get(name)
            if isinstance(number, float) and number.is_integer():
                fields[name] = int(number)
        try:
            return msgspec.convert(fields, self._row_type)
        except msgspec.ValidationError as error:
            # the number of a row means something in a request only
            violations = [Violation(None, broken.field, broken.rule) for broken in self._reader.violations([fields])]
            raise ContractViolation(violations or [Violation(None, "", str(error))]) from None

    def _row(self, value: bytes) -> Row:
        try:
            row: Row = self._decode(value)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            row = self._decode_slowly(value)
        # keys that are skipped are not counted, and so lead to a closer look
        check_keys(value, self._reader.given((row,)))
        return row

    def _decode_slowly(self, value: bytes) -> Row:
        """A row that the decoder refused: whole numbers may be written as floats, as in JSON Schema.

        Raises:
            RequestError: naming every broken rule if it is an object.
        """
        try:
            parsed = msgspec.json.decode(value)
        except RecursionError:
            raise MalformedRequest("the value is nested too deeply") from None
        except (msgspec.DecodeError, UnicodeDecodeError) as reason:
            raise not_json(value, f"the value is not JSON: {reason}") from None
        if not isinstance(parsed, dict):
            raise MalformedRequest("the value must be a JSON object with the fields of the contract")
        return self.to_row(parsed)


def decode_all(values: Sequence[bytes | None], read: Callable[[bytes], Row]) -> DecodedRows:
    """Rows of all values that can be read, and the reasons why others cannot.

    Args:
        values: The values.
        read: Makes a row of one; what is wrong with it is a ``RequestError``.
    """
    decoded = DecodedRows()
    for position, value in enumerate(values):
        try:
            if value is None:
                raise MalformedRequest("the record has no value")
            row = read(value)
        except (MalformedRequest, ContractViolation, RequestTooLarge) as error:
            decoded.rejected[position] = error
        else:
            decoded.rows.append(row)
            decoded.positions.append(position)
    return decoded
