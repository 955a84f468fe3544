"""The fixed cases of csrc/check.c through Python: the same bits, from any number of threads.

The recipe of the inputs stands in check.c and, once more and independently, here.
"""

import hashlib

import numpy as np
import pytest
from bits import BITS

from refbilinear import BilinearLayer, n_pairs

fast = pytest.importorskip("refbilinear.fast", exc_type=ImportError)


def splitmix64(seed):
    with np.errstate(over="ignore"):
        u = np.atleast_1d(np.asarray(seed, np.uint64)) + np.uint64(0x9E3779B97F4A7C15)
        u = (u ^ (u >> 30)) * np.uint64(0xBF58476D1CE4E5B9)
        u = (u ^ (u >> 27)) * np.uint64(0x94D049BB133111EB)
    return u ^ (u >> 31)


def specials(dtype):
    least, most = np.finfo(dtype).smallest_subnormal, np.finfo(dtype).max
    return np.array([np.inf, -np.inf, np.nan, -0.0, least, -least, most, -most], dtype)


def array(c, a, dtype, *shape):
    """Array a of case c."""
    u = splitmix64((c << 40) + (a << 32) + np.arange(np.prod(shape), dtype=np.uint64))
    mantissa = (u >> 40).astype(np.int64) - (1 << 23)
    x = np.ldexp(mantissa.astype(float), -16 - (u >> 32 & 15).astype(int)).astype(dtype)
    if c // 4 % 4 == 3:
        x = np.where(u % 16 == 0, specials(dtype)[(u >> 4 & 7).astype(int)], x)
    return x.reshape(shape)


def layer(c, dtype, n, d_in, d_out):
    flags = int(splitmix64(c)[0])
    d_out = n if flags & 1 else d_out
    return BilinearLayer(
        array(c, 0, dtype, n, d_in),
        array(c, 1, dtype, n, d_in),
        None if flags & 1 else array(c, 2, dtype, d_out, n),
        b_left=array(c, 3, dtype, n) if flags & 2 else None,
        b_right=array(c, 4, dtype, n) if flags & 4 else None,
        b_out=array(c, 5, dtype, d_out) if flags & 8 else None,
        w_skip=array(c, 6, dtype, d_out, d_in) if flags & 16 else None,
    )


def result(c, dtype, threads):
    d_in, n, d_out = 1 + 29 * c % 37, 1 + 53 * c % 301, 1 + 11 * c % 23
    if c % 4 == 0:
        return fast.interaction_tensor(layer(c, dtype, n, d_in, d_out), threads=threads)
    x = array(c, 0, dtype, n, d_in)
    if c % 4 == 1:
        return fast.tensor_gradient(x, array(c, 2, dtype, n, d_out), threads=threads)
    tensor = array(c, 2, dtype, d_out, n_pairs(d_in))
    if c % 4 == 2:
        return fast.quadratic_form(tensor, x, threads=threads)
    return fast.bilinear_form(tensor, x, array(c, 1, dtype, n, d_in), threads=threads)


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_the_bits_are_those_of_c(monkeypatch, threads):
    monkeypatch.setattr(fast, "SMALL", 0)  # small calls make threads too
    bits = hashlib.sha256()
    for c in range(64):
        for dtype in ("<f4", "<f8"):
            bits.update(result(c, np.dtype(dtype), threads).tobytes())
    assert bits.hexdigest() == BITS
