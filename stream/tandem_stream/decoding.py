"""Values of records decoded by the contract: JSON objects with its fields, one for each record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import msgspec

from tandem.contract import Contract
from tandem.errors import ContractViolation, MalformedRequest, RequestError, Violation
from tandem.oip.jsontext import check_keys, not_json, refuse_repeated_keys
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
        decoded = DecodedRows()
        for position, value in enumerate(values):
            try:
                row = self._row(value)
            except RequestError as error:
                decoded.rejected[position] = error
            else:
                decoded.rows.append(row)
                decoded.positions.append(position)
        return decoded

    def _row(self, value: bytes | None) -> Row:
        if value is None:
            raise MalformedRequest("the record has no value")
        try:
            row: Row = self._decode(value)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            row = self._decode_slowly(value, error)
        # keys that are skipped are not counted
        if self._ignores:
            if value.count(b":") != self._reader.given((row,)):
                refuse_repeated_keys(value)
        else:
            check_keys(value, self._reader.given((row,)))
        return row

    def _decode_slowly(self, value: bytes, error: Exception) -> Row:
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
        for name in self._whole:
            number = parsed.get(name)
            if isinstance(number, float) and number.is_integer():
                parsed[name] = int(number)
        return self._convert(parsed, error)

    def _convert(self, parsed: dict[str, Any], error: Exception) -> Row:
        try:
            return msgspec.convert(parsed, self._row_type)
        except msgspec.ValidationError as reason:
            error = reason
        if self._ignores:
            parsed = {name: value for name, value in parsed.items() if name in self._names}
        # the number of a row means something in a request only
        violations = [Violation(None, broken.field, broken.rule) for broken in self._reader.violations([parsed])]
        raise ContractViolation(violations or [Violation(None, "", str(error))])
