"""Three evaluators, one answer: the specification on integers, on fractions, and loops.

Cases are drawn as `judge_honest.py` draws its problems, near underflow too. Every number of
`refbilinear.oracle.exact` must equal that of `refbilinear.oracle.loops`, and that of the
specification on `Fraction`; exponentials and roots must agree to 55 digits. The exit status is 1
if any differ.

    python benchmarks/agree.py --problems 7000 --out agree.json
"""

import argparse
import os
import sys
from collections import Counter
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

import machine
import refbilinear as rb
from judge_honest import SETTINGS, Problem, draw, progress
from refbilinear.oracle import exact, loops

DIGITS = Fraction(1, 10**55)
LEAST = Fraction(1, 10**400)


def lists(argument: Any) -> Any:
    """Return layers, forms and arrays as nested lists."""
    if isinstance(argument, rb.BilinearLayer):
        return {name: w.tolist() for name, w in rb.parameters(argument).items()}
    if isinstance(argument, rb.QuadraticForm):
        return tuple(part.tolist() for part in argument)
    return argument.tolist()


def flat(result: Any, like: Any = None) -> list[Any]:
    """Return all numbers of a result, in the order of `like` where it is a dict."""
    if isinstance(result, dict):
        return [n for name in like._fields if name in result for n in flat(result[name])]
    if isinstance(result, np.ndarray):
        return list(result.ravel())
    if isinstance(result, tuple | list):
        return [number for part in result if part is not None for number in flat(part)]
    return [result]


def cases(p: Problem) -> dict[str, tuple[Any, ...]]:
    """Return the arguments of every function that the evaluators share."""
    return {
        "forward": (p.layer, p.x),
        "backward": (p.layer, p.x, p.dy),
        "interaction_tensor": (p.layer,),
        "output_form": (p.layer, p.u),
        "interaction_matrix": (p.tensor, p.u),
        "quadratic_form": (p.tensor, p.x),
        "bilinear_form": (p.tensor, p.x, p.z),
        "tensor_gradient": (p.x, p.dy),
        "form_value": (p.form, p.x),
        "truncated_form": (*p.pairs, p.x),
        "squared_error": (p.x, p.z),
        "cross_entropy": (p.dy, p.labels),
    }


def differs(one: Any, two: Any, name: str) -> bool:
    """Tell whether two numbers differ: at all, or beyond 55 digits."""
    if name in ("cross_entropy", "adamw"):
        return bool(abs(one - two) > abs(two) * DIGITS + LEAST)
    return bool(one != two)


def compare(p: Problem) -> dict[str, bool]:
    """Return for each function whether all its numbers agree."""
    agree = {}
    for name, arguments in cases(p).items():
        mine = getattr(exact, name)(*arguments)
        others = [getattr(loops, name)(*map(lists, arguments))]
        if hasattr(rb, name) and name != "cross_entropy":
            others.append(exact.exactly(getattr(rb, name), *arguments))
        agree[name] = all(
            not any(differs(a, b, name) for a, b in zip(flat(mine), flat(o, mine), strict=True))
            for o in others
        )
    agree["adamw"] = adamw_agrees(p)
    return agree


def adamw_agrees(p: Problem) -> bool:
    """Compare a step of four parameters."""
    theta, m, v = exact.adamw(*p.state, p.t, **SETTINGS)
    states = zip(*(a.tolist() for a in p.state), strict=True)
    others = [loops.adamw(*state, p.t, **SETTINGS) for state in states]
    mine = zip(theta, m, v, strict=True)
    return not any(
        differs(a, b, "adamw")
        for one, other in zip(mine, others, strict=True)
        for a, b in zip(one, other, strict=True)
    )


def main() -> int:
    """Compare as many problems as asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--problems", type=int, default=100, help="half float32, half float64")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="file for the JSON; otherwise it is printed")
    options = parser.parse_args()
    counts: Counter[str] = Counter()
    failures = []
    for number in progress(range(options.problems)):
        problem = draw(number, options.seed, (np.float32, np.float64)[number % 2])
        for name, agree in compare(problem).items():
            counts[name] += 1
            if not agree:
                failures.append({"problem": number, "of": name})
    results = {
        "machine": machine.describe(len(os.sched_getaffinity(0))), "cases": dict(counts),
        "total": counts.total(), "differences": failures, "seed": options.seed,
    }  # fmt: skip
    machine.write(results, options.out)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
