"""The chart ``model``: a rollout and its Secrets, and the test that asks the gateway."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import helm_python
import msgspec
import pytest
import yaml
from tests.charts.rendered import CHARTS, Objects, charts, one, template

from tandem_rollout.api.fields import RolloutName
from tandem_rollout.api.manifest import parse
from tandem_rollout.render import render
from tandem_rollout.render.platform import Platform

BUNDLE = {"image": "registry.example.com/athlete/time-estimator:v1"}
PASSWORD = "redis://tandem:example-password@valkey.stores:6379/0"


def model(**spec: Any) -> Objects:
    return template("model", {"name": "time-estimator", "spec": {"bundle": BUNDLE, **spec}})


def rollout(objects: Objects) -> dict[str, Any]:
    return one(objects, "InferenceRollout")


def kinds(objects: Objects) -> list[str]:
    return sorted(manifest["kind"] for manifest in objects)


@pytest.mark.parametrize("values", [name for name in charts() if name.startswith("model/")])
def test_rollouts_are_valid(values: str) -> None:
    assert parse(rollout(charts()[values])).namespace == "models"


def test_the_spec_is_handed_on_as_it_is() -> None:
    spec = {
        "model": "finish-time",
        "predictor": {"runtime": "triton", "gpu": {"count": 2}},
        "store": {"url": "redis://valkey.stores:6379/0"},
        "template": {"spec": {"predictor": {"priorityClassName": "high", "tolerations": [{"operator": "Exists"}]}}},
        "nodeSelector": {"disk": "fast"},
    }
    assert rollout(model(**spec))["spec"] == {"bundle": BUNDLE, **spec}
    assert kinds(model(**spec)) == ["InferenceRollout", "Pod"]


def test_large_weights_stay_whole_numbers() -> None:
    values = yaml.safe_load("spec: {variants: [{name: v1, weight: 1000, bundle: {image: athlete}}]}")
    assert rollout(template("model", values))["spec"]["variants"][0]["weight"] == 1_000


def test_the_name_is_that_of_the_release_by_default() -> None:
    values = {"spec": {"bundle": BUNDLE}}
    assert rollout(template("model", values, release="athlete"))["metadata"]["name"] == "athlete"


def test_a_name_is_as_long_as_the_code_allows() -> None:
    limit = msgspec.json.schema(RolloutName)["maxLength"]
    values = {"spec": {"bundle": BUNDLE}}
    assert parse(rollout(template("model", values, release="a" * limit)))
    with pytest.raises(helm_python.HelmRenderError, match=f"more than {limit} characters"):
        template("model", values, release="a" * (limit + 1))
    with pytest.raises(helm_python.HelmValuesError, match="/name"):
        template("model", {**values, "name": "a" * (limit + 1)})
    text = (CHARTS / "model" / "values.yaml").read_text()
    assert f"{limit} characters at most" in text


def test_labels_and_annotations_are_on_everything() -> None:
    for manifest in charts()["model/ab-values.yaml"]:
        assert manifest["metadata"]["labels"]["team"] == "running", manifest["kind"]
        assert manifest["metadata"]["annotations"]["example.com/owner"] == "running@example.com", manifest["kind"]


# secrets


@pytest.mark.parametrize("secret", ["example-password", "example-key-of-the-watch", "example-key-of-the-app"])
def test_secrets_stand_in_secrets_only(secret: str) -> None:
    holders = [manifest["kind"] for manifest in charts()["model/ab-values.yaml"] if secret in json.dumps(manifest)]
    assert holders == ["Secret"]


def test_a_url_with_a_password_goes_into_a_secret() -> None:
    objects = model(store={"url": PASSWORD})
    secret = one(objects, "Secret")
    assert secret["stringData"] == {"url": PASSWORD}
    assert rollout(objects)["spec"]["store"] == {"urlFrom": {"name": secret["metadata"]["name"], "key": "url"}}


@pytest.mark.parametrize(
    "url", ["redis://valkey:6379/0", "redis://tandem@valkey:6379", "rediss://valkey:6380/0?name=a:b@c"]
)
def test_a_url_without_a_password_does_not(url: str) -> None:
    objects = model(store={"url": url})
    assert kinds(objects) == ["InferenceRollout", "Pod"]
    assert rollout(objects)["spec"]["store"] == {"url": url}


@pytest.mark.parametrize("url", ["redis://:secret@valkey:6379", "rediss://u:p%40ss@valkey/0", "redis://u:a:b@valkey"])
def test_passwords_are_recognized(url: str) -> None:
    assert one(model(store={"url": url}), "Secret")["stringData"] == {"url": url}


@pytest.mark.parametrize(
    ("url", "network", "port"),
    [
        ("redis://:secret@store:6380/0", {}, 6380),
        ("redis://:secret@store/0", {}, None),
        ("redis://:secret@store", {"storePort": 7000}, 7000),
        ("rediss://a:b@store:6390?db=1", {"storeNamespace": "stores"}, 6390),
        ("redis://:5@[2001:db8::1]:6391", {}, 6391),
        ("redis://:6380@store", {}, None),
    ],
)
def test_the_port_of_a_url_that_goes_into_a_secret_is_kept(url: str, network: dict[str, Any], port: int | None) -> None:
    spec = rollout(model(store={"url": url}, network=network))["spec"]
    assert spec.get("network", {}) == {**network, **({"storePort": port} if port else {})}


@pytest.mark.parametrize(
    ("url", "network"),
    [
        ("redis+cluster://:secret@a:7000,b:7001,c:7000", {"storePort": 7000, "additionalStorePorts": [7001]}),
        ("redis+sentinel://:secret@a,b:26380/features", {"additionalStorePorts": [26379, 26380]}),
    ],
)
def test_the_ports_of_several_hosts_are_kept(url: str, network: dict[str, Any]) -> None:
    assert rollout(model(store={"url": url}))["spec"]["network"] == network


def test_amounts_may_be_numbers() -> None:
    resources = {"limits": {"cpu": 2, "memory": 2**30, "nvidia.com/gpu": "1"}}
    spec = rollout(model(predictor={"resources": resources}))["spec"]
    assert spec["predictor"]["resources"] == resources
    assert isinstance(spec["predictor"]["resources"]["limits"]["memory"], int)


def test_another_password_makes_new_pods() -> None:
    def name(url: str) -> str:
        objects = render(parse(rollout(model(store={"url": url}))), Platform())
        return str(one(objects, "InferenceService")["metadata"]["name"])

    assert name(PASSWORD) == name(PASSWORD)
    assert name(PASSWORD) != name(PASSWORD.replace("example", "other"))


def test_a_template_of_ones_own_is_kept_beside_the_checksum() -> None:
    own = {"metadata": {"annotations": {"a": "b"}}, "spec": {"predictor": {"priorityClassName": "high"}}}
    pod_template = rollout(model(store={"url": PASSWORD}, template=own))["spec"]["template"]
    assert pod_template["spec"] == own["spec"]
    assert pod_template["metadata"]["annotations"]["a"] == "b"
    assert "checksum/store" in pod_template["metadata"]["annotations"]


def test_keys_of_clients_go_into_a_secret_that_the_route_names() -> None:
    values = {"name": "x", "apiKeys": {"watch": "k1", "app": "k2"}, "spec": {"bundle": BUNDLE}}
    values["spec"]["route"] = {"timeout": "3s", "auth": {"apiKeys": {"header": "x-key"}}}  # type: ignore[index]
    objects = template("model", values)
    secret = one(objects, "Secret")
    assert secret["stringData"] == {"watch": "k1", "app": "k2"}
    assert rollout(objects)["spec"]["route"] == {
        "timeout": "3s",
        "auth": {"apiKeys": {"header": "x-key", "secretName": secret["metadata"]["name"]}},
    }


# the test that asks the gateway


def pod(objects: Objects) -> dict[str, Any]:
    return one(objects, "Pod")


def environment(objects: Objects) -> dict[str, str]:
    return {variable["name"]: variable.get("value", "") for variable in pod(objects)["spec"]["containers"][0]["env"]}


def test_the_test_is_a_hook_and_can_be_left_out() -> None:
    assert pod(model())["metadata"]["annotations"]["helm.sh/hook"] == "test"
    assert "Pod" not in kinds(charts()["model/blue-green-gpu-values.yaml"])


def test_the_test_may_run_where_pods_are_restricted() -> None:
    spec = pod(model())["spec"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] == 65532
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    security = spec["containers"][0]["securityContext"]
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert security["allowPrivilegeEscalation"] is False
    assert spec["automountServiceAccountToken"] is False


def test_the_image_of_the_test() -> None:
    def image(objects: Objects) -> str:
        return str(pod(objects)["spec"]["containers"][0]["image"])

    assert image(model()) == Platform().transformer_image
    assert image(model(transformer={"image": "mine:1"})) == "mine:1"
    values = {"spec": {"bundle": BUNDLE}, "test": {"image": "python:3.13-slim"}}
    assert image(template("model", values)) == "python:3.13-slim"


def test_the_test_asks_envoy_gateways_service() -> None:
    url = environment(model())["URL"]
    # the name that Envoy Gateway gives the Service of kserve/kserve-ingress-gateway
    host = "envoy-kserve-kserve-ingress-gateway-deaaa49b.envoy-gateway-system"
    assert url == f"http://{host}/v2/models/time-estimator/ready"
    gateway = {"gateway": {"name": "eg", "namespace": "default"}}
    finish_url = environment(model(route=gateway, network={"gatewayNamespace": "proxies"}, model="finish"))["URL"]
    assert finish_url == "http://envoy-default-eg-e41e7b31.proxies/v2/models/finish/ready"


def test_the_test_asks_for_the_models_host() -> None:
    def host(objects: Objects) -> str:
        return str(json.loads(environment(objects)["HEADERS"])["Host"])

    assert host(model()) == "time-estimator.models.example.com"
    assert host(model(route={"hostnames": ["a.example.com", "b.example.com"]})) == "a.example.com"
    values = {"name": "x", "spec": {"bundle": BUNDLE}, "test": {"domain": "models.example.org"}}
    assert host(template("model", values)) == "x.models.models.example.org"


class Gateway(BaseHTTPRequestHandler):
    """Answers like a gateway: 404 for other hosts, 401 without a key, 503 once, then 200."""

    asked: list[tuple[str, str | None, str | None]]

    def do_GET(self) -> None:
        self.asked.append((self.path, self.headers["Host"], self.headers["x-api-key"]))
        is_host = self.headers["Host"] == "time-estimator.models.example.com"
        self.send_response((503 if len(self.asked) == 1 else 200) if is_host else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def gateway() -> Iterator[tuple[str, type[Gateway]]]:
    handler = type("Asked", (Gateway,), {"asked": []})
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/", handler
        finally:
            server.shutdown()
            thread.join()


def run(objects: Objects, **more: str) -> subprocess.CompletedProcess[str]:
    (only,) = pod(objects)["spec"]["containers"]
    command = [sys.executable, *only["command"][1:], *only["args"]]
    env = {**os.environ, **environment(objects), **more}
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)


def test_the_test_passes_once_the_gateway_says_ready() -> None:
    with gateway() as (url, handler):
        values = {
            "name": "time-estimator",
            "spec": {"bundle": BUNDLE},
            "apiKeys": {"app": "k"},
            "test": {"gateway": url},
        }
        result = run(template("model", values), API_KEY="k")
    assert result.returncode == 0, result.stderr
    assert handler.asked == [("/v2/models/time-estimator/ready", "time-estimator.models.example.com", "k")] * 2


def test_the_test_fails_with_what_the_gateway_says() -> None:
    with gateway() as (url, _):
        result = run(
            template("model", {"name": "x", "spec": {"bundle": BUNDLE}, "test": {"gateway": url, "timeout": 1}})
        )
    assert result.returncode == 1
    assert "x.models.example.com" in result.stderr
    assert "404" in result.stderr


# what is refused


@pytest.mark.parametrize(
    ("values", "where"),
    [
        ({"spec": {"bundle": {"img": "x"}}}, "'img'"),
        ({"spec": {"bundle": BUNDLE, "predictor": {"runtime": "tensorflow"}}}, "/spec/predictor/runtime"),
        ({"spec": {"bundle": BUNDLE, "predictor": {"gpu": {"count": 0}}}}, "/spec/predictor/gpu/count"),
        ({"spec": {"variants": [{"name": "V1", "bundle": BUNDLE}]}}, "/spec/variants/0/name"),
        ({"spec": {"variants": [{"name": "v1"}]}}, "/spec/variants/0"),
        ({"spec": {"variants": [{"name": "v1", "bundle": BUNDLE, "weight": 0.5}]}}, "/spec/variants/0/weight"),
        ({"spec": {"bundle": BUNDLE, "scaleDownDelay": "long"}}, "/spec/scaleDownDelay"),
        ({"spec": {"bundle": BUNDLE, "autoscaling": {"transformer": {"replicas": 1}}}}, "'replicas'"),
        ({"bundle": BUNDLE}, "'bundle'"),
        ({"name": "Time"}, "/name"),
        ({"apiKeys": {"a b": "k"}}, "/apiKeys"),
        ({"test": {"gateway": "gateway:80"}}, "/test/gateway"),
    ],
)
def test_wrong_values_are_refused_by_name(values: dict[str, Any], where: str) -> None:
    with pytest.raises(helm_python.HelmValuesError) as error:
        template("model", values)
    assert where in str(error.value)


def test_a_bundle_must_be_given() -> None:
    with pytest.raises(helm_python.HelmRenderError, match=r"give spec\.bundle"):
        template("model")


def test_as_a_part_of_another_chart(tmp_path: Any) -> None:
    chart = tmp_path / "whole"
    (chart / "charts").mkdir(parents=True)
    (chart / "charts" / "model").symlink_to(CHARTS / "model")
    (chart / "Chart.yaml").write_text("apiVersion: v2\nname: whole\nversion: 1.0.0\n")
    (chart / "values.yaml").write_text(yaml.safe_dump({"global": {"a": "b"}, "model": {"spec": {"bundle": BUNDLE}}}))
    with helm_python.Chart.load(chart) as loaded:
        rendered = loaded.render(name="athlete", namespace="models")
    assert yaml.safe_load(rendered["whole/charts/model/templates/rollout.yaml"])["spec"] == {"bundle": BUNDLE}
