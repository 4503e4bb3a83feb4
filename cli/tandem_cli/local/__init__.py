"""The stack on one machine: Valkey, pairs of transformer and predictor, and Envoy in front, each a process."""

from tandem_cli.local.pair import LocalVariant
from tandem_cli.local.processes import ChildDied, StackError
from tandem_cli.local.stack import LocalStack

__all__ = ["ChildDied", "LocalStack", "LocalVariant", "StackError"]
