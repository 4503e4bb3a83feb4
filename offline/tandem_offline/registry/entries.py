"""What a registry has: versions, and moves of aliases from one version to another."""

from __future__ import annotations

import re
from datetime import datetime

import msgspec

from tandem.compatibility import ContractChange
from tandem.errors import DefinitionError, TandemError

CHAMPION = "champion"
"""Alias of the version that serves."""

_REFERENCE = re.compile(r"models:/(?P<name>[^/@]+)(?:@(?P<alias>[\w-]+)|/(?P<number>\d+))")
_MOVE = "tandem.alias."


class RegistryError(TandemError):
    """A registry cannot be reached, or has no such model, version or alias."""


class PromotionRefused(RegistryError):
    """A promotion would break clients of the version that serves.

    Attributes:
        changes: What would break.
    """

    def __init__(self, message: str, changes: list[ContractChange]) -> None:
        super().__init__(message)
        self.changes = changes


class Reference(msgspec.Struct, frozen=True):
    """A version by its number or by an alias, as ``models:/NAME/3`` or ``models:/NAME@ALIAS``.

    Attributes:
        name: Name of the model.
        number: Number of the version; None if an alias is meant.
        alias: The alias; None if a number is meant.
    """

    name: str
    number: int | None = None
    alias: str | None = None

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Read a reference.

        Raises:
            DefinitionError: if it is not one.
        """
        match = _REFERENCE.fullmatch(text)
        if match is None:
            raise DefinitionError(f"{text!r} names no version: write models:/NAME/NUMBER or models:/NAME@ALIAS")
        return cls(match["name"], int(match["number"]) if match["number"] else None, match["alias"])

    def __str__(self) -> str:
        return f"models:/{self.name}@{self.alias}" if self.alias else f"models:/{self.name}/{self.number}"


class ModelVersion(msgspec.Struct, frozen=True, kw_only=True):
    """A version of a model in a registry.

    Attributes:
        name: Name of the model.
        number: Its number in the registry, from 1.
        version: The author's name for it.
        digest: Digest of its bundle.
        aliases: Aliases that point to it.
        registered_at: When it was registered; in UTC.
        metrics: Its metrics.
        tags: Its tags, without those that say the same as other attributes.
    """

    name: str
    number: int
    version: str
    digest: str
    aliases: tuple[str, ...]
    registered_at: datetime
    metrics: dict[str, float]
    tags: dict[str, str]

    @property
    def reference(self) -> str:
        """``models:/NAME/NUMBER``."""
        return f"models:/{self.name}/{self.number}"


class AliasMove(msgspec.Struct, frozen=True, kw_only=True):
    """An alias that was moved.

    Attributes:
        alias: The alias.
        number: The version that it points to since then.
        previous: The version that it pointed to before; None if there was none.
        moved_at: When; in UTC.
        action: ``promote`` or ``rollback``.
        reason: Why, in words.
    """

    alias: str
    number: int
    previous: int | None
    moved_at: datetime
    action: str
    reason: str = ""

    def as_tag(self) -> tuple[str, str]:
        """Key and value of the tag in which the registry keeps it: MLflow keeps no history of aliases."""
        return f"{_MOVE}{self.alias}.{self.moved_at:%Y%m%dT%H%M%S.%f}", msgspec.json.encode(self).decode()


def read_moves(tags: dict[str, str]) -> list[AliasMove]:
    """The moves among the tags of a model, the oldest first."""
    moves = [msgspec.json.decode(value, type=AliasMove) for key, value in tags.items() if key.startswith(_MOVE)]
    return sorted(moves, key=lambda move: move.moved_at)
