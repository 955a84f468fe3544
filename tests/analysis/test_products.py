"""Inner products against brute force, exactly: tensors, monomials, moments; and against chance."""

import math
from collections import defaultdict
from fractions import Fraction
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import laws
from refbilinear import BilinearLayer, BilinearMLP, fold, forward, interaction_tensor, unpack
from refbilinear.analysis import grams, products
from refbilinear.analysis.cosines import cosine, distance, product_bound
from refbilinear.analysis.layers import (
    add,
    carrying_constant,
    output_weights,
    over_constant,
    stages,
    subtract,
)
from refbilinear.analysis.products import (
    covariance,
    frobenius,
    gaussian,
    sphere,
    symmetric,
)
from strategies import FLOATS, OPTIONAL, optional_names, random_array, random_layer

BOTH = pytest.mark.parametrize("dtype", FLOATS)
SEEDS = st.integers(0, 2**32 - 1)
NAMED = {
    "frobenius": frobenius,
    "symmetric": symmetric,
    "gaussian": gaussian,
    "covariance": covariance,
    "sphere": sphere,
}


@pytest.fixture(autouse=True, scope="module")
def _small_blocks():
    """Blocks of two units, so that small layers have whole, partial and several ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grams, "BLOCK", 2)
        yield


# ---- what is drawn


def pair_of_layers(seed, names, names2, sizes=(3, 5, 2), dtype=object):
    """Return two layers of one d_in and d_out; the second has fewer or more hidden units."""
    rng, (d_in, d_hidden, d_out) = np.random.default_rng(seed), sizes
    first = random_layer(rng, names, (d_in, d_hidden if "w_out" in names else d_out, d_out), dtype)
    other = d_hidden - 1 if "w_out" in names2 else d_out
    return first, random_layer(rng, names2, (d_in, other, d_out), dtype)


def random_model(rng, names, depth, sizes, residual, embed, dtype=object):
    """Return a model; sizes are (d_in, width, d_hidden, d_out)."""
    d_in, width, d_hidden, d_out = sizes
    names = ("w_out", *(name for name in names if name != "w_out"))
    size_in = width if embed else d_in
    layers = [
        random_layer(rng, names, (size_in if number == 0 else width, d_hidden, width), dtype)
        for number in range(depth)
    ]
    w_embed = random_array(rng, (width, d_in), dtype) if embed else None
    w_head = random_array(rng, (d_out, width), dtype)
    return BilinearMLP(w_embed, layers, w_head, residual)


@st.composite
def pairs_of_layers(draw, dtype=object):
    """Draw two layers that go together, and sometimes one layer twice."""
    first, second = pair_of_layers(
        draw(SEEDS), draw(optional_names()), draw(optional_names()), dtype=dtype
    )
    return first, first if draw(st.integers(0, 3)) == 0 else second


@st.composite
def pairs_of_models(draw, depth=2, dtype=object):
    """Draw two models of one depth, d_in and d_out and of different widths and hidden sizes."""
    rng = np.random.default_rng(draw(SEEDS))
    residual, plain = draw(st.booleans()), draw(st.booleans())
    pair = []
    for sizes in ((1, 2, 3, 2), (1, 3, 2, 2)):
        names = () if plain else draw(optional_names())
        pair.append(random_model(rng, names, depth, sizes, residual, embed=True, dtype=dtype))
    return pair


@st.composite
def moments(draw, d, dtype=object):
    """Draw a mean and a covariance, either of them sometimes absent."""
    rng = np.random.default_rng(draw(SEEDS))
    root = random_array(rng, (d, d), dtype)
    mean = random_array(rng, (d,), dtype) if draw(st.booleans()) else None
    return mean, root @ root.T if draw(st.booleans()) else None


# ---- polynomials, as {exponents: coefficient}


def times(p, q):
    out = defaultdict(Fraction)
    for a, x in p.items():
        for b, y in q.items():
            out[tuple(map(sum, zip(a, b, strict=True)))] += x * y
    return out


def combined(weights, polynomials):
    out = defaultdict(Fraction)
    for weight, polynomial in zip(weights, polynomials, strict=True):
        for a, x in polynomial.items():
            out[a] += weight * x
    return out


def polynomials(layers):
    """Return the outputs of a stack over [x; 1] as polynomials, all of one degree."""
    d = layers[0].d_in + 1
    stream = [{tuple(int(i == j) for j in range(d)): Fraction(1)} for i in range(d)]
    for layer in [*map(carrying_constant, layers[:-1]), over_constant(layers[-1])]:
        units = [
            times(combined(left, stream), combined(right, stream))
            for left, right in zip(layer.w_left, layer.w_right, strict=True)
        ]
        stream = [combined(row, units) for row in output_weights(layer)]
    return stream


def of_monomials(p, q):
    """Return `Σ_α p_α q_α α!/n!`."""
    total = Fraction(0)
    for a in p.keys() & q.keys():
        total += p[a] * q[a] * Fraction(math.prod(map(math.factorial, a)), math.factorial(sum(a)))
    return total


def gaussian_moments(mean, spread):
    """Return the function E[x^α]: `E[x_i g] = μ_i E[g] + Σ_j Σ_ij E[∂_j g]` (Isserlis, Stein)."""

    @cache
    def moment(a):
        i = next((i for i, power in enumerate(a) if power), None)
        if i is None:
            return Fraction(1)
        rest = list(a)
        rest[i] -= 1
        total = mean[i] * moment(tuple(rest))
        for j, power in enumerate(rest):
            if power:
                lower = list(rest)
                lower[j] -= 1
                total += spread[i, j] * power * moment(tuple(lower))
        return total

    return moment


def sphere_moment(a):
    """Return E[x^α] on the sphere of radius √d, `d^{n/2} Π (α_i − 1)!! / (d (d + 2) ⋯)`."""
    if any(power % 2 for power in a):
        return Fraction(0)
    d, n = len(a), sum(a)
    odd = math.prod(math.prod(range(1, power, 2)) for power in a)
    return Fraction(d ** (n // 2) * odd, math.prod(range(d, d + n, 2)))


def expected(polynomial, moment):
    """Return E[p(x)] of a polynomial over [x; 1]."""
    return sum((x * moment(a[:-1]) for a, x in polynomial.items()), Fraction(0))


def of_moments(p, q, moment, centred):
    mixed = expected(times(p, q), moment)
    return mixed - centred * expected(p, moment) * expected(q, moment)


# ---- laws


def table(one, other, p, q):
    """Return all products of two lists of polynomials, or of tensors."""
    out = np.empty((len(p), len(q)), dtype=object)
    for index in np.ndindex(out.shape):
        out[index] = one(p[index[0]], q[index[1]], *other)
    return out


def all_outputs_are(want, product, first, second, *moments):
    """The three kinds of outputs agree with the table of all pairs, exactly."""
    kinds = {
        "pairs": want,
        "each": want.diagonal(),
        "whole": want.diagonal().sum() if len(want) else Fraction(0),
    }
    for outputs, numbers in kinds.items():
        got = product(first, second, *moments, outputs=outputs)
        laws.exact_numbers(got)
        laws.same(got, numbers)


def dense(layer):
    """Return the tensor over [x; 1], (d_out, d, d), by loops."""
    whole = laws.loops_tensor(layer)
    if layer.has_constant:
        return whole
    wide = np.full((len(whole), layer.d_in + 1, layer.d_in + 1), Fraction(0), dtype=object)
    wide[:, :-1, :-1] = whole
    return wide


def deep_tensor(layers):
    """Return the tensor of a stack that is symmetric layer by layer, one row an output."""
    rows = None
    for layer in [*map(carrying_constant, layers[:-1]), over_constant(layers[-1])]:
        whole = unpack(interaction_tensor(layer))
        if rows is None:
            rows = whole.reshape(len(whole), -1)
            continue
        outer = rows[:, None, :, None] * rows[None, :, None, :]
        outer = outer.reshape(len(rows) ** 2, rows.shape[1] ** 2)
        rows = whole.reshape(len(whole), -1) @ outer
    return rows


def frobenius_is_of_tensors(first, second):
    pair = (dense(first), dense(second))
    want = table(lambda a, b: np.sum(a * b), (), *pair)
    all_outputs_are(want, frobenius, first, second)
    all_outputs_are(want, symmetric, first, second)


def deep_frobenius_is_of_tensors(first, second):
    pair = (deep_tensor(stages(model)) for model in (first, second))
    all_outputs_are(table(lambda a, b: a @ b, (), *pair), frobenius, first, second)


def symmetric_is_of_monomials(first, second):
    pair = (polynomials(stages(model)) for model in (first, second))
    all_outputs_are(table(of_monomials, (), *pair), symmetric, first, second)


def gaussian_is_of_moments(first, second, mean, spread):
    d = first.d_in
    centre = np.full(d, Fraction(0)) if mean is None else mean
    width = laws.exact(np.eye(d)) if spread is None else spread
    moment = gaussian_moments(centre, width)
    pair = [polynomials([layer]) for layer in (first, second)]
    for product, centred in ((gaussian, 0), (covariance, 1)):
        want = table(of_moments, (moment, centred), *pair)
        all_outputs_are(want, product, first, second, mean, spread)


def sphere_is_of_moments(first, second):
    pair = (polynomials([layer]) for layer in (first, second))
    all_outputs_are(table(of_moments, (sphere_moment, 1), *pair), sphere, first, second)


@settings(max_examples=25)
@given(pairs_of_layers())
def test_frobenius_through_tensors(pair):
    frobenius_is_of_tensors(*pair)


@settings(max_examples=8)
@given(pairs_of_models())
def test_deep_frobenius_through_tensors(pair):
    deep_frobenius_is_of_tensors(*pair)
    deep_frobenius_is_of_tensors(pair[0], pair[0])


def test_frobenius_at_depth_three():
    rng = np.random.default_rng(3)
    sizes = ((1, 2, 3, 2), (1, 3, 2, 2))
    pair = [random_model(rng, ("b_left", "w_skip"), 3, s, True, True) for s in sizes]
    deep_frobenius_is_of_tensors(*pair)


@settings(max_examples=6)
@given(pairs_of_models())
def test_symmetric_through_monomials(pair):
    symmetric_is_of_monomials(*pair)


def test_symmetric_of_several_inputs():
    rng = np.random.default_rng(5)
    for names in ((), ("b_left", "b_out", "w_skip")):
        sizes = ((2, 3, 4, 2), (2, 2, 3, 2))
        symmetric_is_of_monomials(*(random_model(rng, names, 2, s, False, True) for s in sizes))


@settings(max_examples=10)
@given(pairs_of_models(depth=1))
def test_a_model_of_one_layer_is_its_folded_layer(pair):
    folded = [fold(model) for model in pair]
    for product in NAMED.values():
        laws.same(product(*pair), product(*folded))
        laws.same(product(pair[0], folded[1], outputs="pairs"), product(*folded, outputs="pairs"))


@settings(max_examples=15)
@given(pair=pairs_of_layers(), both=moments(3))
def test_gaussian_through_moments(pair, both):
    gaussian_is_of_moments(*pair, *both)


@settings(max_examples=25)
@given(pairs_of_layers())
def test_sphere_through_moments(pair):
    sphere_is_of_moments(*pair)


@settings(max_examples=8)
@given(pairs_of_layers())
def test_products_are_bilinear(pair):
    first, second = pair
    for product in NAMED.values():
        laws.same(
            product(add(first, second), second), product(first, second) + product(second, second)
        )
        laws.same(
            product(first, second, outputs="pairs"), product(second, first, outputs="pairs").T
        )
        nothing = subtract(first, first)
        laws.same(product(nothing, second), 0)


def test_outputs_may_differ_in_number_where_all_pairs_are_asked_for():
    rng = np.random.default_rng(2)
    first, second = random_layer(rng, sizes=(3, 4, 2)), random_layer(rng, sizes=(3, 2, 5))
    for product in NAMED.values():
        assert product(first, second, outputs="pairs").shape == (2, 5)


@pytest.mark.parametrize("names", [(), OPTIONAL])
def test_no_hidden_units_and_no_outputs(names):
    rng = np.random.default_rng(4)
    for sizes in ((2, 0, 3), (2, 3, 0), (0, 3, 2)):
        layer = random_layer(rng, ("w_out", *names[1:]), sizes)
        for product in NAMED.values():
            assert product(layer, layer, outputs="pairs").shape == (sizes[2], sizes[2])
            laws.exact_numbers(product(layer, layer))


# ---- known answers


def test_the_zero_polynomial_of_depth_two():
    """(x₀²)(x₁²) − (x₀x₁)²: 3/4 layer by layer, 0 as a polynomial."""
    forms = BilinearLayer(
        *(laws.exact(w) for w in ([[1, 0], [0, 1], [1, 0]], [[1, 0], [0, 1], [0, 1]]))
    )
    above = BilinearLayer(
        *(laws.exact(w) for w in ([[1, 0, 0], [0, 0, 1]], [[0, 1, 0], [0, 0, -1]], [[1, 1]]))
    )
    model = BilinearMLP(None, [forms, above], None)
    assert (frobenius(model, model), symmetric(model, model)) == (Fraction(3, 4), 0)


def xor(sign):
    """Return XOR (sign 1, x₀ + x₁ − 2x₀x₁) or XNOR (sign −1, 1 − x₀ − x₁ + 2x₀x₁) of two bits."""
    return BilinearLayer(
        [[1, 0]], [[0, 1]], [[-2 * sign]], b_out=[(1 - sign) / 2], w_skip=[[sign, sign]]
    )


def test_xor_and_xnor():
    """‖XOR‖² = 2·1² + ½·2; they sum to the constant 1, so ⟨XOR, XNOR⟩ = ⟨XOR, 1⟩ − ‖XOR‖² = −3."""
    bits = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    laws.same(forward(xor(1), bits) + forward(xor(-1), bits), np.ones((4, 1)))
    assert [frobenius(xor(1), xor(s)) for s in (1, -1)] == [3, -3]
    assert frobenius(xor(-1), xor(-1)) == 4
    one = add(xor(1), xor(-1))
    assert (frobenius(one, one), covariance(one, one), gaussian(one, one)) == (1, 0, 1)
    # Var XOR = 4 Var(x₀x₁) + Var(x₀ + x₁) for standard normals.
    assert (covariance(xor(1), xor(1)), gaussian(xor(1), xor(1))) == (6, 6)


STRASSEN = (
    [[1, 0, 0, 1], [0, 0, 1, 1], [1, 0, 0, 0], [0, 0, 0, 1], [1, 1, 0, 0], [-1, 0, 1, 0], [0, 1, 0, -1]],
    [[1, 0, 0, 1], [1, 0, 0, 0], [0, 1, 0, -1], [-1, 0, 1, 0], [0, 0, 0, 1], [1, 1, 0, 0], [0, 0, 1, 1]],
    [[1, 0, 0, 1, -1, 0, 1], [0, 0, 1, 0, 1, 0, 0], [0, 1, 0, 1, 0, 0, 0], [1, -1, 1, 0, 0, 1, 0]],
)  # fmt: skip


def on_both(a, b, w_out):
    """Return the layer `w_out ((A a) ⊙ (B b))` on [a; b]."""
    a, b = np.asarray(a), np.asarray(b)
    return BilinearLayer(np.c_[a, np.zeros_like(b)], np.c_[np.zeros_like(a), b], w_out)


def test_strassen_is_the_matrix_product():
    """Seven products and eight are one function: cosine 1, distance 0, each output √(2 · ½)."""
    seven = on_both(*STRASSEN)
    i, k, j = (index.ravel() for index in np.indices((2, 2, 2)))
    eye = np.eye(4)
    eight = on_both(eye[2 * i + k], eye[2 * k + j], eye[2 * i + j].T)
    assert frobenius(seven, seven) == frobenius(seven, eight) == frobenius(eight, eight) == 4
    laws.same(frobenius(seven, eight, outputs="pairs"), np.eye(4))
    assert (cosine(seven, eight), distance(seven, eight)) == (1, 0)
    wrong = on_both(STRASSEN[0], np.roll(STRASSEN[1], 1, 0), STRASSEN[2])
    assert distance(seven, wrong) > 1


def test_a_factorisation_machine():
    """Σ_{i<j}⟨v_i, v_j⟩x_i x_j has B = half of VᵀV off the diagonal."""
    v = np.array([[1, 2, -1], [3, 0, 2]])
    machine = BilinearLayer(
        np.r_[v, np.eye(3)],
        np.r_[v, np.eye(3)],
        np.r_[np.ones(2), -np.sum(v * v, axis=0)][None] / 2,
    )
    gram = v.T @ v
    pairs = gram[0, 1] ** 2 + gram[0, 2] ** 2 + gram[1, 2] ** 2
    assert frobenius(machine, machine) == pairs / 2
    assert covariance(machine, machine) == pairs
    assert gaussian(machine, machine) == pairs


# ---- rounding


@BOTH
@settings(max_examples=8)
@given(data=st.data())
def test_products_of_floats_are_in_bound(dtype, data):
    pair = data.draw(pairs_of_layers(dtype))
    both = data.draw(moments(3, dtype))
    for name in NAMED:
        taken = both if name in ("gaussian", "covariance") else ()
        floats_are_in_bound(name, pair, taken, dtype, laws.exact_layer)


@BOTH
@settings(max_examples=2)
@given(data=st.data())
def test_deep_products_of_floats_are_in_bound(dtype, data):
    pair = data.draw(pairs_of_models(2, dtype))
    for name in ("frobenius", "symmetric"):
        floats_are_in_bound(name, pair, (), dtype, laws.exact_model)


def floats_are_in_bound(name, pair, both, dtype, exactly):
    exact_pair = [exactly(model) for model in pair]
    if pair[0] is pair[1]:
        exact_pair[1] = exact_pair[0]
    exact_both = [None if moment is None else laws.exact(moment) for moment in both]
    named = dict(zip(("mean", "covariance"), both, strict=False))
    for outputs in products.OUTPUTS:
        got = NAMED[name](*pair, *both, outputs=outputs)
        want = NAMED[name](*exact_pair, *exact_both, outputs=outputs)
        bound = product_bound(*pair, name, **named, outputs=outputs)
        laws.in_bound(got, want, bound, dtype)
        twice = np.asarray(got, np.float64) + 3 * np.asarray(bound)
        assert np.all(np.abs(laws.exact(twice) - want) > laws.exact(bound))
        assert np.all(product_bound(*exact_pair, name, outputs=outputs) == 0)


def test_what_folding_cancels_is_in_bound():
    """0.1 · 0.3 − 0.1 · 0.3 but for an ulp: the folded weight is rounding, and the bound knows."""
    layer = BilinearLayer([[0.1, -0.1]], [[0.1, -0.1]])
    model = BilinearMLP([[0.3], [np.nextafter(0.3, 1)]], [layer], None)
    want = [NAMED[name](*[laws.exact_model(model)] * 2) for name in NAMED]
    for name, exact in zip(NAMED, want, strict=True):
        error = abs(Fraction(float(NAMED[name](model, model))) - exact)
        assert error <= Fraction(float(product_bound(model, model, name)))
    folded = fold(model)
    error = abs(Fraction(float(frobenius(model, model))) - want[0])
    assert error > 1e12 * product_bound(folded, folded)


@pytest.mark.parametrize("name", ["gaussian", "covariance"])
def test_by_chance(name):
    """The mean of N draws is off by ten standard errors with probability 1/100 (Chebyshev).

    The variance of a draw is exact, from moments of degree eight; the seed is fixed.
    """
    pair = pair_of_layers(11, OPTIONAL, ("w_out", "b_left"), sizes=(2, 3, 1))
    mean, spread = laws.exact([1, -0.5]), laws.exact([[2, 1], [1, 1]])
    moment = gaussian_moments(mean, spread)
    p, q = (polynomials([layer])[0] for layer in pair)
    if name == "covariance":
        constant = (0, 0, 2)
        p, q = (combined((1, -1), (f, {constant: expected(f, moment)})) for f in (p, q))
    mixed = times(p, q)
    exact_mean, square = expected(mixed, moment), expected(times(mixed, mixed), moment)
    n = 250_000
    allowed = 10 * math.sqrt((square - exact_mean**2) / n)
    rng = np.random.default_rng(20250101)
    x = rng.standard_normal((n, 2)) @ np.array([[1, 0], [1, 1]]) + mean.astype(float)
    values = [forward(floats(layer), x)[:, 0] for layer in pair]
    if name == "covariance":
        values = [
            v - float(expected(polynomials([f])[0], moment))
            for v, f in zip(values, pair, strict=True)
        ]
    drawn = np.mean(values[0] * values[1])
    product = NAMED[name](*pair, mean, spread)
    assert product == exact_mean
    assert abs(drawn - float(product)) <= allowed
    for wrong in (frobenius(*pair), NAMED[name](*pair), NAMED[name](*pair, mean)):
        assert abs(drawn - float(wrong)) > allowed


def floats(layer):
    return BilinearLayer(
        **{
            name: None if getattr(layer, name) is None else getattr(layer, name).astype(float)
            for name in ("w_left", "w_right", *OPTIONAL)
        }
    )


# ---- planted mistakes


def straight(left, right, left2, right2):
    return (left @ left2.T) * (right @ right2.T)


def crossed(left, right, left2, right2):
    return (left @ right2.T) * (right @ left2.T)


def without_half(*units):
    return straight(*units) + crossed(*units)


def swapped_twice(left, right, left2, right2):
    return (crossed(left, right, left2, right2) + crossed(left, right, right2, left2)) / 2 * 2


UNITS = {
    "the half is missing": without_half,
    "the cross term dropped": lambda *units: straight(*units) / 2,
    "the cross term forgotten altogether": straight,
    "trace(A @ B) of unsymmetrised matrices": crossed,
    "both terms crossed": swapped_twice,
}


@pytest.mark.parametrize("mistake", UNITS)
def test_mistaken_units_are_seen(monkeypatch, mistake):
    pair = pair_of_layers(1, OPTIONAL, ("w_out",))
    models = [
        random_model(np.random.default_rng(s), (), 2, (2, 3, 2, 1), False, True) for s in (0, 1)
    ]
    monkeypatch.setattr(grams, "unit_products", UNITS[mistake])
    for law, case in (
        (frobenius_is_of_tensors, pair),
        (deep_frobenius_is_of_tensors, models),
        (symmetric_is_of_monomials, models),
        (gaussian_is_of_moments, (*pair, None, None)),
        (sphere_is_of_moments, pair),
    ):
        with pytest.raises(AssertionError):
            law(*case)


OTHERS = {
    "a packed product without the 2 of a pair": (
        frobenius_is_of_tensors, products, "RULES",
        lambda old: old | {"frobenius": old["frobenius"]._replace(evaluate=packed_products)},
    ),
    "the output weights pulled inside the product": (
        frobenius_is_of_tensors, products, "RULES",
        lambda old: old | {"frobenius": old["frobenius"]._replace(evaluate=pulled_inside)},
    ),
    "biases dropped": (
        frobenius_is_of_tensors, grams, "over_constant",
        lambda old: lambda layer: old(BilinearLayer(layer.w_left, layer.w_right, layer.w_out)),
    ),
    "a linear coefficient twice itself": (
        frobenius_is_of_tensors, grams, "over_constant",
        lambda old: lambda layer: old(
            BilinearLayer(
                layer.w_left, layer.w_right, layer.w_out, layer.b_left, layer.b_right, layer.b_out,
                2 * layer.w_skip,
            )
        ),
    ),
    "the mean without tr(QΣ)": (
        gaussian_is_of_moments, products, "_traces", lambda old: lambda layer, _: 0 * old(layer)
    ),
    "the gradient at 0": (
        gaussian_is_of_moments, products, "_slope", lambda old: lambda layer, _: old(layer, None)
    ),
    "traces not subtracted": (
        sphere_is_of_moments, products, "RULES",
        lambda old: old
        | {"sphere": old["sphere"]._replace(evaluate=old["sphere"].twin)},
    ),
}  # fmt: skip


def pulled_inside(outputs, first, second):
    mixed = (
        BilinearLayer(output_weights(plain) @ plain.w_left, output_weights(plain) @ plain.w_right)
        for plain in (over_constant(stack[0]) for stack in (first, second))
    )
    return grams.inner_products(*mixed, None, outputs)


def packed_products(outputs, first, second):
    tensors = (interaction_tensor(over_constant(stack[0])) for stack in (first, second))
    return grams.paired(*tensors, outputs)


@pytest.mark.parametrize("mistake", OTHERS)
def test_other_mistakes_are_seen(monkeypatch, mistake):
    law, module, name, change = OTHERS[mistake]
    pair = pair_of_layers(1, OPTIONAL, OPTIONAL)
    if law is gaussian_is_of_moments:
        pair = (*pair, laws.exact([1, 2, 3]), None)
    law(*pair)
    monkeypatch.setattr(module, name, change(getattr(module, name)))
    with pytest.raises(AssertionError):
        law(*pair)


@pytest.mark.parametrize(
    "mistake",
    [lambda *_: 0, lambda straight, crossed: crossed, lambda straight, _: straight],
    ids=["crossing forgotten", "crossed alone", "no crossing in the mean"],
)
def test_a_mistaken_symmetrisation_is_seen(monkeypatch, mistake):
    pair = [
        random_model(np.random.default_rng(s), (), 2, (2, 3, 2, 1), False, True) for s in (0, 1)
    ]
    symmetric_is_of_monomials(*pair)
    crossed_sum = grams._crossed

    def wrong(outputs, first, second):
        return mistake(
            grams.chained(outputs, first, second), crossed_sum(outputs, first, second) / 2
        )

    monkeypatch.setattr(grams, "_crossed", wrong)
    with pytest.raises(AssertionError):
        symmetric_is_of_monomials(*pair)


# ---- cosines and distances


@pytest.mark.parametrize("name", NAMED)
def test_cosines_and_distances_are_of_the_product(name):
    first, second = pair_of_layers(3, OPTIONAL, ("w_out", "b_right"))
    for outputs, of_norm in (("whole", "whole"), ("each", "each"), ("pairs", "each")):
        inner, a, b = (
            laws.exact(NAMED[name](*case, outputs=kind)).astype(float)
            for case, kind in (
                ((first, second), outputs),
                ((first, first), of_norm),
                ((second, second), of_norm),
            )
        )
        a = a[:, None] if outputs == "pairs" else a
        got = cosine(first, second, name, outputs=outputs)
        assert np.shape(got) == inner.shape
        assert np.allclose(got, inner / np.sqrt(a * b), rtol=1e-14)
        far = distance(first, second, name, outputs=outputs)
        assert np.allclose(far**2, a + b - 2 * inner, rtol=1e-13)
        assert np.allclose(
            cosine(floats(first), floats(second), name, outputs=outputs), got, rtol=1e-12
        )
        assert np.allclose(
            distance(floats(first), floats(second), name, outputs=outputs), far, rtol=1e-12
        )


@BOTH
@settings(max_examples=3)
@given(seed=SEEDS)
def test_equal_functions_have_cosine_one(dtype, seed):
    """Gauge, order and sign are none of a product's business, and nothing exceeds 1."""
    rng = np.random.default_rng(seed)
    layer = random_layer(rng, ("w_out", "b_left", "b_right"), (3, 5, 2), dtype)
    scale = rng.uniform(0.5, 2, 5).astype(dtype)
    moved = BilinearLayer(
        layer.w_right,
        layer.w_left * scale[:, None],
        layer.w_out / scale,
        layer.b_right,
        layer.b_left * scale,
    )
    for name, product in NAMED.items():
        for outputs in products.OUTPUTS:
            value = cosine(layer, moved, name, outputs=outputs)
            assert np.all(np.abs(value) <= 1)
            assert np.asarray(value).dtype == dtype
            assert np.asarray(distance(layer, moved, name, outputs=outputs)).dtype == dtype
        bound = float(product_bound(layer, layer, name)) / float(product(layer, layer))
        assert abs(float(cosine(layer, moved, name)) - 1) <= 8 * bound
        assert distance(layer, moved, name) ** 2 <= 8 * product_bound(layer, layer, name)


