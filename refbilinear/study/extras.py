"""The libraries that are not needed to compute: imported where used, asked for by name."""

import sys
from collections.abc import Iterable, Iterator
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import NamedTuple, TypeVar

T = TypeVar("T")

INSTALL = "pip install 'refbilinear[study]'"


class Talk(NamedTuple):
    """How much is said, and in which form."""

    quiet: bool
    as_json: bool


def note(words: str, talk: Talk) -> None:
    """Say something on the way, on standard error."""
    if not talk.quiet:
        print(f"refbilinear: {words}", file=sys.stderr)


def installed(name: str) -> bool:
    """Return whether a library is there, without importing it."""
    return find_spec(name) is not None


def need(name: str, purpose: str, install: str = INSTALL) -> ModuleType:
    """Import a library that is no dependency, or raise ImportError that says how to install it."""
    try:
        return import_module(name)
    except ImportError as error:
        top = name.partition(".")[0]
        raise ImportError(f"{purpose} needs {top}, which is not installed: {install}") from error


def progress(items: Iterable[T], total: int, what: str, *, quiet: bool) -> Iterator[T]:
    """Yield the items; on a terminal show how far they are, in a pipe or when quiet nothing."""
    if quiet or not sys.stderr.isatty():
        yield from items
    elif not installed("tqdm"):
        print(f"{what}: to see progress, {INSTALL}", file=sys.stderr)
        yield from items
    else:
        yield from need("tqdm", "progress").tqdm(items, total=total, desc=what, leave=False)
