"""The house: which room may lean on which, and what an import costs."""

import ast
import importlib
import importlib.util
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import refbilinear

HOME = Path(refbilinear.__file__).parent
PURE = (
    bool(os.environ.get("REFBILINEAR_PURE"))
    and importlib.util.find_spec("refbilinear._kernel") is None
)
ROOMS = {
    "spec": {"spec"},
    "oracle": {"spec", "oracle"},
    "analysis": {"spec", "oracle", "analysis"},
    "fast": {"spec", "threads", "_kernel"},
    "threads": {"spec"},
    "_kernel": set(),
    "study": {"", "spec", "oracle", "analysis", "fast", "threads", "study"},
    "": {"", "spec"},
    "__main__": {"", "study"},
}


def room_of(path):
    """Return the room of a file of the package; the package itself is the room without a name."""
    parts = path.relative_to(HOME).with_suffix("").parts
    if len(parts) > 1:
        return parts[0]
    return "" if parts[0] == "__init__" else parts[0]


def imported_names(path):
    """Yield every dotted name that a file imports, also inside functions."""
    package = ["refbilinear", *path.relative_to(HOME).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def rooms_used(path):
    """Return the rooms that a file imports from; a name of the package itself counts as no room."""
    used = set()
    for name in imported_names(path):
        parts = name.split(".")
        if parts[0] == "refbilinear":
            used.add(parts[1] if len(parts) > 1 and parts[1] in ROOMS else "")
    return used


FILES = sorted(HOME.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(HOME)))
def test_rooms_lean_only_on_those_below(path):
    assert rooms_used(path) <= ROOMS[room_of(path)]


def test_the_arrows_are_seen(tmp_path, monkeypatch):
    """The reader of imports finds each way of writing one."""
    monkeypatch.setattr(sys.modules[__name__], "HOME", tmp_path)
    room = tmp_path / "spec"
    room.mkdir()
    for line in (
        "import refbilinear.study.files",
        "from refbilinear.study import files",
        "from refbilinear import study",
        "from ..study import files",
        "from .. import study",
        "def f():\n    from refbilinear.study.files import save",
    ):
        path = room / "one.py"
        path.write_text(line, encoding="utf-8")
        assert rooms_used(path) == {"study"}
    path.write_text("import numpy\nfrom refbilinear import forward\n", encoding="utf-8")
    assert rooms_used(path) == {""}


def run(code):
    """Run code in a fresh interpreter outside any checkout and return what it prints, in words."""
    where = str(HOME.parent)
    code = f"import sys; sys.path.insert(0, {where!r})\n{code}"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


# What the interpreter's own start-up loads (site hooks, editable installs) is not ours.
THIRD_PARTY = """
before = {name.partition(".")[0] for name in sys.modules}
def third_party():
    after = {name.partition(".")[0] for name in sys.modules} - before
    return sorted(after - set(sys.stdlib_module_names))
"""


def test_import_loads_nothing_but_numpy():
    of_numpy, ours = (
        set(run(THIRD_PARTY + f"import {name}\nprint(*third_party())"))
        for name in ("numpy", "refbilinear")
    )
    assert "numpy" in of_numpy
    assert ours - of_numpy == {"refbilinear"}


def test_import_puts_off_what_numpy_puts_off():
    unwanted = ["numpy.random", "matplotlib", "numpy.ma", "refbilinear.oracle"]
    unwanted += ["refbilinear.analysis", "refbilinear.study", "argparse", "json"]
    unwanted += ["refbilinear.fast", "refbilinear.threads", "threading"]
    code = (
        "import numpy\nbefore = set(sys.modules)\nimport refbilinear\n"
        f"print(refbilinear.forward.__name__, *(set({unwanted}) & (set(sys.modules) - before)))"
    )
    assert run(code) == ["forward"]


@pytest.mark.parametrize("room", ["oracle", "analysis", "study"])
def test_a_room_loads_on_first_use(room):
    code = f"""
import refbilinear
assert "refbilinear.{room}" not in sys.modules
module = refbilinear.{room}
assert module is sys.modules["refbilinear.{room}"]
print(module.__name__)
"""
    assert run(code) == [f"refbilinear.{room}"]


def test_no_module_needs_more_than_numpy_to_import():
    """NumPy's own parts (numpy.random) are loaded beforehand; what Cython shares is the kernel's."""
    code = f"""
import numpy.random
{THIRD_PARTY}
import importlib, pkgutil, refbilinear
for module in pkgutil.walk_packages(refbilinear.__path__, "refbilinear."):
    if not module.name.endswith("__main__") and not ({PURE} and module.name.endswith(".fast")):
        importlib.import_module(module.name)
print(*(name for name in third_party() if not name.startswith("_cython_")))
"""
    assert run(code) == ["refbilinear"]


def test_every_module_has_a_docstring():
    for module in pkgutil.walk_packages([str(HOME)], "refbilinear."):
        origin = Path(importlib.util.find_spec(module.name).origin)
        if origin.suffix != ".py":
            assert importlib.import_module(module.name).__doc__, module.name
            continue
        assert ast.get_docstring(ast.parse(origin.read_text("utf-8"))), module.name


@pytest.mark.parametrize("name", refbilinear.__all__)
def test_every_name_is_there_and_documented(name):
    assert getattr(refbilinear, name).__doc__.strip()


def test_names_are_sorted_and_once():
    assert refbilinear.__all__ == sorted(set(refbilinear.__all__))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'refbilinear' has no attribute 'nothing'"):
        refbilinear.nothing  # noqa: B018
    assert not hasattr(refbilinear, "fast_forward")


def test_dir_lists_the_rooms():
    assert {"analysis", "oracle", "study", *refbilinear.__all__} <= set(dir(refbilinear))
    assert refbilinear.__getattr__("oracle") is importlib.import_module("refbilinear.oracle")
