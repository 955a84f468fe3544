"""Plant small mistakes in the oracle, one at a time, and see whether its tests fail; see README.md.

    python tests/mutation/run.py                                # every module, a sample of each
    python tests/mutation/run.py judgements strict --most 9999  # all of two modules

Tests are collected once. For every mistake a fork puts it in the place of the right code, then
runs the tests that pass through the line, the fastest first, until one fails. A mistake in a
constant that survives this is made again before anything is imported.
"""

import argparse
import ast
import importlib
import importlib.abc
import importlib.util
import json
import os
import random
import resource
import signal
import sys
import time
import traceback
import types
from pathlib import Path

import coverage
import numpy as np  # noqa: F401  (loaded before the forks)
import pytest
from _pytest.runner import runtestprotocol
from hypothesis import Phase, settings
from mutants import mutants_of

HOME = Path(__file__).resolve().parents[2]
ORACLE = HOME / "refbilinear" / "oracle"
SKIPPED = {"__init__", "catalogue"}  # names and texts
# A fresh interpreter, or the oracle's bytes made anew, tells nothing of a mistake in this process
DESELECTED = "not memory and not import and not other_solvers"
TESTS = ["tests/oracle", "tests/test_bad_input.py", "refbilinear/oracle"]
QUIET = "ignore::pytest.PytestAssertRewriteWarning"
SEED = 0
KILLED, SURVIVED, UNSEEN = "killed", "survived", "no test passes here"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("modules", nargs="*")
    parser.add_argument("--most", type=int, default=400, help="mutants drawn of a module")
    parser.add_argument("--patience", type=float, default=6, help="seconds of tests for each")
    parser.add_argument("--out", default="build/mutation", help="folder of the results")
    arguments = parser.parse_args()
    os.chdir(HOME)
    sys.path[:0] = [str(HOME)]
    os.environ["CI"] = "true"
    out = Path(arguments.out)
    out.mkdir(parents=True, exist_ok=True)
    modules = arguments.modules or sorted({p.stem for p in ORACLE.glob("*.py")} - SKIPPED)
    done = {}
    for module in modules:
        drawn = sample(mutants_of(ORACLE / f"{module}.py"), arguments.most)
        path = out / f"{module}.jsonl"
        old = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        done[module] = ({m["code"]: m for m in old if m["verdict"] == KILLED}, drawn, path)
    within_pytest(lambda session: judge_all(session, out, done, arguments.patience))


def sample(mutants, most):
    """Return the mutants of a module, or some of them, the same ones every time."""
    order = [*range(len(mutants))]
    random.Random(SEED).shuffle(order)
    return [mutants[i] for i in sorted(order[:most])]


def within_pytest(work, files=TESTS):
    """Collect the tests, and work with their session in the place of running them."""

    class Loop:
        @pytest.hookimpl(tryfirst=True)
        def pytest_sessionstart(self):
            settings.register_profile(
                "mutation", max_examples=50, deadline=None, derandomize=True, database=None,
                phases=(Phase.explicit, Phase.generate),
            )  # fmt: skip
            settings.load_profile("mutation")

        @pytest.hookimpl(tryfirst=True)
        def pytest_runtestloop(self, session):
            work(session)
            return True

    arguments = [
        "-q",
        "-s",
        "-p",
        "no:cacheprovider",
        "-W",
        QUIET,
        "--doctest-modules",
        "-k",
        DESELECTED,
    ]
    return pytest.main([*arguments, *files], plugins=[Loop()])


