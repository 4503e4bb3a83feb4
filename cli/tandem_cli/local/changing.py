"""A local stack whose versions come and go while it serves."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from tandem_cli.local.envoy_config import Upstream
from tandem_cli.local.pair import LocalVariant
from tandem_cli.local.processes import StackError
from tandem_cli.local.stack import LocalStack


class ChangingStack(LocalStack):
    """A stack to which versions are added, and from which they are removed; from any thread.

    The arguments are those of :class:`LocalStack`; the variants are the first ones.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._changing = threading.Lock()

    def add(self, variant: LocalVariant) -> None:
        """Add another version, which gets no traffic yet, and wait until requests can reach it.

        Args:
            variant: The version; its weight is not used.

        Raises:
            ChildDied: if one of its processes ends.
            StackError: if it is not another variant of the same model, or is not ready in time.
        """
        name, bundle = variant.name, variant.bundle
        if name in self._weights or bundle.name != self.model:
            raise StackError(f"{bundle.name} cannot be added as {name} to the stack of {self.model}")
        pair = self._up.add_pair(variant, protocol=self._protocol, processes_per_variant=self._processes)
        try:
            # not held while the pair starts, as weights must change then
            with self._changing:
                weights = {**self._weights, name: 0}
                self._envoy.add(Upstream(name, pair.http_ports, pair.grpc_ports), bundle.version, weights)
                self.variants, self._weights = (*self.variants, variant), weights
        except BaseException:
            self._up.drop_pair(name)
            raise

    def remove(self, name: str) -> None:
        """Remove a version that gets no traffic, and stop its processes.

        Args:
            name: Name of its variant.

        Raises:
            StackError: if there is no such variant, it gets traffic, or Envoy does not apply the change.
        """
        with self._changing:
            # a variant that does not exist counts as one with traffic
            if self._weights.get(name, 1):
                raise StackError(f"{name} is not a variant without traffic")
            weights = {variant: weight for variant, weight in self._weights.items() if variant != name}
            self._envoy.remove(name, weights)
            self.variants = tuple(variant for variant in self.variants if variant.name != name)
            self._weights = weights
        self._up.drop_pair(name)

    def set_weights(self, weights: Mapping[str, int]) -> None:
        """Change the shares of the traffic, as that of a :class:`LocalStack`."""
        with self._changing:
            super().set_weights(weights)
