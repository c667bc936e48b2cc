"""What GitHub Actions shows of a run: annotations at the lines that failed, the matrix as a step's summary.

Source: docs.github.com, "Workflow commands for GitHub Actions": commands are lines on standard output, texts
in them are escaped as @actions/core does it; a summary is Markdown of at most 1 MiB, in the file that
GITHUB_STEP_SUMMARY names; of one step ten errors, ten warnings and ten notices are
shown. A title has no bound of GitHub's; here all texts do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from harness.report.failures import Failure, failures_of, place_of
from harness.results.folder import RunReader
from harness.results.known import Finding
from harness.results.matrix import Cell, Matrix, is_real, kind_note
from harness.results.model import RunInfo
from harness.results.notes import read_findings
from harness.results.outcome import Outcome

__all__ = ["annotate", "announce", "markdown", "step_summary"]

#: Errors, and warnings, that GitHub shows of one step.
_SHOWN: Final = 10
#: Failures listed in a summary, and characters of each.
_LISTED: Final = 50
_LONGEST: Final = 300
#: Characters of an annotation's title, and of a failure's message in one.
_TITLE: Final = 150
_MESSAGE: Final = 2000
_SUMMARY_LIMIT: Final = 1024 * 1024
_SIGNS: Final = {
    Outcome.PASS: "✅",
    Outcome.FAIL: "❌",
    Outcome.CRASH: "💥",
    Outcome.HANG: "⏳",
    Outcome.INFRA: "🔧",
    Outcome.KNOWN: "🟡",
    Outcome.SKIP: "➖",
}


def announce(
    run_folder: Path, environment: Mapping[str, str], write: Callable[[str], object], *, root: Path
) -> None:
    """Tell GitHub Actions of a run, where it is the one that runs this; nothing happens elsewhere.

    `write` takes a line for standard output. Names of tests are relative to `root`. A job of a matrix run is
    passed over: the run as a whole is told of when it ends.
    """
    if environment.get("GITHUB_ACTIONS") != "true" or _is_job(run_folder):
        return
    reader = RunReader(run_folder)
    matrix = Matrix(reader)
    failures = failures_of(matrix, run_folder)
    workspace = Path(environment.get("GITHUB_WORKSPACE") or root)
    findings = read_findings(run_folder)
    for line in (*annotate(failures, root=root, workspace=workspace), *_notices(findings)):
        write(line)
    if summary := environment.get("GITHUB_STEP_SUMMARY"):
        text = step_summary(matrix, reader.info, failures, findings)
        with Path(summary).open("a", encoding="utf-8", errors="replace") as file:
            file.write(text)


def _is_job(run_folder: Path) -> bool:
    """Whether it is the folder of one job within a matrix run's."""
    jobs = run_folder.absolute().parent
    return jobs.name == "jobs" and (jobs.parent / "plan.json").is_file()


def annotate(failures: Sequence[Failure], *, root: Path, workspace: Path) -> list[str]:
    """One command a failure, as many as are shown. INFRA is a warning: it says nothing about the driver."""
    errors = [failure for failure in failures if failure.outcome is not Outcome.INFRA]
    warnings = [failure for failure in failures if failure.outcome is Outcome.INFRA]
    lines = [_command("error", failure, root, workspace) for failure in errors[:_SHOWN]]
    lines += [_command("warning", failure, root, workspace) for failure in warnings[:_SHOWN]]
    return lines


def _notices(findings: Sequence[Finding]) -> list[str]:
    """Known issues that need care, as notices: they fail nothing."""
    return [
        f"::notice title={_property(f'Known issue: {each.standing}')}::{_data(_short(str(each)))}"
        for each in findings[:_SHOWN]
    ]


def step_summary(
    matrix: Matrix, run: RunInfo, failures: Sequence[Failure], findings: Sequence[Finding] = ()
) -> str:
    """The run as Markdown: what the guests were, target × topic, the failures, what known issues need."""
    bad = sum(count for outcome, count in matrix.counts.items() if outcome.is_bad)
    counts = sorted(matrix.counts.items(), key=lambda item: item[0].gravity)
    lines = [
        f"## Registry filter run {markdown(run.name)}: {f'{bad} failed' if bad else 'no failures'}",
        "",
        ", ".join(f"{_SIGNS[outcome]} {count} {outcome}" for outcome, count in counts) or "Nothing ran.",
        "",
    ]
    lines += [f"> **Not Windows.** {markdown(kind_note(k))}\n" for k in matrix.kinds if not is_real(k)]
    if matrix.targets:
        lines += ["", *_table(matrix)]
    if failures:
        lines += ["", "### Failures", ""]
        lines += [_item(failure) for failure in failures[:_LISTED]]
    if len(failures) > _LISTED:
        lines.append(f"- ... and {len(failures) - _LISTED} more; the HTML report has them all")
    if findings:
        lines += ["", "### Known issues that need care", ""]
        lines += [f"- {markdown(str(each))}" for each in findings[:_LISTED]]
    text = "\n".join(lines) + "\n\n"
    if len(text.encode("utf-8", "replace")) <= _SUMMARY_LIMIT:
        return text
    return "\n".join([*lines[:3], "", "The matrix is too large for a summary; see the HTML report.", ""])


def markdown(text: str) -> str:
    """Text of a guest as one line of Markdown: no character in it means anything."""
    line = " ".join(text.split())
    if len(line) > _LONGEST:
        line = f"{line[:_LONGEST]} ..."
    return "".join(c if c.isalnum() or c in " -/,()=" else f"&#{ord(c)};" for c in line)


def _command(level: str, failure: Failure, root: Path, workspace: Path) -> str:
    result = failure.variants[0].first
    name, line = place_of(result)
    properties = {
        "title": _short(
            " ".join([failure.outcome, *failure.behaviours[:3], failure.test.rpartition("::")[2]]), _TITLE
        )
    }
    file = (root / name).absolute()
    if line and file.is_relative_to(workspace.absolute()):
        place = file.relative_to(workspace.absolute()).as_posix()
        properties = {"file": place, "line": str(line), **properties}
    columns = _short(", ".join(filter(None, failure.columns)))
    message = _short(failure.message, _MESSAGE)
    if columns:
        message = f"{message}\n{_short(failure.test)}\non {columns}"
    joined = ",".join(f"{key}={_property(value)}" for key, value in properties.items())
    return f"::{level} {joined}::{_data(message)}"


def _short(text: str, most: int = _LONGEST) -> str:
    return text if len(text) <= most else f"{text[: most - 4]} ..."


def _data(text: str) -> str:
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def _table(matrix: Matrix) -> list[str]:
    topics = matrix.topics
    heads = ["target", "kind", *map(markdown, topics)]
    lines = [f"| {' | '.join(heads)} |", f"| {' | '.join(['---'] * 2 + [':-:'] * len(topics))} |"]
    for column in matrix.targets:
        cells = [_cell(matrix.topic_cell(topic, column.name)) for topic in topics]
        lines.append(f"| {' | '.join([markdown(column.name), markdown(column.kind), *cells])} |")
    return lines


def _cell(cell: Cell) -> str:
    outcome = cell.outcome
    if outcome is None:
        return ""
    return f"{_SIGNS[outcome]} {cell.passed}/{cell.ran}" if outcome.is_bad else _SIGNS[outcome]


def _item(failure: Failure) -> str:
    columns = list(filter(None, failure.columns))
    where = f" on {markdown(', '.join(columns))}" if columns else ""
    return f"- {_SIGNS[failure.outcome]} **{markdown(failure.test)}**{where}: {markdown(failure.message)}"
