"""Keys under which an online store keeps the rows of a feature view.

VIEW:VERSION:VALUE                  the value of the key of a view that has one key
VIEW:VERSION:LENGTH:VALUE…VALUE     of several, each but the last has its length in bytes in front
"""

from __future__ import annotations

from collections.abc import Sequence

from tandem.dtypes import Column
from tandem.features import FeatureView


def key_prefix(view: FeatureView) -> bytes:
    """What the keys of a view begin with; a new version of it has keys of its own."""
    return f"{view.name}:{view.version}:".encode()


def entities(columns: Sequence[Column]) -> list[bytes]:
    """What follows the view in a store key, for the entities whose key columns are given.

    A single key is written as it is; of several, each but the last has its length in front, so that no two different
    entities share a key.
    """
    # a string from JSON may hold half of a surrogate pair, and is a key like any other
    texts = [[str(part).encode(errors="surrogatepass") for part in column.tolist()] for column in columns]
    return texts[0] if len(texts) == 1 else [join_parts(parts) for parts in zip(*texts, strict=True)]


def join_parts(parts: Sequence[bytes]) -> bytes:
    """What follows the view in a store key, for an entity whose keys are given as bytes; see :func:`entities`."""
    return b"".join(b"%d:%b" % (len(part), part) for part in parts[:-1]) + parts[-1]


def split_entity(entity: bytes, keys: int) -> list[str]:
    """The values of an entity's keys, from what follows the view in its store key.

    Args:
        entity: One of those that :func:`entities` returns.
        keys: How many keys the view has.

    Raises:
        ValueError: if it is not of so many keys.
    """
    parts = []
    for _ in range(keys - 1):
        length, _, rest = entity.partition(b":")
        parts.append(rest[: int(length)])
        entity = rest[int(length) :]
    return [part.decode(errors="surrogatepass") for part in (*parts, entity)]
