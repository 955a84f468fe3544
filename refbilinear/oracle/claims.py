"""In which precision an implementation says that it computes: a closed list.

    f64, f32               every operation in that format
    tf32                   what a matrix product reads is rounded to TF32; sums and the rest in f32
    f16-f32acc             inputs and every stored result are rounded to float16; sums in f32
    bf16-f32acc            the same with bfloat16

each also with `-ftz`: results that would be subnormal are flushed to zero. From a claim follows
the bound; nobody chooses a tolerance.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from refbilinear.oracle.formats import BFLOAT16, FLOAT16, FLOAT32, FLOAT64, TFLOAT32, Format


class Claim(NamedTuple):
    """A precision: the format of the sums, and of what is stored or read where that is coarser."""

    sums: Format
    storage: Format | None = None
    stores_results: bool = False
    flushes: bool = False

    @property
    def product_loss(self) -> float:
        """What a product or a halving can lose beside its rounding, where it underflows."""
        return self.sums.smallest_normal if self.flushes else self.sums.smallest

    @property
    def sum_loss(self) -> float:
        """What an addition can lose: nothing, unless subnormal sums are flushed."""
        return self.sums.smallest_normal if self.flushes else 0.0

    @property
    def storage_loss(self) -> float:
        """What rounding to the storage format can lose where the result is subnormal there."""
        if self.storage is None:
            return 0.0
        return self.storage.smallest_normal if self.flushes else self.storage.smallest

    @property
    def largest(self) -> float:
        """The largest finite number that a result may be."""
        stored = self.storage if self.storage and self.stores_results else self.sums
        return stored.largest


_GRADUAL = {
    "f64": Claim(FLOAT64),
    "f32": Claim(FLOAT32),
    "tf32": Claim(FLOAT32, TFLOAT32),
    "f16-f32acc": Claim(FLOAT32, FLOAT16, stores_results=True),
    "bf16-f32acc": Claim(FLOAT32, BFLOAT16, stores_results=True),
}

CLAIMS = _GRADUAL | {f"{name}-ftz": c._replace(flushes=True) for name, c in _GRADUAL.items()}

OF_DTYPE = {np.dtype(np.float64): "f64", np.dtype(np.float32): "f32"}


def claim_of(name: str | None, dtype: DTypeLike) -> Claim | None:
    """Return the claim of a name; without one that of the dtype, None for exact numbers.

    Raises
    ------
    ValueError
        For a name that is not in the list.

    Examples
    --------
    >>> claim_of("bf16-f32acc", np.float32).storage.unit
    0.00390625
    >>> claim_of("f16", np.float32)
    Traceback (most recent call last):
    ValueError: claim must be one of f64, f32, tf32, f16-f32acc, bf16-f32acc, each also with -ftz; \
got 'f16'
    """
    if name is None:
        name = OF_DTYPE.get(np.dtype(dtype))
        return None if name is None else CLAIMS[name]
    if name not in CLAIMS:
        words = ", ".join(_GRADUAL)
        raise ValueError(f"claim must be one of {words}, each also with -ftz; got {name!r}")
    return CLAIMS[name]
