"""A receiver of the prediction log over HTTP: ``python -m benchmarks.chaos.sink PORT FILE``.

The ids of the events are in the file, one in a line, before they are acknowledged.
"""

from __future__ import annotations

import sys
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec


class _Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, path: Path, *arguments: Any) -> None:
        self._path = path
        super().__init__(*arguments)

    def do_POST(self) -> None:
        events = msgspec.json.decode(self.rfile.read(int(self.headers["content-length"])))
        with self._path.open("a") as file:
            # a line that a kill has cut off must not become a part of the next one
            file.writelines(f"\n{event['id']}" for event in events)
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


if __name__ == "__main__":
    receiver = partial(_Receiver, Path(sys.argv[2]))
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), receiver).serve_forever()
