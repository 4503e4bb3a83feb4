"""`tandem rollout report`."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
import zipfile
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from cli.tests.rollout.conftest import Tandem
from cli.tests.rollout.world import NOW, FakeTarget, manifest, record, spec
from hypothesis import given
from hypothesis import strategies as st

import tandem_cli
from tandem_cli.rollout.output.documents.report import ReportDocument
from tandem_cli.rollout.output.report import plots
from tandem_cli.rollout.output.report.markdown import render_markdown, text
from tandem_cli.rollout.output.report.page import render_page
from tandem_cli.rollout.output.report.series import RateSeries, build_metric_series, build_weight_series
from tandem_cli.rollout.report import build_report
from tandem_cli.rollout.snapshot import read_snapshot
from tandem_rollout.analysis import ratio
from tandem_rollout.analysis.record import MAX_SAMPLES, Note, Record, add_note

EVIL = "<script>alert(1)</script> | ![x](http://evil.example) `a` \n# no\n\"'&"


@pytest.fixture(autouse=True)
def ended(target: FakeTarget) -> None:
    resource = manifest(run={"state": "Aborted", "reason": "MetricsFailed", "message": "failed by errors"})
    target.manifests["est"] = resource
    evidence = record(resource, bad=3.0)
    target.records["est", 1] = add_note(evidence, Note(NOW, "Aborting", 10, "MetricsFailed", "failed by errors", "ann"))


class Tags(HTMLParser):
    """Tags and attributes of a page, and that each is closed."""

    VOID = frozenset({"meta"})

    def __init__(self, shown: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.said: list[str] = []
        self.feed(shown)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.said.append(data)


def test_markdown_says_what_a_change_ticket_needs(tandem: Tandem) -> None:
    result = tandem("report", "est")
    assert result.exit_code == 0
    for phrase in (
        "# Rollout est, run 1: Aborted",
        "| who | the controller |",
        "| why | failed by errors |",
        "| errors | 0.500% | 72,000 | 1.50% | 8,000 | ",
        "| fail |",
        "| 2027-01-15T08:00:00Z | Aborting | 10 % | ann | failed by errors |",
        "## Questions",
        'inferenceservice=~"est-main-1111|est-main-2222"',
        "envoy_cluster_upstream_rq_xx",
        "The last 40 of 40 samples",
        "| 2027-01-15T08:00:00Z | 10 % |",
        "## Steps",
    ):
        assert phrase in result.stdout, phrase


def test_html_is_one_file_that_loads_and_runs_nothing(tandem: Tandem, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    assert tandem("report", "est", "-o", str(file)).stdout == f"written: {file}\n"
    tags = Tags(file.read_text())
    assert tags.open == []
    names = {tag for tag, _ in tags.tags}
    assert names.isdisjoint({"script", "link", "img", "iframe", "object", "a", "image", "use"})
    attributes = {name for _, attrs in tags.tags for name in attrs}
    assert not {name for name in attributes if name.startswith("on") or name in ("href", "src", "xlink:href")}
    assert sum(tag == "svg" for tag, _ in tags.tags) == 1 + 2 + 2 + 1 + 2
    page_text = " ".join(tags.said)
    for phrase in ("Verdicts", "Decisions", "failed by errors", "Questions", "Samples", "SHA-256 of the evidence"):
        assert phrase in page_text


def test_every_plot_is_xml(target: FakeTarget) -> None:
    evidence = target.records["est", 1]
    now = read_snapshot(target.manifests["est"])
    shown = render_page(
        build_report(now, None, evidence, NOW),
        build_weight_series(evidence),
        build_metric_series(now.metrics, evidence),
    )
    drawings = re.findall("<svg.*?</svg>", shown, re.DOTALL)
    assert drawings
    for drawing in drawings:
        root = ET.fromstring(drawing)
        assert [element for element in root.iter() if element.tag.endswith(("polyline", "circle"))]
        for line in root.iter("{http://www.w3.org/2000/svg}polyline"):
            for point in line.attrib["points"].split():
                x, y = map(float, point.split(","))
                assert 0 <= x <= 760 and 0 <= y <= 200


@given(st.text())
def test_markdown_of_a_text_is_one_line_without_markup(message: str) -> None:
    shown = text(message)
    assert "\n" not in shown
    for sign in "|<>`[":
        assert shown.count(sign) == shown.count(f"\\{sign}")
    assert not shown.startswith(("#", "- ", "+ "))


@given(st.text(), st.text())
def test_whatever_was_written_into_a_message_is_text(words: str, by: str) -> None:
    resource = manifest(run={"state": "Aborted", "message": words + EVIL, "by": by + EVIL})
    evidence = add_note(
        record(resource, ticks=1), Note(NOW, "Aborted" + EVIL, 10, "MetricsFailed", words + EVIL, by + EVIL)
    )
    form = build_report(read_snapshot(resource), None, evidence, NOW)
    tags = Tags(render_page(form, build_weight_series(evidence), []))
    assert tags.open == []
    assert "script" not in {tag for tag, _ in tags.tags}
    shown = render_markdown(form, build_weight_series(evidence), [])
    rows = [line for line in shown.splitlines() if "evil" in line]
    assert rows and all(line.startswith("| ") for line in rows)
    assert "<script>" not in shown.replace("\\<", "")


@pytest.mark.parametrize(
    "name", ["", "n", 'x" onload="alert(1)', "</svg><script>", "</pre>", "<!--", "]]>", "{{ 7 * 7 }}"]
)
def test_every_text_of_a_page_is_text(target: FakeTarget, name: str) -> None:
    """Names, messages, versions, queries, labels of plots: whatever they hold, the page has the same elements."""
    evidence = target.records["est", 1]
    now = read_snapshot(target.manifests["est"])

    def tags_with(text: str) -> Tags:
        drawn = [replace(track, name=text) for track in build_metric_series(now.metrics, evidence)]
        return Tags(
            render_page(rewritten(build_report(now, None, evidence, NOW), text), build_weight_series(evidence), drawn)
        )

    elements = [tag for tag, _ in tags_with("harmless").tags]
    tags = tags_with(name + EVIL)
    assert tags.open == []
    assert [tag for tag, _ in tags.tags] == elements
    titles = [attrs["aria-label"] or "" for tag, attrs in tags.tags if tag == "svg"]
    assert sum(title.startswith(f"{name}{EVIL}: ") for title in titles) == len(titles) - 1
    assert {key for _, attrs in tags.tags for key in attrs if key.startswith("on")} == set()
    assert "".join(tags.said).count(name + EVIL) > 100


def rewritten(form: ReportDocument, text: str) -> ReportDocument:
    """A report in which every text is another."""

    def walk(key: str, value: Any) -> Any:
        if isinstance(value, dict):
            return {name: walk(name, entry) for name, entry in value.items()}
        if isinstance(value, list):
            return [walk(key, entry) for entry in value]
        return text if isinstance(value, str) and key not in ("kind", "type") else value

    return msgspec.convert(walk("", msgspec.to_builtins(form)), ReportDocument)


def test_the_templates_are_in_the_wheel(tmp_path: Path) -> None:
    package = Path(tandem_cli.__file__).parents[1]
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=package, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.rpartition("/")[2] for name in names if "/report/templates/" in name} == {"page.html", "plot.svg"}


def test_a_query_cannot_end_its_block(tandem: Tandem, target: FakeTarget) -> None:
    evil = 'label_join(a{s="$inferenceservice"},\n```\n# gotcha`)'
    target.manifests["est"]["spec"] = spec(analysis={"metrics": [{"type": "ratio", "requests": evil, "events": evil}]})
    shown = tandem("report", "est").stdout
    block = shown[shown.index("### ratio") :]
    assert "\n````text\n" in block and "\n````\n" in block


def test_json_and_yaml(tandem: Tandem, target: FakeTarget) -> None:
    document = json.loads(tandem("report", "est", "--format", "json").stdout)
    assert (document["apiVersion"], document["kind"], document["run"]["number"]) == (
        "cli.tandem-serving.io/v1",
        "RolloutReport",
        1,
    )
    assert document["verdict"] == "fail"
    assert document["samePlan"] is True
    assert document["evidence"] == hashlib.sha256(msgspec.json.encode(target.records["est", 1])).hexdigest()
    assert document["samples"][-1]["metrics"]["errors"] == {
        "canaryRequests": 200,
        "canaryEvents": 3,
        "stableRequests": 1800,
        "stableEvents": 9,
    }
    assert yaml.safe_load(tandem("report", "est", "--format", "yaml").stdout) == document


def test_the_end_of_the_name_says_how(tandem: Tandem, tmp_path: Path) -> None:
    for name, begins in (("r.md", "# Rollout"), ("r.HTM", "<!doctype"), ("r.json", "{"), ("r.txt", "# Rollout")):
        assert tandem("report", "est", "-o", str(tmp_path / name)).exit_code == 0
        assert (tmp_path / name).read_text().startswith(begins)
    assert tandem("report", "est", "--format", "html", "-o", str(tmp_path / "r.md")).exit_code == 0
    assert (tmp_path / "r.md").read_text().startswith("<!doctype")


@pytest.mark.parametrize("words", [("-o", "json"), ("-o", "/nowhere/r.md"), ("--format", "pdf"), ("0",)])
def test_command_lines_that_make_no_sense(tandem: Tandem, words: tuple[str, ...]) -> None:
    assert tandem("report", "est", *words).exit_code == 2


# runs


def test_a_run_of_the_history(tandem: Tandem, target: FakeTarget) -> None:
    past = {"number": 1, "outcome": "Promoted", "stable": "a", "canary": "est-main-2222", "version": "v2"}
    target.manifests["est"] = manifest(run={"number": 2}, status={"history": [past]})
    assert "# Rollout est, run 1: Promoted" in tandem("report", "est", "1").stdout
    shown = tandem("report", "est").stdout
    assert "# Rollout est, run 2: Analyzing" in shown
    assert "There is no evidence of this run" in shown


def test_a_run_that_never_was(tandem: Tandem, target: FakeTarget) -> None:
    result = tandem("report", "est", "9")
    assert (result.exit_code, result.stderr) == (1, "error: est has no run 9\nhint: choose one of 1\n")
    target.manifests["est"] = manifest()
    assert "hint: wait for the first run" in tandem("report", "est").stderr


def test_it_says_that_the_plan_is_another_now(tandem: Tandem, target: FakeTarget) -> None:
    assert "The spec has been changed since" not in tandem("report", "est").stdout
    target.manifests["est"]["spec"] = spec(strategy={"canary": {"steps": [{"weight": 7}]}})
    assert "The spec has been changed since" in tandem("report", "est").stdout


def test_series_where_the_pods_are_asked(tandem: Tandem, target: FakeTarget) -> None:
    target.manifests["est"]["spec"] = spec(analysis={"source": "pods"})
    shown = tandem("report", "est").stdout
    assert "\n```text\nenvoy_cluster_upstream_rq_xx\n```" in shown


# what is drawn


def errors_of(evidence: Record, resource: dict[str, object]) -> RateSeries:
    return next(
        series
        for series in build_metric_series(read_snapshot(resource).metrics, evidence)
        if isinstance(series, RateSeries)
    )


def test_the_last_point_is_what_the_verdict_says() -> None:
    resource = manifest(run={})
    evidence = record(resource, ticks=30, bad=1.4)
    drawn = errors_of(evidence, resource)
    judged = read_snapshot(resource).judge(evidence)
    assert judged is not None
    line = judged[0][0]
    assert drawn.canary[-1] == (NOW, line.canary)
    assert drawn.stable[-1] == (NOW, line.stable)
    assert drawn.ratio[-1][1] == line.ratio
    assert (drawn.low[-1][1], drawn.high[-1][1]) == (line.low, line.high)
    assert len(drawn.low) == 30


def test_samples_that_are_gone_still_count() -> None:
    resource = manifest(run={})
    whole = record(resource, ticks=MAX_SAMPLES + 100, requests=100)
    assert len(whole.samples) == MAX_SAMPLES
    drawn = errors_of(whole, resource)
    earlier = record(resource, ticks=101, requests=100).metrics["errors"]
    assert earlier.ratio is not None and earlier.likelihood is not None
    assert drawn.canary[0][1] == pytest.approx(earlier.ratio.canary_events / earlier.ratio.canary_requests)
    then = ratio.interval(earlier.likelihood)
    assert (drawn.low[0][1], drawn.high[0][1]) == (pytest.approx(then.low), pytest.approx(then.high))


def test_weights_as_set_and_as_counted() -> None:
    evidence = record(manifest(run={}), ticks=3, weight=25)
    drawn = build_weight_series(evidence)
    assert [value for _, value in drawn.set] == [0, 25, 25, 25, 25]
    assert [value for _, value in drawn.measured] == [25, 25, 25]


def test_the_weight_that_was_set_has_no_spike_where_a_decision_and_a_tick_fall_into_one_second() -> None:
    """Where the canary has its pods already, the next weight is set in the second in which scaling begins."""
    evidence = record(manifest(run={}), ticks=3, weight=25)
    evidence = add_note(add_note(evidence, Note(NOW, "Scaling", 25)), Note(NOW, "Analyzing", 50))
    drawn = [value for _, value in build_weight_series(evidence).set]
    assert drawn == sorted(drawn) == [0, 25, 25, 25, 25, 25, 50]


@given(st.floats(0, 1e9))
def test_the_top_of_an_axis_is_above_what_is_drawn(value: float) -> None:
    top = plots.nice(value)
    assert value <= top * (1 + 1e-6) and (value < 0.01 or top <= 10 * value)
