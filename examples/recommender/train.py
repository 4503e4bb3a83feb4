"""Train the recommender and write its bundle."""

from __future__ import annotations

import argparse
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from sklearn.linear_model import LogisticRegression
from tandem import Bundle, fit, inputs_from_table, write_bundle
from tandem.bundle_directory import find
from tandem.inputs import Tensors
from tandem.package import ModelPackage

from shop import DEPARTMENT_COUNT, HERE, MOST_RECENT, NUMBERS, SEED, make_tables, read_embeddings, read_impressions

BUNDLES = HERE / "bundles"
VERSION = "v1"
GOLDEN_ROWS = 64

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Recommender:
    """The trained model.

    Attributes:
        embeddings: By number of the article; shape ``(articles + 1, NUMBERS)``.
        score: Logistic regression on how near the article is to the profile and to the query, and on the colour match.
        interest: Logistic regression of the favourite department on the profile.
    """

    embeddings: NDArray[np.float32]
    score: LogisticRegression
    interest: LogisticRegression

    @classmethod
    def train(cls, vectors: Tensors, opened: NDArray[np.bool_], favourite: NDArray[np.int64]) -> Recommender:
        """Train on the vectors of the pipeline.

        Args:
            vectors: Input tensors.
            opened: Whether the article was opened; shape ``(rows,)``.
            favourite: Index of the customer's favourite department; shape ``(rows,)``.
        """
        embeddings = read_embeddings()
        profiles = _profiles(embeddings, vectors)
        score = LogisticRegression().fit(_nearness(profiles, vectors), opened)
        return cls(embeddings, score, LogisticRegression(max_iter=1000).fit(profiles, favourite))

    def predict(self, vectors: Tensors) -> dict[str, Floats]:
        """Output tensors: ``score`` of shape ``(rows, 1)``, ``interest``, ``profile``."""
        profiles = _profiles(self.embeddings, vectors)
        score = self.score.predict_proba(_nearness(profiles, vectors))[:, 1:]
        return {"score": score, "interest": self.interest.predict_proba(profiles), "profile": profiles}

    def graph(self) -> bytes:
        """The same as an ONNX graph."""
        constants = {
            "table": self.embeddings,
            "known": np.array(len(self.embeddings)),
            "none": np.array(0),
            "one": np.array(1, np.float32),
            "places": np.array([1]),
            "last": np.array([2]),
            "parts": np.array([NUMBERS, NUMBERS, 1]),
            "score_weights": self.score.coef_.T.astype(np.float32),
            "score_bias": self.score.intercept_.astype(np.float32),
            "interest_weights": self.interest.coef_.T.astype(np.float32),
            "interest_bias": self.interest.intercept_.astype(np.float32),
        }
        graph = helper.make_graph(
            _profile_nodes() + _answer_nodes(),
            f"recommender-{VERSION}",
            [
                helper.make_tensor_value_info("recent", TensorProto.INT64, ["rows", MOST_RECENT]),
                helper.make_tensor_value_info("mask", TensorProto.BOOL, ["rows", MOST_RECENT]),
                helper.make_tensor_value_info("rest", TensorProto.FLOAT, ["rows", 2 * NUMBERS + 1]),
            ],
            [
                helper.make_tensor_value_info("score", TensorProto.FLOAT, ["rows", 1]),
                helper.make_tensor_value_info("interest", TensorProto.FLOAT, ["rows", DEPARTMENT_COUNT]),
                helper.make_tensor_value_info("profile", TensorProto.FLOAT, ["rows", NUMBERS]),
            ],
            [numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in constants.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
        return model.SerializeToString()  # type: ignore[no-any-return]


def _profiles(embeddings: NDArray[np.float32], vectors: Tensors) -> Floats:
    """Mean embedding of what each customer opened last; zeros where that is nothing."""
    articles = np.where(vectors["recent"] < len(embeddings), vectors["recent"], 0)
    counts = vectors["mask"].astype(np.float64)
    total = np.einsum("ijk,ij->ik", embeddings[articles].astype(np.float64), counts)
    return total / np.maximum(counts.sum(axis=1, keepdims=True), 1)


def _nearness(profiles: Floats, vectors: Tensors) -> Floats:
    embedding, query, match = np.split(vectors["rest"].astype(np.float64), [NUMBERS, 2 * NUMBERS], axis=1)
    products = [(vector * embedding).sum(axis=1, keepdims=True) for vector in (profiles, query)]
    return np.hstack([*products, match])


def _profile_nodes() -> list[Any]:
    node = helper.make_node
    return [
        node("Less", ["recent", "known"], ["is_known"]),
        node("Where", ["is_known", "recent", "none"], ["numbers"]),
        node("Gather", ["table", "numbers"], ["opened"]),
        node("Cast", ["mask"], ["counts"], to=TensorProto.FLOAT),
        node("Unsqueeze", ["counts", "last"], ["columns"]),
        node("Mul", ["opened", "columns"], ["counted"]),
        node("ReduceSum", ["counted", "places"], ["total"], keepdims=0),
        node("ReduceSum", ["counts", "places"], ["count"], keepdims=1),
        node("Max", ["count", "one"], ["divisor"]),
        node("Div", ["total", "divisor"], ["profile"]),
    ]


def _answer_nodes() -> list[Any]:
    node = helper.make_node
    return [
        node("Split", ["rest", "parts"], ["embedding", "query", "match"], axis=1),
        node("Mul", ["profile", "embedding"], ["by_profile"]),
        node("ReduceSum", ["by_profile", "places"], ["near_profile"], keepdims=1),
        node("Mul", ["query", "embedding"], ["by_query"]),
        node("ReduceSum", ["by_query", "places"], ["near_query"], keepdims=1),
        node("Concat", ["near_profile", "near_query", "match"], ["nearness"], axis=1),
        node("Gemm", ["nearness", "score_weights", "score_bias"], ["logit"]),
        node("Sigmoid", ["logit"], ["score"]),
        node("Gemm", ["profile", "interest_weights", "interest_bias"], ["logits"]),
        node("Softmax", ["logits"], ["interest"], axis=1),
    ]


def train(bundles: Path = BUNDLES) -> Bundle:
    """Make the tables, train and write the bundle; older bundles of the version are removed.

    Args:
        bundles: Where the bundle goes.
    """
    make_tables()
    impressions = read_impressions()
    model = ModelPackage.read(HERE).load()
    inputs = inputs_from_table(model, impressions)
    pipeline = fit(model, inputs)
    vectors = pipeline.vectors(inputs)
    recommender = Recommender.train(vectors, impressions["opened"].to_numpy(), impressions["favourite"].to_numpy())
    rows = np.random.default_rng(SEED).choice(len(inputs), GOLDEN_ROWS, replace=False)
    golden = inputs.take(rows)
    bundle = write_bundle(
        bundles,
        package=HERE,
        version=VERSION,
        pipeline=pipeline,
        onnx=recommender.graph(),
        golden=golden,
        expected=recommender.predict(pipeline.vectors(golden)),
        training_predictions=recommender.predict(vectors)["score"],
    )
    for old_bundle in find(bundles):
        if (old_bundle.name, old_bundle.version) == (bundle.name, VERSION) and old_bundle.digest != bundle.digest:
            shutil.rmtree(old_bundle.path)
    return bundle


def main() -> None:
    """Train, and say what was written."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundles", type=Path, nargs="?", default=BUNDLES, help="where the bundle goes")
    bundle = train(parser.parse_args().bundles)
    print(f"{bundle.version}: bundle {bundle.wire_name}")


if __name__ == "__main__":
    main()