def rule(name, **changes):
    return products.RULES | {name: products.RULES[name]._replace(**changes)}


def test_a_cosine_beyond_one_and_a_negative_square_are_errors(monkeypatch):
    """A product that is larger between two models than within each is none, by 1e-9 already."""
    first, second = (floats(layer) for layer in pair_of_layers(1, OPTIONAL, OPTIONAL))
    twin = BilinearLayer(*(getattr(first, name) for name in ("w_right", "w_left", "w_out")))
    plain = BilinearLayer(first.w_left, first.w_right, first.w_out)

    def mistaken(outputs, one, two):
        return grams.chained(outputs, one, two) * (1 if two is one else 1 + 1e-9)

    monkeypatch.setattr(products, "RULES", rule("frobenius", evaluate=mistaken))
    for outputs in products.OUTPUTS:
        with pytest.raises(ArithmeticError, match="a cosine is 1"):
            cosine(plain, twin, outputs=outputs)
        with pytest.raises(ArithmeticError, match="the square of a distance is -"):
            distance(plain, twin, outputs=outputs)
    assert abs(cosine(first, second)) < 1


def test_what_rounding_takes_beyond_one_is_clipped(monkeypatch):
    layer = BilinearLayer([[0.1, 0.7]], [[0.3, 0.2]])
    twin = BilinearLayer([[0.3, 0.2]], [[0.1, 0.7]])

    def barely(outputs, one, two):
        return grams.chained(outputs, one, two) * (1 if two is one else 1 + 2.0**-51)

    monkeypatch.setattr(products, "RULES", rule("frobenius", evaluate=barely))
    assert cosine(layer, twin) == 1
    assert distance(layer, twin) == 0


