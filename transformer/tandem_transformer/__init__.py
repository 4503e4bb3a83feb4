"""The transformer container of a pair; see ``docs/`` for its wire forms and flags.

The path of a request::

    http_protocol  a plain predict POST, straight from the parser ─┐
    http           every other one, through ASGI ──────────────────┴─ exchange ─ v1, v2 ─┐
    grpc_server    Open Inference Protocol over gRPC ─ v2 ───────────────────────────────┴─ coalescer
    coalescer ─ service (lookup, pipeline, predictors, pipeline) ─ back to the client
"""
