"""The headless Service of a variant's predictor."""

from __future__ import annotations

from tandem_rollout.render.inferenceservice import GRPC_PORT, HTTP_PORT
from tandem_rollout.render.metadata import Object, made
from tandem_rollout.revision import Revision


def predictor_pods(revision: Revision) -> Object:
    """A name with an address for each predictor pod that is ready.

    KServe's own Service has one address, through which kept-alive connections stay with the pods that they met first.
    """
    return made(
        "v1",
        "Service",
        revision.pods,
        revision.rollout.namespace,
        revision.labels,
        spec={
            "clusterIP": "None",
            "selector": {"app": f"isvc.{revision.predictor}"},
            "ports": [
                {"name": "http1", "port": HTTP_PORT, "targetPort": HTTP_PORT, "protocol": "TCP"},
                {"name": "h2c", "port": GRPC_PORT, "targetPort": GRPC_PORT, "protocol": "TCP"},
            ],
        },
    )
