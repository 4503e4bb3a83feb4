from __future__ import annotations

import socket
import tempfile
from pathlib import Path

import pytest

from tandem.package import ModelPackage
from tandem_cli.local import ChildDied, LocalStack, LocalVariant, StackError
from tandem_cli.local import pair as pairs
from tandem_cli.variants import choose_variants


@pytest.fixture
def variants(package: Path, bundles: Path) -> list[LocalVariant]:
    return choose_variants(ModelPackage.read(package), weights={"v1": 1}, bundles=bundles)


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Directory in which the stack makes its files."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_process_that_cannot_start_is_named_with_its_log(
    variants: list[LocalVariant], temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = LocalStack(variants, protocol="smoke-signals")
    with pytest.raises(ChildDied, match="transformer-v1 ended with exit code 2") as caught:
        stack.start()
    assert "smoke-signals" in caught.value.log_tail
    assert stack.children == []
    assert list(temporary.iterdir()) == []


def test_a_failure_while_filling_the_store_stops_everything(variants: list[LocalVariant], temporary: Path) -> None:
    pids: list[int] = []

    def fill(url: str) -> None:
        pids.extend(child.pid for child in stack.children)
        raise StackError("no features")

    stack = LocalStack(variants, fill=fill)
    with pytest.raises(StackError, match="no features"):
        stack.start()
    assert len(pids) == 4
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    assert list(temporary.iterdir()) == []


def test_a_port_that_was_taken_in_between_is_no_failure(
    variants: list[LocalVariant], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ports = iter([listener.getsockname()[1]])
        free_ports = pairs.free_ports
        monkeypatch.setattr(pairs, "free_ports", lambda count: [*ports, *free_ports(count)][:count])
        with LocalStack(variants) as stack:
            assert next(ports, None) is None
            assert stack.check() == {}


def test_variants_must_be_of_one_model_and_have_names_of_their_own(variants: list[LocalVariant]) -> None:
    with pytest.raises(StackError, match="a name of its own"):
        LocalStack([*variants, *variants])
    with pytest.raises(StackError, match="a stack needs"):
        LocalStack([])
