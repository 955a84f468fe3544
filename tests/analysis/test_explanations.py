"""Explanations: every sum is the output, exactly in rationals and within bounds in floats."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import laws
from refbilinear import (
    BilinearLayer,
    BilinearMLP,
    fold,
    forward,
    homogeneous,
    homogeneous_matrix,
    mlp_activations,
    mlp_forward,
    output_form,
    parameters,
)
from refbilinear.analysis import explanations
from refbilinear.analysis.directions import input_spectrum, model_spectrum, spectrum
from refbilinear.analysis.eigenpairs import Spectrum
from refbilinear.analysis.explanations import (
    eigenvector_terms,
    input_terms,
    pair_terms,
    top_inputs,
)
from refbilinear.analysis.layers import jacobian, stages
from refbilinear.oracle.bounds import gamma
from strategies import FLOATS, layers, models_with_batch, random_array, random_layer

SEEDS = st.integers(0, 2**32 - 1)
BOTH = pytest.mark.parametrize("dtype", FLOATS)


def random_pairs(rng, d, k, dtype=object):
    """Return numbers in the place of eigenpairs: the sums are identities whatever the pairs."""
    return Spectrum(random_array(rng, k, dtype), random_array(rng, (d, k), dtype))


def looped_table(layer, u, x):
    """Return C entry by entry, from the definition of the tensor."""
    whole = laws.loops_tensor(layer)
    z = [*x, Fraction(1)] if layer.has_constant else list(x)
    table = np.empty((len(z), len(z)), dtype=object)
    for i, j in np.ndindex(table.shape):
        table[i, j] = sum((u[o] * whole[o, i, j] for o in range(len(u))), Fraction(0)) * z[i] * z[j]
    return table


# ---- sums


def tables_are_the_definition(of_pairs, of_inputs, layer, u, x):
    pairs, inputs = of_pairs(layer, u, x), of_inputs(layer, u, x)
    laws.exact_numbers(pairs, inputs)
    for n, row in enumerate(x):
        table = looped_table(layer, u, row)
        laws.same(pairs[n], table)
        laws.same(inputs[n], table.sum(axis=1))
    laws.same(pairs.sum(axis=(1, 2)), forward(layer, x) @ u)


@settings(max_examples=40)
@given(layers(), SEEDS)
def test_tables_are_the_definition_and_sum_to_the_output(layer, seed):
    rng = np.random.default_rng(seed)
    u, x = random_array(rng, layer.d_out, object), random_array(rng, (2, layer.d_in), object)
    tables_are_the_definition(pair_terms, input_terms, layer, u, x)


@settings(max_examples=40)
@given(models_with_batch(depth=1), SEEDS)
def test_every_sum_is_the_output_of_the_model(case, seed):
    """In input space: with embedding, head and residual."""
    model, x, _ = case
    rng = np.random.default_rng(seed)
    u = random_array(rng, model.d_out, object)
    pairs = random_pairs(rng, model.d_in, int(rng.integers(0, 4)))
    want = mlp_forward(model, x) @ u
    terms = eigenvector_terms(model, u, x, pairs)
    laws.exact_numbers(*terms, terms.value)
    laws.same(terms.value, want)
    laws.same(input_terms(model, u, x).sum(axis=-1), want)
    laws.same(pair_terms(model, u, x).sum(axis=(-2, -1)), want)
    layer = fold(model)
    form = output_form(layer, u)
    laws.same(terms.of_linear, x @ form.linear)
    assert terms.of_constant == form.constant
    for k, (value, v) in enumerate(zip(pairs.eigenvalues, pairs.eigenvectors.T, strict=True)):
        laws.same(terms.of_eigenvectors[:, k], [value * (v @ row) ** 2 for row in x])
    gradient = np.stack([u @ jacobian(layer, row) for row in x])
    laws.same(input_terms(model, u, x)[:, : model.d_in], x * gradient / 2)


def test_pairs_of_a_plain_layer_are_the_form_of_bilrp():
    layer = random_layer(np.random.default_rng(0), ("w_out",), (3, 4, 2))
    u, x = laws.exact([2, -3]), laws.exact([5, 7, -11])
    Q = output_form(layer, u).matrix
    laws.same(pair_terms(layer, u, x), x[:, None] * Q * x)
    laws.same(input_terms(layer, u, x), x * (Q @ x))


@pytest.mark.parametrize("k", range(5))
def test_the_rest_is_what_the_other_pairs_add(k):
    """Of planted rational eigenpairs, with ties."""
    V = laws.dyadic_basis([[1, -1, 1, 1]], 4)
    values = laws.exact([5, -5, 2, 0])
    layer = BilinearLayer(V.T, V.T, values[None], w_skip=laws.exact([[1, 2, 3, 4]]))
    x = random_array(np.random.default_rng(k), (3, 4), object)
    terms = eigenvector_terms(layer, laws.exact([1]), x, Spectrum(values[:k], V[:, :k]))
    laws.same(terms.of_rest, (values * (x @ V) ** 2)[:, k:].sum(axis=1))


def test_a_batch_is_its_examples():
    layer = random_layer(np.random.default_rng(1), sizes=(3, 4, 2))
    u, x = laws.exact([1, 2]), random_array(np.random.default_rng(2), (2, 5, 3), object)
    pairs = random_pairs(np.random.default_rng(3), 3, 2)
    together = eigenvector_terms(layer, u, x, pairs)
    assert together.of_eigenvectors.shape == (2, 5, 2)
    assert (pair_terms(layer, u, x).shape, input_terms(layer, u, x).shape) == (
        (2, 5, 4, 4),
        (2, 5, 4),
    )
    for place in np.ndindex(2, 5):
        one = eigenvector_terms(layer, u, x[place], pairs)
        laws.same(one.of_eigenvectors, together.of_eigenvectors[place])
        assert one.value == together.value[place]
        laws.same(pair_terms(layer, u, x[place]), pair_terms(layer, u, x)[place])
        laws.same(input_terms(layer, u, x[place]), input_terms(layer, u, x)[place])


def test_a_deeper_model_is_explained_stage_by_stage():
    rng = np.random.default_rng(4)
    first, second = (random_layer(rng, sizes=sizes) for sizes in ((3, 4, 2), (2, 5, 1)))
    model = BilinearMLP(None, [first, second], None)
    x = random_array(rng, (2, 3), object)
    stream = mlp_activations(model, x).streams[1]
    want = mlp_forward(model, x)[:, 0]
    laws.same(input_terms(stages(model)[1], laws.exact([1]), stream).sum(axis=1), want)


# ---- floats


def absolute(array):
    """Return |array| in Fractions."""
    return abs(laws.exact(array))


def absolute_layer(layer):
    return BilinearLayer(**{name: absolute(w) for name, w in parameters(layer).items()})


def roundings(layer, k=0):
    """K of all three: weights d_out, two factors d_in each, hidden units d_hidden, then few sums.

    The linear part is d_out + d_hidden + 3, and d_in more in its product with x.
    """
    return layer.d_out + 2 * layer.d_in + layer.d_hidden + k + 8


def within(got, want, twin, K, dtype):
    """The twin is in Fractions, of which the float is at most 2⁻⁵² away."""
    bound = gamma(K, dtype) * twin.astype(float) * (1 + 2.0**-50)
    laws.in_bound(got, want, bound, dtype)


@BOTH
@settings(max_examples=25)
@given(data=st.data())
def test_floats_are_within_their_bounds(dtype, data):
    layer = data.draw(layers(dtype))
    rng = np.random.default_rng(data.draw(SEEDS))
    u, x = random_array(rng, layer.d_out, dtype), random_array(rng, (2, layer.d_in), dtype)
    exact, size = (laws.exact_layer(layer), laws.exact(u), laws.exact(x)), absolute_layer(layer)
    twins = size, absolute(u), absolute(x)
    K = roundings(layer)
    within(input_terms(layer, u, x), input_terms(*exact), input_terms(*twins), K, dtype)
    within(pair_terms(layer, u, x), pair_terms(*exact), pair_terms(*twins), K, dtype)
    pairs = random_pairs(rng, layer.d_in, 3, dtype)
    terms = eigenvector_terms(layer, u, x, pairs)
    sizes = absolute(pairs.eigenvalues) * (twins[2] @ absolute(pairs.eigenvectors)) ** 2
    # What the pairs add is added once and subtracted once.
    twin = forward(size, twins[2]) @ twins[1] + 2 * sizes.sum(axis=1)
    within(terms.value, forward(exact[0], exact[2]) @ exact[1], twin, roundings(layer, 3), dtype)
    assert all(part.dtype == dtype for part in terms)


@BOTH
def test_the_rest_is_at_most_the_next_eigenvalue(dtype):
    layer = random_layer(np.random.default_rng(5), sizes=(5, 4, 3), dtype=dtype)
    x = np.random.default_rng(6).standard_normal((20, 5)).astype(dtype)
    u = np.array([1, -2, 3], dtype)
    whole = spectrum(layer, u)
    # The residual of eigh is at most 10 d · 2u ‖Q‖_F; one of rounding for each pair of factors.
    slack = 200 * np.finfo(dtype).eps * np.linalg.norm(x, axis=1) ** 2
    slack *= sum(
        abs(w) * np.linalg.norm(left) * np.linalg.norm(right)
        for w, left, right in zip(u @ layer.w_out, layer.w_left, layer.w_right, strict=True)
    )
    for k in range(6):
        pairs = Spectrum(whole.eigenvalues[:k], whole.eigenvectors[:, :k])
        rest = abs(eigenvector_terms(layer, u, x, pairs).of_rest)
        following = abs(whole.eigenvalues[k]) if k < 5 else 0
        assert (rest <= following * np.linalg.norm(x, axis=1) ** 2 + slack).all()
        if k < 5:  # and it is reached
            v = whole.eigenvectors[:, k]
            assert (
                abs(abs(eigenvector_terms(layer, u, v, pairs).of_rest) - following) <= slack.max()
            )


def test_both_spaces_explain_the_same_output():
    """Eigenvectors of either space sum to it; those of model space over `w_embed x`."""
    rng = np.random.default_rng(7)
    layer = random_layer(rng, ("w_out", "b_left"), (3, 5, 3), np.float64)
    E, head, u = rng.standard_normal((3, 6)), rng.standard_normal((2, 3)), [1.0, -1.0]
    model = BilinearMLP(E, [layer], head, residual=True)
    x = rng.standard_normal(6)
    inner = fold(BilinearMLP(None, [layer], head, residual=True))
    outside = eigenvector_terms(model, u, x, input_spectrum(model, u))
    inside = eigenvector_terms(inner, u, E @ x, model_spectrum(model, u))
    want = mlp_forward(model, x) @ u
    for terms in (outside, inside):
        assert abs(terms.value - want) <= 1e-12 * (1 + abs(want))
        assert abs(terms.of_rest) <= 1e-12 * abs(terms.of_eigenvectors).sum()
    assert not np.allclose(outside.of_eigenvectors[:3], inside.of_eigenvectors)


# ---- mistakes


def dropping(name):
    """Return the tables with a parameter of the layer left out."""

    def without(function):
        def mistaken(layer, u, x):
            given_up = function(BilinearLayer(**parameters(layer) | {name: None}), u, x)
            return given_up if given_up.shape == function(layer, u, x).shape else 0 * x

        return mistaken

    return without(pair_terms), without(input_terms)


def scaled_linear(factor):
    """Return the tables with the linear part `factor` times what it is."""

    def pairs(layer, u, x):
        form = output_form(layer, u)
        M = homogeneous_matrix(form._replace(linear=form.linear * factor))
        z = homogeneous(x)
        return M * (z[..., :, None] * z[..., None, :])

    return pairs, lambda layer, u, x: pairs(layer, u, x).sum(axis=-1)


@pytest.mark.parametrize(
    "mistaken",
    [
        dropping("b_left"),
        dropping("w_skip"),
        dropping("b_out"),
        scaled_linear(Fraction(1, 2)),
        scaled_linear(2),
        scaled_linear(0),
    ],
)
def test_a_part_that_is_dropped_halved_or_doubled_is_seen(mistaken):
    layer = random_layer(np.random.default_rng(8), sizes=(3, 4, 2))
    u, x = laws.exact([1, 2]), random_array(np.random.default_rng(9), (2, 3), object)
    tables_are_the_definition(pair_terms, input_terms, layer, u, x)
    for tables in ((mistaken[0], input_terms), (pair_terms, mistaken[1])):
        with pytest.raises(AssertionError):
            tables_are_the_definition(*tables, layer, u, x)


def test_input_terms_without_the_constant_s_own_do_not_sum():
    """Half of each linear term is there."""
    layer = random_layer(np.random.default_rng(10), sizes=(3, 4, 2))
    u, x = laws.exact([1, 2]), laws.exact([3, 5, 7])
    short = input_terms(layer, u, x)[:-1].sum()
    form = output_form(layer, u)
    assert forward(layer, x) @ u - short == form.linear @ x / 2 + form.constant != 0


# ---- top inputs


def looped_top(pairs, x, count):
    """Return both ends of each eigenvector by sorting (activation, place)."""
    ends = []
    for sign in (-1, 1):
        rows = []
        for v in pairs.eigenvectors.T:
            found = [
                (sign * sum(a * b for a, b in zip(v, row, strict=True)), n)
                for n, row in enumerate(x)
            ]
            rows.append([(n, sign * activation) for activation, n in sorted(found)[:count]])
        ends.append(rows)
    return ends


@pytest.mark.parametrize("block", [1, 3, 4, 100])
@settings(max_examples=15)
@given(seed=SEEDS)
def test_top_inputs_are_those_of_sorting(block, seed):
    """In any blocks, with many ties."""
    rng = np.random.default_rng(seed)
    n, d, k = 11, 2, 3
    x = laws.exact(rng.integers(-1, 2, (n, d)))
    pairs = Spectrum(laws.exact([3, -2, 0]), laws.exact(rng.integers(-1, 2, (d, k))))
    count = int(rng.integers(1, n + 1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(explanations, "BLOCK", block)
        top = top_inputs(pairs, x, count)
    for end, want in zip(top, looped_top(pairs, x, count), strict=True):
        laws.same(end.examples, [[place for place, _ in row] for row in want])
        laws.same(end.activations, [[activation for _, activation in row] for row in want])
        laws.same(end.contributions, pairs.eigenvalues[:, None] * end.activations**2)
        laws.exact_numbers(end.activations, end.contributions)


@BOTH
def test_top_inputs_of_images_as_they_are_stored(dtype, tmp_path):
    """Bytes on a disk: converted block by block where the pairs are float64."""
    images = np.random.default_rng(11).integers(0, 256, (50, 6), np.uint8)
    path = tmp_path / "images"
    images.tofile(path)
    stored = np.memmap(path, np.uint8, "r", shape=(50, 6))
    pairs = Spectrum(np.ones(2, dtype), np.eye(6, 2).astype(dtype))
    data = stored if dtype == np.float64 else stored.astype(dtype)
    top = top_inputs(pairs, data, count=50)
    assert top.highest.activations.dtype == dtype
    laws.same(top.highest.examples, np.argsort(-images[:, :2].astype(int).T, axis=1, kind="stable"))
    laws.same(top.lowest.activations, np.sort(images[:, :2].T, axis=1))


def test_without_eigenpairs_there_are_no_top_inputs():
    top = top_inputs(Spectrum(np.zeros(0), np.zeros((2, 0))), [[1.0, 2.0]], count=1)
    assert top.highest.examples.shape == top.lowest.contributions.shape == (0, 1)


# ---- bad input

ONE = BilinearLayer([[1, 2]], [[3, 4]])
DEEP = BilinearMLP(None, [ONE, BilinearLayer([[1]], [[1]])], None)
HUGE = BilinearLayer([[1e200, 0]], [[1e200, 0]], w_skip=[[0, 0]])
PAIR = Spectrum(np.ones(1), np.array([[1.0], [0.0]]))
BIG = Spectrum(np.ones(1), np.array([[1e200], [0.0]]))
V, T, O = ValueError, TypeError, OverflowError  # noqa: E741
EACH = [
    lambda model, u, x: eigenvector_terms(model, u, x, PAIR),
    pair_terms,
    input_terms,
]


@pytest.mark.parametrize("function", EACH)
@pytest.mark.parametrize(
    ("model", "u", "x", "error", "words"),
    [
        (3, [1], [1, 2], T, "model must be a BilinearLayer or a BilinearMLP; got int"),
        (DEEP, [1], [1, 2], V, "model must have one layer to be one bilinear layer; got 2, a polynomial of degree 4"),
        (ONE, [1, 2], [1, 2], V, r"u must have shape \(d_out,\) = \(1,\) to match the model"),
        (ONE, [1], [1, 2, 3], V, r"x must have shape \(..., d_in\) = \(..., 2\) to match the model"),
        (ONE, [np.nan], [1, 2], V, "u must be finite"),
        (ONE, [1], [1, np.inf], V, r"x must be finite; got inf at \(1,\)"),
        (ONE, [1], np.float32([1, 2]), T, "x must have dtype float64 to match the model"),
        (BilinearLayer([[np.nan, 1]], [[1, 1]]), [1], [1, 2], V, "w_left must be finite"),
        (BilinearMLP([[np.inf]], [BilinearLayer([[1]], [[1]])], None), [1], [1], V, "w_embed must be finite"),
        (BilinearMLP([[1e200, 0]], [BilinearLayer([[1e200]], [[1]])], None), [1], [1, 2], O, "w_left of the folded model exceeds the largest float64"),
        (BilinearLayer([[1e200, 0]], [[1e200, 0]]), [1], [1, 2], O, "exceeds the largest float64"),
        (HUGE, [1], [1e10, 1], O, "exceeds the largest float64"),
    ],
)  # fmt: skip
def test_bad_input_is_refused(function, model, u, x, error, words):
    with pytest.raises(error, match=words):
        function(model, u, x)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: eigenvector_terms(ONE, [1], [1, 2], Spectrum(np.ones(1), np.ones((3, 1)))), V, r"eigenvectors must have shape \(d_in, k\) = \(2, k\) to match the model"),
        (lambda: eigenvector_terms(ONE, [1], [1, 2], Spectrum(np.ones(2), np.ones((2, 1)))), V, "eigenvalues must have shape"),
        (lambda: eigenvector_terms(ONE, [1], [1, 2], Spectrum(np.ones(1), np.full((2, 1), np.nan))), V, "eigenvectors must be finite"),
        (lambda: eigenvector_terms(ONE, [1], [1, 2], Spectrum(np.array([np.inf]), np.ones((2, 1)))), V, "eigenvalues must be finite"),
        (lambda: eigenvector_terms(ONE, [1], [1, 2], Spectrum(*map(np.float32, PAIR))), T, "eigenvectors must have dtype float64"),
        (lambda: eigenvector_terms(ONE, [1], [1, 2], BIG), O, "contributions exceeds the largest"),
        (lambda: top_inputs(PAIR, [1, 2]), V, r"x must have shape \(n, d\); got \(2,\)"),
        (lambda: top_inputs(PAIR, None), T, "x must be an array"),
        (lambda: top_inputs(PAIR, [[1, 2, 3]], 1), V, r"x must have shape \(n, d\) = \(n, 2\) to match the eigenvectors"),
        (lambda: top_inputs(PAIR, [[1, 2]]), V, "count must be at most 1, the examples; got 10"),
        (lambda: top_inputs(PAIR, [[1, 2]], 0), V, "count must be at least 1"),
        (lambda: top_inputs(PAIR, [[1, 2]], 1.0), T, "count must be an integer"),
        (lambda: top_inputs(PAIR, [[1, np.nan]], 1), V, r"x\[0:1\] must be finite; got nan at \(0, 1\)"),
        (lambda: top_inputs(PAIR, [[2**53 + 1, 0.5]], 1), V, "2\\*\\*53"),
        (lambda: top_inputs(PAIR, np.float32([[1, 2]]), 1), T, "x must have dtype float64"),
        (lambda: top_inputs(BIG, [[1e200, 2]], 1), O, "v · x exceeds the largest"),
        (lambda: top_inputs(BIG, [[1, 2]], 1), O, "exceeds the largest"),
    ],
)  # fmt: skip
def test_bad_arguments_are_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()
