"""How often a report names the mistake that was made, and what it says of two at once.

    python diagnose.py --pairs 300 --out diagnose.json

Every mistake of the catalogue that a vector can show is verified as somebody's implementation, with
roundings of its own: results that may be off are moved by up to a quarter of what is allowed, and
eigenvectors get signs at random. Then pairs of mistakes of one operation, drawn at random.
"""

import argparse
import sys
from collections import Counter
from functools import partial
from itertools import combinations
from pathlib import Path

import numpy as np

import machine
from refbilinear.oracle.answers import ANSWERS
from refbilinear.oracle.catalogue import BY_RUNNING
from refbilinear.oracle.interrogation import interrogate, judge_by
from refbilinear.oracle.mistakes import MISTAKES
from refbilinear.oracle.standards import questions, standards
from refbilinear.oracle.suspects import ask_run, rank
from refbilinear.oracle.vectors import load

CLAIMS = ("f64", "f32")


def moved(claim, rng, ask, question, inputs):
    """Return an answer with roundings of its own."""
    answer = ask(question, inputs)
    if answer.outputs is None or question.vector.result != "valid":
        return answer
    if question.op in ("spectrum", "truncate", "hosvd", "fold"):
        return answer._replace(outputs=signed(rng, answer.outputs))
    allowed = {n: one.allowed for n, one in standards(question, claim).items()}
    return answer._replace(
        outputs={n: nudged(rng, a, allowed.get(n)) for n, a in answer.outputs.items()}
    )


def signed(rng, outputs):
    """Return pairs with eigenvectors of random signs."""
    if "eigenvectors" not in outputs:
        return outputs
    x = outputs["eigenvectors"]
    return outputs | {"eigenvectors": x * rng.choice([-1, 1], x.shape[-1]).astype(x.dtype)}


def nudged(rng, array, allowed):
    """Return an array moved by up to a quarter of what is allowed."""
    if allowed is None or allowed.shape != array.shape:
        return array
    moves = rng.uniform(-0.25, 0.25, array.shape) * allowed.astype(np.float64)
    return (array + moves).astype(array.dtype)


def suspected(claim, op, wrong, asked):
    """Return how many vectors a mistake fails, and who is suspected."""
    rng = np.random.default_rng(0)
    judge, ask = judge_by(claim, {}), partial(moved, claim, rng, ask_run(wrong(ANSWERS[op])))
    outcomes = [interrogate(question, ask, judge, repeat=False) for question in asked]
    failed = sum(outcome.failed for outcome in outcomes)
    return failed, rank(op, outcomes, judge, repeat=False) if failed else []


def single(claim, asked):
    """Yield, for each mistake, how it was named."""
    for op, mistakes in MISTAKES.items():
        for name, wrong in mistakes.items():
            if name in BY_RUNNING or not asked[op]:
                continue
            failed, found = suspected(claim, op, wrong, asked[op])
            named = [suspect.name for suspect in found if suspect.matches]
            yield {
                "mistake": name,
                "failed": failed,
                "matches": named,
                "verdict": place(name, named),
            }
            progress(name)


def place(name, named):
    """Return where a mistake stands among those that match."""
    if not named:
        return "unnamed"
    return "first" if named[0] == name else "among" if name in named else "misnamed"


def double(claim, asked, count):
    """Yield, for random pairs of mistakes of one operation, what is said of both at once."""
    pairs = [
        (op, *pair)
        for op, mistakes in MISTAKES.items()
        for pair in combinations([n for n in mistakes if n not in BY_RUNNING], 2)
        if asked[op]
    ]
    chosen = np.random.default_rng(1).permutation(len(pairs))[:count]
    for op, one, other in (pairs[i] for i in chosen):
        first, second = MISTAKES[op][one], MISTAKES[op][other]
        failed, found = suspected(claim, op, lambda run, a=first, b=second: a(b(run)), asked[op])
        named = [suspect.name for suspect in found if suspect.matches]
        if not failed:
            said = "not shown"
        elif not named:
            said = "no single mistake"
        else:
            said = "one of the two" if set(named) & {one, other} else "another"
        yield {"mistakes": [one, other], "failed": failed, "matches": named, "said": said}
        progress(f"{one} + {other}")


def progress(words):
    """Show on a terminal what is done."""
    if sys.stderr.isatty():
        print(f"\r{words[:70]:70}", end="", file=sys.stderr)


def main():
    """Run, print the counts, write everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=300)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    result = {"machine": machine.describe(1)}
    suite = load()
    for claim in CLAIMS:
        asked = {op: questions(suite, claim, [op]) for op in MISTAKES}
        singles, doubles = list(single(claim, asked)), list(double(claim, asked, options.pairs))
        result[claim] = {"singles": singles, "pairs": doubles}
        shown = [one for one in singles if one["failed"]]
        print(claim, "single:", dict(Counter(one["verdict"] for one in shown)))
        print(claim, "not shown:", [one["mistake"] for one in singles if not one["failed"]])
        print(claim, "pairs:", dict(Counter(pair["said"] for pair in doubles)))
    machine.write(result, options.out)


if __name__ == "__main__":
    main()
