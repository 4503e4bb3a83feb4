"""The settings of the installation, which apply to all rollouts."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Final

import msgspec

_VERSION: Final = version("tandem-rollout")


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """Defaults of an installation.

    Attributes:
        transformer_image: Image of transformers.
        predictor_image: Image of predictors. It also builds model repositories for Triton.
        predictor_gpu_image: Image of predictors with CUDA.
        triton_image: Image of Triton.
        domain: Domain of default hostnames.
        prometheus: Address of Prometheus for controller and KEDA.
        allowed_domains: Allowed domains of hostnames by namespace, as a JSON object. ``*`` stands for other namespaces,
            and for any domain. Empty to allow all hostnames.
        allowed_prometheus: Other addresses of Prometheus that a spec may have, separated by commas.
        allowed_registries: Allowed addresses of model registries by namespace, as a JSON object. ``*`` stands for other
            namespaces. Empty to allow none.
        gateway_namespace: Namespace of the gateways' proxies.
        controller_namespace: Namespace of the controller.
    """

    transformer_image: str = f"tandem-transformer:{_VERSION}"
    predictor_image: str = f"tandem-predictor:{_VERSION}"
    predictor_gpu_image: str = f"tandem-predictor:{_VERSION}-cuda"
    triton_image: str = "nvcr.io/nvidia/tritonserver:26.10-py3"
    domain: str = "example.com"
    prometheus: str = "http://prometheus-operated.monitoring:9090"
    allowed_domains: str = ""
    allowed_prometheus: str = ""
    allowed_registries: str = ""
    gateway_namespace: str = "envoy-gateway-system"
    controller_namespace: str = "tandem-system"

    @property
    def domains(self) -> Mapping[str, Collection[str]]:
        """Allowed domains of hostnames by namespace.

        Raises:
            ValueError: ``allowed_domains`` is not a JSON object of lists of strings.
        """
        return _lists("allowed_domains", self.allowed_domains)

    @property
    def registries(self) -> Mapping[str, Collection[str]]:
        """Allowed addresses of model registries by namespace.

        Raises:
            ValueError: ``allowed_registries`` is not a JSON object of lists of strings.
        """
        return _lists("allowed_registries", self.allowed_registries)

    def allows(self, prometheus: str) -> bool:
        """Whether a spec may use an address of Prometheus, as controller and KEDA have more access than its author."""
        own = (self.prometheus, *self.allowed_prometheus.split(","))
        return prometheus.rstrip("/") in {address.strip().rstrip("/") for address in own} - {""}

    def allows_registry(self, namespace: str, uri: str) -> bool:
        """Whether a rollout may follow an alias of a registry: the controller moves aliases there in its name."""
        addresses = self.registries.get(namespace, self.registries.get("*", ()))
        return uri.rstrip("/") in {address.rstrip("/") for address in addresses} - {""}


def _lists(name: str, text: str) -> dict[str, list[str]]:
    try:
        return msgspec.json.decode(text or "{}", type=dict[str, list[str]])
    except msgspec.DecodeError as error:
        raise ValueError(f"{name} must be a JSON object of lists: {error}") from None
