"""A small API server over a socket: rollouts, evidence, merge patches, and who asks."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

ROLLOUTS = "/apis/tandem-serving.io/v1alpha1/namespaces/models/inferencerollouts"
EVIDENCE = "/apis/tandem-serving.io/v1alpha1/namespaces/models/rolloutevidences"
REVIEWS = "/apis/authentication.k8s.io/v1/selfsubjectreviews"


@dataclass
class ApiServer:
    """Objects by path.

    Attributes:
        objects: The objects.
        user: Who everybody is; nobody knows without it.
        refusal: Status and message that everything is answered with.
        plain: Whether it is said in plain text.
        calls: Method, path and body of each call.
    """

    objects: dict[str, dict[str, Any]] = field(default_factory=dict)
    user: str = ""
    refusal: tuple[int, str] | None = None
    plain: bool = False
    calls: list[tuple[str, str, Any]] = field(default_factory=list)
    url: str = ""

    def answer(self, method: str, path: str, body: Any, kind: str) -> tuple[int, dict[str, Any]]:
        self.calls.append((method, path, body))
        if self.refusal is not None:
            return self.refusal[0], _failure(*self.refusal)
        if path == REVIEWS:
            if not self.user:
                return 404, _failure(404, "the server could not find the requested resource")
            return 201, {**body, "status": {"userInfo": {"username": self.user}}}
        if path == ROLLOUTS:
            items = [rollout for at, rollout in self.objects.items() if at.startswith(f"{ROLLOUTS}/")]
            return 200, {"apiVersion": "v1", "kind": "List", "metadata": {}, "items": items}
        if path not in self.objects:
            return 404, _failure(404, f"{path.rpartition('/')[2]} not found")
        if method == "PATCH":
            assert kind == "application/merge-patch+json"
            self.objects[path] = _merged(self.objects[path], body)
        return 200, self.objects[path]


@contextmanager
def serving(server: ApiServer) -> Iterator[None]:
    """Serve on a free port."""

    class Handler(BaseHTTPRequestHandler):
        def do(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            kind = self.headers.get("Content-Type", "")
            code, answer = server.answer(self.command, urlsplit(self.path).path, body, kind)
            content = str(answer["message"] if server.plain else json.dumps(answer)).encode()
            self.send_response(code)
            self.send_header("Content-Type", "text/plain" if server.plain else "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_PATCH = do_POST = do  # noqa: N815 - names of http.server

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        server.url = f"http://127.0.0.1:{http.server_address[1]}"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield
        finally:
            http.shutdown()
            thread.join()


def _failure(code: int, message: str) -> dict[str, Any]:
    return {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": message}


def _merged(before: Any, patch: Any) -> Any:
    """RFC 7396."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(before) if isinstance(before, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merged(merged.get(key), value)
    return merged
