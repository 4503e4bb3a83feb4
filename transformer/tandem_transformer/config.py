"""Settings of the transformer, from the command line. Names follow the flags that KServe appends to a transformer."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tandem.bundle import DIGEST_VARIABLE, MODEL_DIR
from tandem.oip.flags import Flag, boolean, duration, natural, parser_of, positive, span
from tandem.oip.settings import ServerSettings
from tandem.telemetry import UNIT_HEADER
from tandem_transformer.prediction_log.settings import PredictionLogSettings

PROTOCOLS = ("v2", "grpc-v2", "inprocess")
STORE_VARIABLE = "TANDEM_STORE"
CACHE_VARIABLE = "TANDEM_PREDICTION_CACHE_STORE"
REFRESH_TOKEN_VARIABLE = "TANDEM_REFRESH_TOKEN"  # noqa: S105 - the name, no token
"""Environment variable with the token of ``:refresh``; a flag would show among the processes."""


def _hosts(text: str) -> tuple[str, ...]:
    hosts = tuple(host.strip() for host in text.split(",") if host.strip())
    if not hosts:
        raise argparse.ArgumentTypeError("needs at least one host")
    # KServe appends the name of the predictor's Service without its port
    hosts = tuple(host if ":" in host else f"{host}:80" for host in hosts)
    if wrong := [host for host in hosts if not host.rpartition(":")[2].isdecimal()]:
        raise argparse.ArgumentTypeError(f"the port of {wrong[0]} is not a number")
    return hosts


@dataclass(frozen=True, kw_only=True)
class TransformerConfig(PredictionLogSettings, ServerSettings):
    """Settings of one transformer.

    The bundle must have ``bundle_digest``, or a digest that begins so; empty for any. Clients that show
    ``refresh_token`` may write features and predictions; empty for none.
    """

    model_dir: Annotated[Path, Flag("directory of the bundle", Path)] = Path(MODEL_DIR)
    model_name: Annotated[str | None, Flag("name under which clients ask for the model (the bundle's)")] = None
    bundle_digest: str = ""
    refresh_token: str = field(default="", repr=False)
    predictor_host: Annotated[
        tuple[str, ...],
        Flag(
            "host:port of the predictor; all addresses of all hosts, separated by commas, share the calls",
            _hosts,
        ),
    ] = ()
    predictor_protocol: Annotated[str, Flag("how to call the predictor", choices=PROTOCOLS)] = "v2"
    predictor_use_ssl: Annotated[bool, Flag("call the predictor over TLS", boolean, without_text=True)] = False
    predictor_resolve_s: Annotated[
        float,
        Flag("time after which the predictor's hosts are looked up again, in seconds, 0 to find them once", span),
    ] = 2.0
    store: Annotated[
        str,
        Flag(
            "online store: redis://host:port/db, rediss://…, redis+sentinel://…, redis+cluster://…, snapshot://FILE, "
            f"feast://PATH or memory://; without the flag the variable {STORE_VARIABLE} counts, which keeps a password "
            "out of the list of processes"
        ),
    ] = "memory://"
    processes: Annotated[int, Flag("server processes that share the ports", positive)] = 1
    request_timeout_ms: Annotated[float, Flag("time a request has, unless it brings its own", duration)] = 1000.0
    store_timeout_ms: Annotated[float, Flag("time for one lookup", duration)] = 200.0
    last_known_bytes: Annotated[
        int, Flag("bytes of feature rows kept for the time in which the store does not answer, 0 for none", natural)
    ] = 67_108_864
    predictor_timeout_ms: Annotated[float, Flag("time for one call of the predictor", duration)] = 800.0
    hedge_after_ms: Annotated[
        float,
        Flag("time without an answer after which another address of the predictor is called too, 0 for never", span),
    ] = 0.0
    prediction_cache_bytes: Annotated[
        int, Flag("bytes of predictions kept by vector, 0 to keep none and ask the predictor for every row", natural)
    ] = 0
    prediction_cache_ttl_s: Annotated[float, Flag("seconds for which a prediction is kept", duration)] = 300.0
    prediction_cache_store: Annotated[
        str,
        Flag(
            "store of predictions that all transformers of the bundle share, as for --store but for feast:// and "
            f"snapshot://; without the flag the variable {CACHE_VARIABLE} counts; empty to share none"
        ),
    ] = ""
    prediction_cache_timeout_ms: Annotated[
        float, Flag("time for a read of the shared predictions, before the predictor is asked", duration)
    ] = 20.0
    max_batch_rows: Annotated[int, Flag("most rows coalesced into one batch, 0 to coalesce nothing", natural)] = 256
    max_batch_wait_ms: Annotated[
        float, Flag("how long a request waits at most for others to share its batch", span)
    ] = 2.0
    max_batches: Annotated[int, Flag("batches on their way at once; more requests wait and coalesce", positive)] = 8
    max_queued_rows: Annotated[int, Flag("rows that may wait; more are answered with 429", positive)] = 20_000
    latency_target_ms: Annotated[
        float,
        Flag("time in which requests should be answered: fewer rows may wait while one takes longer, 0 for any", span),
    ] = 500.0
    fairness_header: Annotated[
        str,
        Flag("header that names the tenant of a request: under load tenants take turns; empty for none", str.lower),
    ] = ""
    max_request_rows: Annotated[int, Flag("most rows of one request", positive)] = 10_000
    unit_header: Annotated[
        str,
        Flag("header that names the client: none makes up more than half of what a rollout is decided by", str.lower),
    ] = UNIT_HEADER
    explain: Annotated[
        bool, Flag("let clients ask for the vector of each row with the header x-explain: vector", parse=None)
    ] = False
    access_log: Annotated[bool, Flag("log every request, not only those that fail", parse=None)] = False
    docs: Annotated[bool, Flag("serve the page /docs and its OpenAPI description; false for neither", boolean)] = True


def parse(arguments: Sequence[str] | None = None) -> TransformerConfig:
    """Settings from command-line arguments; ends the process with code 2 and a message if they are invalid."""
    parser = command_line()
    # the help shows the default, not a URL that may have a password
    parser.set_defaults(
        store=os.environ.get(STORE_VARIABLE, TransformerConfig.store),
        prediction_cache_store=os.environ.get(CACHE_VARIABLE, TransformerConfig.prediction_cache_store),
    )
    values = vars(parser.parse_args(arguments))
    if values["predictor_protocol"] != "inprocess" and not values["predictor_host"]:
        parser.error("--predictor_host is required unless --predictor_protocol is inprocess")
    if not values["prediction_log"] and (values["prediction_log_durable"] or values["prediction_log_sink"]):
        parser.error("--prediction_log is required with --prediction_log_durable and --prediction_log_sink")
    return TransformerConfig(
        **values,
        bundle_digest=os.environ.get(DIGEST_VARIABLE, ""),
        refresh_token=os.environ.get(REFRESH_TOKEN_VARIABLE, ""),
    )


def command_line() -> argparse.ArgumentParser:
    """The parser of the command line."""
    return parser_of(TransformerConfig, program="tandem-transformer", description=__doc__)
