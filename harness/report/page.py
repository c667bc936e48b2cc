"""A run as one HTML page that needs nothing else: styles, scripts and data are in it.

The page is complete without scripts; they fold, filter, compare and open cells. Its content security policy
allows the one script that is in it and nothing from anywhere, so that a text that slipped through unescaped
couldn't run either.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from harness.report.clean import clean_names
from harness.report.commands import commands
from harness.report.coverage import callback_coverage
from harness.report.data import page_data, script_json
from harness.report.facts import guests_of, known_issues_of, observations_of, superseded
from harness.report.failures import Failure, cut, failures_of
from harness.report.links import absence, file_link, web_link
from harness.report.marks import CODES, Marks
from harness.report.moments import lasted, when
from harness.report.past import Past
from harness.report.view import statements, topics_of
from harness.results.known import Finding
from harness.results.matrix import Matrix, column_of, is_real, kind_note
from harness.results.model import RunInfo, RunResult
from harness.results.outcome import Outcome

__all__ = ["Source", "render_page"]

#: Failures written into the page; the others are added when they are asked for.
_FAILURES_AT_ONCE: Final = 60
#: Characters of failures in a page; of what is beyond that only the first line is kept.
_MAX_FAILURES: Final = 12 * 1024 * 1024
#: Lines of the other tables.
_MAX_LINES: Final = 500

_STYLES: Final = ("base.css", "matrix.css", "failures.css", "print.css")
_SCRIPTS: Final = ("data.js", "theme.js", "matrix.js", "cell.js", "filter.js", "compare.js", "more.js")


@dataclass(frozen=True, slots=True)
class Source:
    """A run to make a page of. `folder` holds its files, `prefix` leads from the page to them."""

    run: RunInfo
    results: tuple[RunResult, ...]
    folder: Path
    prefix: str = ""
    past: Past = field(default_factory=Past)
    #: Known issues that need care.
    findings: tuple[Finding, ...] = ()
    #: Files that retention removed, with the day.
    thinned: Mapping[str, str] = field(default_factory=dict)


def render_page(source: Source) -> str:
    """The page. Everything a guest, a test or a file said is escaped."""
    results = tuple(map(clean_names, source.results))
    matrix = Matrix(results)
    failures = failures_of(matrix, source.folder)
    marks = Marks()
    topics = topics_of(matrix, source.past, failures, marks)
    environment = _environment(source, matrix)
    at_once, later = _failures(environment.get_template("failure.html.j2"), failures)
    anchors = {
        (result.test, column_of(result.target, result.build)): failure.anchor
        for failure in failures
        for result in failure.results
    }
    data = page_data(matrix, source.past, marks.courses, anchors)
    script = _assets(_SCRIPTS)
    text = environment.get_template("report.html.j2").render(
        run=source.run,
        matrix=matrix,
        topics=topics,
        past=source.past,
        counts=sorted(matrix.counts.items(), key=lambda item: item[0].gravity),
        bad=sum(count for outcome, count in matrix.counts.items() if outcome.is_bad),
        kinds=[(kind, is_real(kind), kind_note(kind)) for kind in matrix.kinds],
        failures=failures,
        failures_at_once=at_once,
        coverage=callback_coverage(matrix),
        guests=guests_of(matrix),
        observations=observations_of(matrix),
        known=known_issues_of(matrix),
        findings=source.findings,
        retried=superseded(results, matrix),
        max_lines=_MAX_LINES,
        style=Markup(_assets(_STYLES) + marks.styles),
        script=Markup(script),
        script_digest=base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii"),
        data=Markup(script_json({**data, "failures": later})),
    )
    return text.encode("utf-8", "replace").decode("utf-8")  # lone surrogates of a guest's names


def _environment(source: Source, matrix: Matrix) -> Environment:
    environment = Environment(
        loader=PackageLoader("harness.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    shown_folder = _short(source.folder)

    kinds = {column.name: column.kind for column in matrix.targets}
    unreal = {kind for kind in matrix.kinds if not is_real(kind)}

    def absent(name: str) -> str:
        return absence(name, source.folder, source.thinned)

    environment.globals.update(
        statements=statements(),
        codes=CODES,
        Outcome=Outcome,
        column_of=column_of,
        kind_note=kind_note,
        cut=cut,
        when=when,
        lasted=lasted,
        link=lambda name: file_link(name, source.prefix),
        absence=absent,
        unreal=lambda result: kinds.get(column_of(result.target, result.build), "") in unreal,
        web_link=web_link,
        commands=lambda result: commands(result, source.run, shown_folder, bundle=not absent(result.bundle)),
    )
    return environment


def _short(folder: Path) -> Path:
    """As one would type it where the page is made."""
    here = Path.cwd()
    folder = folder.absolute()
    return folder.relative_to(here) if folder.is_relative_to(here) else folder


def _failures(template: Template, failures: Sequence[Failure]) -> tuple[list[Markup], dict[str, Any]]:
    """The first ones for the page itself, the others as texts by anchor, escaped just the same."""
    at_once: list[Markup] = []
    later: dict[str, str] = {}
    room = _MAX_FAILURES
    for number, failure in enumerate(failures):
        text = template.render(failure=failure, opened=number < 3, whole=room > 0)
        room -= len(text)
        if number < _FAILURES_AT_ONCE:
            at_once.append(Markup(text))
        else:
            later[failure.anchor] = text
    return at_once, later


def _assets(names: Sequence[str]) -> str:
    folder = files("harness.report").joinpath("assets")
    return "\n".join(folder.joinpath(name).read_text(encoding="utf-8") for name in names)
