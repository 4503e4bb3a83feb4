"""Twelve numbers that come with the row go into the model as they are: what a table with joined features is."""

from tandem import Field, Model, Prediction

FEATURES = tuple(f"x{number}" for number in range(12))

model = Model(
    "signals",
    serving_keys={"entity_id": "string"},
    passed_features={name: Field("float32", ge=-100, le=100) for name in FEATURES},
    request_parameters={"ts": "timestamp"},
    as_of="ts",
    inputs=list(FEATURES),
    prediction=Prediction("y", "float32"),
)
