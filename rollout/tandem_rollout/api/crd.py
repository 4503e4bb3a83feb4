"""The CustomResourceDefinitions, generated from the structs of :mod:`.spec` and :mod:`.status`."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from tandem_rollout import EVIDENCE_KIND, EVIDENCE_PLURAL, GROUP, KIND, PLURAL, VERSION
from tandem_rollout.api.fields import RolloutName
from tandem_rollout.api.messages import rule
from tandem_rollout.api.schema import Schema, spec_schema, structural
from tandem_rollout.api.status import RolloutStatus

_COLUMNS: Final = (
    ("Model", ".spec.model", "string", 1),
    ("Ready", ".status.ready", "string", 0),
    ("Weights", ".status.weights", "string", 0),
    ("Progress", ".status.progress", "string", 0),
    ("Verdict", ".status.run.verdict", "string", 0),
    ("Measured", ".status.run.measured", "number", 1),
    ("Since", ".status.run.since", "date", 1),
    ("Age", ".metadata.creationTimestamp", "date", 0),
    ("URL", ".status.url", "string", 1),
    ("Message", ".status.message", "string", 0),  # last, as it may be long
)
"""Printer columns: name, path, type and priority, which is 1 for columns of ``-o wide``."""

MAX_EVIDENCE: Final = 1 << 20
"""Maximum number of characters of the evidence of a run. An object may have 1.5 MiB in etcd."""


def build_crd() -> dict[str, Any]:
    """The CRD of InferenceRollouts: a structural schema with CEL rules, printer columns and a status subresource."""
    name = msgspec.json.schema(RolloutName)
    name_rule = {
        "rule": f"self.metadata.name.size() <= {name['maxLength']} && self.metadata.name.matches('{name['pattern']}')",
        "message": f"metadata.name must be {rule(name)}",
    }
    schema = {
        "type": "object",
        "description": "InferenceRollout describes the versions of a model and how requests are distributed among "
        "them.",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": _with_words(spec_schema()),
            "status": structural(RolloutStatus),
        },
        "x-kubernetes-validations": [name_rule],
    }
    columns: list[Schema] = [
        {"name": name, "jsonPath": path, "type": kind, "priority": wide} for name, path, kind, wide in _COLUMNS
    ]
    names: Schema = {"shortNames": ["irl"], "categories": ["all", "tandem"]}
    version = {
        "schema": {"openAPIV3Schema": schema},
        # a write of the status then neither changes the spec nor counts as a new generation
        "subresources": {"status": {}},
        "additionalPrinterColumns": columns,
    }
    return _definition(KIND, PLURAL, names, version)


def build_evidence_crd() -> Schema:
    """The CRD of RolloutEvidences, in which the controller keeps the evidence of runs."""
    record = {
        "type": "string",
        "format": "byte",
        "maxLength": MAX_EVIDENCE,
        "description": "Counts and decisions of the run: JSON, compressed with gzip, encoded as base64.",
    }
    schema = {
        "type": "object",
        "description": "RolloutEvidence is the evidence of one run of an InferenceRollout. Only the controller writes "
        "it.",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": {
                "type": "object",
                "description": "The evidence.",
                "required": ["record"],
                "properties": {"record": record},
            },
        },
    }
    return _definition(
        EVIDENCE_KIND, EVIDENCE_PLURAL, {"categories": ["tandem"]}, {"schema": {"openAPIV3Schema": schema}}
    )


def build_crds() -> list[Schema]:
    """All CustomResourceDefinitions."""
    return [build_crd(), build_evidence_crd()]


def _definition(kind: str, plural: str, names: Schema, version: Schema) -> Schema:
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {"kind": kind, "listKind": f"{kind}List", "plural": plural, "singular": kind.lower(), **names},
            "versions": [{"name": VERSION, "served": True, "storage": True, **version}],
        },
    }


def _with_words(schema: Schema) -> Schema:
    """Replace patterns with CEL rules that have a message. For a pattern, the API server shows only the expression."""
    worded = {key: value for key, value in schema.items() if key != "pattern"}
    if "pattern" in schema:
        validation = {"rule": f"self.matches(r'{schema['pattern']}')", "message": f"must be {rule(schema)}"}
        worded["x-kubernetes-validations"] = [validation, *schema.get("x-kubernetes-validations", ())]
    if "properties" in schema:
        worded["properties"] = {name: _with_words(own) for name, own in schema["properties"].items()}
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            worded[key] = _with_words(schema[key])
    return worded
