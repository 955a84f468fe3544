"""The commands `verify` and `case`: what a program answered to the vectors, and one of these."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from refbilinear.oracle import vectors
from refbilinear.oracle.reports import Report
from refbilinear.oracle.results import Result, read_results
from refbilinear.oracle.scripts import numbers, script
from refbilinear.oracle.standards import Question
from refbilinear.oracle.verification import verify_results
from refbilinear.study.files import write_file

BROKEN = 4
PATTERNS = ("results*.txt", "results*.json")


def verify(
    path: Path,
    claim: str,
    *,
    convention: Mapping[str, str],
    skip: Mapping[str | int, str],
    min_tests: int,
    json_path: Path | None,
) -> int:
    """Print the report on a file or folder of results, write it as JSON; return the exit code.

    Raises
    ------
    ValueError, OSError
        For results that cannot be read.
    """
    try:
        vectors.load()
    except (OSError, ValueError) as error:
        print(f"refbilinear: self-check: {error}", file=sys.stderr)
        return BROKEN
    report = verify_results(
        read_all(path), claim, convention=convention, skip=skip, min_tests=min_tests
    )
    _show(report, json_path)
    return report.exit_code


def _show(report: Report, json_path: Path | None) -> None:
    """Print a report; as JSON, if that is to be printed."""
    if json_path is None or str(json_path) != "-":
        print(report)
    if json_path is not None:
        content = json.dumps(report.to_json(), indent=1, allow_nan=False) + "\n"
        if str(json_path) == "-":
            print(content, end="")
        else:
            write_file(json_path, content.encode("ascii"))


def read_all(path: Path) -> dict[int, Result]:
    """Return the results of a file, or of all files of a folder that are called results.

    Raises
    ------
    ValueError
        For a folder without such files, and for a test that has two results.
    """
    if not path.is_dir():
        return read_results(path)
    files = sorted(file for pattern in PATTERNS for file in path.glob(pattern))
    if not files:
        raise ValueError(f"{path} must hold {' or '.join(PATTERNS)}; there is neither")
    found: dict[int, Result] = {}
    for file in files:
        for tc_id, result in read_results(file).items():
            if tc_id in found:
                raise ValueError(f"{file} gives tcId {tc_id}, which another file gives too")
            found[tc_id] = result
    return found


def case(tc_id: int, *, as_python: bool) -> str:
    """Return a vector in words, or as a script.

    Raises
    ------
    ValueError
        For an id that no vector has.

    Examples
    --------
    >>> print(case(20201, as_python=False))
    tcId 20201: tensor, exact, f32, valid
    flag SymHalf: an entry is the mean of two products
    input w_left (1, 2) = [[-5, -1]]
    input w_out (3, 1) = [[3], [5], [2]]
    input w_right (1, 2) = [[4, 4]]
    expected tensor (3, 3) = [[-60, -36, -12], [-100, -60, -20], [-40, -24, -8]]
    """
    suite = vectors.load()
    for group in suite.groups:
        for vector in group.vectors:
            if vector.tc_id == tc_id:
                question = Question(group.op, group.tier, group.dtype, vector)
                lines = script(question) if as_python else _lines(question, suite)
                return "\n".join(lines)
    raise ValueError(f"tcId must be that of a vector; there is none of {tc_id}")


def _lines(question: Question, suite: vectors.Suite) -> list[str]:
    vector = question.vector
    return [
        f"tcId {vector.tc_id}: {question.op}, {question.tier}, {question.dtype}, {vector.result}"
        + (f"; {vector.comment}" if vector.comment else ""),
        *(f"flag {flag}: {suite.notes[flag].description}" for flag in vector.flags),
        *(
            f"{kind} {name} {array.shape} = {numbers(array)}"
            for kind, arrays in (("input", vector.inputs), ("expected", vector.expected))
            for name, array in arrays.items()
        ),
    ]
