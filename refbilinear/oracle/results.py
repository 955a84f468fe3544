"""What an implementation returned for the vectors: JSON, or flat text with a line an array."""

import os
from typing import Any, NamedTuple

import numpy as np

from refbilinear.oracle import strict
from refbilinear.spec.arrays import Array

SCHEMA = "refbilinear-results-1"
REASONS: tuple[str, ...] = ("refused", "skipped")


class Result(NamedTuple):
    """What an implementation returned for one vector, or why it returned nothing."""

    outputs: dict[str, Array]
    refused: str | None
    skipped: str | None


def read_results(path: str | os.PathLike[str]) -> dict[int, Result]:
    """Read what an implementation wrote, JSON or flat text, by tcId.

    Parameters
    ----------
    path : path
        A regular file of at most 4 MiB, no symbolic link.

    Returns
    -------
    dict of int to Result

    Raises
    ------
    ValueError
        For a file that is neither form, saying what and where.
    OSError
        For a path that cannot be read.
    """
    return strict.read_with(path, parse_results)


def parse_results(content: bytes) -> dict[int, Result]:
    r"""Return the results that a file's bytes hold, by tcId.

    JSON is `{"schema": "refbilinear-results-1", "results": [{"tcId": 7, "outputs": {…}}, …]}`;
    instead of `outputs` there may be `refused` or `skipped`, each with a reason.

    Examples
    --------
    >>> parse_results(b"7 y f64 1 2 3 4.5\n8 refused text 0 asymmetric\n")[8].refused
    'asymmetric'
    """
    if content.lstrip()[:1] != b"{":
        return {tc_id: _flat_result(tc_id, held) for tc_id, held in parse_flat(content).items()}
    document = strict.parse_json(content, decimals=True)
    strict.record("the file", document, ("schema", "results"))
    strict.equal("schema", document["schema"], SCHEMA)
    found: dict[int, Result] = {}
    for i, entry in strict.entries("results", document["results"]):
        tc_id, result = _result(f"results[{i}]", entry)
        if tc_id in found:
            raise ValueError(f"results[{i}] gives tcId {tc_id} again")
        found[tc_id] = result
    return found


def parse_flat(content: bytes) -> dict[int, dict[str, Any]]:
    """Return the arrays and words of flat text by id and name; lines that start with # are skipped.

    Raises
    ------
    ValueError
        For a line that is not `tcId name dtype ndim sizes… values…`, or a name that is twice.

    Examples
    --------
    >>> parse_flat(b"7 y f64 1 2 3 0x1.8p+1")
    {7: {'y': array([3., 3.])}}
    """
    found: dict[int, dict[str, Any]] = {}
    for number, line in enumerate(content.decode("ascii").split("\n"), 1):
        if line.strip() and not line.startswith("#"):
            tc_id, name, value = _flat_line(f"line {number}", line.split())
            if name in found.setdefault(tc_id, {}):
                raise ValueError(f"line {number} gives {name} of tcId {tc_id} again")
            found[tc_id][name] = value
    return found


def _flat_line(where: str, words: list[str]) -> tuple[int, str, Any]:
    if len(words) < 4:
        raise ValueError(f"{where} must be tcId name dtype ndim sizes… values…")
    tc_id = strict.tc_id(where, strict.natural(where, words[0]))
    name = strict.word(where, words[1])
    dtype = strict.one_of(where, words[2], (*strict.DTYPES, "text"))
    ndim = strict.integer(f"{where}, ndim", strict.natural(where, words[3]), 0, strict.MOST_AXES)
    shape = [strict.natural(where, size) for size in words[4 : 4 + ndim]]
    data = words[4 + ndim :]
    if dtype == "text":
        return tc_id, name, [strict.text(where, word) for word in data]
    return tc_id, name, strict.filled(f"{where}, {name}", dtype, shape, data, strict.free_token)


def _result(where: str, entry: Any) -> tuple[int, Result]:
    strict.record(where, entry, ("tcId",), ("outputs", "refused", "skipped"))
    outputs = {
        name: strict.array(f"{where}.{name}", value, strict.free_number)
        for name, value in strict.members(where, entry.get("outputs", {}))
    }
    reasons = [
        strict.text(f"{where}.{key}", entry[key]) if key in entry else None for key in REASONS
    ]
    return strict.tc_id(where, entry["tcId"]), _one_kind(where, Result(outputs, *reasons))


def _flat_result(tc_id: int, held: dict[str, Any]) -> Result:
    reasons = {name: held[name] for name in REASONS if name in held}
    outputs = {name: one for name, one in held.items() if name not in reasons}
    for name, one in reasons.items():
        strict.kind(f"{name} of tcId {tc_id}", one, list, "words")
    for name, one in outputs.items():
        strict.kind(f"{name} of tcId {tc_id}", one, np.ndarray, "numbers")
    told = [" ".join(reasons[name]) if name in reasons else None for name in REASONS]
    return _one_kind(f"tcId {tc_id}", Result(outputs, *told))


def _one_kind(where: str, result: Result) -> Result:
    """Return a result that is exactly one of outputs, refused and skipped."""
    if bool(result.outputs) + (result.refused is not None) + (result.skipped is not None) != 1:
        raise ValueError(f"{where} must hold outputs, or refused, or skipped")
    return result
