"""Decompositions: honest ones pass, planted mistakes are refused with the reason, bounds hold."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import laws
from refbilinear import pack
from refbilinear.oracle.decompositions import (
    certify_cosine,
    certify_hosvd,
    certify_inner_product,
)
from refbilinear.oracle.judgements import judge
from refbilinear.oracle.rationals import integers
from strategies import FLOATS

BOTH = pytest.mark.parametrize("dtype", FLOATS)


# ---- higher-order SVD


def hosvd(tensor, r_out=None, r_in=None):
    """Return the factors and the core by NumPy's SVD."""
    unfolded = (
        tensor.reshape(len(tensor), -1),
        tensor.transpose(1, 0, 2).reshape(tensor.shape[1], -1),
    )
    u, v = (np.linalg.svd(matrix, full_matrices=False)[0] for matrix in unfolded)
    u, v = u[:, :r_out], v[:, :r_in]
    return u, v, np.einsum("oij,oa,ib,jc->abc", tensor, u, v, v)


def random_tensor(seed, d_out, d, dtype=np.float64):
    tensor = np.random.default_rng(seed).standard_normal((d_out, d, d)).astype(dtype)
    return tensor + tensor.swapaxes(1, 2)


@BOTH
@pytest.mark.parametrize(("d_out", "d"), [(3, 5), (5, 2), (1, 4), (4, 1), (6, 4)])
def test_honest_hosvds_are_certified(dtype, d_out, d):
    tensor = random_tensor(d, d_out, d, dtype)
    for ranks in ((None, None), (1, 1), (2, 3), (0, 0)):
        u, v, core = hosvd(tensor, *ranks)
        found = certify_hosvd(pack(tensor), u, v, core)
        assert found.certified, found.reasons
        rebuilt = np.einsum("abc,oa,ib,jc->oij", *map(laws.exact, (core, u, v, v)))
        off = (laws.exact(tensor) - rebuilt).ravel()
        assert off @ off <= Fraction(found.error) ** 2
        assert (len(found.squares_out), len(found.squares_in)) == (u.shape[1], v.shape[1])
    found = certify_hosvd(pack(tensor), *hosvd(tensor))
    assert found.error < (1e-4 if dtype == np.float32 else 1e-12)


def test_hosvds_by_gram_matrices_and_of_nothing():
    tensor = random_tensor(1, 4, 3)
    gram = np.einsum("oij,pij->op", tensor, tensor), np.einsum("oij,okj->ik", tensor, tensor)
    u, v = (np.linalg.eigh(matrix)[1][:, ::-1] for matrix in gram)
    core = np.einsum("oij,oa,ib,jc->abc", tensor, u, v, v)
    assert certify_hosvd(pack(tensor), u, v, core).certified
    none = np.zeros((0, 0))
    assert certify_hosvd(np.zeros((0, 0)), none, none, np.zeros((0, 0, 0))).certified
    zero = certify_hosvd(np.zeros((2, 6)), np.eye(2), np.eye(3), np.zeros((2, 3, 3)))
    assert (zero.certified, zero.error) == (True, 0)


def test_mistaken_hosvds_are_refused():
    """Numbers 62 to 66, and what else can go wrong with a factor or a core."""
    tensor = random_tensor(7, 4, 3)
    packed, (u, v, core) = pack(tensor), hosvd(tensor)
    w = np.random.default_rng(2).standard_normal((4, 3, 3))
    skewed = np.linalg.svd(w.transpose(1, 0, 2).reshape(3, -1), full_matrices=False)[0]
    square = random_tensor(8, 3, 3)
    packed3, (u3, v3, core3) = pack(square), hosvd(square)
    turn = np.linalg.qr(np.random.default_rng(3).standard_normal((4, 4)))[0]
    turned = np.einsum("oij,oa,ib,jc->abc", tensor, turn, v, v)
    wrong = {
        "62 of an unsymmetrised unfolding": (packed, u, skewed, core),
        "63 modes changed": (packed3, v3, u3, core3),
        "64 contracted with U": (
            packed3,
            u3,
            v3,
            np.einsum("oij,ao,bi,cj->abc", square, u3, v3, v3),
        ),
        "65 rank truncated before the core": (packed, u[:, :2], v, core[:2] * 0.99),
        "columns reversed": (packed, u[:, ::-1], v, core[::-1]),
        "any orthonormal factor": (packed, turn, v, turned),
        "too long": (packed, u * (1 + 1e-9), v, core),
        "slices swapped": (packed, u, v, core[[1, 0, 2, 3]]),
        "one entry": (packed, u, v, core + np.eye(3) * 1e-9),
        "not the leading ones": (packed, u[:, 1:3], v, core[1:3]),
    }
    found = {name: certify_hosvd(*arguments) for name, arguments in wrong.items()}
    assert [name for name, one in found.items() if one.certified] == []
    words = " ".join(reason for one in found.values() for reason in one.reasons)
    for part in ("‖GU − UΘ‖_F of u_out", "‖GU − UΘ‖_F of u_in", "‖I − UᵀU‖_F of u_out",
                 "column 0 of u_out stands", "core is off", "slices of the core for u_out",
                 "slice 0 of the core for u_out"):  # fmt: skip
        assert part in words


