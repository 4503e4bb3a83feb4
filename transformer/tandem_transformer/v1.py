"""KServe's V1 protocol: ``{"instances": [{field: value, …}, …]}`` and ``{"predictions": [{…}, …], …}``."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Final

import msgspec

from tandem.column_rules import MAX_VIOLATIONS
from tandem.errors import ContractViolation, MalformedRequest, RequestError, RequestTooLarge, Violation
from tandem.oip import jsonscan
from tandem.oip.jsontext import check_keys, not_json, refuse_repeated_keys
from tandem.rows import Row, RowReader, name_numbers
from tandem.signature import Signature
from tandem_transformer.batch import CallAnswer

_encode = msgspec.json.Encoder().encode

_ROWS_DEPTH: Final = 2
"""Rows are in a list, which is in the whole."""

_MORE_VALUES: Final = 1000
"""A row may have so many values that are not in the contract, which errors then name."""

_IGNORED: Final = ("signature_name", "parameters")
"""What clients of TensorFlow Serving and Vertex AI send beside ``instances``; nothing here depends on it."""


class V1:
    """Reads requests and writes answers of one version.

    Args:
        reader: Of the contract.
        signature: Of the version; names the columns of vectors.
        model_name: As clients know it.
        version: Name of the version.
        max_rows: Most rows of one request.
    """

    def __init__(self, reader: RowReader, signature: Signature, model_name: str, version: str, max_rows: int) -> None:
        rows = Annotated[list[reader.row_type], msgspec.Meta(min_length=1)]  # type: ignore[name-defined]
        ignored = [(name, Any, None) for name in _IGNORED]
        # gc=False: rows refer to nothing that refers back, so the garbage collector need not look at them
        self._request = msgspec.defstruct(
            "Request", [("instances", rows), *ignored], forbid_unknown_fields=True, gc=False
        )
        self._decoder = msgspec.json.Decoder(self._request)
        # Raw is not looked into
        parts: list[tuple[str, Any] | tuple[str, Any, Any]] = [
            ("instances", msgspec.Raw),
            *((name, msgspec.Raw, None) for name in _IGNORED),
        ]
        self._outline_decoder = msgspec.json.Decoder(
            msgspec.defstruct("Outline", parts, forbid_unknown_fields=True, gc=False)
        )
        lengths = [field.length or 1 for field in reader.contract.inputs.values()]
        self._most_values = sum(lengths) + 2 * len(lengths) + _MORE_VALUES
        self._whole = [name for name, field in reader.contract.inputs.items() if field.scalar == "int64"]
        self._reader = reader
        self._signature = signature
        self._max_rows = max_rows
        self._names = tuple(reader.contract.answers)
        self._classes = reader.contract.classes
        # the same in all answers, so encoded once
        self._end = b',"model_name":' + _encode(model_name) + b',"model_version":' + _encode(version) + b"}"

    def decode(self, body: bytes) -> list[Row]:
        """Rows of a request.

        Raises:
            MalformedRequest: if it is not JSON, repeats a key, or has no ``instances``.
            ContractViolation: naming row, field and rule.
            RequestTooLarge: if it has too many rows.
        """
        if len(body) > jsonscan.LONG:
            body = body.strip()
        return self._decode_long(body) if len(body) > jsonscan.LONG else self._decode_short(body)

    def _decode_long(self, body: bytes) -> list[Row]:
        """The same in pieces: see :mod:`tandem.oip.jsonscan`."""
        outline = jsonscan.outline(body, _ROWS_DEPTH)
        try:
            instances = self._outline_decoder.decode(outline.text).instances  # type: ignore[attr-defined]
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            return self._decode_slowly(outline.text, error)
        # keys around the rows; those within them are checked piece by piece
        refuse_repeated_keys(outline.text)
        array = outline.resolve(memoryview(instances))
        outline.check_all_taken()
        if not outline.arrays:
            return self._decode_short(body)
        pieces = jsonscan.pieces(array, self._max_rows)
        if pieces is None:
            raise self._too_many_rows("more than " + str(self._max_rows))
        rows: list[Row] = []
        violations: list[Violation] = []
        for piece in pieces:
            try:
                rows += self._decode_piece(piece)
            except RequestError as error:
                for detail in error.details:
                    if detail["row"] is not None:
                        detail["row"] += piece.first
                if not isinstance(error, ContractViolation):
                    raise
                violations += [_move(violation, piece.first) for violation in error.violations]
                # no more are shown, so the rest need not be read
                if len(violations) >= MAX_VIOLATIONS:
                    break
        if violations:
            raise ContractViolation(violations[:MAX_VIOLATIONS])
        return rows

    def _decode_piece(self, piece: jsonscan.Piece) -> list[Row]:
        if not piece.alone:
            return self._decode_short(b'{"instances":' + piece.text + b"}")
        if jsonscan.count_values(piece.text) > self._most_values:
            raise ContractViolation([Violation(0, "", f"a row must have at most {self._most_values} values")])
        return self._decode_short(b'{"instances":[' + piece.text + b"]}")

    def _too_many_rows(self, count: object) -> RequestTooLarge:
        return RequestTooLarge(f"{count} instances; at most {self._max_rows} are taken", code="too_many_rows")

    def _decode_short(self, body: bytes) -> list[Row]:
        try:
            rows: list[Row] = self._decoder.decode(body).instances  # type: ignore[attr-defined]
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            rows = self._decode_slowly(body, error)
        if len(rows) > self._max_rows:
            raise self._too_many_rows(len(rows))
        check_keys(body, 1 + self._reader.given(rows))
        return rows

    def encode(self, answer: CallAnswer, explain: bool) -> bytes:
        """Body of an answer.

        Args:
            answer: The call's rows.
            explain: Add the vector of each row.
        """
        batch, start, stop = answer.batch, answer.start, answer.stop
        # a single row needs neither slices nor columns turned into rows
        if stop - start == 1:
            predictions = [{name: values[start] for name, values in zip(self._names, batch.lists, strict=True)}]
        else:
            columns = [values[start:stop] for values in batch.lists]
            predictions = [dict(zip(self._names, row, strict=True)) for row in zip(*columns, strict=True)]
        if self._classes:
            name_numbers(predictions, self._classes)
        if batch.degraded or batch.precomputed:
            _add_sources(predictions, answer)
        if explain:
            for row, prediction in enumerate(predictions, start):
                prediction["vector"] = answer.batch.vector(self._signature, row)
        return b'{"predictions":' + _encode(predictions) + self._end

    def _decode_slowly(self, body: bytes, error: Exception) -> list[Row]:
        """Rows of a body that the decoder refused: whole numbers may be written as floats, as in JSON Schema.

        Raises:
            RequestError: naming every broken rule if the body is JSON of the right form.
        """
        try:
            parsed = msgspec.json.decode(body)
        except RecursionError:
            raise MalformedRequest("the body is nested too deeply") from None
        except (msgspec.DecodeError, UnicodeDecodeError) as reason:
            raise not_json(body, f"the body is not JSON: {reason}") from None
        try:
            if self._make_whole(parsed):
                rows: list[Row] = msgspec.convert(parsed, self._request).instances  # type: ignore[attr-defined]
                return rows
        except msgspec.ValidationError as reason:
            error = reason
        raise self._explain(parsed, error)

    def _make_whole(self, parsed: Any) -> bool:
        """Turn whole floats of integer fields into integers; whether there were some."""
        instances = parsed.get("instances") if isinstance(parsed, dict) else None
        changed = False
        for row in instances if isinstance(instances, list) else ():
            for name in self._whole if isinstance(row, dict) else ():
                whole = _whole(row.get(name))
                if whole is not None:
                    row[name] = whole
                    changed = True
        return changed

    def _explain(self, parsed: Any, error: Exception) -> RequestError:
        """Why a body is refused: 422 with every broken rule if it is of the right form, else 400."""
        if not isinstance(parsed, dict) or not isinstance(parsed.get("instances"), list):
            return MalformedRequest('the body must be an object with a list of "instances"')
        if unknown := sorted(parsed.keys() - {"instances", *_IGNORED}):
            return MalformedRequest(f'the body has the unknown key {unknown[0]!r}; rows belong in "instances"')
        if not parsed["instances"]:
            return MalformedRequest('"instances" is empty')
        violations = self._reader.violations(parsed["instances"])
        return ContractViolation(violations) if violations else MalformedRequest(str(error))


def _add_sources(predictions: list[dict[str, Any]], answer: CallAnswer) -> None:
    for row, reasons in answer.degraded.items():
        predictions[row]["degraded"] = reasons
    for row, age_s in answer.precomputed.items():
        predictions[row]["precomputed"] = {"age_s": age_s}


def _whole(value: Any) -> int | list[Any] | None:
    """A float or a list of numbers with whole floats as integers; None if there are none."""
    if isinstance(value, list):
        numbers = [_whole(number) if isinstance(number, float) else None for number in value]
        changed = any(number is not None for number in numbers)
        both = zip(value, numbers, strict=True)
        return [number if whole is None else whole for number, whole in both] if changed else None
    return int(value) if isinstance(value, float) and value.is_integer() else None


def _move(violation: Violation, first: int) -> Violation:
    """A violation with its row counted from the first row of the request, not of the piece."""
    return replace(violation, row=first + (violation.row or 0))
