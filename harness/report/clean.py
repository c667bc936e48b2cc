"""Names as a page can hold them, so that the same name is the same text in its markup and in its data."""

from __future__ import annotations

from dataclasses import replace

from harness.results.model import RunResult

__all__ = ["clean_names", "clean_text"]


def clean_text(text: str) -> str:
    """`text` with U+FFFD for what HTML drops or changes: control characters and lone surrogates."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else "\ufffd" for c in text)


def clean_names(result: RunResult) -> RunResult:
    """The row with names that can be shown; texts and names of files stay as they are."""
    names = (result.test, result.target, result.build, *result.behaviours)
    if all(name.isprintable() for name in names):
        return result
    return replace(
        result,
        test=clean_text(result.test),
        target=clean_text(result.target),
        build=clean_text(result.build),
        behaviours=tuple(map(clean_text, result.behaviours)),
    )
