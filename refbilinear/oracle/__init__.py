"""Evidence of right and wrong: what rounding can explain, and what it cannot."""
