"""Every small mistake that mutmut's operators make in a file, but in none of its words."""

import re
from pathlib import Path
from typing import NamedTuple

import libcst as cst
from libcst.metadata import MetadataWrapper, PositionProvider
from mutmut.mutation.file_mutation import deep_replace
from mutmut.mutation.mutators import mutation_operators

# Callables whose first argument names what was given, for a message
NAMING = re.compile(r"(strict\.|_?enter|as_array|_?require|dyadic|kind|record|judge\()")
# Neither changes what is computed: annotations, messages, imports, guards that cannot fire
SILENT = (cst.Annotation, cst.Raise, cst.Import, cst.ImportFrom, cst.Decorator)


class Mutant(NamedTuple):
    """A top-level statement of a module with one mistake in it."""

    module: str
    line: int
    lines: tuple[int, int]
    """The lines of which one must run for the mistake to be seen."""
    function: str | None
    """The function that it is in, as `name` or `Class.name`."""
    statement: tuple[int, int]
    """The first and last line of the top-level statement."""
    code: str
    before: str
    after: str


def mutants_of(path: Path) -> list[Mutant]:
    """Return the mutants of a file, in its order."""
    wrapper = MetadataWrapper(cst.parse_module(path.read_text(encoding="utf-8")))
    places = wrapper.resolve(PositionProvider)
    found = []
    for statement in wrapper.module.body:
        original = wrapper.module.code_for_node(statement)
        last = places[statement].end.line
        first = last - original.rstrip("\n").count("\n")
        for function, node, whole in _sites(statement, None, None):
            lines = places[whole or node].start.line, places[node].end.line
            for changed in _changes(node):
                code = wrapper.module.code_for_node(deep_replace(statement, node, changed))
                told = _difference(original, code)
                if told:
                    number, *words = told
                    place = (path.stem, first + number, lines, function, (first, last))
                    found.append(Mutant(*place, code, *words))
    return found


def _difference(original, code):
    """Return the first line in which two texts differ: its number, and what it was and is."""
    pairs = enumerate(zip(original.split("\n"), code.split("\n"), strict=False))
    return next(((i, old.strip(), new.strip()) for i, (old, new) in pairs if old != new), None)


def _sites(node, owner, span):
    """Yield nodes that may be changed, the function and the simple statement that each is in."""
    if _skipped(node):
        return
    if isinstance(node, cst.SimpleStatementLine):
        span = node
    elif isinstance(node, cst.BaseCompoundStatement):
        span = None
    if isinstance(node, cst.ClassDef) or (isinstance(node, cst.FunctionDef) and _open(owner)):
        owner = f"{owner or ''}{node.name.value}{'.' if isinstance(node, cst.ClassDef) else ''}"
    yield owner if owner and not owner.endswith(".") else None, node, span
    for child in node.children:
        if not (isinstance(node, cst.Call) and _words(node, child)):
            yield from _sites(child, owner, span)


def _open(owner):
    return owner is None or owner.endswith(".")


def _skipped(node):
    if isinstance(node, cst.Expr) and isinstance(node.value, cst.BaseString):
        return True
    if isinstance(node, cst.Arg) and node.keyword and node.keyword.value in {"strict", "match"}:
        return True
    if isinstance(node, cst.Assign):  # a type's other name
        name = node.targets[0].target
        return isinstance(name, cst.Name) and bool(re.match("_?[A-Z].*[a-z]|__all__", name.value))
    return isinstance(node, SILENT)


def _words(call, arg):
    """Whether an argument of a call only words a message."""
    if not isinstance(arg, cst.Arg):
        return False
    callee = cst.Module([]).code_for_node(call.func) + "("
    if isinstance(arg.value, cst.Name):
        return arg.value.value in {"where", "place", "name"} and arg is call.args[0]
    if isinstance(arg.value, cst.FormattedString):
        return arg is call.args[0] and not callee.endswith("append(")
    named = isinstance(arg.value, cst.SimpleString) and NAMING.match(callee) is not None
    return named and (arg is call.args[0] or bool(re.match("(strict.)?kind", callee)))


def _changes(node):
    if isinstance(node, cst.Call) and _callee(node) in {"len", "isinstance"}:
        return
    for kind, operator in mutation_operators:
        if isinstance(node, kind):
            for changed in operator(node):
                if not (isinstance(node, cst.Call) and _loses_only_words(node, changed)):
                    yield changed


def _callee(call):
    return call.func.value if isinstance(call.func, cst.Name) else ""


def _loses_only_words(call, changed):
    """Whether the argument that was replaced or taken away words a message or guards a zip."""
    left = [arg.value for arg in changed.args]
    lost = [arg for arg in call.args if not any(arg.value is value for value in left)]
    return len(lost) == 1 and (_words(call, lost[0]) or _skipped(lost[0]))
