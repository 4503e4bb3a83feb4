"""The predictor container: ONNX Runtime behind the Open Inference Protocol v2, over REST and gRPC.

__main__.py     ``python -m tandem_predictor``
config.py       flags
server.py       both front ends on one event loop; start, readiness, shutdown
app.py          REST: the inference endpoint, raw ASGI
routes.py       REST: health, metadata, model repository, metrics
grpc_server.py  gRPC
admission.py    how many requests may be in flight
repository.py   which models there are; load and unload
sources.py      what a model directory holds
model.py        one served model: checks requests, answers them
batcher.py      merges rows of concurrent requests
session.py      one ONNX model in ONNX Runtime
warmup.py       first runs, and how long a batch takes
golden.py       golden rows replayed against the session
triton.py       the same bundle as a Triton model repository
metrics.py      Prometheus metrics
"""
