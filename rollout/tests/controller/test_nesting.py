"""Objects that are nested as deeply as the API server takes them."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
from lightkube.core import decoders

from tandem_rollout.controller import kinds
from tandem_rollout.controller.nesting import MAX_DEPTH, allow_deep_objects
from tandem_rollout.api.manifest import parse
from tandem_rollout.render.platform import Platform
from tandem_rollout.render import render

allow_deep_objects()
levels = MAX_DEPTH - 10
deep = '{"a":' * levels + "1" + "}" * levels
spec = '{"bundle":{"image":"x"},"template":{"spec":%s}}' % deep
item = '{"apiVersion":"tandem-serving.io/v1alpha1","kind":"InferenceRollout","metadata":%s,"spec":%s}'
item %= '{"name":"est","namespace":"models"}', spec
page = '{"apiVersion":"v1","kind":"List","metadata":{"resourceVersion":"1"},"items":[%s]}' % item
_, _, (rollout,) = decoders.decode_list(page.encode(), kinds.InferenceRollout)
print(len(render(parse(rollout.to_dict()), Platform())))
"""


def test_they_are_read_and_rendered() -> None:
    process = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr[-2000:]
    assert int(process.stdout) > 5
