"""The page as text: what is in it, and what never may be."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from datetime import UTC, date, datetime
from html.parser import HTMLParser
from pathlib import Path

import pytest

from harness.probe.comparison import Comparison
from harness.report import render_report, write_report
from harness.report.commands import commands
from harness.report.failures import cut, failures_of, place_of
from harness.report.links import file_link, link_prefix, web_link
from harness.report.moments import lasted, when
from harness.results.folder import RunReader
from harness.results.known import Finding, KnownIssue, Standing
from harness.results.matrix import Matrix, kind_note
from harness.results.model import RunInfo
from harness.results.notes import note_thinned, write_findings
from harness.results.outcome import Outcome
from tests.report.runs import COMPARISON, HOSTILE, large_rows, row, small_run, write_run

RUN = RunInfo(name="r", started="2025-01-01T00:00:00+00:00")
#: Attributes that run, and elements that load or run; the page's own scripts and links aside.
_LOADS = {"img", "iframe", "object", "embed", "link", "base", "svg", "video", "audio"}


class Elements(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.handlers: list[str] = []
        self.links: list[str] = []
        self.texts: list[str] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self._in_script = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.handlers += [name for name, _ in attrs if name.startswith("on")]
        self.links += [value or "" for name, value in attrs if name in {"src", "href", "action"}]
        if tag == "script":
            self.scripts.append((dict(attrs), ""))
        self._in_script = tag == "script"

    def handle_endtag(self, tag: str) -> None:
        self._in_script = False

    def handle_data(self, data: str) -> None:
        if self._in_script:
            attributes, text = self.scripts[-1]
            self.scripts[-1] = attributes, text + data
        else:
            self.texts.append(data)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return small_run(tmp_path / "results" / "20250101-000000-000000-1")


@pytest.fixture
def page(run: Path) -> str:
    return render_report(run)


def test_nothing_a_guest_says_becomes_markup(page: str) -> None:
    found = Elements(page)
    assert not _LOADS & set(found.tags)
    assert found.handlers == []
    assert "window.pwned" in " ".join(found.texts), "the text itself is there to be read"
    kinds = [attributes.get("type", "") for attributes, _ in found.scripts]
    assert kinds == ["application/json", ""]
    assert "window.pwned" not in found.scripts[1][1]


def test_failures_that_are_added_later_are_escaped_too(tmp_path: Path) -> None:
    rows = [row(f"t.py::{n}{HOSTILE}", "reference:6.1", Outcome.FAIL, message=HOSTILE) for n in range(80)]
    found = Elements(render_report(write_run(tmp_path / "run", rows)))
    later = json.loads(found.scripts[0][1])["failures"]
    assert len(later) == 20
    for text in later.values():
        added = Elements(text)
        assert not (_LOADS | {"script"}) & set(added.tags)
        assert added.handlers == []


def test_only_the_scripts_of_the_page_may_run(page: str) -> None:
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    script = Elements(page).scripts[1][1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy[1]
    assert "default-src 'none'" in policy[1]


def test_links_lead_into_the_run_or_to_known_issues_only(page: str) -> None:
    links = [link for link in Elements(page).links if not link.startswith("#")]
    assert "evidence/b%20trace.txt" in links
    assert "bundles/b.zip" in links
    assert "https://example.com/7" in links
    for link in links:
        assert ".." not in link
        assert not link.startswith(("/", "javascript:"))
        assert link.startswith(("evidence/", "bundles/", "https://example.com/", "javascript%3A", "%3Cimg"))


def test_links_hold_where_the_page_lies_elsewhere(run: Path, tmp_path: Path) -> None:
    page = write_report(run, tmp_path / "out.html").read_text()
    assert f"results/{run.name}/evidence/b%20trace.txt" in Elements(page).links


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../x", "evidence/../../x", "a\0b"])
def test_names_that_leave_the_run_are_no_links(name: str) -> None:
    assert file_link(name) == ""


def test_names_that_stay_are_links_without_a_scheme() -> None:
    assert file_link("javascript:alert(1)") == "javascript%3Aalert%281%29"
    assert file_link("evidence/a b#?.txt", "../r/") == "../r/evidence/a%20b%23%3F.txt"
    assert link_prefix(Path("/a/results/r"), Path("/a/results/r/report.html")) == ""
    assert link_prefix(Path("/a/results/r"), Path("/a/report.html")) == "results/r/"


def test_only_addresses_of_the_web_are_links() -> None:
    assert web_link("https://example.com/1") == "https://example.com/1"
    for text in ("javascript:alert(1)", "file:///etc/passwd", "PROJ-12", "https://", "http://[", ""):
        assert web_link(text) == ""


def test_the_page_says_which_guests_are_no_windows(page: str) -> None:
    texts = " ".join(Elements(page).texts)
    for kind in ("reference", "stand-in"):
        assert kind_note(kind).split(":", 1)[1] in texts
    assert texts.count("MODEL") >= 3, "every column of a model says so"


def test_a_run_on_windows_alone_is_not_called_a_model(tmp_path: Path) -> None:
    page = render_report(write_run(tmp_path / "run", [row("t.py::a", "vm:win11", Outcome.PASS, "B-LAY-03")]))
    assert "Not Windows" not in page
    assert "MODEL" not in page


def test_the_last_attempt_counts_and_the_others_are_told(page: str) -> None:
    assert "INFRA: the host was full" in page
    assert re.search(r"<b>6</b> PASS", page)
    assert "<b>1</b> INFRA" not in page


def test_expected_and_seen_events_stand_side_by_side(page: str) -> None:
    table = page[
        page.index('<table class="events">') : page.index("</table>", page.index('<table class="events">'))
    ]
    assert "the trace has 2 events, expected 2" in table
    missing = table[table.index('<tr class="missing">') :]
    assert "PostDeleteKey" in missing[: missing.index("</tr>")]
    assert '<tr class="extra">' in table


def test_one_test_that_failed_alike_on_two_targets_is_told_once(run: Path) -> None:
    failures = failures_of(Matrix(RunReader(run)), run)
    both = next(failure for failure in failures if failure.test.endswith("test_b[x]"))
    assert both.columns == ("reference:6.1", "reference:10.0.26100")
    assert len(both.variants) == 1
    assert both.variants[0].comparison == COMPARISON


def test_failures_that_differ_in_more_than_numbers_are_told_apart(tmp_path: Path) -> None:
    rows = [
        row("t.py::a", "reference:6.1", Outcome.FAIL, message="assert 0x1234 == 7"),
        row("t.py::a", "reference:6.2", Outcome.FAIL, message="assert 0x99 == 8"),
        row("t.py::a", "reference:6.3", Outcome.FAIL, message="assert None"),
    ]
    (failure,) = failures_of(Matrix(rows), tmp_path)
    assert [len(variant.results) for variant in failure.variants] == [2, 1]


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"lines":[1],"expected":1,"seen":1}', "[" * 100_000, "\udcff"]
)
def test_a_broken_comparison_is_none(run: Path, text: str) -> None:
    (run / "evidence" / "b.events.json").write_text(text, encoding="utf-8", errors="surrogateescape")
    assert "test_b[x]" in render_report(run)


def test_a_comparison_survives_its_file() -> None:
    assert Comparison.from_text(COMPARISON.to_text()) == COMPARISON


def test_commands_can_be_pasted_into_a_shell(run: Path) -> None:
    reader = RunReader(run)
    failed = next(r for r in reader if r.outcome is Outcome.FAIL and r.bundle)
    first, *others = commands(failed, reader.info, Path("results/r 1"))
    assert first == (
        "harness run 'suites/layering/test_order.py::test_b[reference:10.0.26100-x]' -t reference:10.0.26100 "
        "'--driver=my driver.sys' --isolation test"
    )
    assert others == [
        "harness repro 'results/r 1/bundles/b.zip'",
        "harness shrink 'results/r 1/bundles/b.zip'",
    ]
    assert len(commands(replace(failed, bundle="../x.zip"), reader.info, run)) == 1


def test_commands_find_the_test_below_the_plans_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = write_run(tmp_path / "run", [row("suites/t.py::a", "reference:6.1", Outcome.FAIL)])
    (run / "plan.json").write_text(json.dumps({"plan": {"root": str(tmp_path / "work")}, "jobs": []}))
    (tmp_path / "work" / "suites").mkdir(parents=True)
    (tmp_path / "work" / "suites" / "t.py").touch()
    reader = RunReader(run)
    (failed,) = reader
    for here, name in ((tmp_path / "work", "suites/t.py"), (tmp_path, "work/suites/t.py")):
        monkeypatch.chdir(here)
        assert commands(failed, reader.info, run) == (f"harness run {name}::a -t reference:6.1",)
    monkeypatch.chdir(run)
    (line,) = commands(failed, reader.info, run)
    assert line.split()[2] == f"{tmp_path}/work/suites/t.py::a"


def test_commands_know_the_driver_of_the_job(tmp_path: Path) -> None:
    failed = row("t.py::a", "vm:win11", Outcome.FAIL, bundle="jobs/0001/bundles/a.zip", build="debug")
    folder = write_run(tmp_path / "run", [failed], arguments=("matrix", "run", "plan.toml"))
    write_run(folder / "jobs" / "0001", [], arguments=("--driver=a.sys", "--isolation=module", "--clones=1"))
    (first, *_) = commands(failed, RunReader(folder).info, folder)
    assert first == "harness run t.py::a -t vm:win11 --driver=a.sys"
    lost = replace(failed, bundle="jobs/0002/bundles/a.zip")
    assert commands(lost, RunReader(folder).info, folder)[0] == "harness run t.py::a -t vm:win11"


def test_the_place_of_a_failure_is_the_last_one_in_its_file() -> None:
    detail = "suites/t.py:10: \nother.py:99: in f\n/home/x/suites/t.py:41: AssertionError\nt.py says: 7"
    assert place_of(row("suites/t.py::a", "reference:6.1", Outcome.FAIL, detail=detail)) == (
        "suites/t.py",
        41,
    )
    assert place_of(row("suites/t.py::a", "reference:6.1", Outcome.FAIL)) == ("suites/t.py", 0)


def test_a_long_text_keeps_its_ends() -> None:
    text = cut("begin" + "x" * 100_000 + "end")
    assert text.startswith("begin")
    assert text.endswith("end")
    assert len(text) < 13_000
    assert "rows.jsonl" in text


def test_known_issues_are_linked(page: str) -> None:
    assert '<a href="https://example.com/7" rel="noreferrer">' in page
    assert "javascript:alert(1)</td>" in page, "another text than an address is shown, not linked"


def test_known_issues_that_need_care_are_told(run: Path) -> None:
    fixed = KnownIssue("https://example.com/8", behaviour="B-CTX-18", until=date(2026, 1, 1))
    write_findings(
        run, [Finding(fixed, Standing.FIXED), Finding(replace(fixed, link=HOSTILE), Standing.EXPIRED)]
    )
    shown = " ".join("".join(Elements(render_report(run)).texts).split())
    assert "2 known issues need care, 1 of them fixed" in shown
    assert "Fixed: B-CTX-18 on * (https://example.com/8) passed everywhere it should fail: remove it" in shown
    assert f"Expired: B-CTX-18 on * ({HOSTILE[:12]}" in shown


def test_files_that_are_not_there_are_no_links(run: Path) -> None:
    assert "evidence/b%20trace.txt" in Elements(render_report(run)).links
    note_thinned(run, ["evidence/b trace.txt"], datetime(2026, 1, 2, tzinfo=UTC))
    assert "evidence/b%20trace.txt" in Elements(render_report(run)).links, "it is there"
    (run / "evidence" / "b trace.txt").unlink()
    (run / "bundles" / "b.zip").unlink()
    page = Elements(render_report(run))
    assert "evidence/b%20trace.txt" not in page.links
    shown = " ".join("".join(page.texts).split())
    assert "evidence/b trace.txt (thinned out on 2026-01-02)" in shown
    assert "bundles/b.zip (not there)" in shown
    assert "harness repro" not in shown


def test_every_failure_says_that_its_guest_is_no_windows(page: str) -> None:
    shown = " ".join("".join(Elements(page).texts).split())
    assert "test_b[x] on 2 targets, not Windows" in shown
    assert "reference 6.1 x64, not Windows" in shown


def test_a_model_that_was_never_booted_is_still_one(tmp_path: Path) -> None:
    failed = replace(row("t.py::a", "reference:6.1", Outcome.INFRA), attestation=None)
    shown = " ".join("".join(Elements(render_report(write_run(tmp_path / "run", [failed]))).texts).split())
    assert "t.py::a on reference:6.1, not Windows" in shown
    assert "none, not Windows" in shown
    assert kind_note("reference")[1:] in shown


def test_each_build_has_a_column_of_its_own(tmp_path: Path) -> None:
    rows = [row("t.py::a", "vm:win11", Outcome.PASS, "B-LAY-03", build=build) for build in ("old", "new")]
    page = render_report(write_run(tmp_path / "run", rows))
    assert "vm:win11 + old" in page
    assert "vm:win11 + new" in page


def test_a_run_without_rows_has_a_page(tmp_path: Path) -> None:
    page = render_report(write_run(tmp_path / "run", ()))
    assert "Nothing ran" in page
    assert "No test ran on a target" in page


def test_a_run_that_goes_on_is_said_to(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", [row("t.py::a", "reference:6.1", Outcome.PASS)])
    info = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**info, "finished": "", "exit_code": None}))
    assert "Not finished" in render_report(folder)


def test_twenty_thousand_rows_stay_small(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", large_rows(25, 800))
    page = write_report(folder)
    assert sum(1 for _ in RunReader(folder)) == 20_000
    assert page.stat().st_size < 4_000_000


def test_times_are_told_as_people_do() -> None:
    assert when("2025-01-31T02:15:00+02:00") == "2025-01-31 00:15:00 UTC"
    assert when(HOSTILE) == HOSTILE
    assert lasted("2025-01-01T00:00:00+00:00", "2025-01-01T02:05:00+00:00") == "2 h 05 min"
    assert lasted("2025-01-01T00:00:00+00:00", "2025-01-01T00:03:20+00:00") == "3 min 20 s"
    assert lasted("2025-01-01T00:00:00+00:00", "soon") == ""