def judge_all(session, out, done, patience):
    lines, seconds = passes(session, out / "tests.json")
    items = {item.nodeid: item for item in session.items}
    for module, (dead, drawn, path) in done.items():
        began, told = time.time(), []
        for mutant in drawn:
            told.append(
                dead.get(mutant.code)
                or judge(mutant, items, lines.get(module, {}), seconds, patience)
            )
        kept = {one["code"]: one for one in [*dead.values(), *told]}
        path.write_text("".join(json.dumps(one) + "\n" for one in kept.values()))
        left = [one for one in told if one["verdict"] != KILLED]
        print(  # noqa: T201
            f"{module}: {len(told)} tried, {len(left)} left, {time.time() - began:.0f} s"
        )
        for one in left:
            print(  # noqa: T201
                f"   {one['line']} [{one['verdict']}] {one['before']}  →  {one['after']}"
            )
        sys.stdout.flush()


def judge(mutant, items, lines, seconds, patience):
    """Return what is known of a mutant, whether a test kills it."""
    passing = through(lines, *mutant.lines) if mutant.function else through(lines, 0, 10**6)
    passing = passing or through(lines, *mutant.statement)
    chosen, spent = [], 0.0
    for nodeid in sorted(passing & set(items), key=lambda t: (seconds[t], t)):
        if spent < patience:
            chosen.append(nodeid)
            spent += seconds[nodeid]
    verdict = UNSEEN
    if chosen and mutant.function:
        verdict = in_a_fork(lambda: fails([items[t] for t in chosen], plant, mutant), 5 * spent)
    elif chosen:
        verdict = in_a_fork(lambda: fails([items[t] for t in chosen], replace, mutant), 5 * spent)
        if verdict != KILLED:
            verdict = in_a_fork(lambda: fails_cold(chosen, mutant), 5 * spent + 20)
    return {**mutant._asdict(), "tests": len(chosen), "verdict": verdict}


def through(lines, first, last):
    """Return the tests that run one of some lines."""
    return {test for line in lines if first <= line <= last for test in lines[line]}


def in_a_fork(dies, most):
    """Return what a fork says; one that is ended from outside has died as well."""
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(int(most) + 5)
        resource.setrlimit(resource.RLIMIT_AS, (2**33, 2**33))
        quiet()
        os._exit(int(dies()))
    return KILLED if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) else SURVIVED


def quiet():
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)


def fails(items, make, mutant):
    """Whether a mistake lets one of some tests fail, or cannot even be made."""
    try:
        make(mutant)
        for item, following in zip(items, [*items, None][1:], strict=True):
            reports = runtestprotocol(item, log=False, nextitem=following)
            if any(report.failed for report in reports):
                return True
    except Exception:
        return True
    return False


# ---- a mistake in modules that are already there


def plant(mutant):
    """Put the code of a changed function in its place."""
    module = sys.modules[f"refbilinear.oracle.{mutant.module}"]
    changed = {**vars(module)}
    exec(compile(mutant.code, str(module.__file__), "exec"), changed)
    right, wrong = (plain(names, mutant.function) for names in (vars(module), changed))
    right.__code__ = wrong.__code__
    right.__defaults__, right.__kwdefaults__ = wrong.__defaults__, wrong.__kwdefaults__


def plain(names, path):
    """Return the function of a path, without what is wrapped around it."""
    head, *rest = path.split(".")
    found = names[head]
    for name in rest:
        found = vars(found)[name]
    found = getattr(found, "fget", None) or getattr(found, "__func__", found)
    return getattr(found, "__wrapped__", found)


def replace(mutant):
    """Put the values of a changed statement, and of those that follow it, in their places."""
    module = sys.modules[f"refbilinear.oracle.{mutant.module}"]
    changed = {**vars(module)}
    exec(compile(mutant.code, str(module.__file__), "exec"), changed)
    if mutant.code.lstrip().startswith(("class ", "@")):
        return
    for statement in ast.parse(Path(module.__file__).read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.Assign) and statement.lineno > mutant.statement[1]:
            exec(compile(ast.Module([statement], []), str(module.__file__), "exec"), changed)
    for name, value in changed.items():
        if name != "__builtins__" and value is not vars(module).get(name):
            everywhere(name, vars(module)[name], value)


def everywhere(name, old, new):
    for module in [*sys.modules.values()]:
        if isinstance(module, types.ModuleType) and vars(module).get(name) is old:
            setattr(module, name, new)