def test_squared_singular_values_are_enclosed():
    tensor = np.zeros((2, 2, 2))
    tensor[0, 0, 0], tensor[1, 1, 1] = -4, 3
    found = certify_hosvd(pack(tensor), *hosvd(tensor))
    assert [place[:2] for place in found.squares_out] == [(16, 16), (9, 9)]
    assert [place[:2] for place in found.squares_in] == [(16, 16), (9, 9)]


# ---- inner products


@BOTH
@settings(max_examples=25)
@given(data=st.data())
def test_inner_products(dtype, data):
    seed = data.draw(st.integers(0, 2**32 - 1))
    a, b = random_tensor(seed, 3, 4, dtype), random_tensor(seed + 1, 3, 4, dtype)
    value = dtype(np.sum(a * b))
    found = certify_inner_product(value, pack(a), pack(b))
    assert found.certified
    assert found.ratio <= 1
    doubled = 2 - np.eye(4)[np.tril_indices(4)]
    packed = dtype(np.sum(pack(a) * pack(b) * doubled.astype(dtype)))
    assert certify_inner_product(packed, pack(a), pack(b)).certified
    norms = np.linalg.norm(a.ravel()), np.linalg.norm(b.ravel())
    assert certify_cosine(dtype(value / (norms[0] * norms[1])), pack(a), pack(b)).certified
    assert certify_cosine(dtype(1), pack(a), pack(2 * a)).certified
    square = np.sum(a * a)
    assert not certify_inner_product(dtype(square * (1 + 2.0**-14)), pack(a), pack(a)).certified
    unscaled = dtype(np.sum(pack(a) * pack(b)))
    assert not certify_inner_product(unscaled, pack(a), pack(b)).certified
    traces = dtype(sum(np.trace(p @ q.T) for p, q in zip(a, np.roll(b, 1, 0), strict=True)))
    assert "value must be" in certify_inner_product(traces, pack(a), pack(b)).reasons[0]


def test_a_cosine_above_one_by_more_than_its_bound_is_refused():
    tensor = pack(random_tensor(3, 2, 3))
    assert certify_cosine(1 + 2.0**-52, tensor, tensor).certified
    allowed = (2 * 2 * 3**2 + 5) * 2.0**-53
    assert certify_cosine(1 + 2.0**-52, tensor, tensor).ratio == pytest.approx(2.0**-52 / allowed)
    assert not certify_cosine(1 + 2 * allowed, tensor, tensor).certified
    assert not certify_cosine(1.0, tensor, -tensor).certified
    assert certify_cosine(-1.0, tensor, -tensor).certified
    with pytest.raises(ValueError, match="must not be zero"):
        certify_cosine(0.0, tensor, 0 * tensor)


def test_one_reason_is_told_and_the_worst_error():
    exact, ones = (integers(np.float64(values)) for values in ([[1, 2], [3, 4]], [[1, 1], [1, 1]]))
    found = judge("y", np.float64([[1, 5], [3.5, 8]]), exact, ones, 3, Fraction(1, 2))
    assert found == (False, ("y must be 2.0 at (0, 1), to 0.5; got 5.0",), found.ratio)
    assert 7.99 < found.ratio < 8
    assert judge("y", np.float64([[1, 2], [3, 4]]), exact, ones, 3, Fraction(0)) == (True, (), 0)


# ---- bad input


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: certify_hosvd([[1, 2]], [[1]], [[1]], [[[1]]]), ValueError, "n_pairs must be"),
        (lambda: certify_hosvd([[1]], [[1], [1]], [[1]], [[[1]]]), ValueError, "u_out must have"),
        (lambda: certify_hosvd([[1]], [[1]], [[1]], [[1]]), ValueError, "core must have shape"),
        (lambda: certify_hosvd([[np.nan]], [[1]], [[1]], [[[1]]]), ValueError, "tensor must be finite"),
        (lambda: certify_hosvd([[1]], [[np.nan]], [[1]], [[[1]]]), ValueError, "u_out must be finite"),
        (lambda: certify_hosvd([[1]], [[1]], [[1]], [[[np.nan]]]), ValueError, "core must be finite"),
        (lambda: certify_hosvd(laws.exact([[1]]), [[1]], [[1]], [[[1]]]), TypeError, "tensor must be"),
        (lambda: certify_hosvd([[1]], [[1, 0]], [[1]], [[[1]], [[1]]]), ValueError, "u_out must have at most"),
        (lambda: certify_inner_product(1.0, [[1]], [[1, 2, 3]]), ValueError, "second must have shape"),
        (lambda: certify_inner_product([1.0], [[1]], [[1]]), ValueError, "value must have shape"),
        (lambda: certify_inner_product(np.nan, [[1]], [[1]]), ValueError, "value must be finite"),
        (lambda: certify_inner_product(1.0, [[np.inf]], [[1]]), ValueError, "first must be finite"),
        (lambda: certify_inner_product(1.0, [[1]], [[np.inf]]), ValueError, "second must be finite"),
        (lambda: certify_cosine(1.0, laws.exact([[1]]), [[1]]), TypeError, "first must be float32"),
    ],
)  # fmt: skip
def test_bad_input_is_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()
