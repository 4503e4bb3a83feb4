"""A client of a transformer's ASGI application, without sockets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx

from tandem_transformer.app import TransformerApp
from tandem_transformer.service import Service


class Client(httpx.AsyncClient):
    """An HTTP client that knows the service behind the application."""

    def __init__(self, app: TransformerApp, service: Service) -> None:
        super().__init__(transport=httpx.ASGITransport(app), base_url="http://transformer")
        self.service = service

    async def predict(self, *rows: Mapping[str, Any], **headers: str) -> httpx.Response:
        """A V1 request."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.post("/v1/models/parcels:predict", json={"instances": rows}, headers=named)

    async def metrics(self) -> dict[str, float]:
        """All samples of the exposition, by name and labels as they are written."""
        text = (await self.get("/metrics")).text
        lines = [line for line in text.splitlines() if line and not line.startswith("#")]
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}
