"""Reading Prometheus' text format."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem_rollout.sources.exposition import ExpositionError, parse

from .servers import exposition

ENVOY = """\
# TYPE envoy_cluster_upstream_rq_xx counter
envoy_cluster_upstream_rq_xx{envoy_response_code_class="2",envoy_cluster_name="httproute/ns/est/rule/0/backend/1"} 41
envoy_cluster_upstream_rq_xx{envoy_response_code_class="5",envoy_cluster_name="httproute/ns/est/rule/0/backend/1"} 2
# TYPE envoy_cluster_v1_rule_0_backend_0_upstream_rq_xx counter
envoy_cluster_v1_rule_0_backend_0_upstream_rq_xx{envoy_response_code_class="2",envoy_cluster_name="httproute/ns/est"} 7
# TYPE envoy_cluster_upstream_rq_time histogram
envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name="xds_cluster",le="0.5"} 0

"""

FRAGMENTS = [
    "tandem",
    "tandem{",
    "le",
    'a="b"',
    '"} 1',
    "{",
    "}",
    '"',
    "=",
    ",",
    "\\",
    " ",
    "\n",
    "\r",
    "#",
    "1e9",
    "NaN",
    "é",
]

# those that begin with two underscores are reserved
names = st.from_regex(r"[a-zA-Z][a-zA-Z0-9_]{0,8}", fullmatch=True)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
values = st.floats(allow_nan=False) | st.integers(0, 2**60).map(float)
series = st.tuples(
    st.builds(lambda name, labels: {**labels, "__name__": f"tandem_{name}"}, names, st.dictionaries(names, texts)),
    values,
)


@given(st.lists(series, max_size=6, unique_by=lambda item: str(sorted(item[0].items()))))
def test_what_was_written_is_read(samples: list[tuple[dict[str, str], float]]) -> None:
    sample_names = {labels["__name__"] for labels, _ in samples}
    results = parse(exposition(samples), sample_names)
    assert sorted(
        (str(sorted({**sample.labels, "__name__": sample.name}.items())), sample.value) for sample in results
    ) == sorted((str(sorted(labels.items())), value) for labels, value in samples)


@given(st.text() | st.text().map(lambda rest: f"tandem_requests_total{rest}") | st.text('tandem{}=",\\ \n1#e+.'))
def test_any_other_text_is_refused_in_words(text: str) -> None:
    try:
        results = parse(text, {"tandem", "le"})
    except ExpositionError as error:
        assert len(str(error).splitlines()) == 1
        assert len(str(error)) < 200
    else:
        assert all(sample.name in ("tandem", "le") for sample in results)


def test_envoys_statistics() -> None:
    results = parse(ENVOY, {"envoy_cluster_upstream_rq_xx"})
    assert {
        (sample.labels["envoy_cluster_name"], sample.labels["envoy_response_code_class"]): sample.value
        for sample in results
    } == {
        ("httproute/ns/est/rule/0/backend/1", "2"): 41.0,
        ("httproute/ns/est/rule/0/backend/1", "5"): 2.0,
    }


def test_numbers_that_are_none_are_read_as_they_are() -> None:
    nan, infinite = parse("a NaN\nb +Inf\n", {"a", "b"})
    assert math.isnan(nan.value) and infinite.value == math.inf


def test_the_last_line_needs_no_end() -> None:
    (sample,) = parse('a{code="200"} 3', {"a"})
    assert (sample.labels, sample.value) == ({"code": "200"}, 3.0)


@pytest.mark.parametrize(
    "text",
    [
        "<html><body>502 Bad Gateway</body></html>",
        '{"status": "success"}',
        "tandem_requests_total many",
        'tandem_requests_total{code="200} 1',
        'tandem_requests_total{code="1",code="2"} 1',
        'other 1\ntandem_requests_total{code="200"',
    ],
)
def test_what_is_not_in_the_format_is_refused(text: str) -> None:
    with pytest.raises(ExpositionError):
        parse(text, {"tandem_requests_total"})
