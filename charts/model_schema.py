"""The schema of the chart ``model``: its own values, and the spec's schema as the CustomResourceDefinition has it.

Run it as ``python charts/model_schema.py``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import msgspec

from tandem_rollout.api.fields import RolloutName
from tandem_rollout.api.schema import structural
from tandem_rollout.api.spec import RolloutSpec

PATH: Final = Path(__file__).parent / "model" / "values.schema.json"

_TEXTS: Final = {"type": "object", "additionalProperties": {"type": "string"}}


def _object(**properties: Any) -> dict[str, Any]:
    """Schema of an object with these properties and no others."""
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _by_name(entry: dict[str, Any]) -> dict[str, Any]:
    """Schema of entries by a name that Kubernetes takes."""
    names = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
    return {"type": "object", "patternProperties": {names: entry}, "additionalProperties": False}


_ANY_TEXT: Final = {"type": "string"}
_MONITORING: Final = _object(enabled={"type": "boolean"}, labels=_TEXTS)
# parts that are those of a pod are checked by the API server
_OBJECT: Final = {"type": "object"}
_OBJECTS: Final = {"type": "array", "items": _OBJECT}
_TEXT: Final = {"type": "string", "minLength": 1}
_BUNDLE: Final = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "image": _TEXT,
        "pvc": {
            "type": "object",
            "additionalProperties": False,
            "properties": {"claimName": _TEXT, "path": {"type": "string"}},
            "required": ["claimName"],
        },
    },
    "minProperties": 1,
    "maxProperties": 1,
}
_POD: Final = {
    "bundle": _BUNDLE,
    "env": _OBJECTS,
    "envFrom": _OBJECTS,
    "resources": _OBJECT,
    "serviceAccountName": _TEXT,
    "nodeSelector": _TEXTS,
    "tolerations": _OBJECTS,
    "volumes": _OBJECTS,
    "volumeMounts": _OBJECTS,
    "temporarySize": _TEXT,
}
_JOB: Final = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "schedule": _TEXT,
        "arguments": {"type": "array", "items": {"type": "string"}, "minItems": 1},
        "timeZone": _TEXT,
        "suspend": {"type": "boolean"},
        "backoffLimit": {"type": "integer", "minimum": 0},
        "activeDeadlineSeconds": {"type": "integer", "minimum": 1},
        "lateAfterHours": {"type": "number", "exclusiveMinimum": 0},
        **_POD,
    },
    "required": ["schedule", "arguments"],
}
_TOPIC: Final = {"type": "string", "pattern": "^kafka://[^/]+/[-._a-zA-Z0-9]+$"}
_WORKER: Final = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "source": _TOPIC,
        "sink": _TOPIC,
        "group": _TEXT,
        "arguments": {"type": "array", "items": {"type": "string"}},
        "replicas": {"type": "integer", "minimum": 0},
        "scaling": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "minReplicas": {"type": "integer", "minimum": 0},
                "maxReplicas": {"type": "integer", "minimum": 1},
                "lagPerWorker": {"type": "integer", "minimum": 1},
                "authenticationRef": _TEXT,
            },
            "required": ["maxReplicas"],
        },
        **_POD,
    },
    "required": ["source", "sink"],
}


def schema() -> dict[str, Any]:
    """The schema as JSON Schema, draft 7: with a misspelt field refused, which the API server would drop in silence."""
    spec = closed(structural(RolloutSpec))
    # the template makes it where apiKeys are given
    keys = spec["properties"]["route"]["properties"]["auth"]["properties"]["apiKeys"]
    keys["required"].remove("secretName")
    # a password is welcome here: the template puts it into a Secret
    del spec["properties"]["store"]["properties"]["url"]["pattern"]
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Values of the chart model",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "global": {"type": "object"},
            "name": {"anyOf": [{"const": ""}, msgspec.json.schema(RolloutName)]},
            "labels": _TEXTS,
            "annotations": _TEXTS,
            "spec": spec,
            "apiKeys": {
                "type": "object",
                "patternProperties": {"^[-._a-zA-Z0-9]+$": {"type": "string", "minLength": 1}},
                "additionalProperties": False,
            },
            "batch": _object(jobs=_by_name(_JOB), image=_ANY_TEXT, alerts=_MONITORING),
            "stream": _object(workers=_by_name(_WORKER), image=_ANY_TEXT, podMonitor=_MONITORING),
            "test": _object(
                enabled={"type": "boolean"},
                image=_ANY_TEXT,
                gateway={"type": "string", "pattern": "^$|^https?://.+"},
                domain=_TEXT,
                headers=_TEXTS,
                timeout={"type": "integer", "minimum": 1},
            ),
        },
    }


def closed(structural: dict[str, Any]) -> dict[str, Any]:
    """A structural schema without Kubernetes' extensions, and with no room for fields that it does not name."""
    plain = {key: value for key, value in structural.items() if not key.startswith("x-kubernetes-") and key != "format"}
    if structural.get("x-kubernetes-int-or-string"):
        plain["type"] = ["integer", "string"]
    for bound in ("minimum", "maximum"):
        exclusive = f"exclusive{bound.capitalize()}"
        if plain.pop(exclusive, False):  # later drafts have the number here
            plain[exclusive] = plain.pop(bound)
    if "properties" in plain:
        plain["properties"] = {name: closed(own) for name, own in plain["properties"].items()}
        plain["additionalProperties"] = False
    if isinstance(plain.get("additionalProperties"), dict):
        plain["additionalProperties"] = closed(plain["additionalProperties"])
    if "items" in plain:
        plain["items"] = closed(plain["items"])
    return plain


def text() -> str:
    """The file."""
    return json.dumps(schema(), indent=2) + "\n"


if __name__ == "__main__":
    PATH.write_text(text())
