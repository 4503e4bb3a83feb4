"""ONNX Runtime, kept from reporting home: whatever needs it imports it from here.

Its packages send usage events to their maker and leave an id on the disk unless this variable is set before the import.
"""

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime

__all__ = ["onnxruntime"]
