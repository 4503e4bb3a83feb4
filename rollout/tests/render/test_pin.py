from __future__ import annotations

from typing import Any

import pytest
from rollout.tests.rollouts import manifest

from tandem_rollout.api.fields import InvalidSpecError
from tandem_rollout.api.manifest import parse
from tandem_rollout.render.inferenceservice import build_inference_service
from tandem_rollout.render.pin import is_pinned_to, pin_bundle, pinned_digest
from tandem_rollout.render.platform import Platform
from tandem_rollout.render.revision import Revision

DIGEST = "ab" * 32


def service(**spec: Any) -> dict[str, Any]:
    rollout = parse(manifest(**spec))
    return build_inference_service(Revision.of(rollout, rollout.spec.all_variants[0]), Platform())


def pins(rendered: dict[str, Any]) -> dict[str, str]:
    """The digest that each container is to find, by component and name."""
    return {
        f"{component}/{container['name']}": variable["value"]
        for component in ("transformer", "predictor")
        for part in ("initContainers", "containers")
        for container in rendered["spec"][component].get(part, ())
        for variable in container.get("env", ())
        if variable["name"] == "TANDEM_BUNDLE_DIGEST"
    }


def test_a_digest_in_the_spec_is_pinned_from_the_start() -> None:
    rendered = service(bundle={"image": "athlete:v1", "digest": DIGEST})
    assert pins(rendered) == {"transformer/kserve-container": DIGEST, "predictor/kserve-container": DIGEST}
    assert pinned_digest(rendered) == DIGEST
    assert is_pinned_to({"metadata": {"labels": rendered["metadata"]["labels"]}}, DIGEST)
    assert not is_pinned_to({"metadata": {"labels": rendered["metadata"]["labels"]}}, "cd" * 32)


def test_triton_s_repository_is_made_of_the_pinned_bundle_only() -> None:
    rendered = service(bundle={"image": "athlete:v1", "digest": DIGEST}, predictor={"runtime": "triton"})
    assert pins(rendered)["predictor/model-repository"] == DIGEST


def test_without_a_digest_nothing_is_pinned_yet() -> None:
    rendered = service()
    assert (pins(rendered), pinned_digest(rendered)) == ({}, None)
    pin_bundle(rendered, "")
    assert (pins(rendered), pinned_digest(rendered)) == ({}, "")
    for digest in (DIGEST, "cd" * 32):
        pin_bundle(rendered, digest)
        assert set(pins(rendered).values()) == {digest}


@pytest.mark.parametrize("digest", ["ab", DIGEST.upper(), "latest"])
def test_what_is_no_digest_is_refused(digest: str) -> None:
    with pytest.raises(InvalidSpecError, match="64 hexadecimal digits in lower case"):
        parse(manifest(bundle={"image": "athlete:v1", "digest": digest}))
