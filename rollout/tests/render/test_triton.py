"""Triton in the place of our predictor."""

from __future__ import annotations

from .made import PLATFORM, arguments, bundled, container, pod_spec

TRITON = {"runtime": "triton"}


def test_triton_serves_what_an_init_container_has_made_of_the_bundle() -> None:
    pod = pod_spec(bundled(predictor=TRITON), "predictor")
    copy, build = pod["initContainers"]
    assert copy["volumeMounts"][0]["name"] == "bundle"
    assert build["image"] == PLATFORM.predictor_image
    assert build["command"][-2:] == ["/mnt/models", "/mnt/repository"]
    assert {mount["name"] for mount in build["volumeMounts"]} == {"bundle", "repository", "tmp"}
    server = container(bundled(predictor=TRITON), "predictor")
    assert (server["image"], server["command"]) == (PLATFORM.triton_image, ["tritonserver"])
    assert {mount["name"] for mount in server["volumeMounts"]} == {"repository", "tmp"}
    assert {volume["name"] for volume in pod["volumes"]} == {"bundle", "repository", "tmp"}


def test_it_listens_where_our_predictor_does() -> None:
    server = container(bundled(predictor=TRITON), "predictor")
    flags = arguments(server)
    assert (flags["http-port"], flags["grpc-port"], flags["metrics-port"]) == ("8080", "8081", "8002")
    assert [(port["name"], port["containerPort"]) for port in server["ports"]] == [
        ("http1", 8080),
        ("h2c", 8081),
        ("metrics", 8002),
    ]


def test_the_model_repository_is_for_the_device() -> None:
    def kind(**predictor: object) -> list[str]:
        built: list[str] = pod_spec(bundled(predictor={**TRITON, **predictor}), "predictor")["initContainers"][1][
            "args"
        ]
        return built

    assert kind() == ["--kind=cpu"]
    assert kind(gpu={}) == ["--kind=gpu"]
    # the image with CUDA is large, and building a repository needs none of it
    assert pod_spec(bundled(predictor={**TRITON, "gpu": {}}), "predictor")["initContainers"][1]["image"] == (
        PLATFORM.predictor_image
    )


def test_a_claim_needs_no_copy() -> None:
    pod = pod_spec(bundled(bundle={"pvc": {"claimName": "bundles"}}, predictor=TRITON), "predictor")
    (build,) = pod["initContainers"]
    assert build["volumeMounts"][0] == {"name": "bundle", "mountPath": "/mnt/models", "readOnly": True}


def test_own_flags_and_image() -> None:
    server = container(bundled(predictor={**TRITON, "image": "triton:own", "args": ["--log-verbose=1"]}), "predictor")
    assert (server["image"], server["args"][-1]) == ("triton:own", "--log-verbose=1")


def test_the_transformer_is_the_same() -> None:
    assert arguments(container(bundled(predictor=TRITON), "transformer")).keys() == (
        arguments(container(bundled(), "transformer")).keys()
    )
