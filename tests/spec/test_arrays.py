"""What enters as what."""

from fractions import Fraction

import numpy as np
import pytest

import laws
from refbilinear.spec.arrays import affine, as_array, constant, enter, first_index, rows
from strategies import LAYOUTS


@pytest.mark.parametrize("dtype", [bool, np.int8, np.uint8, np.int32, np.int64, np.uint64])
def test_integers_become_float64(dtype):
    array = as_array("x", np.array([0, 1], dtype))
    assert array.dtype == np.float64
    laws.same(array, [0.0, 1.0])


@pytest.mark.parametrize("value", [2**53, -(2**53)])
def test_the_largest_integers_stay_exact(value):
    laws.same(laws.exact(as_array("x", [value])), [value])


def test_no_integer_at_all_is_fine():
    assert as_array("x", np.zeros((0, 3), np.int64)).shape == (0, 3)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_floats_stay_what_they_are_without_a_copy(dtype):
    given = np.ones((2, 3), dtype)
    assert as_array("x", given) is given
    swapped = given.astype(given.dtype.newbyteorder())
    assert as_array("x", swapped).dtype == dtype
    assert as_array("x", swapped).dtype.isnative


def test_exact_numbers_become_fractions():
    given = np.array([1, True, np.int64(3), Fraction(1, 3)], dtype=object)
    array = as_array("x", given)
    assert array.tolist() == [1, 1, 3, Fraction(1, 3)]
    assert [type(number) for number in array] == [Fraction] * 4
    assert [type(number) for number in given] == [int, bool, np.int64, Fraction]


def test_integers_of_every_size_are_exact_in_object_arrays():
    assert as_array("x", np.array([2**100], dtype=object))[0] == 2**100


def test_other_rationals_stay_what_they_are():
    class Third(Fraction):
        pass

    third = Third(1, 3)
    assert as_array("x", np.array([third], dtype=object))[0] is third


@pytest.mark.parametrize("layout", ["C", "F", "strided", "reversed", "read-only", "broadcast"])
def test_object_arrays_in_every_order(layout):
    given = np.arange(6).reshape(2, 3).astype(object)
    laws.same(as_array("x", LAYOUTS[layout](given)), np.array(LAYOUTS[layout](given).tolist()))


def test_a_constant_is_exact_where_its_dtype_is():
    laws.exact_numbers(constant(1, (2, 3), object))
    for dtype in (np.float32, np.float64):
        assert constant(1, 2, dtype).dtype == dtype
        laws.same(constant(1, 2, dtype), [1, 1])


@pytest.mark.parametrize("shape", [(3,), (2, 3), (4, 2, 3), (0, 3), (2, 0), (0, 0), (2, 0, 3)])
def test_rows_of_every_shape(shape):
    flat = rows(np.ones(shape))
    assert flat.shape == (int(np.prod(shape[:-1])), shape[-1])


def test_affine_parts_are_optional():
    x, w, b = np.array([[1.0, 2.0]]), np.array([[3.0, 4.0]]), np.array([5.0])
    laws.same(affine(x), x)
    laws.same(affine(x, w), [[11.0]])
    laws.same(affine(x, w, b), [[16.0]])
    laws.same(affine(x, b=b), [[6.0, 7.0]])


def test_first_index_is_the_first():
    assert first_index(np.array([[False, False], [False, True]])) == (1, 1)
    assert all(type(i) is int for i in first_index(np.array([[True]])))


@pytest.mark.parametrize(
    ("value", "sizes", "batched", "words"),
    [
        ([1, 2], {"d": 3}, False, r"x must have shape \(d,\) = \(3,\); got \(2,\)"),
        ([1, 2], {"d": 3}, True, r"x must have shape \(\.\.\., d\) = \(\.\.\., 3\); got \(2,\)"),
        ([1, 2], {"n": None, "d": None}, False, r"x must have shape \(n, d\); got \(2,\)"),
        ([1], {"n": None, "d": 3}, False, r"x must have shape \(n, d\) = \(n, 3\); got \(1,\)"),
        ([1], {"d": 0}, False, r"x must have shape \(d,\) = \(0,\); got \(1,\)"),
        (1, {"d": None}, True, r"x must have shape \(\.\.\., d\); got \(\)"),
    ],
)
def test_a_wrong_shape_is_told_in_letters_and_numbers(value, sizes, batched, words):
    with pytest.raises(ValueError, match=words + "$"):
        enter("x", value, sizes, batched=batched)


def test_a_wrong_dtype_is_told():
    with pytest.raises(TypeError, match="x must have dtype float32 to match y; got float64: conv"):
        enter("x", [1.0], {"d": 1}, dtype=np.float32, match="to match y")
    with pytest.raises(TypeError, match=r"dtype object \(exact rationals\); got float64"):
        enter("x", [1.0], {"d": 1}, dtype=object)
