"""Every mistake of the catalogue as a small wrong implementation.

`MISTAKES` has them by operation and by the name that they have in `catalogue.MUTANTS`. A mistake
that an implementation's outputs agree with is where to look first; see `suspects`.
"""

from refbilinear.oracle.answers import ANSWERS, Inputs, Outputs
from refbilinear.oracle.catalogue import MUTANTS
from refbilinear.oracle.fold_mistakes import FOLD
from refbilinear.oracle.layer_mistakes import BACKWARD, FORWARD, SHARED
from refbilinear.oracle.pair_mistakes import HOSVD, SPECTRUM, TRUNCATE
from refbilinear.oracle.tensor_mistakes import FORM, MATRIX, TENSOR
from refbilinear.oracle.training_mistakes import ADAMW, CROSS_ENTROPY, SQUARED_ERROR
from refbilinear.oracle.wrong import Wrong
from refbilinear.spec.tensor import interaction_matrix

MISTAKES: dict[str, dict[str, Wrong]] = {
    "forward": FORWARD,
    "tensor": TENSOR,
    "matrix": MATRIX,
    "form": FORM,
    "backward": BACKWARD,
    "squared_error": SQUARED_ERROR,
    "cross_entropy": CROSS_ENTROPY,
    "adamw": ADAMW,
    "spectrum": SPECTRUM,
    "truncate": TRUNCATE,
    "hosvd": HOSVD,
    "fold": FOLD,
}

OF_A_LAYER = ("forward", "tensor", "matrix", "backward", "fold")


def suspects(op: str) -> dict[str, Wrong]:
    """Return the mistakes to try on an operation: its own, then those in a layer's parameters.

    Examples
    --------
    >>> [name for name in suspects("tensor") if name.endswith(("left_twice", "interleaved"))]
    ['tensor.left_twice', 'forward.interleaved']
    """
    own = MISTAKES[op]
    words = {MUTANTS[name].words for name in own}
    shared = SHARED if op in OF_A_LAYER else {}
    if op == "matrix":
        shared = {name: of_the_tensor(wrong) for name, wrong in TENSOR.items()} | shared
    return own | {name: one for name, one in shared.items() if MUTANTS[name].words not in words}


def of_the_tensor(wrong: Wrong) -> Wrong:
    """Return a tensor's mistake as one of the matrix that is contracted from it."""

    def answer(held: Inputs) -> Outputs:
        layer = {name: one for name, one in held.items() if name != "u"}
        return {"matrix": interaction_matrix(wrong(ANSWERS["tensor"])(layer)["tensor"], held["u"])}

    return lambda run: answer
