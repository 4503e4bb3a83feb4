"""The transformer container of a pair; see ``docs/`` for its wire forms and flags.

The path of a request: ``http`` or ``grpc_server`` → ``v1`` or ``v2`` → ``coalescer`` → ``service`` → ``predictors``.
"""
