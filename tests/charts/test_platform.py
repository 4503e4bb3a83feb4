"""The chart ``tandem``: what it installs, and that its values do what they say."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Iterable, Iterator
from typing import Any

import helm_python
import pytest
from tests.charts.rendered import CHARTS, Objects, charts, one, template, values_files

from tandem_rollout.api.crd import build_crds
from tandem_rollout.controller.permissions import ELECTION_PERMISSIONS, PERMISSIONS, Permission
from tandem_rollout.render.platform import Platform
from tandem_transformer.config import TransformerConfig

DIGEST = f"sha256:{'0123456789abcdef' * 4}"


def granted(role: dict[str, Any]) -> set[tuple[str, str, str]]:
    return {
        triple
        for rule in role["rules"]
        for triple in itertools.product(rule["apiGroups"], rule["resources"], rule["verbs"])
    }


def needed(permissions: Iterable[Permission] = PERMISSIONS) -> set[tuple[str, str, str]]:
    return {(permission.group, permission.resource, verb) for permission in permissions for verb in permission.verbs}


def container(objects: Objects) -> dict[str, Any]:
    (only,) = one(objects, "Deployment")["spec"]["template"]["spec"]["containers"]
    return dict(only)


def environment(objects: Objects) -> dict[str, str]:
    return {variable["name"]: variable.get("value", "") for variable in container(objects)["env"]}


def images(objects: Objects) -> Iterator[str]:
    yield container(objects)["image"]
    yield from (value for name, value in environment(objects).items() if name.endswith("_IMAGE"))
    for manifest in objects:
        if manifest["kind"] == "ClusterServingRuntime":
            yield from (own["image"] for own in manifest["spec"]["containers"])


@pytest.mark.parametrize("file", values_files(), ids=lambda file: f"{file.parents[1].name}/{file.name}")
def test_lints_strictly(file: Any) -> None:
    values = helm_python.values_from_yaml(file.read_text())
    report = helm_python.lint(file.parents[1], values, strict=True, namespace="models")
    assert not report["errors"]
    assert [message for message in report["messages"] if message["severity"] > 1] == []


# permissions


def test_the_role_is_exactly_what_the_controller_needs() -> None:
    assert granted(one(template("tandem"), "ClusterRole", "tandem-controller")) == needed()


def test_the_controller_may_not_read_secrets_and_configmaps() -> None:
    assert not [
        permission for permission in needed() if permission[1] in ("secrets", "configmaps") or "*" in permission
    ]


def test_a_controller_of_one_namespace_has_a_role_there_and_nothing_of_the_cluster() -> None:
    objects = charts()["tandem/namespaced-values.yaml"]
    assert {manifest["kind"] for manifest in objects} == {"Deployment", "Role", "RoleBinding", "ServiceAccount"}
    role, binding = (one(objects, kind, "tandem-controller") for kind in ("Role", "RoleBinding"))
    assert granted(role) == needed()
    assert role["metadata"]["namespace"] == binding["metadata"]["namespace"] == "models"
    assert binding["subjects"][0]["namespace"] == one(objects, "Deployment")["metadata"]["namespace"] == "tandem-system"
    assert "--namespace=models" in container(objects)["args"]


def test_a_namespaced_controller_looks_after_its_own_namespace_by_default() -> None:
    objects = template("tandem", {"rbac": {"namespaced": True}})
    assert "--namespace=tandem-system" in container(objects)["args"]
    assert one(objects, "Role", "tandem-controller")["metadata"]["namespace"] == "tandem-system"


@pytest.mark.parametrize("values", [{}, {"rbac": {"namespaced": True}, "controller": {"namespace": "models"}}])
def test_the_lease_is_the_only_one_that_the_controller_may_touch(values: dict[str, Any]) -> None:
    objects = template("tandem", {**values, "fullnameOverride": "x"})
    role, binding = (one(objects, kind, "x-controller-election") for kind in ("Role", "RoleBinding"))
    assert granted(role) == needed(ELECTION_PERMISSIONS)
    # where it runs, whatever it looks after
    assert role["metadata"]["namespace"] == binding["metadata"]["namespace"] == "tandem-system"
    assert binding["roleRef"] == {
        "apiGroup": "rbac.authorization.k8s.io",
        "kind": "Role",
        "name": "x-controller-election",
    }
    pod = one(objects, "Deployment")["spec"]["template"]["spec"]
    assert [subject["name"] for subject in binding["subjects"]] == [pod["serviceAccountName"]]
    assert environment(objects)["TANDEM_CONTROLLER_NAMESPACE"] == "tandem-system"
    assert "--lease=x-controller" in container(objects)["args"]
    unbound = [rule["verbs"] for rule in role["rules"] if rule.get("resourceNames") != ["x-controller"]]
    assert unbound == [["create"], ["create"]]


@pytest.mark.parametrize("values", [{}, {"serviceAccount": {"name": "other"}}, {"fullnameOverride": "x"}])
def test_the_binding_is_for_the_account_that_the_pod_has(values: dict[str, Any]) -> None:
    objects = template("tandem", values)
    account = one(objects, "ServiceAccount")
    (subject,) = one(objects, "ClusterRoleBinding")["subjects"]
    assert subject["name"] == account["metadata"]["name"]
    assert subject["name"] == one(objects, "Deployment")["spec"]["template"]["spec"]["serviceAccountName"]
    role = one(objects, "ClusterRoleBinding")["roleRef"]["name"]
    assert granted(one(objects, "ClusterRole", role)) == needed()


def test_whoever_may_view_or_edit_a_namespace_may_do_so_with_rollouts() -> None:
    view, edit = (one(template("tandem"), "ClusterRole", f"tandem-{name}") for name in ("view", "edit"))
    prefix = "rbac.authorization.k8s.io/aggregate-to"
    assert view["metadata"]["labels"][f"{prefix}-view"] == "true"
    assert edit["metadata"]["labels"][f"{prefix}-edit"] == edit["metadata"]["labels"][f"{prefix}-admin"] == "true"
    assert {verb for _, _, verb in granted(view)} == {"get", "list", "watch"}
    # status and evidence are the controller's alone
    assert {resource for _, resource, _ in granted(edit)} == {"inferencerollouts"}
    off = template("tandem", {"rbac": {"aggregate": False}})
    assert [manifest["metadata"]["name"] for manifest in off if manifest["kind"] == "ClusterRole"] == [
        "tandem-controller"
    ]


# the CustomResourceDefinition


def test_the_crd_is_that_of_the_code() -> None:
    for definition in build_crds():
        name = definition["metadata"]["name"]
        assert one(template("tandem"), "CustomResourceDefinition", name)["spec"] == definition["spec"]


def test_the_crd_outlives_the_release_unless_told_otherwise() -> None:
    def policies(values: dict[str, Any]) -> list[str | None]:
        definitions = [
            manifest for manifest in template("tandem", values) if manifest["kind"] == "CustomResourceDefinition"
        ]
        return [
            (definition["metadata"].get("annotations") or {}).get("helm.sh/resource-policy")
            for definition in definitions
        ]

    assert policies({}) == ["keep", "keep"]
    assert policies({"crds": {"keep": False}}) == [None, None]


# the Gateway


def test_uploads_and_connections_are_bounded_at_the_gateway() -> None:
    policy = one(template("tandem", {"gateway": {"name": "eg", "namespace": "edge"}}), "ClientTrafficPolicy")
    assert policy["metadata"]["namespace"] == "edge"
    (target,) = policy["spec"]["targetRefs"]
    assert (target["kind"], target["name"]) == ("Gateway", "eg")
    assert policy["spec"]["connection"]["connectionLimit"]["value"] > 0
    # sooner than the pods, which would be taken for the cause
    assert (
        int(policy["spec"]["timeout"]["http"]["requestReceivedTimeout"].removesuffix("s"))
        < TransformerConfig.upload_timeout_s
    )


@pytest.mark.parametrize("values", [{"gateway": {"clientTraffic": {"create": False}}}, {"rbac": {"namespaced": True}}])
def test_the_gateway_is_left_alone_where_it_belongs_to_others(values: dict[str, Any]) -> None:
    assert "ClientTrafficPolicy" not in {manifest["kind"] for manifest in template("tandem", values)}


# the Deployment


@pytest.mark.parametrize("values", ["default", "full", "namespaced"])
def test_selectors_match_the_labels_of_pods(values: str) -> None:
    objects = charts()[f"tandem/{values}-values.yaml"]
    deployment = one(objects, "Deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    selectors = [deployment["spec"]["selector"]["matchLabels"]]
    selectors += [
        manifest["spec"]["podSelector"]["matchLabels"] for manifest in objects if manifest["kind"] == "NetworkPolicy"
    ]
    selectors += [
        manifest["spec"]["selector"]["matchLabels"] for manifest in objects if manifest["kind"] == "PodMonitor"
    ]
    assert selectors
    for selector in selectors:
        assert selector.items() <= labels.items()


def test_the_selector_does_not_change_with_labels_or_versions() -> None:
    before = one(template("tandem"), "Deployment")["spec"]["selector"]
    labels = {"app.kubernetes.io/name": "other", "team": "a"}
    after = one(template("tandem", {"commonLabels": labels, "podLabels": labels}), "Deployment")["spec"]
    assert after["selector"] == before
    assert after["selector"]["matchLabels"].items() <= after["template"]["metadata"]["labels"].items()


def test_a_new_pod_is_ready_before_the_old_one_ends() -> None:
    spec = one(template("tandem"), "Deployment")["spec"]
    assert spec["replicas"] == 1
    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    with pytest.raises(helm_python.HelmValuesError, match="/replicaCount"):
        template("tandem", {"replicaCount": 4})


def test_of_two_controllers_a_drained_node_takes_one() -> None:
    objects = template("tandem", {"replicaCount": 2})
    deployment, budget = one(objects, "Deployment"), one(objects, "PodDisruptionBudget")
    assert deployment["spec"]["replicas"] == 2
    assert budget["spec"]["maxUnavailable"] == 1
    assert budget["spec"]["selector"] == deployment["spec"]["selector"]
    (spread,) = deployment["spec"]["template"]["spec"]["topologySpreadConstraints"]
    assert spread["labelSelector"] == deployment["spec"]["selector"]
    # on a single node they run side by side
    assert spread["whenUnsatisfiable"] == "ScheduleAnyway"
    assert "PodDisruptionBudget" not in {manifest["kind"] for manifest in template("tandem")}


def test_probes_ask_for_what_they_are_about() -> None:
    probes = container(template("tandem"))
    paths = {name: probes[name]["httpGet"]["path"] for name in ("startupProbe", "readinessProbe", "livenessProbe")}
    # the API server may take longer to list everything than a container may take to start
    assert paths == {"startupProbe": "/healthz", "readinessProbe": "/readyz", "livenessProbe": "/healthz"}


def test_the_pod_is_restricted() -> None:
    pod = one(template("tandem"), "Deployment")["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 65532
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    (only,) = pod["containers"]
    assert only["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {"requests", "limits"} <= only["resources"].keys()
    assert {"startupProbe", "readinessProbe", "livenessProbe"} <= only.keys()


def test_every_field_of_the_platform_is_set() -> None:
    fields = {f"TANDEM_{field.name.upper()}" for field in dataclasses.fields(Platform)}
    assert environment(template("tandem")).keys() == fields


def test_defaults_are_those_of_the_code() -> None:
    defaults = environment(template("tandem"))
    platform = {f"TANDEM_{name.upper()}": value for name, value in dataclasses.asdict(Platform()).items()}
    assert defaults == platform


def test_domains_by_namespace_reach_the_controller_and_the_admission_policy() -> None:
    allowed = {"team-a": ["a.example.com"], "*": ["shared.example.com"]}
    objects = template("tandem", {"allowedDomains": allowed, "domain": "models.example"})
    assert Platform(allowed_domains=environment(objects)["TANDEM_ALLOWED_DOMAINS"]).domains == allowed
    policy = one(objects, "ValidatingAdmissionPolicy")
    binding = one(objects, "ValidatingAdmissionPolicyBinding")
    assert binding["spec"] == {"policyName": policy["metadata"]["name"], "validationActions": ["Deny"]}
    variables = {variable["name"]: variable["expression"] for variable in policy["spec"]["variables"]}
    assert json.loads(variables["allowed"]) == allowed
    assert "request.namespace + '.models.example'" in variables["domains"]


@pytest.mark.parametrize("values", [{}, {"allowedDomains": {"a": []}, "rbac": {"namespaced": True}}])
def test_without_domains_or_cluster_there_is_no_admission_policy(values: dict[str, Any]) -> None:
    assert not [
        manifest for manifest in template("tandem", values) if manifest["kind"].startswith("ValidatingAdmission")
    ]


def test_values_reach_the_pod() -> None:
    objects = charts()["tandem/full-values.yaml"]
    template_ = one(objects, "Deployment")["spec"]["template"]
    pod = template_["spec"]
    assert template_["metadata"]["labels"]["tier"] == "platform"
    assert template_["metadata"]["annotations"]["example.com/log"] == "json"
    assert pod["nodeSelector"] == {"node-role.kubernetes.io/infra": ""}
    assert pod["tolerations"][0]["key"] == "node-role.kubernetes.io/infra"
    assert "nodeAffinity" in pod["affinity"]
    assert pod["priorityClassName"] == "system-cluster-critical"
    assert pod["imagePullSecrets"] == [{"name": "registry"}, {"name": "mirror"}]
    assert environment(objects)["HTTPS_PROXY"] == "http://proxy.example.com:3128"
    assert environment(objects)["TANDEM_DOMAIN"] == "models.internal.example.org"
    assert environment(objects)["TANDEM_PROMETHEUS"] == "https://thanos.monitoring:9090"
    allowed = "http://prometheus.team-a:9090,http://prometheus.team-b:9090"
    assert environment(objects)["TANDEM_ALLOWED_PROMETHEUS"] == allowed
    assert container(objects)["args"][-1] == "--metrics_port=8080"
    assert one(objects, "ServiceAccount")["metadata"]["annotations"]["example.com/role"] == "tandem"


# images


def test_a_registry_for_all_images() -> None:
    references = list(images(template("tandem", {"global": {"imageRegistry": "registry.example.com/mirror"}})))
    assert len(references) == 7
    assert all(image.startswith("registry.example.com/mirror/") for image in references)


@pytest.mark.parametrize("name", ["transformer", "predictor", "predictorGpu", "triton"])
def test_registry_tag_and_digest_of_an_image(name: str) -> None:
    def image(**values: str) -> set[str]:
        return set(images(template("tandem", {"images": {name: values}})))

    assert "here.example.com/mine:1.2" in image(registry="here.example.com", repository="mine", tag="1.2")
    assert f"mine@{DIGEST}" in image(registry="", repository="mine", digest=DIGEST, tag="1.2")


def test_registry_tag_and_digest_of_the_controller() -> None:
    values = {"image": {"registry": "here.example.com", "tag": "1.2", "pullPolicy": "Always"}}
    assert container(template("tandem", values))["image"] == "here.example.com/tandem-controller:1.2"
    assert container(template("tandem", values))["imagePullPolicy"] == "Always"
    assert container(template("tandem", {"image": {"digest": DIGEST}}))["image"] == f"tandem-controller@{DIGEST}"


# names and labels


def test_common_labels_and_annotations_are_on_everything() -> None:
    for manifest in charts()["tandem/full-values.yaml"]:
        if manifest["metadata"]["name"] == "from-an-object":  # the user's own words
            continue
        assert manifest["metadata"]["labels"]["team"] == "ml-platform", manifest["kind"]
        assert manifest["metadata"]["annotations"]["example.com/owner"] == "ml-platform@example.com", manifest["kind"]


def test_common_labels_do_not_replace_those_that_selectors_need() -> None:
    objects = template("tandem", {"commonLabels": {"app.kubernetes.io/instance": "x"}})
    assert one(objects, "Deployment")["metadata"]["labels"]["app.kubernetes.io/instance"] == "tandem"


@pytest.mark.parametrize(
    ("release", "values", "name"),
    [
        ("tandem", {}, "tandem-controller"),
        ("platform", {}, "platform-tandem-controller"),
        ("platform", {"nameOverride": "serving"}, "platform-serving-controller"),
        ("platform", {"fullnameOverride": "models"}, "models-controller"),
    ],
)
def test_names(release: str, values: dict[str, Any], name: str) -> None:
    assert one(template("tandem", values, release=release), "Deployment")["metadata"]["name"] == name


def test_names_of_objects_are_told_apart() -> None:
    for values, objects in charts().items():
        names = [
            (manifest["kind"], manifest["metadata"].get("namespace"), manifest["metadata"]["name"])
            for manifest in objects
        ]
        assert len(set(names)) == len(names), values


def test_further_objects_are_templates() -> None:
    objects = charts()["tandem/full-values.yaml"]
    assert one(objects, "ConfigMap", "from-an-object")["data"] == {"release": "tandem"}
    assert one(objects, "ConfigMap", "tandem-serving-from-text")["metadata"]["labels"]["team"] == "ml-platform"


# runtimes, gateway, network


def test_runtimes_serve_bundles_as_kserve_mounts_them() -> None:
    objects = template("tandem")
    cpu, gpu = (
        one(objects, "ClusterServingRuntime", "tandem-onnxruntime"),
        one(objects, "ClusterServingRuntime", "tandem-onnxruntime-gpu"),
    )
    assert cpu["spec"]["supportedModelFormats"] == [
        {"name": "tandem", "version": "1", "autoSelect": True, "priority": 1}
    ]
    assert "--execution_providers=cpu" in cpu["spec"]["containers"][0]["args"]
    assert gpu["spec"]["supportedModelFormats"][0]["autoSelect"] is False
    assert "--execution_providers=cuda,cpu" in gpu["spec"]["containers"][0]["args"]
    assert gpu["spec"]["containers"][0]["image"] == Platform().predictor_gpu_image


def test_the_gateway_is_made_only_when_asked_for() -> None:
    assert not [manifest for manifest in template("tandem") if manifest["kind"] == "Gateway"]
    gateway = one(charts()["tandem/full-values.yaml"], "Gateway")
    assert (gateway["metadata"]["namespace"], gateway["metadata"]["name"]) == ("gateways", "models")
    assert gateway["spec"]["gatewayClassName"] == "envoy"
    assert gateway["spec"]["listeners"][0]["allowedRoutes"] == {"namespaces": {"from": "All"}}


def test_the_controller_reaches_the_api_server_dns_transformers_and_counters_only() -> None:
    spec = one(template("tandem"), "NetworkPolicy")["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    ports = [(port["port"], "to" in rule) for rule in spec["egress"] for port in rule["ports"]]
    assert ports == [
        *((53, False), (53, False), (443, False), (6443, False)),
        *((8080, True), (9090, True), (19001, True)),
    ]
    ((source,),) = (rule["from"] for rule in spec["ingress"])
    assert source["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "monitoring"}


# what the schema refuses


@pytest.mark.parametrize(
    ("values", "where"),
    [
        ({"image": {"tags": "1"}}, "'tags'"),
        ({"image": {"pullPolicy": "Sometimes"}}, "/image/pullPolicy"),
        ({"image": {"digest": "0123"}}, "/image/digest"),
        ({"images": {"transformers": {}}}, "'transformers'"),
        ({"domain": "https://example.com"}, "/domain"),
        ({"prometheus": "prometheus:9090"}, "/prometheus"),
        ({"allowedDomains": {"a": ["'] + ['*"]}}, "/allowedDomains/a/0"),
        ({"allowedDomains": {"a": "b.example"}}, "/allowedDomains/a"),
        ({"allowedPrometheus": ["prometheus:9090"]}, "/allowedPrometheus/0"),
        ({"allowedPrometheus": ["http://a:9090,http://b:9090"]}, "/allowedPrometheus/0"),
        ({"resources": {"request": {}}}, "'request'"),
        ({"readinessProbe": {"periodSeconds": 0}}, "/readinessProbe/periodSeconds"),
        ({"monitoring": {"rules": {"errorRatio": 5}}}, "/monitoring/rules/errorRatio"),
        ({"monitoring": {"rules": {"slowAfter": "0.45"}}}, "/monitoring/rules/slowAfter"),
        ({"monitoring": {"rules": {"disabled": ["Nothing"]}}}, "/monitoring/rules/disabled/0"),
        ({"networkPolicy": {"apiServerPorts": []}}, "/networkPolicy/apiServerPorts"),
        ({"replicas": 1}, "'replicas'"),
    ],
)
def test_wrong_values_are_refused_by_name(values: dict[str, Any], where: str) -> None:
    with pytest.raises(helm_python.HelmValuesError) as error:
        template("tandem", values)
    assert where in str(error.value)


def test_the_schema_names_every_value() -> None:
    with helm_python.Chart.load(CHARTS / "tandem") as chart:
        schema, values = chart.schema or {}, chart.values

    def missing(value: Any, own: dict[str, Any], path: str) -> Iterator[str]:
        own = schema["definitions"][own["$ref"].rpartition("/")[2]] if "$ref" in own else own
        for key, below in value.items() if isinstance(value, dict) and "properties" in own else ():
            if key not in own["properties"]:
                yield f"{path}/{key}"
            else:
                yield from missing(below, own["properties"][key], f"{path}/{key}")

    assert list(missing(values, schema, "")) == []
