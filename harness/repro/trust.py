"""Whose code a claim is.

A claim is Python. What a bundle says is run only when it says what the test's file here says: every statement
stands in that file, every import comes from it or from the harness, every other name is a constant.
"""

from __future__ import annotations

import ast
from typing import Final

from harness.errors import UsageError
from harness.repro.bundle import Bundle
from harness.repro.claim import Binding, BindingKind, Claim
from harness.repro.rerun import find_test

__all__ = ["check_claim", "foreign"]

_CONSTANTS: Final = (
    ast.Expression,
    ast.Constant,
    ast.List,
    ast.Tuple,
    ast.Set,
    ast.Dict,
    ast.Name,
    ast.Attribute,
    ast.Load,
    ast.BinOp,
    ast.Div,
    ast.UnaryOp,
    ast.USub,
)


def check_claim(bundle: Bundle) -> None:
    """Raises `UsageError` when the bundle's assertion is not that of the test's file here."""
    claim = bundle.manifest.claim
    if claim is None or not claim.source:
        return
    test = find_test(bundle)
    if test is None:
        raise UsageError(
            f"{bundle.file} holds an assertion, which is Python, and the test it is from "
            f"({bundle.manifest.test.file}) is not here; --trust runs it all the same"
        )
    strange = foreign(claim, test.file.read_text(encoding="utf-8", errors="replace"))
    if strange:
        raise UsageError(
            f"{bundle.file} holds Python that is not in {test.file}: {strange}; --trust runs it all the same"
        )


def foreign(claim: Claim, source: str) -> str:
    """The first piece of a claim that `source`, the text of its test's file, doesn't account for."""
    try:
        tree = ast.parse(source)
        statements = ast.parse(claim.source).body
    except (SyntaxError, ValueError):
        return "it can't be parsed"
    known = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.stmt)}
    for statement in statements:
        if ast.unparse(statement) not in known:
            return ast.unparse(statement).split("\n")[0]
    named = _names(tree)
    for line in claim.imports:
        if not _accounted(line, named):
            return line
    for binding in claim.bindings.values():
        if strange := _strange(binding):
            return strange
    return ""


def _names(tree: ast.Module) -> set[str]:
    """What a module's text imports and defines at its top."""
    found: set[str] = set()
    for node in tree.body:
        match node:
            case ast.Import() | ast.ImportFrom():
                found |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                found.add(name)
            case ast.Assign() | ast.AnnAssign():
                found |= {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
            case _:
                pass
    return found


def _accounted(line: str, named: set[str]) -> bool:
    """Whether an import line gives nothing but names of the file, or of the harness's vocabulary."""
    try:
        (node,) = ast.parse(line).body
    except (SyntaxError, ValueError):
        return False
    match node:
        case ast.ImportFrom(module=module) if (module or "").startswith("harness.registry."):
            return True
        case ast.Import() | ast.ImportFrom():
            return all((alias.asname or alias.name) in named for alias in node.names)
        case _:
            return False


def _strange(binding: Binding) -> str:
    for leaf in binding.leaves():
        if leaf.kind is not BindingKind.CODE:
            continue
        try:
            nodes = list(ast.walk(ast.parse(leaf.code, mode="eval")))
        except (SyntaxError, ValueError):
            return leaf.code
        calls = [node for node in nodes if isinstance(node, ast.Call)]
        if any(not isinstance(node, _CONSTANTS) for node in nodes if node not in calls) or any(
            not (isinstance(call.func, ast.Name) and call.func.id in ("frozenset", "set")) for call in calls
        ):
            return leaf.code
    return ""
