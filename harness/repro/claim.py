"""The assertion that failed, in a form that can be asked again of another run.

A claim is the source of the statement that failed, with the assignments it rests on, and what its free
names stood for: steps of recorded programs, filters, kernel calls, fixtures, constants. Evaluated with the
steps and filters of a replay under these names, it says whether the replay fails too, and how.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import inspect
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from types import FrameType
from typing import Any, Final

from harness.repro.literal import Imports, NotPlainError, code_of

__all__ = ["Binding", "BindingKind", "Claim", "Expectation", "NoClaimError", "claim_of"]

#: Longest claim kept, in characters.
_MAX_SOURCE: Final = 16 * 1024
_FIXTURES: Final = frozenset({"guest", "probe", "registry", "target"})


class NoClaimError(Exception):
    """The failure can't be put as a claim; the text says why."""


class BindingKind(StrEnum):
    """What a name of a claim stands for."""

    STEP = "step"  # an operation of a recorded program
    FILTER = "filter"  # a filter, by the call that added it
    KERNEL_CALL = "kernel-call"  # the result of a call of the probe's own
    BETWEEN = "between"  # a driver between two filters
    FIXTURE = "fixture"  # guest, probe, registry or target
    CODE = "code"  # an expression that needs nothing but imports
    LIST = "list"
    TUPLE = "tuple"
    DICT = "dict"


@dataclass(frozen=True, slots=True)
class Binding:
    """A name's meaning. `call` and `operation` are places in the journal, `items` parts of a container."""

    kind: BindingKind
    call: int = -1
    operation: int = -1
    code: str = ""
    items: tuple[Binding, ...] = ()
    keys: tuple[str, ...] = ()
    service: str = ""

    def leaves(self) -> Iterator[Binding]:
        """This binding, or those inside it."""
        if self.kind in (BindingKind.LIST, BindingKind.TUPLE, BindingKind.DICT, BindingKind.BETWEEN):
            for item in self.items:
                yield from item.leaves()
        else:
            yield self


@dataclass(frozen=True, slots=True)
class Expectation:
    """A status an operation was expected to return (`expect=`); no statuses: any success."""

    call: int
    operation: int
    statuses: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Claim:
    """`source` raises an AssertionError when the claim does not hold; its last statement is what failed.

    Instead of a source, `expectations` are statuses that a program itself was told to expect.
    """

    source: str = ""
    bindings: Mapping[str, Binding] = field(default_factory=dict)
    #: Import lines.
    imports: tuple[str, ...] = ()
    expectations: tuple[Expectation, ...] = ()

    def leaves(self) -> Iterator[Binding]:
        """Every binding that is no container."""
        for binding in self.bindings.values():
            yield from binding.leaves()


#: Finds the binding of a live object: a step, a filter, a result; None for anything else.
Locate = Callable[[object], Binding | None]


def claim_of(frame: FrameType, line: int, locate: Locate, *, root: Any = None) -> Claim:
    """The claim of the statement at `line` of a test function's frame. Raises `NoClaimError`."""
    function, source, first = _function(frame)
    chain = _enclosing(function, line - first + 1)
    if not chain:
        raise NoClaimError("the failing statement was not found in the test's source")
    trouble = ""
    for statement in reversed(chain):  # the innermost first
        try:
            return _Slice(frame, function, source, locate, root).claim(statement)
        except NoClaimError as error:
            trouble = trouble or str(error)
    raise NoClaimError(trouble)


def _function(frame: FrameType) -> tuple[ast.FunctionDef, list[str], int]:
    """The function's syntax tree, its lines, and the file's line that is its first."""
    try:
        lines, first = inspect.getsourcelines(frame.f_code)
        text = textwrap.dedent("".join(lines))
        tree = ast.parse(text)
    except (OSError, TypeError, SyntaxError, IndentationError) as error:
        raise NoClaimError(f"the test's source can't be read: {error}") from None
    node = tree.body[0] if tree.body else None
    if not isinstance(node, ast.FunctionDef):
        raise NoClaimError("the test is no plain function")
    return node, text.split("\n"), max(first, 1)


