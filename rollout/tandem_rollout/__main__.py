"""``python -m tandem_rollout``: the controller."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import logging
import os
import sys
from collections.abc import Sequence

from tandem import logs
from tandem_rollout.render.platform import Platform


def main(argv: Sequence[str] | None = None) -> int:
    """Run the controller; returns the exit code. A flag can also be set by an environment variable ``TANDEM_FLAG``."""
    parser = argparse.ArgumentParser(prog="tandem_rollout", description="The controller of InferenceRollouts")
    for field in dataclasses.fields(Platform):
        default = os.environ.get(f"TANDEM_{field.name.upper()}", field.default)
        parser.add_argument(f"--{field.name}", default=default, help="default: %(default)s")
    parser.add_argument("--namespace", default=None, help="namespace of the rollouts (default: all namespaces)")
    parser.add_argument("--metrics_port", type=int, default=8080, help="port of metrics and probes, 0 for none")
    parser.add_argument(
        "--lease",
        default="tandem-controller",
        help="Lease in controller_namespace for the leader election; empty for none (default: %(default)s)",
    )
    options = vars(parser.parse_args(argv))
    logs.configure()
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    try:
        platform = Platform(**{name: options[name] for name in ("allowed_domains", "allowed_registries")})
        _ = platform.domains, platform.registries
    except ValueError as error:
        parser.error(str(error))
    namespace, port, lease = (options.pop(name) for name in ("namespace", "metrics_port", "lease"))
    from tandem_rollout.controller.nesting import allow_deep_objects
    from tandem_rollout.controller.run import run

    allow_deep_objects()

    return asyncio.run(run(Platform(**options), namespace=namespace, metrics_port=port, lease=lease))


if __name__ == "__main__":
    sys.exit(main())
