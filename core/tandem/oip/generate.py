"""Generate the protobuf code of the Open Inference Protocol: ``make proto``.

KServe's and Triton's clients bring their own messages of the package ``inference`` into protobuf's default descriptor
pool, which refuses a second definition of a name. Ours go into a private pool, so that all can live in one process.
"""

from __future__ import annotations

from pathlib import Path

from grpc_tools import protoc  # type: ignore[import-untyped]

HERE = Path(__file__).parent
PROTO = HERE / "grpc_predict_v2.proto"
CODE = HERE / "grpc_predict_v2_pb2.py"
STUB = HERE / "grpc_predict_v2_pb2.pyi"
DEFAULT_POOL = "_descriptor_pool.Default()"


def main() -> None:
    """Write ``grpc_predict_v2_pb2.py`` and ``.pyi`` beside the ``.proto``.

    Raises:
        SystemExit: protoc refused the file, or generates code of another form than the one known here.
    """
    if protoc.main(["protoc", f"-I{HERE}", f"--python_out={HERE}", f"--pyi_out={HERE}", str(PROTO)]):
        raise SystemExit(f"protoc refused {PROTO.name}")
    code = CODE.read_text()
    if code.count(DEFAULT_POOL) != 1:
        raise SystemExit(f"the generated code does not contain {DEFAULT_POOL} once: adapt {Path(__file__).name}")
    CODE.write_text(code.replace(DEFAULT_POOL, "_descriptor_pool.DescriptorPool()"))
    # protoc leaves the type arguments of mappings out.
    STUB.write_text("# mypy: disable-error-code=type-arg\n" + STUB.read_text())


if __name__ == "__main__":
    main()
