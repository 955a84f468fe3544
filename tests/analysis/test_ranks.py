"""Ranks and sparsities: known values, invariances, extremes, and what is refused."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import laws
from refbilinear.analysis.ranks import (
    effective_rank,
    entropy_rank,
    hoyer_sparsity,
    participation,
)
from strategies import FLOATS, random_array

OF_COLUMNS = [entropy_rank, participation, hoyer_sparsity]
ALL = [effective_rank, *OF_COLUMNS]

# Sums of n terms, squares, roots, one exp and one log of at most 1 ulp each: far below 100 roundings
# of quantities that are at most n.
FEW = 100 * 2.0**-53


@pytest.mark.parametrize(
    ("values", "effective", "entropy", "share", "sparsity"),
    [
        ([], 0, 0, 0, 1),
        ([0, 0, 0], 0, 0, 0, 1),
        ([5], 1, 1, 1, 1),
        ([0, -7, 0], 1, 1, 1, 1),
        ([2, -2, 2, -2], 4, 4, 4, 0),
        ([3, 3, 0, 0], 2, 2, 2, (2 - math.sqrt(2)) / 1),
        ([3, 1], 1.6, 10 / 9**0.9, 100 / 82, (math.sqrt(2) - 4 / math.sqrt(10)) / (math.sqrt(2) - 1)),
        ([1e300] * 4, 4, 4, 4, 0),
        ([5e-324] * 4, 4, 4, 4, 0),
        ([1e300, 1e-300], 1, 1, 1, 1),
    ],
)  # fmt: skip
def test_known_values(values, effective, entropy, share, sparsity):
    for function, wanted in zip(ALL, (effective, entropy, share, sparsity), strict=True):
        found = function(np.array(values, np.float64))
        assert type(found) is float
        assert abs(found - wanted) <= FEW * max(1, len(values))


@given(st.integers(0, 2**32 - 1))
def test_scale_sign_order_and_zeros_do_not_count(seed):
    rng = np.random.default_rng(seed)
    values = random_array(rng, (5,), np.float64)
    for function in ALL:
        found = function(values)
        assert 0 <= found <= 5
        for other in (values * 8, -values, values * rng.choice([-1, 1], 5)):
            assert function(other) == found
        assert abs(function(values[::-1]) - found) <= 5 * FEW
    for function in ALL[:3]:
        assert abs(function(np.r_[values, 0, 0]) - function(values)) <= 5 * FEW


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1))
def test_columns_are_vectors_of_their_own(seed):
    matrix = random_array(np.random.default_rng(seed), (4, 3), np.float64)
    matrix[:, 1] = 0
    for function in OF_COLUMNS:
        each = [function(column) for column in matrix.T]
        assert np.allclose(function(matrix), each, rtol=5 * FEW, atol=0)
        assert function(np.zeros((4, 0))).shape == (0,)
        assert function(np.zeros((0, 2))).shape == (2,)


@pytest.mark.parametrize("function", ALL)
def test_every_number_type(function):
    values = [1, -2, 3]
    for dtype in (*FLOATS, int):
        assert abs(function(np.array(values, dtype)) - function(values)) <= FEW
    huge = laws.exact(values) * 10**400
    assert abs(function(huge) - function(values)) <= FEW
    assert function(laws.exact([0, 0])) == function([0, 0])


@pytest.mark.parametrize("function", OF_COLUMNS)
def test_bad_input_is_refused(function):
    with pytest.raises(ValueError, match=r"values must be finite; got nan at \(1,\)"):
        function([1, np.nan])
    with pytest.raises(ValueError, match=r"values must have shape \(n,\) or \(n, k\); got \(\)"):
        function(1.0)
    with pytest.raises(TypeError, match="values must be an array; got None"):
        function(None)


def test_a_density_without_the_one_and_a_rank_without_the_square_are_seen():
    values = np.array([3.0, 1.0, 0.5])
    root = math.sqrt(3)
    ratio = values.sum() / math.sqrt(values @ values)
    for wrong in ((root - ratio) / root, ratio / root, (ratio - 1) / (root - 1)):
        assert abs(hoyer_sparsity(values) - wrong) > 0.01
    shares = values / values.sum()
    assert abs(entropy_rank(values) - math.exp(-shares @ np.log(shares))) > 0.1
    assert abs(participation(values) - effective_rank(values)) > 0.1