def test_zero_has_no_cosine():
    layer = random_layer(np.random.default_rng(1), ("w_out",), (3, 4, 2), np.float64)
    zero = BilinearLayer(layer.w_left, layer.w_right, layer.w_out * [[1], [0]])
    with pytest.raises(
        ValueError,
        match=r"second must not be zero, nor so small that squares vanish, to have a cosine; its squared sphere norm is 0\.0 at output 1",
    ):
        cosine(layer, zero, "sphere", outputs="pairs")
    with pytest.raises(
        ValueError,
        match="first must not be zero, nor so small that squares vanish, to have a cosine; its squared frobenius norm is 0",
    ):
        cosine(BilinearLayer([[0, 0]], [[1, 1]]), ONE)
    with pytest.raises(ValueError, match="its squared frobenius norm is 1e-300"):
        cosine(ONE, BilinearLayer([[1e-150, 0]], [[1, 0]]))
    exact = laws.exact_layer(layer)
    with pytest.raises(ValueError, match="second must not be zero"):
        cosine(exact, subtract(exact, exact))
    tiny = BilinearLayer(*(laws.exact(w) * Fraction(1, 10**200) for w in ([[1, 1]], [[1, 0]])))
    assert (cosine(tiny, tiny), distance(tiny, tiny)) == (1, 0)


