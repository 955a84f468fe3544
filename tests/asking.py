"""Functions as `verify` calls them, made of runs that take inputs by name."""

import numpy as np

from refbilinear.oracle.answers import ANSWERS
from refbilinear.oracle.mistakes import MISTAKES
from refbilinear.oracle.vectors import LAYER, OPERATIONS


def function_of(op, run):
    """A function of an operation's arguments that answers as `run` does."""
    names = [name for name in OPERATIONS[op].inputs if name not in LAYER]

    def function(*args, **settings):
        held, rest = dict(settings), list(args)
        if op == "fold":
            held |= rest.pop()._asdict()
            rest = [held.pop("layer")]
            if not held.pop("residual"):
                held["residual"] = None
            else:
                held["residual"] = 1.0
        if rest and hasattr(rest[0], "_asdict"):
            held |= rest.pop(0)._asdict()
        held |= dict(zip(names, rest, strict=False))
        return run({name: np.asarray(one) for name, one in held.items() if one is not None})

    return function


def right(*operations):
    return {op: function_of(op, ANSWERS[op]) for op in operations}


def wrong(op, *names):
    """The function of an operation with these mistakes, the first one outermost."""
    run = ANSWERS[op]
    for name in reversed(names):
        run = MISTAKES[op][name](run)
    return {op: function_of(op, run)}
