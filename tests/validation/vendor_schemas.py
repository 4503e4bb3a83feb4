"""Takes the schemas of other projects' kinds out of their CRDs, small enough to lie beside the tests.

    python tests/validation/vendor_schemas.py DIR…      every YAML file under the directories
    python tests/validation/vendor_schemas.py cluster   what is installed where kubectl points to

A schema loses its descriptions and ``status``; what is left is written to ``schemas/KIND-GROUP-VERSION.json.gz``.
"""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import yaml

SCHEMAS: Final = Path(__file__).parent / "schemas"
KINDS: Final = {
    "serving.kserve.io": {"InferenceService", "ClusterServingRuntime"},
    "gateway.networking.k8s.io": {"Gateway", "GatewayClass", "HTTPRoute", "ReferenceGrant"},
    "keda.sh": {"ScaledObject", "TriggerAuthentication"},
    "monitoring.coreos.com": {"PodMonitor", "PrometheusRule", "ServiceMonitor"},
    "gateway.envoyproxy.io": {"BackendTrafficPolicy", "ClientTrafficPolicy", "EnvoyProxy", "SecurityPolicy"},
}
"""What we render, and what our charts and manifests may hold."""

Crd = dict[str, Any]


class _Loader(yaml.CSafeLoader):
    """YAML in which a lone ``=`` is a string, as Kubernetes reads it."""


_Loader.add_constructor("tag:yaml.org,2002:value", yaml.CSafeLoader.construct_yaml_str)


def vendor(crds: Iterable[Crd]) -> list[Path]:
    """Write the schemas of the kinds that we use; the paths that were written."""
    return [
        _write(crd, version)
        for crd in crds
        if crd["spec"]["names"]["kind"] in KINDS.get(crd["spec"]["group"], ())
        for version in crd["spec"]["versions"]
        if version["storage"]
    ]


def of_directories(directories: Iterable[Path]) -> Iterator[Crd]:
    """CRDs in YAML files."""
    for directory in directories:
        for file in sorted(directory.rglob("*.yaml")):
            text = file.read_text()
            if "kind: CustomResourceDefinition" in text and "{{" not in text:
                documents = yaml.load_all(text, _Loader)
                crds = (
                    document
                    for document in documents
                    if document and document.get("kind") == "CustomResourceDefinition"
                )
                # patches of kustomize have a part of a CRD
                yield from (crd for crd in crds if "names" in crd["spec"])


def of_cluster() -> list[Crd]:
    """CRDs of the cluster that kubectl points to."""
    listed = subprocess.run(["kubectl", "get", "crd", "-o", "json"], check=True, capture_output=True).stdout
    crds: list[Crd] = json.loads(listed)["items"]
    return crds


def _write(crd: Crd, version: dict[str, Any]) -> Path:
    schema = _slim(version["schema"]["openAPIV3Schema"])
    schema["properties"].pop("status", None)
    path = SCHEMAS / f"{crd['spec']['names']['kind']}-{crd['spec']['group']}-{version['name']}.json.gz"
    # no time of writing, so that the same schema gives the same bytes
    path.write_bytes(gzip.compress(json.dumps(schema, separators=(",", ":"), sort_keys=True).encode(), mtime=0))
    return path


def _slim(schema: Any) -> Any:
    """Without descriptions; a property of that name is an object and stays."""
    if isinstance(schema, dict):
        return {
            key: _slim(value) for key, value in schema.items() if not (key == "description" and isinstance(value, str))
        }
    return [_slim(element) for element in schema] if isinstance(schema, list) else schema


if __name__ == "__main__":
    if not sys.argv[1:]:
        sys.exit(__doc__)
    for written in vendor(of_cluster() if sys.argv[1:] == ["cluster"] else of_directories(map(Path, sys.argv[1:]))):
        print(written.name, written.stat().st_size)
