"""One self-contained HTML page of a run. Everything a guest or a test wrote is escaped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from harness.catalogue import Catalogue
from harness.errors import InfrastructureError
from harness.results.matrix import Matrix, kind_note, machine_facts
from harness.results.model import RunInfo
from harness.results.outcome import Outcome

__all__ = ["render_html"]


def render_html(matrix: Matrix, run: RunInfo) -> str:
    """The page: summary, kinds of guest, matrix, failures, recorded behaviour, attestations."""
    environment = Environment(
        loader=PackageLoader("harness.results"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    context: Mapping[str, Any] = {
        "matrix": matrix,
        "run": run,
        "counts": sorted(matrix.counts.items(), key=lambda item: item[0].gravity),
        "bad": sum(count for outcome, count in matrix.counts.items() if outcome.is_bad),
        "kinds": [(kind, kind_note(kind)) for kind in matrix.kinds],
        "statements": _statements(),
        "attestations": _attestations(matrix),
        "Outcome": Outcome,
    }
    page = environment.get_template("report.html.j2").render(context)
    return page.encode("utf-8", "replace").decode("utf-8")  # lone surrogates of a guest's names


def _statements() -> dict[str, str]:
    try:
        return {behaviour.id: behaviour.statement for behaviour in Catalogue.load()}
    except InfrastructureError:
        return {}  # the page is still worth having; ids stand alone


def _attestations(matrix: Matrix) -> list[dict[str, Any]]:
    """One line a target: what its guest was and which driver images were loaded there."""
    lines: dict[str, dict[str, Any]] = {}
    for result in matrix.results:
        seen = result.attestation
        if seen is None:
            continue
        line = lines.setdefault(
            result.target,
            {
                "target": seen.target,
                "kind": seen.kind,
                "version": seen.version,
                "arch": seen.arch,
                "test_signing": seen.test_signing,
                "facts": machine_facts(seen),
                "drivers": {},
            },
        )
        line["drivers"].update(dict.fromkeys(seen.drivers.items()))
    return [lines[target.name] for target in matrix.targets if target.name in lines]