# ---- bad input

ONE = BilinearLayer([[1, 2]], [[3, 4]])
DEEP = BilinearMLP(None, [ONE, BilinearLayer([[1]], [[1]])], None)
THREE = BilinearMLP(None, [ONE, *[BilinearLayer([[1]], [[1]])] * 2], None)
V, T = ValueError, TypeError


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: frobenius(ONE, 1), T, "second must be a BilinearLayer or a BilinearMLP; got int"),
        (lambda: frobenius([[1]], ONE), T, "first must be a BilinearLayer"),
        (lambda: frobenius(ONE, BilinearLayer([[1]], [[1]])), V, "second must have d_in = 2"),
        (lambda: frobenius(ONE, BilinearLayer(np.eye(2), np.eye(2))), V, "second must have d_out = 1"),
        (lambda: frobenius(ONE, laws.exact_layer(ONE)), T, "second must have dtype float64"),
        (lambda: frobenius(ONE, DEEP), V, "second must have as many layers as first, 1,"),
        (lambda: frobenius(ONE, ONE, outputs="all"), V, "outputs must be one of whole, each, pairs; got 'all'"),
        (lambda: symmetric(THREE, THREE), V, "first must have at most 2 layers for the symmetric product; got 3"),
        (lambda: gaussian(DEEP, DEEP), V, "first must have at most 1 layer for the gaussian product; got 2"),
        (lambda: frobenius(BilinearLayer([[np.nan]], [[1]]), ONE), V, r"first.w_left must be finite; got nan at \(0, 0\)"),
        (lambda: frobenius(ONE, BilinearLayer([[1, 2]], [[1, np.inf]])), V, "second.w_right must be finite"),
        (lambda: gaussian(ONE, ONE, [1]), V, r"mean must have shape \(d_in,\) = \(2,\) to match first"),
        (lambda: gaussian(ONE, ONE, [1, np.nan]), V, "mean must be finite"),
        (lambda: gaussian(ONE, ONE, covariance=[[1]]), V, "covariance must have shape"),
        (lambda: covariance(ONE, ONE, covariance=[[1, np.inf], [0, 1]]), V, "covariance must be finite"),
        (lambda: covariance(ONE, ONE, covariance=[[1, 2], [0, 1]]), V, "covariance must equal its transpose"),
        (lambda: covariance(ONE, ONE, covariance=[[1, 0], [0, -1]]), V, r"variances of at least 0; got -1.0 at \(1, 1\)"),
        (lambda: cosine(ONE, ONE, "similarity"), V, "product must be one of frobenius, symmetric, gaussian, covariance, sphere; got 'similarity'"),
        (lambda: distance(ONE, ONE, "sphere", mean=[1, 2]), V, "mean must be None for the sphere product"),
        (lambda: cosine(ONE, ONE, covariance=np.eye(2)), V, "covariance must be None for the frobenius product"),
        (lambda: frobenius(*[BilinearLayer([[1e200, 0]], [[1e200, 0]])] * 2), OverflowError, "the frobenius product exceeds the largest float64"),
    ],
)  # fmt: skip
def test_bad_input_is_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()
