"""The tables of a made-up shop: its customers, its articles, and which articles they were shown and opened.

Everything is simulated with a fixed seed, so the same tables come out every time. README.md says how.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from sklearn.decomposition import TruncatedSVD

HERE = Path(__file__).parent
DATA = HERE / "data"
CUSTOMERS, ARTICLES, IMPRESSIONS = (DATA / f"{name}.parquet" for name in ("customers", "articles", "impressions"))

SEED = 11
DEPARTMENT_COUNT = 4
NUMBERS = 16
"""Numbers of an embedding."""
CUSTOMER_COUNT = 400
ARTICLE_COUNT = 120
"""Articles are numbered from 1: 0 stands for none, in the padding of ``recent``."""
IMPRESSION_COUNT = 4000
MOST_RECENT = 12
NOW = np.datetime64("2026-05-01T08:00:00", "us")

Numbers = NDArray[np.float32]


def make_tables() -> None:
    """Write the tables to ``data/``."""
    rng = np.random.default_rng(SEED)
    DATA.mkdir(exist_ok=True)
    favourite = rng.integers(DEPARTMENT_COUNT, size=CUSTOMER_COUNT)
    department = np.arange(ARTICLE_COUNT) % DEPARTMENT_COUNT
    # nine of ten articles that a customer opens are of the favourite department
    liking = np.where(favourite[:, None] == department, 0.9, 0.1 / 3)
    opened = rng.random(liking.shape) < liking * rng.uniform(0.02, 0.5, (CUSTOMER_COUNT, 1))
    embeddings = embed(opened)
    colours = rng.uniform(0, 1, (ARTICLE_COUNT, 3)).astype(np.float32)
    recent = [(rng.permutation(np.flatnonzero(row))[:MOST_RECENT] + 1).tolist() for row in opened]
    _write_views(recent, embeddings, colours)
    _write_impressions(rng, favourite, liking, embeddings, colours)


def read_impressions() -> pd.DataFrame:
    """All impressions with the columns of both feature views; NaT where a view has no row."""
    impressions = pq.read_table(IMPRESSIONS).to_pandas()
    for view, file in (("customer", CUSTOMERS), ("article", ARTICLES)):
        stored = pq.read_table(file).to_pandas().rename(columns={"event_time": f"{view}_event_time"})
        impressions = impressions.merge(stored, on=f"{view}_id", how="left", validate="many_to_one")
    return impressions


def read_embeddings() -> Numbers:
    """Embeddings by number of the article, shape ``(articles + 1, NUMBERS)``; zeros for number 0."""
    stored = np.stack(pq.read_table(ARTICLES)["embedding"].to_numpy())
    return np.vstack([np.zeros((1, NUMBERS), np.float32), stored])


def embed(opened: NDArray[np.bool_]) -> Numbers:
    """Embeddings of articles from who opened what: a truncated singular value decomposition, scaled to length 1.

    Args:
        opened: Whether each customer opened each article; shape ``(customers, articles)``.

    Returns:
        Shape ``(articles, NUMBERS)``.
    """
    vectors = TruncatedSVD(NUMBERS, random_state=SEED).fit_transform(opened.T.astype(np.float64))
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(length > 0, length, 1)).astype(np.float32)


def picture(colour: Numbers, rng: np.random.Generator) -> bytes:
    """A binary PPM file of 4 by 4 pixels about of that colour."""
    pixels = colour + rng.normal(0, 0.05, (4, 4, 3))
    return b"P6 4 4 255\n" + (255 * np.clip(pixels, 0, 1)).astype(np.uint8).tobytes()


def _write_views(recent: list[list[int]], embeddings: Numbers, colours: Numbers) -> None:
    # one customer in twenty has no row, and so nothing that was opened
    numbers = [number for number in range(CUSTOMER_COUNT) if number % 20]
    customers = {
        "customer_id": [f"c{number}" for number in numbers],
        "event_time": np.full(len(numbers), NOW - np.timedelta64(1, "D")),
        "recent": pa.array([recent[number] for number in numbers], pa.list_(pa.int64())),
    }
    articles = {
        "article_id": [f"a{number}" for number in range(1, ARTICLE_COUNT + 1)],
        "event_time": np.full(ARTICLE_COUNT, NOW - np.timedelta64(2, "D")),
        "embedding": pa.FixedSizeListArray.from_arrays(embeddings.ravel(), NUMBERS),
        "colour": pa.FixedSizeListArray.from_arrays(colours.ravel(), 3),
    }
    pq.write_table(pa.table(customers), CUSTOMERS)
    pq.write_table(pa.table(articles), ARTICLES)


def _write_impressions(
    rng: np.random.Generator,
    favourite: NDArray[np.int64],
    liking: NDArray[np.float64],
    embeddings: Numbers,
    colours: Numbers,
) -> None:
    customers = rng.integers(CUSTOMER_COUNT, size=IMPRESSION_COUNT)
    articles = rng.integers(ARTICLE_COUNT, size=IMPRESSION_COUNT)
    # one in three searches for something, half of them for this very article
    searches = np.where(
        rng.random(IMPRESSION_COUNT) < 0.5, articles, rng.integers(ARTICLE_COUNT, size=IMPRESSION_COUNT)
    )
    asks = rng.random(IMPRESSION_COUNT) < 1 / 3
    match = asks & (searches == articles)
    opened = rng.random(IMPRESSION_COUNT) < 0.1 + 0.5 * liking[customers, articles] + 0.3 * match
    queries = [embeddings[article].tolist() if ask else None for article, ask in zip(searches, asks, strict=True)]
    photos = [picture(colours[article], rng) if match else None for article, match in zip(articles, match, strict=True)]
    table = {
        "customer_id": [f"c{number}" for number in customers],
        "article_id": [f"a{number + 1}" for number in articles],
        "as_of": np.full(IMPRESSION_COUNT, NOW),
        "query": pa.array(queries, pa.list_(pa.float32(), NUMBERS)),
        "photo": pa.array(photos, pa.binary()),
        "opened": opened,
        "favourite": favourite[customers],
    }
    pq.write_table(pa.table(table), IMPRESSIONS)
