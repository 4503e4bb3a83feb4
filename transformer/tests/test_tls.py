"""The hop over TLS: connections go to addresses, certificates are for names."""

from __future__ import annotations

import asyncio
import datetime
import ssl
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tandem import Bundle
from tandem.errors import Unavailable
from tandem_transformer.config import TransformerConfig
from tandem_transformer.predictors import connect
from tandem_transformer.predictors.address import Address
from tandem_transformer.predictors.grpc import GrpcPredictor
from tandem_transformer.predictors.rest import RestPredictor

from . import broken
from .dns import Names
from .test_balancing import Pod, vectors

IP = "127.0.0.2"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificate and key of ``pods.test``, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "pods.test")])
    now = datetime.datetime.now(datetime.UTC)
    x509_certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("pods.test")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    path = tmp_path_factory.mktemp("tls") / "pods.pem"
    path.write_bytes(x509_certificate.public_bytes(pem) + key.private_bytes(pem, *plain))
    return path


def server_side(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context


async def test_the_certificate_is_that_of_the_name_at_whichever_address(
    bundle: Bundle, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    async with broken.listening(Pod(7).serve_rest, IP, ssl=server_side(certificate)) as at:
        host = f"pods.test:{at.rpartition(':')[2]}"
        config = TransformerConfig(model_dir=Path(bundle.path), predictor_use_ssl=True)
        predictor = connect(bundle, config, resolution=Names(IP).resolution(host))
        assert (await predictor.infer(vectors()))["y"].tolist() == [[7.0]]
        await predictor.close()


async def test_grpc_is_spoken_over_tls_as_http2(
    bundle: Bundle, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    protocols = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        protocols.append(writer.get_extra_info("ssl_object").selected_alpn_protocol())
        await reader.readuntil(b"trailers")

    async with broken.listening(listen, IP, ssl=server_side(certificate)) as at:
        host = f"pods.test:{at.rpartition(':')[2]}"
        config = TransformerConfig(model_dir=Path(bundle.path), predictor_use_ssl=True, predictor_protocol="grpc-v2")
        predictor = connect(bundle, config, resolution=Names(IP).resolution(host))
        with pytest.raises(Unavailable):
            await predictor.infer(vectors())
        await predictor.close()
    assert protocols == ["h2"]


@pytest.mark.parametrize("kind", [RestPredictor, GrpcPredictor])
@pytest.mark.parametrize("name", ["others.test", IP])
async def test_another_name_is_refused(bundle: Bundle, certificate: Path, kind: Any, name: str) -> None:
    pod = Pod(0)
    trusting = ssl.create_default_context(cafile=str(certificate))
    async with broken.listening(pod.serve_rest, IP, ssl=server_side(certificate)) as at:
        predictor = kind(Address(f"{name}:{at.rpartition(':')[2]}", IP), bundle, tls=trusting)
        with pytest.raises(Unavailable, match="certificate"):
            await predictor.infer(vectors())
        await predictor.close()
    assert pod.calls == 0