def _enclosing(function: ast.FunctionDef, line: int) -> list[ast.stmt]:
    """The statements that contain `line`, from the outermost in."""
    chain: list[ast.stmt] = []
    body: Iterable[ast.stmt] = function.body
    while True:
        found = next((s for s in body if s.lineno <= line <= (s.end_lineno or s.lineno)), None)
        if found is None:
            return chain
        chain.append(found)
        body = [child for child in ast.iter_child_nodes(found) if isinstance(child, ast.stmt)]


class _Slice:
    """What one statement of a test rests on, followed back through the assignments before it."""

    def __init__(
        self, frame: FrameType, function: ast.FunctionDef, source: list[str], locate: Locate, root: Any
    ) -> None:
        self._frame = frame
        self._source = source
        self._function = function
        self._locate = locate
        self._root = root
        self._imports = Imports()
        self._lines: set[str] = set()
        self._bindings: dict[str, Binding] = {}
        self._statements: list[ast.stmt] = []
        self._done: set[str] = set()

    def claim(self, statement: ast.stmt) -> Claim:
        if not any(isinstance(node, ast.Assert | ast.Call) for node in ast.walk(statement)):
            raise NoClaimError("the failing statement asserts nothing")
        self._need(statement, before=statement.lineno)
        if not any(_is_live(leaf) for binding in self._bindings.values() for leaf in binding.leaves()):
            raise NoClaimError("the assertion is not about what the guest did")
        ordered = sorted(self._statements, key=lambda each: each.lineno)
        source = "\n".join(map(self._text, [*ordered, statement]))
        if len(source) > _MAX_SOURCE:
            raise NoClaimError("the assertion rests on too much source")
        lines = {*self._lines, *self._imports.lines()}
        return Claim(source, dict(sorted(self._bindings.items())), tuple(sorted(lines)))

    def _text(self, node: ast.stmt) -> str:
        """A statement as it is written, where that is all its lines hold."""
        plain = ast.unparse(node)
        written = textwrap.dedent("\n".join(self._source[node.lineno - 1 : node.end_lineno]))
        with suppress(SyntaxError):
            if ast.unparse(ast.parse(written)) == plain:
                return written
        return plain

    def _need(self, node: ast.AST, *, before: int) -> None:
        bound_inside = _stored_names(node) | _parameters(node)
        for name in ast.walk(node):
            if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Load):
                if name.id in bound_inside and not self._is_outer(name.id, node):
                    continue
                self._resolve(name.id, before)

    def _is_outer(self, name: str, node: ast.AST) -> bool:
        """Whether a statement that assigns `name` also needs its former value (``x = x[1:]``)."""
        if not isinstance(node, ast.Assign | ast.AugAssign):
            return False
        value = node.value
        loads = {each.id for each in ast.walk(value) if isinstance(each, ast.Name)}
        return name in loads - _stored_names(value)

    def _resolve(self, name: str, before: int) -> None:
        if name in self._done or name in self._bindings:
            return
        self._done.add(name)
        if name not in self._frame.f_locals:
            self._resolve_global(name)
            return
        value = self._frame.f_locals[name]
        found = self._bound(name, value)
        if found is not None and found.kind is not BindingKind.CODE:
            self._bindings[name] = found
            return
        made = self._assignment(name, before)
        if made is not None and (found is None or self._is_about_run(made)):
            self._statements.append(made)
            self._need(made, before=made.lineno)
            return
        if found is None:
            raise NoClaimError(f"it needs {name}, a {type(value).__name__}, which no recording can give")
        if not self._is_plain_loop(name):
            raise NoClaimError(f"it needs {name}, which a loop takes from what the guest did")
        self._bindings[name] = found

    def _bound(self, name: str, value: object) -> Binding | None:
        if name in _FIXTURES and name in {each.arg for each in self._function.args.args}:
            return Binding(BindingKind.FIXTURE, code=name)
        return self._bind(value)

    def _bind(self, value: object, depth: int = 0) -> Binding | None:
        live = self._locate(value)
        if live is not None:
            return live
        try:
            with self._imports.tentative():
                return Binding(BindingKind.CODE, code=code_of(value, self._imports, root=self._root))
        except NotPlainError:
            pass
        if depth > 3 or not isinstance(value, list | tuple | dict) or not value or len(value) > 64:
            return None
        parts = [self._bind(part, depth + 1) for part in _parts(value)]
        if any(part is None for part in parts):
            return None
        items = tuple(part for part in parts if part is not None)
        if isinstance(value, dict):
            if not all(type(key) is str for key in value):
                return None
            return Binding(BindingKind.DICT, items=items, keys=tuple(value))
        return Binding(BindingKind.LIST if isinstance(value, list) else BindingKind.TUPLE, items=items)

    def _assignment(self, name: str, before: int) -> ast.stmt | None:
        """The last assignment to `name` before a line, wherever it stands in the function."""
        found = None
        for node in ast.walk(self._function):
            if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
                continue
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if node.lineno < before and any(name in _stored_names(target) for target in targets):
                found = node if found is None or node.lineno > found.lineno else found
        return found

    def _is_about_run(self, made: ast.stmt) -> bool:
        """Whether an assignment takes anything from the run: then its value must be computed anew."""
        names = [n.id for n in ast.walk(made) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)]
        local = self._frame.f_locals
        for name in names:
            if name not in local:
                continue
            found = self._bound(name, local[name])
            if found is None or found.kind is BindingKind.FIXTURE:
                return True
            if any(_is_live(leaf) for leaf in found.leaves()):
                return True
            earlier = self._assignment(name, made.lineno)
            if earlier is not None and self._is_about_run(earlier):
                return True
        return False

    def _is_plain_loop(self, name: str) -> bool:
        """Whether a loop variable's value stands in the test, and is not computed from the run."""
        loops = [node for node in ast.walk(self._function) if isinstance(node, ast.For)]
        for loop in loops:
            if name not in _stored_names(loop.target):
                continue
            for node in ast.walk(loop.iter):
                if isinstance(node, ast.Attribute) and node.attr not in ("items", "keys", "values"):
                    return False
                if isinstance(node, ast.Name) and node.id in self._frame.f_locals:
                    made = self._assignment(node.id, loop.lineno)
                    bound = self._bound(node.id, self._frame.f_locals[node.id])
                    plain = bound is not None and bound.kind is BindingKind.CODE
                    if bound is None or (plain and made is not None and self._is_about_run(made)):
                        return False
        return True

    def _resolve_global(self, name: str) -> None:
        if name not in self._frame.f_globals:
            if hasattr(builtins, name):
                return
            raise NoClaimError(f"it needs {name}, which is not there")
        value = self._frame.f_globals[name]
        home = _home(name, value, self._frame.f_globals.get("__name__", ""))
        if home is None:
            raise NoClaimError(f"it needs {name}, which can't be imported")
        self._lines.add(home)


