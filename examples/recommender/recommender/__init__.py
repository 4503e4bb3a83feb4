"""Recommend articles of a shop: how likely a customer opens an article, and what the customer is interested in."""

import numpy as np
from tandem import Feature, FeatureView, Field, Model, Prediction, on_demand, postprocess

DEPARTMENTS = ("books", "games", "garden", "music")
NUMBERS = 16
GREY = (0.5, 0.5, 0.5)

customer = FeatureView("customer", keys=["customer_id"], features=[
    Feature("recent", "int64[<=12]", default=[], description="numbers of the articles that were opened last"),
])  # fmt: skip
article = FeatureView("article", keys=["article_id"], features=[
    Feature("embedding", f"float32[{NUMBERS}]", description="articles with like customers have like embeddings"),
    Feature("colour", "float32[3]", default=GREY, description="mean red, green and blue of its picture"),
])  # fmt: skip


def mean_colour(photo):
    """Mean red, green and blue of a binary PPM file; grey if it is none."""
    header, _, content = photo.partition(b"255\n")
    pixels = np.frombuffer(content[: len(content) // 3 * 3], np.uint8).reshape(-1, 3)
    return pixels.mean(axis=0) / 255 if header.startswith(b"P6") and len(pixels) else GREY


@on_demand
def colour_match(photo, colour):
    return 1 - np.abs(np.array([mean_colour(content) for content in photo]) - colour).mean(axis=1)


@postprocess("string", description="The department that the customer is most interested in.")
def department(interest):
    return np.array(DEPARTMENTS, object)[interest.argmax(axis=1)]


model = Model(
    "recommender",
    serving_keys={"customer_id": "string", "article_id": "string"},
    request_parameters={
        "query": Field(f"float32[{NUMBERS}]", default=[0.0] * NUMBERS, description="embedding of the search text"),
        "photo": Field("bytes", max_bytes=65_536, default="", description="a picture as a binary PPM file"),
    },
    views=[customer, article],
    inputs={"recent": ["recent"], "mask": ["recent_mask"], "rest": ["embedding", "query", colour_match]},
    predictions=[
        Prediction("score", tensor="score", buckets=tuple(np.linspace(0.1, 0.9, 9).round(1).tolist())),
        Prediction("interest", tensor="interest", classes=DEPARTMENTS),
        Prediction("profile", f"float32[{NUMBERS}]", tensor="profile", description="to look for articles with"),
    ],
    postprocess=[department],
)
