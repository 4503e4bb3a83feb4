"""URLs of online stores behind the Redis protocol: one server, a primary that Sentinel finds, or a cluster.

redis://USER:PASSWORD@HOST:PORT/DB                     one server; rediss:// for TLS, unix:///PATH for a Unix socket
redis+sentinel://USER:PASSWORD@HOST:PORT,HOST:PORT/SERVICE/DB
redis+cluster://USER:PASSWORD@HOST:PORT,HOST:PORT      some of the nodes; rediss+… for TLS

The query has options of redis-py's connections, such as ``ssl_ca_certs``, ``ssl_certfile`` and ``ssl_keyfile``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal, cast
from urllib.parse import unquote, urlsplit

import redis
from redis.asyncio.connection import AbstractConnection, Connection, SSLConnection, parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff

from tandem.errors import StoreError
from tandem.stores import REDIS_SCHEMES

Form = Literal["server", "sentinel", "cluster"]

_PORTS: Final[dict[Form, int]] = {"server": 6379, "sentinel": 26379, "cluster": 6379}
_SENTINEL_OPTIONS: Final = ("sentinel_username", "sentinel_password")


@dataclass(frozen=True, slots=True)
class RedisUrl:
    """What a URL says.

    Attributes:
        form: What there is at the hosts.
        hosts: Host and port of the server, of some Sentinels or of some nodes of the cluster; empty for a Unix socket.
        service: Name of the primary, for Sentinel; path of a Unix socket.
        tls: Whether connections use TLS.
        options: Options of redis-py's connections, without host and port. They may have a password.
        sentinel_options: Of these, what connections to Sentinels have.
    """

    form: Form
    hosts: tuple[tuple[str, int], ...]
    service: str
    tls: bool
    options: dict[str, Any]
    sentinel_options: dict[str, Any]

    @property
    def place(self) -> str:
        """Where the store is, without a password."""
        hosts = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.hosts)
        return " of ".join(part for part in (self.service, hosts) if part)

    def connection_type(self, timeout: float) -> tuple[type[AbstractConnection], dict[str, Any]]:
        """Class and arguments of redis-py's asyncio connections, without those of the host.

        Args:
            timeout: Seconds for opening a connection; replies have no time limit.
        """
        fixed = {**_fixed(timeout), "socket_timeout": None, "retry": Retry(NoBackoff(), 0)}
        options = {**self.options, **fixed}
        if self.form != "sentinel":
            return options.pop("connection_class", SSLConnection if self.tls else Connection), options
        sentinel = Sentinel(self.hosts, sentinel_kwargs={**self.sentinel_options, **fixed, "socket_timeout": timeout})  # type: ignore[no-untyped-call]
        pool = SentinelConnectionPool(self.service, sentinel, ssl=self.tls, **options)  # type: ignore[no-untyped-call]
        # a connection has only a weak reference to its pool
        return pool.connection_class, {**pool.connection_kwargs, "connection_pool": pool}

    def blocking_client(self, timeout: float) -> redis.Redis | redis.RedisCluster:
        """redis-py's client without asyncio; that of a cluster connects at once.

        Args:
            timeout: Seconds for opening a connection, and for each reply.

        Raises:
            RedisError: if the cluster cannot be reached.
        """
        fixed = {**_fixed(timeout), "socket_timeout": timeout, "retry": redis.retry.Retry(NoBackoff(), 0)}
        options: dict[str, Any] = {**self.options, **fixed}
        options.pop("connection_class", None)
        if self.form == "cluster":
            nodes = [redis.cluster.ClusterNode(host, port) for host, port in self.hosts]  # type: ignore[no-untyped-call]
            return redis.RedisCluster(startup_nodes=nodes, ssl=self.tls, **options)
        if self.form == "sentinel":
            sentinel = redis.sentinel.Sentinel(self.hosts, sentinel_kwargs={**self.sentinel_options, **fixed})  # type: ignore[no-untyped-call]
            return cast(redis.Redis, sentinel.master_for(self.service, ssl=self.tls, **options))  # type: ignore[no-untyped-call]
        if "path" in options:
            return redis.Redis(unix_socket_path=options.pop("path"), **options)
        ((host, port),) = self.hosts
        return redis.Redis(host=host, port=port, ssl=self.tls, **options)


def read_url(url: str) -> RedisUrl:
    """What a URL says.

    Raises:
        StoreError: if it cannot be read; the message does not repeat it, since it may have a password.
    """
    scheme = url.partition("://")[0]
    base, _, name = scheme.partition("+")
    form = cast(Form, name or "server")
    try:
        return _read(url, base, form)
    except (ValueError, TypeError, KeyError):
        # the reason might quote the password
        example = {"server": "host:port/0", "sentinel": "host:port,host:port/service", "cluster": "host:port,host:port"}
        raise StoreError(
            f"the URL of the store cannot be read; write {scheme}://user:password@{example.get(form, 'host:port/0')}"
        ) from None


def _read(url: str, base: str, form: Form) -> RedisUrl:
    """As :func:`read_url`, with other errors.

    Raises:
        ValueError: if it cannot be read; TypeError and KeyError too.
    """
    if url.partition("://")[0] not in REDIS_SCHEMES:
        raise ValueError("no store for this scheme")
    if base == "unix":
        options: dict[str, Any] = dict(parse_url(url))
        return RedisUrl(form, (), options["path"], False, options, {})
    authority = url.partition("://")[2].partition("?")[0].partition("/")[0]
    credentials, at, hosts = authority.rpartition("@")
    path = urlsplit(url).path.removeprefix("/")
    service, _, database = path.partition("/") if form == "sentinel" else ("", "", path)
    options = dict(parse_url(f"{base}://{credentials}{at}host/{database}?{urlsplit(url).query}"))
    return _check(form, tuple(_host(form, host) for host in hosts.split(",")), unquote(service), options)


def _check(form: Form, hosts: tuple[tuple[str, int], ...], service: str, options: dict[str, Any]) -> RedisUrl:
    tls = options.pop("connection_class", Connection) is SSLConnection
    del options["host"]
    if (form == "cluster" and options.get("db")) or (form == "server" and len(hosts) > 1):
        raise ValueError("a cluster has one database, a single server one host")
    if form == "cluster":
        options.pop("db", None)
    if form == "sentinel" and not service:
        raise ValueError("Sentinel knows primaries by name")
    own = {name.removeprefix("sentinel_"): options.pop(name) for name in _SENTINEL_OPTIONS if name in options}
    secure = {name: value for name, value in options.items() if name.startswith("ssl_")}
    return RedisUrl(form, hosts, service, tls, options, {**own, **secure, "ssl": tls} if form == "sentinel" else {})


def _fixed(timeout: float) -> dict[str, Any]:
    """The options that no URL changes."""
    own = {"protocol": 2, "decode_responses": False, "health_check_interval": 0}
    return {"socket_connect_timeout": timeout, **own}


def _host(form: Form, text: str) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    return unquote(parts.hostname or "localhost"), parts.port or _PORTS[form]