def _home(name: str, value: object, module: str) -> str | None:
    """The import line that gives `value` under `name`, tried: where it is defined, else where it is used."""
    if inspect.ismodule(value):
        return f"import {value.__name__}" if name == value.__name__ else f"import {value.__name__} as {name}"
    own = getattr(value, "__module__", "") or ""
    original = getattr(value, "__qualname__", name)
    for place, what in ((own, original), (module, name)):
        if not place or "." in what:
            continue
        try:
            found = sys.modules.get(place) or importlib.import_module(place)
        except ImportError:
            continue
        if getattr(found, what, None) is value:
            return f"from {place} import {what}" + ("" if what == name else f" as {name}")
    return None


def _is_live(binding: Binding) -> bool:
    """Whether it stands for something a run made."""
    if binding.kind is BindingKind.FIXTURE:
        return binding.code in ("guest", "probe")
    return binding.kind in (
        BindingKind.STEP,
        BindingKind.FILTER,
        BindingKind.KERNEL_CALL,
        BindingKind.BETWEEN,
    )


def _stored_names(node: ast.AST) -> set[str]:
    names = (each for each in ast.walk(node) if isinstance(each, ast.Name))
    return {each.id for each in names if isinstance(each.ctx, ast.Store)}


def _parameters(node: ast.AST) -> set[str]:
    return {each.arg for each in ast.walk(node) if isinstance(each, ast.arg)}


def _parts(value: list[Any] | tuple[Any, ...] | dict[Any, Any]) -> Iterable[object]:
    return value.values() if isinstance(value, dict) else value
