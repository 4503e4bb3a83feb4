"""KServe's V1 protocol: ``{"instances": [{field: value, …}, …]}`` and ``{"predictions": [{…}, …], …}``."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Annotated, Any

import msgspec

from tandem.errors import ContractViolation, MalformedRequest, RequestTooLarge
from tandem.rows import Row, RowReader
from tandem.signature import Signature
from tandem_transformer.batch import Answer

_encode = msgspec.json.Encoder().encode


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
        request = msgspec.defstruct("Request", [("instances", rows)], forbid_unknown_fields=True, gc=False)
        self._decoder = msgspec.json.Decoder(request)
        self._reader = reader
        self._signature = signature
        self._max_rows = max_rows
        self._names = tuple(reader.contract.answers)
        self._end = b',"model_name":' + _encode(model_name) + b',"model_version":' + _encode(version) + b"}"

    def decode(self, body: bytes) -> list[Row]:
        """Rows of a request.

        Raises:
            MalformedRequest: if it is not JSON, repeats a key, or has no ``instances``.
            ContractViolation: naming row, field and rule.
            RequestTooLarge: if it has too many rows.
        """
        try:
            rows: list[Row] = self._decoder.decode(body).instances  # type: ignore[attr-defined]
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise self._explain(body, error) from None
        if len(rows) > self._max_rows:
            raise RequestTooLarge(f"{len(rows)} instances; at most {self._max_rows} are taken", code="too_many_rows")
        if body.count(b'":') != 1 + self._reader.given(rows) or _has_white_space_before_colon(body):
            # text of a value that looks like a key is rare, and so is a key given twice: look closely
            _refuse_repeated_keys(body)
        return rows

    def encode(self, answer: Answer, explain: bool) -> bytes:
        """Body of an answer.

        Args:
            answer: The call's rows.
            explain: Add the vector of each row.
        """
        batch, start, stop = answer.batch, answer.start, answer.stop
        if stop - start == 1:
            predictions = [{name: values[start] for name, values in zip(self._names, batch.lists, strict=True)}]
        else:
            columns = [values[start:stop] for values in batch.lists]
            predictions = [dict(zip(self._names, row, strict=True)) for row in zip(*columns, strict=True)]
        for row, reasons in answer.degraded.items():
            predictions[row]["degraded"] = reasons
        if explain:
            for row, prediction in enumerate(predictions, start):
                prediction["vector"] = dict(self._vector(answer, row))
        return b'{"predictions":' + _encode(predictions) + self._end

    def _vector(self, answer: Answer, row: int) -> Iterable[tuple[str, Any]]:
        for spec in self._signature.inputs:
            yield from zip(spec.columns, answer.batch.tensors[spec.name][row].reshape(-1).tolist(), strict=True)

    def _explain(self, body: bytes, error: Exception) -> Exception:
        """Why a body cannot be decoded: 422 with every broken rule if it is JSON of the right form, else 400."""
        try:
            parsed = msgspec.json.decode(body)
        except RecursionError:
            return MalformedRequest("the body is nested too deeply")
        except (msgspec.DecodeError, UnicodeDecodeError) as reason:
            return MalformedRequest(f"the body is not JSON: {reason}")
        if not isinstance(parsed, dict) or not isinstance(parsed.get("instances"), list):
            return MalformedRequest('the body must be an object with a list of "instances"')
        if strange := sorted(parsed.keys() - {"instances"}):
            return MalformedRequest(f'the body has {strange[0]!r}; only "instances" is known')
        if not parsed["instances"]:
            return MalformedRequest('"instances" is empty')
        violations = self._reader.violations(parsed["instances"])
        return ContractViolation(violations) if violations else MalformedRequest(str(error))


def _has_white_space_before_colon(body: bytes) -> bool:
    return b" :" in body or b"\n:" in body or b"\t:" in body or b"\r:" in body


def _refuse_repeated_keys(body: bytes) -> None:
    def check(pairs: list[tuple[str, Any]]) -> None:
        seen = set()
        for key, _ in pairs:
            if key in seen:
                raise MalformedRequest(f"the key {key!r} is given twice in one object", code="duplicate_key")
            seen.add(key)

    json.loads(body, object_pairs_hook=check)
