"""Which models are served: looked up for every request, loaded and unloaded by clients."""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import Callable
from typing import Any

from tandem.errors import BundleError, MalformedRequest, NotFound, Unauthenticated, Unavailable
from tandem_predictor import sources
from tandem_predictor.config import TOKEN_VARIABLE, PredictorConfig
from tandem_predictor.metrics import PredictorMetrics
from tandem_predictor.model import ServedModel
from tandem_predictor.sources import ModelSource

logger = logging.getLogger(__name__)


class Repository:
    """The served models. Belongs to one event loop.

    Args:
        config: Flags.
        metrics: Metrics.

    Attributes:
        started: Whether the models that were there at the start are all loaded.
        listening: Whether all ports of the server answer.
        stopping: Whether the server is about to end.
        changed: Called when :attr:`ready` may have changed.
        managed: Whether clients that have the token may list, load and unload models.
    """

    def __init__(self, config: PredictorConfig, metrics: PredictorMetrics) -> None:
        self._config = config
        self._metrics = metrics
        self._models: dict[str, ServedModel] = {}
        self._reasons: dict[str, str] = {}
        self._own: frozenset[str] = frozenset()
        self._changing = asyncio.Lock()
        self.started = False
        self.listening = True
        self.stopping = False
        self.changed: Callable[[], object] = lambda: None
        self.managed = config.model_repository is not None and bool(config.repository_token)

    @property
    def ready(self) -> bool:
        """Whether the server should get traffic: not without a model, nor with a port that does not answer."""
        return self.started and self.listening and not self.stopping and bool(self._models)

    def get(self, name: str, version: str = "") -> ServedModel:
        """The model of this name and, if given, version.

        Raises:
            NotFound: There is none.
        """
        model = self._models.get(name)
        if model is None:
            raise NotFound(f"model {name!r} is not served here")
        if version and version != model.version:
            raise NotFound(f"model {name!r} has no version {version!r}; it has {model.version!r}")
        return model

    def has(self, name: str, version: str = "") -> bool:
        """Whether there is a model of this name and, if given, version."""
        model = self._models.get(name)
        return model is not None and version in ("", model.version)

    def statistics(self, name: str = "", version: str = "") -> dict[str, Any]:
        """What the model of this name has done, or all if no name is given, as in Triton's extension.

        Raises:
            NotFound: There is none of this name and version.
        """
        models = [self.get(name, version)] if name else [self._models[key] for key in sorted(self._models)]
        return {
            "model_stats": [self._metrics.statistics(model.name).as_dict(model.name, model.version) for model in models]
        }

    async def start(self) -> None:
        """Load every model that is there.

        Raises:
            BundleError: One cannot be loaded, or there is none and none could be loaded later.
        """
        # without the lock: clients can change nothing before all of these are loaded
        own, managed = await asyncio.to_thread(self._find)
        if not own and self._config.model_dir is not None:
            raise BundleError(f"no model in {self._config.model_dir}")
        self._own = frozenset(source.name for source in own)
        for source in (*own, *managed):
            await self._load(source)
        self.started = True
        self.changed()
        if self._config.model_repository is not None and not self.managed:
            logger.warning("no model can be loaded later: %s is not set", TOKEN_VARIABLE)
        logger.info("ready", extra={"models": sorted(self._models)})

    async def load(self, name: str) -> None:
        """Load a model of the directories, or load it anew; the old one answers until the new one is ready.

        With a model comes its simpler model.

        Raises:
            NotFound: No such model on disk.
            MalformedRequest: It is there but refused; the message says why.
        """
        # one change at a time: a load that is slow must not bring back what was unloaded meanwhile
        async with self._changing:
            own, managed = await asyncio.to_thread(self._find)
            sources = {source.name: source for source in (*managed, *own)}
            if name not in sources:
                raise NotFound(f"model {name!r} is not in the model repository")
            digest = sources[name].digest
            # the simpler model first: requests that need it come as soon as the other is there
            inner = [source for source in sources.values() if digest and source.outer == digest]
            try:
                for source in (*inner, sources[name]):
                    await self._load(source)
            except BundleError as error:
                logger.error("refused: %s", error, extra={"model": name})
                raise MalformedRequest(str(error), code="model_refused") from None

    async def unload(self, name: str) -> None:
        """Stop serving a model; requests under way are answered.

        Raises:
            NotFound: It is not served.
            MalformedRequest: It is one of ``model_dir``, which this server is there for.
        """
        async with self._changing:
            self.get(name)
            if name in self._own:
                raise MalformedRequest(
                    f"model {name!r} is of --model_dir; only models of --model_repository can be unloaded"
                )
            # requests under way hold the model themselves
            del self._models[name]
            self._reasons[name] = "unloaded"
            self.changed()
            logger.info("unloaded", extra={"model": name})

    async def index(self, *, ready_only: bool = False) -> list[dict[str, Any]]:
        """All models, served or only on disk, as the repository extension describes them."""
        entries = {
            name: {"name": name, "version": model.version, "state": "READY", "reason": ""}
            for name, model in self._models.items()
        }
        if not ready_only:
            own, managed = await asyncio.to_thread(self._find)
            for source in (*own, *managed):
                reason = source.defect or self._reasons.get(source.name, "")
                entry = {"name": source.name, "version": source.version, "state": "UNAVAILABLE", "reason": reason}
                entries.setdefault(source.name, entry)
        return [entries[name] for name in sorted(entries)]

    def authorize(self, authorization: str) -> None:
        """Refuse clients that may not manage the models.

        Args:
            authorization: The header or metadata of that name.

        Raises:
            Unauthenticated: It is not ``Bearer`` with the token.
        """
        expected = f"Bearer {self._config.repository_token}"
        # takes as long for every wrong token, so that none can be found character by character
        if not self.managed or not hmac.compare_digest(authorization.encode(), expected.encode()):
            raise Unauthenticated("the model repository needs its token: authorization: Bearer TOKEN")

    def check_serving(self) -> None:
        """Refuse a change of the repository while the server starts or stops.

        Raises:
            Unavailable: It does.
        """
        if not self.started or self.stopping:
            raise Unavailable("the server is starting or stopping")

    def _find(self) -> tuple[list[ModelSource], list[ModelSource]]:
        """The models of ``model_dir``, and those of ``model_repository``."""
        config = self._config
        own = [] if config.model_dir is None else sources.find(config.model_dir, config.model_name)
        if config.bundle_digest:
            own = [source.pinned(config.bundle_digest) for source in own]
        return own, [] if config.model_repository is None else sources.find(config.model_repository)

    async def _load(self, source: ModelSource) -> None:
        try:
            # health checks and other models are answered while this loads
            model = await asyncio.to_thread(ServedModel, source, self._config, self._metrics.of(source.name))
        except BundleError as error:
            self._reasons[source.name] = str(error)
            raise
        self._models[source.name] = model
        self.changed()
        logger.info("loaded", extra={"model": model.name, "version": model.version, "inline": model.batcher.inline})
