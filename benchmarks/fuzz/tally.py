"""What a run has counted so far, and the file that it goes on from."""

from __future__ import annotations

from pathlib import Path

import msgspec

EXAMPLES = 3
_LONGEST = 32_768


class Finding(msgspec.Struct):
    """One thing that must not be.

    Attributes:
        kind: ``death``, ``undocumented`` or ``hang``.
        server: ``transformer`` or ``predictor``.
        what: The same for the same fault.
        count: How often.
        cases: Some of them: ``SURFACE:NUMBER``, and in hexadecimal what was sent.
    """

    kind: str
    server: str
    what: str
    count: int = 0
    cases: list[tuple[str, str]] = []


class Tally(msgspec.Struct):
    """The counts of a run, which may be resumed.

    Attributes:
        seed: Of all cases.
        following: By surface, the number of the next case.
        requests: Cases that were sent, with what came of them known.
        deaths: Servers or listeners of them that ended.
        undocumented: Answers that no documentation has.
        hangs: Requests without answer or end of the connection.
        rss_growth_mb: By server, the greatest growth at rest of any part of the run.
        answers: By server and surface, how often which answer.
        findings: What is wrong.
        seconds: Of fuzzing.
    """

    seed: int
    following: dict[str, int] = {}
    requests: int = 0
    deaths: int = 0
    undocumented: int = 0
    hangs: int = 0
    rss_growth_mb: dict[str, float] = {}
    answers: dict[str, dict[str, int]] = {}
    findings: list[Finding] = []
    seconds: float = 0.0

    def answered(self, surface: str, answer: str) -> None:
        """Count a case with its answer."""
        self.requests += 1
        counts = self.answers.setdefault(surface, {})
        counts[answer] = counts.get(answer, 0) + 1

    def report(self, kind: str, server: str, fault: str, cases: list[tuple[str, bytes]]) -> None:
        """Count something that must not be, and keep the first few cases of it."""
        if kind == "death":
            self.deaths += 1
        elif kind == "hang":
            self.hangs += 1
        else:
            self.undocumented += 1
        for entry in self.findings:
            if (entry.kind, entry.server, entry.what) == (kind, server, fault):
                finding = entry
                break
        else:
            finding = Finding(kind, server, fault)
            self.findings.append(finding)
        finding.count += 1
        if len(finding.cases) < EXAMPLES or (kind == "death" and finding.count <= EXAMPLES):
            finding.cases += [(case, sent[:_LONGEST].hex()) for case, sent in cases]

    @property
    def passed(self) -> bool:
        """Whether the bar is kept, but for the number of requests and memory."""
        return not (self.deaths or self.undocumented or self.hangs)

    def line(self) -> str:
        """The last line of a run."""
        growth = max(self.rss_growth_mb.values(), default=0.0)
        return (
            f"fuzz: requests={self.requests} deaths={self.deaths} undocumented={self.undocumented} "
            f"hangs={self.hangs} rss_growth_mb={growth:.1f}"
        )

    def save(self, path: Path) -> None:
        """Write the file from which :func:`resume` goes on."""
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_suffix(".new")
        scratch.write_bytes(msgspec.json.format(msgspec.json.encode(self)))
        scratch.replace(path)


def resume(path: Path, seed: int) -> Tally:
    """The run that was broken off, or a new one where there is none with this seed."""
    if path.exists():
        tally = msgspec.json.decode(path.read_bytes(), type=Tally)
        if tally.seed == seed:
            return tally
    return Tally(seed)
