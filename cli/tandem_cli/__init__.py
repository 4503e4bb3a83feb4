"""The ``tandem`` command, and the stack on one machine."""
