"""Rollouts of a Kubernetes cluster."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import httpx2
import msgspec
from lightkube import ApiError, Client, KubeConfig
from lightkube.config.kubeconfig import DEFAULT_KUBECONFIG, SingleConfig
from lightkube.core.exceptions import ConfigError
from lightkube.resources.authentication_v1 import SelfSubjectReview
from lightkube.types import PatchType

from tandem_cli.rollout.targets.local import describe_user
from tandem_cli.rollout.targets.target import Manifest, NoRolloutError, TargetError
from tandem_cli.rollout.training_predictions import TrainingPredictions
from tandem_rollout import KIND
from tandem_rollout.analysis.record import Record
from tandem_rollout.api.fields import InvalidSpecError
from tandem_rollout.api.manifest import parse
from tandem_rollout.api.status import RegistryStatus, RolloutStatus
from tandem_rollout.controller.kinds import InferenceRollout, RolloutEvidence
from tandem_rollout.controller.records import name_of, record_of
from tandem_rollout.controller.run_inputs import candidate
from tandem_rollout.engine.run import Command
from tandem_rollout.engine.serialization import COMMAND, format_command
from tandem_rollout.render.registered import with_registered_bundle
from tandem_rollout.render.revision import Revision

_TIMEOUT: Final = httpx2.Timeout(15.0)
_REFERENCE: Final = re.compile(r"[A-Za-z0-9][-A-Za-z0-9._/:@]*")
"""The characters of a reference of an image. Only the cluster knows whether the image exists."""

_SERVICE_ACCOUNT: Final = "default"
"""The user of a pod, as lightkube calls it."""


class ClusterTarget:
    """One namespace of a cluster.

    Args:
        client: A client.
        namespace: The namespace.
        user: Name of the user in the kubeconfig; empty if there is none.
        context: The selected context; empty for the current one.
    """

    def __init__(self, client: Client, namespace: str, user: str = "", context: str = "") -> None:
        self._client = client
        self._namespace = namespace
        self._user = user
        self._context = context

    @classmethod
    def open(cls, *, namespace: str = "", context: str = "") -> ClusterTarget:
        """Connect to the cluster of the kubeconfig.

        Args:
            namespace: The namespace; by default the context's.
            context: The context; by default the current one.

        Raises:
            TargetError: if there is no kubeconfig, or no such context in it.
        """
        try:
            config = _config(context)
            client = Client(config, namespace=namespace or config.namespace, timeout=_TIMEOUT)
        except (ConfigError, KeyError, ValueError, OSError) as error:
            raise TargetError(
                f"no cluster is configured: {error}", advice="set KUBECONFIG, select a --context, or use --local"
            ) from None
        return cls(client, client.namespace, config.context.user or "", context)

    @property
    def place(self) -> str:
        """The namespace."""
        return f"namespace {self._namespace}"

    @property
    def options(self) -> str:
        """Context and namespace."""
        context = f"--context {shlex.quote(self._context)} " if self._context else ""
        return f"{context}-n {self._namespace}"

    @property
    def takes_images(self) -> bool:
        """A bundle is an image."""
        return True

    def names(self) -> list[str]:
        """Names of the rollouts in the namespace."""
        with self._errors_explained():
            rollouts = self._client.list(InferenceRollout, namespace=self._namespace)
            metadata = [rollout.metadata for rollout in rollouts]
        return sorted(entry.name for entry in metadata if entry and entry.name)

    def alive(self, name: str) -> bool:
        """Always true: the API server does not tell whether the controller runs."""
        return True

    def get(self, name: str) -> Manifest:
        """Read a rollout."""
        with self._errors_explained(name):
            return dict(self._client.get(InferenceRollout, name, namespace=self._namespace))

    def record(self, name: str, run: int) -> Record | None:
        """Read the evidence of a run."""
        try:
            with self._errors_explained(name):
                evidence = self._client.get(RolloutEvidence, name_of(name, run), namespace=self._namespace)
        except NoRolloutError:
            return None
        return record_of(dict(evidence))

    def revision(self, manifest: Manifest, bundle: str = "") -> str:
        """Name of the InferenceService that the controller creates for it."""
        if bundle:
            if not _REFERENCE.fullmatch(bundle):
                raise TargetError(
                    f"{bundle!r} is not a valid image", advice="write it like registry.example.com/model:v2"
                )
            before = {**(manifest["spec"].get("bundle") or {}), **_image(bundle)}
            after = {key: value for key, value in before.items() if value is not None}
            manifest = {**manifest, "spec": {**manifest["spec"], "bundle": after}}
        try:
            rollout = parse(manifest)
        except InvalidSpecError as error:
            raise TargetError(str(error), advice="correct the spec and try again") from None
        if rollout.spec.registry is not None:
            if bundle:
                alias = f"models:/{rollout.spec.registry.model}@{rollout.spec.registry.alias}"
                raise TargetError(f"{rollout.name} follows {alias}", advice="move the alias to start another version")
            rollout = with_registered_bundle(rollout, _registry_status(manifest))
        return candidate(rollout, [Revision.of(rollout, variant) for variant in rollout.spec.all_variants]).name

    def predictions(self, name: str) -> Mapping[str, TrainingPredictions]:
        """Always empty: the bundles are in images."""
        return {}

    def user(self) -> str:
        """The user as the API server knows them, else that of the kubeconfig or of this machine."""
        try:
            with self._errors_explained():
                # the API server knows who the user is, while names in a kubeconfig are free
                review = self._client.create(SelfSubjectReview())
            info = review.status.userInfo if review.status else None
            if info and info.username:
                return str(info.username)
        # SelfSubjectReview is part of Kubernetes since 1.28
        except TargetError:
            pass
        return self._user if self._user not in ("", _SERVICE_ACCOUNT) else describe_user()

    def send(self, name: str, command: Command) -> None:
        """Write a command into an annotation."""
        self._patch(name, _annotation(command))

    def set_bundle(self, name: str, bundle: str, command: Command) -> None:
        """Change the image, in one write with the annotation."""
        self._patch(name, {**_annotation(command), "spec": {"bundle": _image(bundle)}})

    def _patch(self, name: str, patch: dict[str, Any]) -> None:
        with self._errors_explained(name):
            self._client.patch(InferenceRollout, name, patch, namespace=self._namespace, patch_type=PatchType.MERGE)

    @contextmanager
    def _errors_explained(self, name: str = "") -> Iterator[None]:
        """Turns errors of the API server into errors with a hint."""
        try:
            yield
        except httpx2.HTTPStatusError as error:
            code = error.response.status_code
            # the answer for a kind that is not installed is plain text, and no ApiError
            if code == 404 and name and isinstance(error, ApiError):
                advice = f"see `kubectl get inferencerollouts -n {self._namespace}`, or select another -n NAMESPACE"
                raise NoRolloutError(f"there is no {KIND} {name!r} in {self.place}", advice=advice) from None
            raise TargetError(f"the API server rejected the request: {error}", advice=_ADVICE.get(code)) from None
        except httpx2.HTTPError as error:
            raise TargetError(
                f"the API server does not respond: {error}", advice="check that `kubectl get --raw /readyz` prints ok"
            ) from None


_ADVICE: Final = {
    401: "log in to the cluster again",
    403: "get a role that may get and patch inferencerollouts, and get rolloutevidences",
    404: "install the chart tandem, which contains the CustomResourceDefinition",
    409: "try again",
    429: "try again in a moment",
}


def _registry_status(manifest: Manifest) -> RegistryStatus:
    try:
        status = msgspec.convert(manifest.get("status") or {}, RolloutStatus)
    # another version of the controller may have written it
    except msgspec.ValidationError:
        return RegistryStatus()
    return status.registry or RegistryStatus()


def _annotation(command: Command) -> dict[str, Any]:
    return {"metadata": {"annotations": {COMMAND: format_command(command)}}}


def _image(bundle: str) -> dict[str, Any]:
    """The patch of ``spec.bundle`` that sets an image and removes other sources."""
    # null removes a field in a merge patch (RFC 7396)
    return {"image": bundle, "pvc": None, "uri": None, "version": None}


def _config(context: str) -> SingleConfig:
    # the configuration of a pod has no contexts to select from
    kubeconfig = os.environ.get("KUBECONFIG", DEFAULT_KUBECONFIG)
    kubeconfigs = KubeConfig.from_file(kubeconfig) if context else KubeConfig.from_env()
    config = kubeconfigs.get(context or None)
    if config is None:
        raise ConfigError("no context is selected")
    return config
