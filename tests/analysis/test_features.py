"""Dictionary features against the whole matrix q, by loops: exactly, and in bounds."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import laws
from refbilinear import BilinearLayer, forward, parameters
from refbilinear.analysis import features as module
from refbilinear.analysis.directions import spectrum
from refbilinear.analysis.features import (
    FeatureForm,
    Interactions,
    Terms,
    activation_terms,
    feature_form,
    feature_form_roundings,
    feature_layer,
    interaction,
    interaction_row,
    prediction_correlations,
    shares,
    top_interactions,
    weight_terms,
)
from refbilinear.analysis.products import frobenius
from refbilinear.analysis.truncation import forms, truncated_outputs
from refbilinear.oracle.bounds import gamma
from strategies import (
    FLOATS,
    LAYOUTS,
    OPTIONAL,
    distinct_sizes,
    layers,
    optional_names,
    random_array,
    random_layer,
)

BOTH = pytest.mark.parametrize("dtype", FLOATS)
SEEDS = st.integers(0, 2**32 - 1)
N = 7
"""Features of most examples; blocks of three leave one that is not whole."""


@pytest.fixture(autouse=True, scope="module")
def _small_blocks():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK", 3)
        yield


@st.composite
def cases(draw, dtype=object):
    """Draw a layer of either way to q, an output feature, a decoder and perhaps its bias."""
    layer = draw(layers(dtype, largest=5))
    rng = np.random.default_rng(draw(SEEDS))
    e = random_array(rng, (layer.d_out,), dtype)
    decoder = random_array(rng, (layer.d_in, N), dtype)
    return (
        layer,
        e,
        decoder,
        random_array(rng, (layer.d_in,), dtype) if draw(st.booleans()) else None,
    )


# ---- twins


def loops_q(layer, e, decoder):
    """Return q by its definition, in Fractions or whatever the numbers are."""
    A, C = (
        [[sum(row * column) for row in w] for column in decoder.T]
        for w in (layer.w_left, layer.w_right)
    )
    out = np.eye(layer.d_hidden, dtype=int) if layer.w_out is None else layer.w_out
    weights = [sum(e * column) for column in out.T]
    q = np.empty((decoder.shape[1],) * 2, dtype=object)
    for i, j in np.ndindex(q.shape):
        q[i, j] = Fraction(0)
        for h, w in enumerate(weights):
            q[i, j] += w * (A[i][h] * C[j][h] + A[j][h] * C[i][h]) / Fraction(2)
    return q


def ranked(q, doubled):
    """Return all pairs i ≥ j as (i, j, value), ranked."""
    pairs = [
        (i, j, (1 + (doubled and i != j)) * q[i, j]) for i in range(len(q)) for j in range(i + 1)
    ]
    return sorted(pairs, key=lambda pair: (-abs(pair[2]), pair[:2]))


def found_pairs(found):
    return list(zip(*(part.tolist() for part in found), strict=True))


# ---- exact


@settings(max_examples=12)
@given(cases())
def test_entries_and_rows_are_those_of_the_definition(case):
    form, q = feature_form(*case), loops_q(*case[:3])
    for i in range(N):
        row = interaction_row(form, i)
        laws.exact_numbers(row, *(interaction(form, i, j) for j in range(N)))
        laws.same(row, q[i])
        laws.same([interaction(form, i, j) for j in range(N)], q[i])


@settings(max_examples=12)
@given(case=cases(), seed=SEEDS)
def test_the_form_is_the_layer_behind_the_decoder(case, seed):
    layer, e, decoder, bias = case
    f = random_array(np.random.default_rng(seed), (2, 3, N), object)
    x = f @ decoder.T + (0 if bias is None else bias)
    laws.same(forward(feature_layer(layer, decoder, bias), f), forward(layer, x))
    form, q = feature_form(*case), loops_q(layer, e, decoder)
    terms = activation_terms(form, f)
    laws.exact_numbers(*terms)
    laws.same(terms.self_terms, (f * f) @ np.diagonal(q))
    laws.same(terms.self_terms + terms.cross_terms, np.sum((f @ q) * f, axis=-1))
    laws.same(sum(terms), forward(layer, x) @ e)
    one = activation_terms(form, f[1, 2])
    laws.same([part[1, 2] for part in terms], one)


def test_every_bias_and_the_skip_path_count():
    rng = np.random.default_rng(12)
    layer = random_layer(rng, OPTIONAL, (3, 5, 2))
    e, decoder, bias, f = (random_array(rng, s, object) for s in ((2,), (3, N), (3,), (4, N)))
    want = forward(layer, f @ decoder.T + bias)
    laws.same(forward(feature_layer(layer, decoder, bias), f), want)
    laws.same(sum(activation_terms(feature_form(layer, e, decoder, bias), f)), want @ e)


@settings(max_examples=10)
@given(cases())
def test_weight_terms_are_the_norm_in_three_parts(case):
    layer, e, decoder, bias = case
    form, q = feature_form(*case), loops_q(layer, e, decoder)
    terms = weight_terms(form)
    laws.exact_numbers(*terms)
    diagonal = np.diagonal(q)
    laws.same(terms.self_terms, diagonal @ diagonal)
    laws.same(terms.self_terms + terms.cross_terms, np.sum(q * q))
    over = feature_layer(layer, decoder, bias)
    w_out = e[None] if over.w_out is None else e[None] @ over.w_out
    b_out, w_skip = (None if b is None else e[None] @ b for b in (over.b_out, over.w_skip))
    laws.same(sum(terms), frobenius(*[replace(over, w_out=w_out, b_out=b_out, w_skip=w_skip)] * 2))


@settings(max_examples=10)
@given(case=cases(), doubled=st.booleans())
def test_top_interactions_are_the_largest_of_all(case, doubled):
    form, q = feature_form(*case), loops_q(*case[:3])
    want = ranked(q, doubled)
    for k in (0, 1, 5, len(want)):
        found = top_interactions(form, k, doubled=doubled)
        laws.exact_numbers(found.values)
        assert found_pairs(found) == want[:k]


@pytest.mark.parametrize("doubled", [True, False])
@settings(max_examples=40)
@given(seed=SEEDS)
def test_ties_go_to_the_lowest_pair(doubled, seed):
    """Features of −1, 0 and 1: nearly every number is met many times, some zeros among the top."""
    rng = np.random.default_rng(seed)
    layer = BilinearLayer(*(rng.integers(-1, 2, (2, 2)) for _ in range(2)), [[1, -1]])
    decoder = rng.integers(-1, 2, (2, 8)).astype(float)
    found = top_interactions(feature_form(layer, [1], decoder), 20, doubled=doubled)
    q = loops_q(layer, np.array([1]), decoder)
    assert found_pairs(found) == ranked(q, doubled)[:20]


def test_all_alike_and_all_zero():
    ones = np.ones((2, 8))
    for factor in (1, 0):
        layer = BilinearLayer([[factor, 0]], [[0, 1]])
        found = top_interactions(feature_form(layer, [1], ones), 10, doubled=False)
        want = [(i, j, factor) for i in range(8) for j in range(i + 1)][:10]
        assert found_pairs(found) == want


def test_doubling_decides_which_pair_is_first():
    """3f₀² + 4f₀f₁ has q = [[3, 2], [2, 0]]."""
    layer = BilinearLayer([[1, 0]], [[3, 4]])
    form = feature_form(layer, [1], np.eye(2))
    assert found_pairs(top_interactions(form, 1)) == [(1, 0, 4)]
    assert found_pairs(top_interactions(form, 1, doubled=False)) == [(0, 0, 3)]


def test_progress_counts_pairs():
    seen = []
    layer, decoder = BilinearLayer([[1, 0]], [[0, 1]]), np.ones((2, N))
    top_interactions(feature_form(layer, [1], decoder), 1, progress=lambda *a: seen.append(a))
    assert seen == [(6, 28), (15, 28), (21, 28), (24, 28), (27, 28), (28, 28)]


# ---- either way to q


def test_the_way_of_fewer_columns_is_taken():
    """And units that the output feature does not read do not count."""
    rng = np.random.default_rng(1)
    for d_in, d_hidden, zeros, m in ((6, 2, 0, 4), (5, 3, 0, 5), (5, 3, 1, 4), (4, 2, 0, 4)):
        layer = random_layer(rng, ("w_out",), (d_in, d_hidden, 1))
        w_out = layer.w_out.copy()
        w_out[:, :zeros] = Fraction(0)
        layer = replace(layer, w_out=w_out)
        case = layer, laws.exact([1]), random_array(rng, (d_in, N), object)
        form = feature_form(*case)
        assert form.left.shape == form.right.shape == (N, m)
        laws.same(form.left @ form.right.T, loops_q(*case))


@pytest.mark.parametrize("sizes", [(3, 0, 2), (0, 3, 2), (3, 2, 0)])
def test_nothing_to_interact(sizes):
    layer = random_layer(np.random.default_rng(2), OPTIONAL, sizes)
    e, decoder = (
        random_array(np.random.default_rng(3), s, object) for s in (sizes[2], (sizes[0], N))
    )
    form = feature_form(layer, e, decoder)
    laws.exact_numbers(form.left, form.linear, form.constant, *weight_terms(form))
    found = top_interactions(form, 3)
    assert found_pairs(found) == [(0, 0, 0), (1, 0, 0), (1, 1, 0)]
    laws.exact_numbers(found.values)
    f = laws.exact(np.ones(N))
    laws.same(sum(activation_terms(form, f)), forward(feature_layer(layer, decoder), f) @ e)


@pytest.mark.parametrize("dtype", [*FLOATS, object])
def test_no_feature_and_one(dtype):
    layer = random_layer(np.random.default_rng(4), OPTIONAL, (2, 3, 4), dtype)
    e, decoder = (random_array(np.random.default_rng(5), s, dtype) for s in (4, (2, 1)))
    none, one = feature_form(layer, e, decoder[:, :0]), feature_form(layer, e, decoder)
    found = top_interactions(none, 0)
    assert [part.shape for part in found] == [(0,)] * 3
    assert found.values.dtype == dtype
    assert sum(activation_terms(none, decoder[:0, 0])) == none.constant
    assert weight_terms(none)[:2] == (0, 0)
    with pytest.raises(ValueError, match="k must be at most 0, the number of pairs"):
        top_interactions(none, 1)
    assert found_pairs(top_interactions(one, 1)) == [(0, 0, interaction(one, 0, 0))]
    assert weight_terms(one).cross_terms == 0


# ---- floats


def absolute(layer):
    return BilinearLayer(**{name: abs(array) for name, array in parameters(layer).items()})


def twin(case):
    """Return the same form of absolute values, exactly."""
    layer, *arrays = case
    arrays = [None if array is None else laws.exact(abs(array)) for array in arrays]
    return laws.exact_layer(absolute(layer)), *arrays


def exactly(case):
    return laws.exact_layer(case[0]), *(None if a is None else laws.exact(a) for a in case[1:])


def scaled(twin, roundings, dtype):
    """Return γ_K times a twin, which is exact."""
    return np.asarray(twin * Fraction(gamma(roundings, dtype))).astype(float) * (1 + 2.0**-50)


@BOTH
@settings(max_examples=6)
@given(data=st.data())
def test_floats_are_in_bound(dtype, data):
    case = data.draw(cases(dtype))
    layer = case[0]
    form, want, twins = feature_form(*case), exactly(case), twin(case)
    k = feature_form_roundings(layer)
    q, large = loops_q(*want[:3]), loops_q(*twins[:3])
    bound = scaled(large, k, dtype)
    for i in range(N):
        laws.in_bound(interaction_row(form, i), q[i], bound[i], dtype)
        for j in range(N):
            laws.in_bound(interaction(form, i, j), q[i, j], bound[i, j], dtype)
    everything = top_interactions(form, N * (N + 1) // 2, doubled=False)
    at = everything.i, everything.j
    laws.in_bound(everything.values, q[at], bound[at], dtype)
    assert (np.diff(abs(everything.values)) <= 0).all()
    twice = top_interactions(form, 9)
    factors = np.where(twice.i == twice.j, 1, 2)
    laws.in_bound(twice.values / factors.astype(dtype), q[twice[:2]], bound[twice[:2]], dtype)

    # Linear: a bias that b_dec moved, w, their product, units, two sums and the decoder.
    exact_form, large_form = feature_form(*want), feature_form(*twins)
    shifted = layer.d_in + 1
    of_affine = layer.d_out + 2 * shifted + layer.d_hidden + layer.d_in + 4
    for part in ("linear", "constant"):
        bounds = scaled(getattr(large_form, part), of_affine, dtype)
        laws.in_bound(getattr(form, part), getattr(exact_form, part), bounds, dtype)

    f = random_array(np.random.default_rng(N), (4, N), dtype)
    terms, exact_terms = activation_terms(form, f), activation_terms(exact_form, laws.exact(f))
    large_terms = activation_terms(large_form, laws.exact(abs(f)))
    of_terms = k + 2 * N + 3 + layer.d_in
    wide = Terms(
        large_terms.self_terms, 2 * large_terms.self_terms + large_terms.cross_terms, large_terms[2]
    )
    counts = (of_terms, of_terms, of_affine + N + 1)
    for mine, true, most, count in zip(terms, exact_terms, wide, counts, strict=True):
        laws.in_bound(mine, true, scaled(most, count, dtype), dtype)

    # Of weights: two entries, their product, and sums over features and twice over columns.
    weights, exact_weights, large_weights = map(weight_terms, (form, exact_form, large_form))
    of_weights = 2 * k + 2 * N + 2 * layer.d_in + 3
    wide = Terms(
        large_weights.self_terms,
        2 * large_weights.self_terms + large_weights.cross_terms,
        large_weights.affine,
    )
    counts = (of_weights, of_weights, 2 * of_affine + N + 2)
    for mine, true, most, count in zip(weights, exact_weights, wide, counts, strict=True):
        laws.in_bound(mine, true, scaled(most, count, dtype), dtype)


def test_a_lost_half_or_sign_is_seen():
    """The bound is not so wide that a mistake would pass."""
    case = (
        random_layer(np.random.default_rng(6), (), (3, 4, 4), np.float64),
        *(random_array(np.random.default_rng(7), s, np.float64) for s in (4, (3, N))),
    )
    bound = scaled(loops_q(*twin(case)[:3]), feature_form_roundings(case[0]), np.float64)
    q = loops_q(*exactly(case)[:3]).astype(float)
    assert (bound < 1e-13 * abs(q).max()).all()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_read_alike(layout):
    rng = np.random.default_rng(8)
    layer = BilinearLayer(*(rng.integers(-3, 4, shape) for shape in ((9, 5), (9, 5), (2, 9))))
    e = np.array([1.0, -2.0])
    decoder = LAYOUTS[layout](rng.integers(-3, 4, (5, N)).astype(float))
    before = decoder.tobytes()
    plain = np.array(decoder, np.float64, order="C")
    one, two = (top_interactions(feature_form(layer, e, d), 4) for d in (decoder, plain))
    assert found_pairs(one) == found_pairs(two)
    assert decoder.tobytes() == before


# ---- eigenpairs, predictions and shares


def test_the_spectrum_of_q_is_that_behind_the_decoder():
    rng = np.random.default_rng(9)
    layer, decoder = (
        random_layer(rng, ("w_out",), (3, 4, 2), np.float64),
        rng.standard_normal((3, N)),
    )
    e = np.array([1.0, 2.0])
    q = loops_q(layer, e, decoder).astype(float)
    pairs = spectrum(layer, e, 3, embed=decoder)
    again = (pairs.eigenvectors * pairs.eigenvalues) @ pairs.eigenvectors.T
    np.testing.assert_allclose(again, q, atol=1e-12 * abs(q).max())


@BOTH
@settings(max_examples=8)
@given(names=optional_names(), sizes=distinct_sizes(3), seed=SEEDS)
def test_predictions_correlate_as_their_outputs_do(dtype, names, sizes, seed):
    rng = np.random.default_rng(seed)
    layer = random_layer(rng, names, sizes, dtype)
    e, x = random_array(rng, (layer.d_out,), dtype), random_array(rng, (11, layer.d_in), dtype)
    ks = range(layer.d_in + 1)
    found = prediction_correlations(layer, e, x, ks)
    true = (forward(layer, x) @ e).astype(float)
    for correlation, y in zip(found, truncated_outputs(forms(layer, e[None]), x, ks), strict=True):
        predicted = y[:, 0].astype(float)
        want = np.corrcoef(true, predicted)[0, 1] if np.ptp(predicted) else 0
        assert abs(correlation - want) <= (1e-5 if dtype == np.float32 else 1e-10)
        assert -1 <= correlation <= 1
    assert found[-1] > 1 - 1e-4


def test_correlations_with_other_activations():
    """x₀² after a ReLU of 2 − x₀² falls as it rises; scale and offset do not matter."""
    layer, x = BilinearLayer([[1, 0]], [[1, 0]]), np.array([[0.0, 1], [1, 2], [2, 3]])
    for scale in (1, 1e-200, 1e200):
        true = (2 - x[:, 0] ** 2).clip(0) * scale
        found = prediction_correlations(layer, [1], x, [0, 1], true)
        assert found[0] == 0
        assert abs(found[1] - np.corrcoef(x[:, 0] ** 2, true / scale)[0, 1]) < 1e-14
        assert found[1] < -0.7
    assert prediction_correlations(layer, [1], x, []).shape == (0,)
    assert prediction_correlations(layer, [1], x, iter([0, 1])).shape == (2,)
    assert prediction_correlations(layer, [1], x * 1e200, [0], true) == [0]


@BOTH
def test_rounding_is_not_correlated(dtype):
    """‖x‖² on the unit circle: neither it nor its prediction varies by more than rounding."""
    angles = np.linspace(0, 6, 50)
    x = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(dtype)
    layer = BilinearLayer(*[np.eye(2, dtype=dtype)] * 2)
    e = np.ones(2, dtype)
    assert np.ptp(forward(layer, x) @ e) > 0
    with pytest.raises(
        ValueError, match=r"activations must vary .* for all examples, up to rounding"
    ):
        prediction_correlations(layer, e, x, [2])
    found = prediction_correlations(layer, e, x, [1, 2], x[:, 0])
    assert abs(found[0]) > 0.01
    assert found[1] == 0
    tiny = np.linspace(0, 1e-3 if dtype == np.float32 else 1e-12, 50).astype(dtype)
    x = x * (1 + tiny)[:, None]
    assert prediction_correlations(layer, e, x, [2]) > 0.9


def test_small_variation_about_a_large_mean():
    """Activations of 1 and a few ulps, which a rounded mean would not centre."""
    layer, x = BilinearLayer([[1]], [[1]]), np.array([[0.0], [1], [2], [3]])
    steps = np.array([0.0, 1, 1, 3])
    found = prediction_correlations(layer, [1], x, [1], 1 + steps * 2.0**-52)
    assert abs(found[0] - np.corrcoef(x[:, 0] ** 2, steps)[0, 1]) <= 2.0**-50


def test_a_dictionary_layer_predicts_from_features():
    """Through `feature_layer` the eigenpairs are those of q."""
    rng = np.random.default_rng(10)
    layer, decoder, bias = (
        random_layer(rng, OPTIONAL, (3, 4, 2), np.float64),
        rng.standard_normal((3, N)),
        np.ones(3),
    )
    f, e = rng.standard_normal((20, N)), np.array([1.0, 2.0])
    over = feature_layer(layer, decoder, bias)
    found = prediction_correlations(over, e, f, [0, 1, 3])
    assert found[-1] > 1 - 1e-12
    assert found[0] < found[1] < found[2]


def test_shares_are_parts_of_one():
    assert shares(Terms(laws.exact([1, -2]), laws.exact([3, 0]), laws.exact([0, 2]))) == (
        Fraction(3, 8),
        Fraction(3, 8),
        Fraction(1, 4),
    )
    assert shares(Terms(0.0, 0.0, 0.0)) == shares(Terms(*[np.zeros(0)] * 3)) == (0, 0, 0)
    huge = shares(Terms([1e308] * 9, [1e308] * 9, 0.0))
    assert huge == (0.5, 0.5, 0)
    narrow = shares(Terms(np.float32([3, 1]), np.float32(1), np.float32(3)))
    assert narrow == (0.5, 0.125, 0.375)
    assert {type(share) for share in narrow} == {np.float64}


@BOTH
def test_scales_of_a_form_change_no_share(dtype):
    """Powers of two, of q against its own factors and of the whole form."""
    layer = random_layer(np.random.default_rng(13), OPTIONAL, (3, 4, 2), dtype)
    decoder = random_array(np.random.default_rng(14), (3, N), dtype)
    form = feature_form(layer, np.ones(2, dtype), decoder)
    want, far = weight_terms(form), 100 if dtype == np.float32 else 900
    for power in (far, -far):
        moved = np.ldexp(form.left, power), np.ldexp(form.right, -power)
        laws.same(weight_terms(form._replace(left=moved[0], right=moved[1])), want)
    half = np.finfo(dtype).maxexp // 2 - 30
    for power in (-half, half - 10):
        linear, constants = np.ldexp(form.linear, power), np.ldexp(form.constant, power)
        moved = FeatureForm(np.ldexp(form.left, power), form.right, linear, constants)
        laws.same(weight_terms(moved), np.ldexp(want, 2 * power))
    tiny = FeatureForm(*(np.ldexp(part, -far) for part in form))
    with pytest.raises(ValueError, match="form has squares below the least"):
        weight_terms(tiny)
    assert weight_terms(FeatureForm(*(part * 0 for part in form))) == (0, 0, 0)


def test_cross_terms_of_weights_are_not_negative():
    """One feature alone has no pairs, whatever rounding leaves of the difference."""
    rng = np.random.default_rng(11)
    crossed = []
    for _ in range(50):
        layer = random_layer(rng, (), (3, 4, 4), np.float32)
        form = feature_form(layer, np.ones(4, np.float32), random_array(rng, (3, 1), np.float32))
        crossed.append(weight_terms(form).cross_terms)
    assert min(crossed) >= 0


# ---- what is refused

ONE = BilinearLayer([[1, 2]], [[3, 4]], w_skip=[[5, 6]])
D = np.ones((2, 3))
FORM = feature_form(ONE, [1], D)
BAD = np.array([[1, 2, 3], [4, np.nan, 6]])
X = np.array([[1.0, 2], [3, 4], [5, 7]])
V, T = ValueError, TypeError

REFUSED = [
    (lambda: feature_form(ONE, [1, 2], D), V, r"e must have shape \(d_out,\) = \(1,\) to match the layer"),
    (lambda: feature_form(ONE, [np.inf], D), V, r"e must be finite; got inf at \(0,\)"),
    (lambda: feature_form(ONE, [1], D.T), V, r"decoder must have shape \(d_in, n_features\) = \(2, n_features\)"),
    (lambda: feature_form(ONE, [1], BAD), V, r"decoder must be finite; got nan at \(1, 1\)"),
    (lambda: feature_form(ONE, [1], None), T, "decoder must be an array; got None"),
    (lambda: feature_form(ONE, [1], np.float32(D)), T, "decoder must have dtype float64"),
    (lambda: feature_form(ONE, [1], laws.exact(D)), T, "decoder must have dtype float64"),
    (lambda: feature_form(ONE, [1], D, [1, 2, 3]), V, r"bias must have shape \(d_in,\) = \(2,\)"),
    (lambda: feature_form(ONE, [1], D, [1, np.nan]), V, r"bias must be finite; got nan at \(1,\)"),
    (lambda: feature_form(ONE, [1e300], D * 1e300), OverflowError, "left has entries beyond the largest float64"),
    (lambda: feature_form(ONE, [1e300], D, [1e300, 1e300]), OverflowError, "linear or constant parts exceed"),
    (lambda: feature_layer(ONE, D.T), V, "decoder must have shape"),
    (lambda: feature_layer(ONE, D, [np.nan, 1]), V, "bias must be finite"),
    (lambda: feature_layer(ONE, D * 1e308), OverflowError, "w_left has entries beyond the largest float64"),
    (lambda: interaction(FORM, 3, 0), V, "i must be below 3, the number of features; got 3"),
    (lambda: interaction(FORM, 0, -1), V, "j must be at least 0; got -1"),
    (lambda: interaction(FORM, 0.0, 1), T, "i must be an integer; got float"),
    (lambda: interaction_row(FORM, 5), V, "i must be below 3"),
    (lambda: interaction_row(feature_form(ONE, [1e150], D * 1e150), 0), OverflowError, "q has entries beyond"),
    (lambda: interaction(feature_form(ONE, [1e150], D * 1e150), 0, 1), OverflowError, "q has entries beyond"),
    (lambda: top_interactions(FORM, 7), V, "k must be at most 6, the number of pairs of features; got 7"),
    (lambda: top_interactions(FORM, -1), V, "k must be at least 0; got -1"),
    (lambda: top_interactions(FORM, 1.0), T, "k must be an integer; got float"),
    (lambda: top_interactions(feature_form(ONE, [1e150], D * 1e150), 1), OverflowError, "q has entries beyond"),
    (lambda: activation_terms(FORM, [1, 2]), V, r"f must have shape \(\.\.\., n_features\) = \(\.\.\., 3\) to match the form"),
    (lambda: activation_terms(FORM, [1, 2, np.nan]), V, r"f must be finite; got nan at \(2,\)"),
    (lambda: activation_terms(FORM, [1e200] * 3), OverflowError, "self_terms has entries beyond"),
    (lambda: weight_terms(feature_form(ONE, [1e200], D)), OverflowError, "self_terms has entries beyond"),
    (lambda: shares(Terms(1.0, np.nan, 0.0)), V, r"cross_terms must be finite; got nan at \(\)"),
    (lambda: shares(Terms(1.0, None, 0.0)), T, "cross_terms must be an array; got None"),
    (lambda: prediction_correlations(ONE, [1, 2], X, [1]), V, "e must have shape"),
    (lambda: prediction_correlations(ONE, [np.nan], X, [1]), V, "u must be finite|e must be finite"),
    (lambda: prediction_correlations(ONE, [1], X[:, :1], [1]), V, r"x must have shape \(n, d_in\) = \(n, 2\)"),
    (lambda: prediction_correlations(ONE, [1], X * np.nan, [1]), V, r"x must be finite; got nan at \(0, 0\)"),
    (lambda: prediction_correlations(ONE, [1], X[:1], [1]), V, "x must hold at least two examples; got 1"),
    (lambda: prediction_correlations(ONE, [1], X[[0, 0, 0]], [1]), V, "activations must vary to be predicted; got 72.0"),
    (lambda: prediction_correlations(ONE, [1], X, [1], [2, 2, 2]), V, "activations must vary to be predicted; got 2.0"),
    (lambda: prediction_correlations(ONE, [1], X, [1], [2, 1]), V, r"activations must have shape \(n,\) = \(3,\) to match x"),
    (lambda: prediction_correlations(ONE, [1], X, [1], [2, 1, np.nan]), V, "activations must be finite"),
    (lambda: prediction_correlations(ONE, [1], X, [2, 1]), V, "ks must ascend; got 1 after 2"),
    (lambda: prediction_correlations(ONE, [1], X, [3]), V, "k must be at most 2"),
    (lambda: prediction_correlations(ONE, [1], X * 1e200, [1]), OverflowError, "activations has entries beyond the largest float64"),
    (lambda: prediction_correlations(ONE, [1], X * 1e200, [1], [1, 2, 3]), OverflowError, "contributions exceeds the largest float64"),
    (lambda: prediction_correlations(laws.exact_layer(ONE), laws.exact([1]), laws.exact(X), [1]), T, "float32 or float64"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "words"), REFUSED)
def test_bad_input_is_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()


@pytest.mark.parametrize("name", ["w_left", "w_right", "w_skip"])
@pytest.mark.parametrize(
    "call",
    [
        lambda layer: feature_form(layer, [1], D),
        lambda layer: feature_layer(layer, D),
        lambda layer: prediction_correlations(layer, [1], X, [1]),
    ],
)
def test_layers_that_are_not_finite_are_refused(name, call):
    with pytest.raises(ValueError, match=rf"{name} must be finite; got nan at \(0, 1\)"):
        call(replace(ONE, **{name: [[1, np.nan]]}))


def test_a_form_is_plain_arrays():
    assert isinstance(FORM, FeatureForm)
    assert [np.shape(part) for part in FORM] == [(3, 2), (3, 2), (3,), ()]
    assert isinstance(top_interactions(FORM, 2), Interactions)
