"""Generate the protobuf code of the Open Inference Protocol, of health checks and of reflection: ``make proto``.

KServe's, Triton's and gRPC's clients bring their own messages of these packages into protobuf's default descriptor
pool, which refuses a second definition of a name. Ours go into private pools, so that all can live in one process.
"""

from __future__ import annotations

from pathlib import Path

from grpc_tools import protoc  # type: ignore[import-untyped]

HERE = Path(__file__).parent
PROTOS = ("grpc_predict_v2", "health", "reflection_v1", "reflection_v1alpha")
DEFAULT_POOL = "_descriptor_pool.Default()"


def main() -> None:
    """Write ``NAME_pb2.py`` and ``.pyi`` beside each ``NAME.proto``.

    Raises:
        SystemExit: protoc refused a file, or generates code of another form than the one known here.
    """
    for name in PROTOS:
        _generate(HERE / f"{name}.proto", HERE / f"{name}_pb2.py", HERE / f"{name}_pb2.pyi")


def _generate(proto: Path, code: Path, stub: Path) -> None:
    if protoc.main(["protoc", f"-I{HERE}", f"--python_out={HERE}", f"--pyi_out={HERE}", str(proto)]):
        raise SystemExit(f"protoc refused {proto.name}")
    text = code.read_text()
    if text.count(DEFAULT_POOL) != 1:
        raise SystemExit(f"the generated code does not contain {DEFAULT_POOL} once: adapt {Path(__file__).name}")
    code.write_text(text.replace(DEFAULT_POOL, "_descriptor_pool.DescriptorPool()"))
    # protoc leaves the type arguments of mappings out.
    stub.write_text("# mypy: disable-error-code=type-arg\n" + stub.read_text())


if __name__ == "__main__":
    main()
