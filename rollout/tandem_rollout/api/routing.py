"""The part of the spec that describes the route: hostnames, authentication, and who may choose a variant."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, field

from tandem_rollout.api.fields import HTTPS_URL, Duration, Hostname, Struct


class GatewayRef(Struct, frozen=True):
    """The Gateway that the route is attached to."""

    name: Annotated[str, Meta(description="Name of the Gateway.")] = "kserve-ingress-gateway"
    namespace: Annotated[str, Meta(description="Namespace of the Gateway.")] = "kserve"


class Jwt(Struct, frozen=True):
    """Clients must send a JSON Web Token."""

    issuer: Annotated[str, Meta(min_length=1, description="Required issuer of the token.")]
    jwks_uri: Annotated[str, Meta(pattern=HTTPS_URL, max_length=2048, description="URL of the issuer's keys.")]
    audiences: Annotated[list[str], Meta(description="Accepted audiences of the token. Default: any audience.")] = (
        field(default_factory=list)
    )


class ApiKeys(Struct, frozen=True):
    """Clients must send an API key."""

    secret_name: Annotated[str, Meta(min_length=1, description="Secret with one key for each client.")]
    header: Annotated[str, Meta(description="Request header that contains the key.")] = "x-api-key"


class Auth(Struct, frozen=True):
    """Authentication of clients. At most one of jwt and apiKeys may be set."""

    jwt: Jwt | None = None
    api_keys: ApiKeys | None = None


class Pin(Struct, frozen=True):
    """Requests for which the client chooses the variant, by the header x-model-variant or by the version in the path.

    These requests are not evidence for or against a version.
    """

    enabled: Annotated[
        bool, Meta(description="Whether clients may choose the variant. Otherwise the weights apply to all requests.")
    ] = True
    auth: Annotated[
        Auth | None,
        Meta(
            description="Authentication of clients that choose the variant or use the preview host. Default: "
            "route.auth."
        ),
    ] = None


class Route(Struct, frozen=True):
    """How clients reach the model."""

    gateway: GatewayRef = field(default_factory=GatewayRef)
    hostnames: Annotated[
        list[Hostname],
        Meta(
            # the maximum of an HTTPRoute
            max_length=16,
            description="Hostnames of the model. Default: NAME.NAMESPACE.DOMAIN, with the domain that the controller "
            "was installed with.",
        ),
    ] = field(default_factory=list)
    timeout: Annotated[Duration, Meta(description="Timeout of a request at the gateway.")] = "10s"
    auth: Auth | None = None
    pin: Pin = field(default_factory=Pin)