# ---- a mistake that is there before anything is imported


class Changed(importlib.abc.SourceLoader):
    """A module with one statement changed."""

    def __init__(self, mutant):
        self.path, self.mutant = ORACLE / f"{mutant.module}.py", mutant

    def get_filename(self, _):
        return str(self.path)

    def get_data(self, _):
        lines = self.path.read_text(encoding="utf-8").split("\n")
        first, last = self.mutant.statement
        lines[first - 1 : last] = self.mutant.code.strip("\n").split("\n")
        return "\n".join(lines).encode()

    def find_spec(self, name, path=None, target=None):
        if name == f"refbilinear.oracle.{self.mutant.module}":
            return importlib.util.spec_from_loader(name, self)
        return None


def fails_cold(chosen, mutant):
    """Whether a mistake lets a test fail when it is there before anything is imported."""
    folder = str(HOME)
    for name, module in [*sys.modules.items()]:
        if (getattr(module, "__file__", None) or "").startswith(folder) and name != "__main__":
            del sys.modules[name]
    sys.meta_path.insert(0, Changed(mutant))
    try:
        importlib.import_module(f"refbilinear.oracle.{mutant.module}")
    except Exception:
        return True
    died = []

    def work(session):
        items = {item.nodeid: item for item in session.items}
        died.append(fails([items[t] for t in chosen], lambda _: None, mutant))

    within_pytest(work, dict.fromkeys(t.partition("::")[0] for t in chosen))
    return not died or died[0]


# ---- which tests pass through which lines


def passes(session, path):
    """Return the tests that run a line, by module and line, and the seconds of every test.

    What is known of a test is kept for as long as neither its file nor the oracle changes.
    """
    oracle = max(file.stat().st_mtime for file in ORACLE.glob("*.py"))
    marks = {item.nodeid: max(oracle, item.path.stat().st_mtime) for item in session.items}
    known = json.loads(path.read_text()) if path.exists() else {}
    known = {test: held for test, held in known.items() if held["mark"] == marks.get(test)}
    items = [item for item in session.items if item.nodeid not in known]
    for test, (seconds, lines) in measured_in_a_fork(items).items():
        known[test] = {"mark": marks[test], "seconds": seconds, "lines": lines}
    path.write_text(json.dumps(known))
    by_line = {}
    for test, held in known.items():
        for module, lines in held["lines"].items():
            for line in lines:
                by_line.setdefault(module, {}).setdefault(line, set()).add(test)
    return by_line, {test: held["seconds"] for test, held in known.items()}


def measured_in_a_fork(items):
    """Return the seconds of every test and the lines that it runs, by module."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        with os.fdopen(writer, "w") as file:
            try:
                file.write(json.dumps(measured(items)))
            except Exception:
                traceback.print_exc()
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as file:
        found = json.load(file)
    os.waitpid(pid, 0)
    return found


def forget():
    """Empty every cache of the oracle, so that each test runs its own lines."""
    for name, module in [*sys.modules.items()]:
        if name.startswith("refbilinear.oracle."):
            for value in vars(module).values():
                getattr(value, "cache_clear", int)()


def measured(items):
    found = {}
    for item, following in zip(items, [*items, None][1:], strict=True):
        cover = coverage.Coverage(data_file=None, config_file=False, include=[f"{ORACLE}/*"])
        cover.set_option("run:disable_warnings", ["no-data-collected"])
        forget()
        began = time.perf_counter()
        cover.start()
        reports = runtestprotocol(item, log=False, nextitem=following)
        cover.stop()
        if any(report.failed for report in reports):
            raise RuntimeError(f"{item.nodeid} fails without a mistake")
        data = cover.get_data()
        lines = {Path(name).stem: data.lines(name) for name in data.measured_files()}
        found[item.nodeid] = (time.perf_counter() - began, lines)
    return found


if __name__ == "__main__":
    main()
