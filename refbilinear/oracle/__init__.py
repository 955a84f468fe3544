"""Evidence of right and wrong: what rounding can explain, and what it cannot."""

from refbilinear.oracle import bounds

__all__ = ["bounds"]
