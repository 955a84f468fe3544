"""Packed symmetric storage: which entry stands where, and that nothing is lost."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import laws
from refbilinear import dimension, n_pairs, pack, pair_index, pair_indices, symmetric_part, unpack
from refbilinear.spec.packed import row
from strategies import FLOATS, LAYOUTS, arrays, plain

OF = laws.package()


@pytest.mark.parametrize("d", range(65))
def test_round_trip(d):
    laws.packing_is_the_order(OF, np.arange(2.0 * n_pairs(d)).reshape(2, -1))
    i, j = np.tril_indices(d)
    laws.same(np.stack(pair_indices(d)), np.stack([i, j]))
    places = [pair_index(*map(int, pair)) for pair in zip(i, j, strict=True)]
    assert places == list(range(n_pairs(d)))
    assert places == [pair_index(*map(int, pair)) for pair in zip(j, i, strict=True)]
    assert [p for k in range(d) for p in range(n_pairs(d))[row(k)]] == places


def test_dimension_inverts_n_pairs():
    for d in range(5000):
        pairs = n_pairs(d)
        assert dimension(pairs) == d
        assert pairs == sum(range(d + 1)) if d < 100 else pairs - n_pairs(d - 1) == d


@given(st.integers(0, 2**70))
def test_dimension_knows_every_triangular_number_and_no_other(d):
    assert dimension(d * (d + 1) // 2) == d
    if d > 1:
        with pytest.raises(ValueError, match="n_pairs must be"):
            dimension(d * (d + 1) // 2 - 1)


@given(arrays((3, 2, 10)))
def test_packing_rationals(packed):
    laws.packing_is_the_order(OF, packed)
    laws.exact_numbers(unpack(packed), pack(unpack(packed)))


@pytest.mark.parametrize("dtype", [object, *FLOATS], ids=["object", "float32", "float64"])
def test_dtype_is_kept(dtype):
    packed = np.ones((2, 3)).astype(int).astype(dtype)
    assert unpack(packed).dtype == pack(unpack(packed)).dtype == dtype
    assert symmetric_part(unpack(packed)).dtype == dtype


@given(arrays((2, 4, 4)))
def test_symmetric_part_is_half_the_sum(matrices):
    part = symmetric_part(matrices)
    laws.exact_numbers(part)
    laws.same(part, part.swapaxes(1, 2))
    laws.same(2 * part, matrices + matrices.swapaxes(1, 2))
    laws.same(symmetric_part(part), part)


@given(arrays((7, 7), np.float64))
def test_symmetric_part_of_floats_is_symmetric_bit_for_bit(matrix):
    part = symmetric_part(matrix)
    assert part.tobytes() == part.T.copy().tobytes()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same(layout):
    packed = LAYOUTS[layout](np.arange(12.0).reshape(2, 6))
    whole = LAYOUTS[layout](unpack(np.arange(12.0).reshape(2, 6)))
    before = packed.tobytes(), whole.tobytes()
    laws.same(unpack(packed), laws.loops_unpack(plain(packed)))
    laws.same(pack(whole), pack(plain(whole)))
    laws.same(symmetric_part(whole), plain(whole))
    assert (packed.tobytes(), whole.tobytes()) == before


def test_a_nan_may_face_a_nan_and_a_zero_its_negative():
    matrix = np.array([[1.0, np.nan, 0.0], [np.nan, 2.0, 3.0], [-0.0, 3.0, 4.0]])
    packed = pack(matrix)
    assert np.isnan(packed[1])
    laws.same(np.delete(packed, 1), [1.0, 2.0, 0.0, 3.0, 4.0])
