"""The laws that an implementation obeys, each a function that asserts and returns nothing.

`of` is the implementation: a namespace of functions under the names of the package. The tests pass
the package itself; `test_the_tests.py` passes it with one function replaced by a mistaken one.
"""

import math
from dataclasses import replace
from decimal import Decimal, localcontext
from fractions import Fraction
from functools import partial
from types import SimpleNamespace

import numpy as np

import refbilinear
from refbilinear import BilinearLayer, BilinearMLP
from refbilinear.analysis import eigenpairs
from refbilinear.oracle import bounds


def package(**replaced):
    """Return the package as a namespace, with the given functions replaced."""
    names = {name: getattr(refbilinear, name) for name in refbilinear.__all__}
    for module in (eigenpairs, bounds):
        names |= {k: v for k, v in vars(module).items() if not k.startswith("_")}
    return SimpleNamespace(**names | replaced)


# ---- comparing


def same(got, want):
    """Equal shapes, equal numbers, no tolerance."""
    got, want = np.asarray(got), np.asarray(want)
    assert got.shape == want.shape
    assert (got == want).all()


def exact_numbers(*results):
    """No float has leaked into an exact result."""
    for result in results:
        if result is None:
            continue
        array = np.asarray(result, dtype=object)
        assert all(type(number) in (Fraction, int) for number in array.flat)


def exact(array):
    """Return the array's numbers as Fractions."""
    array = np.asarray(array)
    out = np.empty(array.shape, dtype=object)
    out.flat = [Fraction(number) for number in array.ravel().tolist()]
    return out


def exact_layer(layer):
    return BilinearLayer(**{name: exact(w) for name, w in refbilinear.parameters(layer).items()})


def exact_model(model):
    values = {name: exact(w) for name, w in refbilinear.parameters(model).items()}
    return refbilinear.with_parameters(model, values)


def in_bound(got, want, bound, dtype=None):
    """The float result differs from the exact one by at most the bound, and keeps its dtype."""
    got, bound = np.asarray(got), np.asarray(bound)
    assert got.shape == np.shape(want) == bound.shape
    assert dtype is None or got.dtype == dtype
    pairs = zip(exact(got).flat, np.asarray(want, dtype=object).flat, bound.flat, strict=True)
    for mine, true, allowed in pairs:
        assert abs(mine - true) <= Fraction(float(allowed))


# ---- one layer, exact


def loops_forward(layer, x):
    """The definition, one number after the other."""
    zeros = [Fraction(0)] * max(layer.d_hidden, layer.d_out)
    b_left, b_right, b_out = (
        zeros if b is None else b for b in (layer.b_left, layer.b_right, layer.b_out)
    )
    y = np.empty((len(x), layer.d_out), dtype=object)
    for n, o in np.ndindex(y.shape):
        total = b_out[o] + Fraction(0)
        for h in range(layer.d_hidden):
            a = sum((layer.w_left[h, i] * x[n, i] for i in range(layer.d_in)), b_left[h])
            b = sum((layer.w_right[h, i] * x[n, i] for i in range(layer.d_in)), b_right[h])
            weight = int(h == o) if layer.w_out is None else layer.w_out[o, h]
            total += weight * a * b
        if layer.w_skip is not None:
            total += sum(layer.w_skip[o, i] * x[n, i] for i in range(layer.d_in))
        y[n, o] = total
    return y


def forward_is_the_definition(of, layer, x):
    y = of.forward(layer, x)
    exact_numbers(y)
    same(y, loops_forward(layer, x))


def loops_tensor(layer):
    """The tensor's definition entry by entry, (d_out, d, d)."""
    zero, one = Fraction(0), Fraction(1)
    left, right = layer.w_left, layer.w_right
    if layer.has_constant:
        column = refbilinear.spec.arrays.constant(0, layer.d_hidden, object)
        left = np.c_[left, column if layer.b_left is None else layer.b_left]
        right = np.c_[right, column if layer.b_right is None else layer.b_right]
    d = left.shape[1]
    tensor = np.empty((layer.d_out, d, d), dtype=object)
    for o, i, j in np.ndindex(tensor.shape):
        total = zero
        for h in range(layer.d_hidden):
            weight = one * (h == o) if layer.w_out is None else layer.w_out[o, h]
            total += weight * (left[h, i] * right[h, j] + left[h, j] * right[h, i]) / 2
        if layer.w_skip is not None and (i == d - 1) != (j == d - 1):
            total += layer.w_skip[o, min(i, j)] / 2
        if layer.b_out is not None and i == j == d - 1:
            total += layer.b_out[o]
        tensor[o, i, j] = total
    return tensor


def tensor_is_the_definition(of, layer):
    tensor = of.interaction_tensor(layer)
    exact_numbers(tensor)
    whole = loops_tensor(layer)
    i, j = np.tril_indices(whole.shape[-1])
    same(tensor, whole[:, i, j])


def with_constant(of, layer, x):
    return of.homogeneous(x) if layer.has_constant else x


def form_equals_forward(of, layer, x):
    tensor = of.interaction_tensor(layer)
    y = of.quadratic_form(tensor, with_constant(of, layer, x))
    exact_numbers(tensor, y)
    same(y, of.forward(layer, x))


def with_out(layer):
    """Return the layer with its identity written out, so that w_out is there."""
    if layer.w_out is not None:
        return layer
    eye = np.array(
        [[Fraction(i == j) for j in range(layer.d_hidden)] for i in range(layer.d_hidden)]
    )
    return replace(layer, w_out=eye.astype(object).reshape(layer.d_hidden, layer.d_hidden))


def same_function(of, layer, other, x):
    """Two layers with equal outputs and equal tensors."""
    same(of.forward(other, x), of.forward(layer, x))
    same(of.interaction_tensor(other), of.interaction_tensor(layer))


def identity_output_is_no_output(of, layer, x):
    same_function(of, layer, with_out(layer), x)


def swap_changes_nothing(of, layer, x):
    swapped = replace(
        layer,
        w_left=layer.w_right,
        w_right=layer.w_left,
        b_left=layer.b_right,
        b_right=layer.b_left,
    )
    same_function(of, layer, swapped, x)


def times(factors, array):
    """Return the rows of an optional array times one factor each."""
    if array is None:
        return None
    return array * (factors[:, None] if array.ndim == 2 else factors)


def gauge_changes_nothing(of, layer, x, alpha, beta):
    layer = with_out(layer)
    moved = replace(
        layer,
        w_left=times(alpha, layer.w_left),
        b_left=times(alpha, layer.b_left),
        w_right=times(beta, layer.w_right),
        b_right=times(beta, layer.b_right),
        w_out=layer.w_out / (alpha * beta),
    )
    same_function(of, layer, moved, x)


def take(array, index):
    return None if array is None else array[index]


def units(layer, index):
    """Return the layer of some hidden units of another that has a w_out."""
    return replace(
        layer,
        w_left=layer.w_left[index],
        w_right=layer.w_right[index],
        w_out=layer.w_out[:, index],
        b_left=take(layer.b_left, index),
        b_right=take(layer.b_right, index),
    )


def unit_order_changes_nothing(of, layer, x):
    layer = with_out(layer)
    order = np.roll(np.arange(layer.d_hidden), 1)
    same_function(of, layer, units(layer, order), x)


def outputs_permute(of, layer, x):
    layer = with_out(layer)
    order = np.roll(np.arange(layer.d_out), 1)
    moved = replace(
        layer,
        w_out=layer.w_out[order],
        b_out=take(layer.b_out, order),
        w_skip=take(layer.w_skip, order),
    )
    same(of.forward(moved, x), of.forward(layer, x)[:, order])
    same(of.interaction_tensor(moved), of.interaction_tensor(layer)[order])


def inputs_permute(of, layer, x):
    order = np.roll(np.arange(layer.d_in), 1)
    columns = (slice(None), order)
    moved = replace(
        layer,
        w_left=layer.w_left[columns],
        w_right=layer.w_right[columns],
        w_skip=take(layer.w_skip, columns),
    )
    same(of.forward(moved, x[:, order]), of.forward(layer, x))
    whole = of.unpack(of.interaction_tensor(layer))
    order = np.concatenate([order, np.arange(layer.d_in, whole.shape[-1])])
    same(of.unpack(of.interaction_tensor(moved)), whole[:, order][:, :, order])


def linear_in_the_output_weights(of, layer, x, other):
    """The layer with w_out + 3 other is the sum; biases and skip are counted once."""
    layer = replace(with_out(layer), b_out=None, w_skip=None)
    second = replace(layer, w_out=other)
    total = replace(layer, w_out=layer.w_out + 3 * other)
    for function in (lambda one: of.forward(one, x), of.interaction_tensor):
        same(function(total), function(layer) + 3 * function(second))


def hidden_blocks_add(of, layer, x):
    layer = with_out(layer)
    first, second = units(layer, slice(0, 1)), units(layer, slice(1, None))
    second = replace(second, b_out=None, w_skip=None)
    same(of.forward(layer, x), of.forward(first, x) + of.forward(second, x))
    if first.has_constant == second.has_constant:
        tensors = [of.interaction_tensor(one) for one in (layer, first, second)]
        same(tensors[0], tensors[1] + tensors[2])


def with_unit(layer, **rows):
    """Return the layer with one hidden unit more; what is not given is copied from the first."""
    added = {}
    for name in ("w_left", "w_right", "b_left", "b_right"):
        array = getattr(layer, name)
        if array is not None:
            added[name] = np.concatenate([array, array[:1] * rows.get(name, 1)])
    column = layer.w_out[:, :1] * rows.get("w_out", 1)
    return replace(layer, **added, w_out=np.concatenate([layer.w_out, column], axis=1))


def zero_unit_changes_nothing(of, layer, x):
    layer = with_out(layer)
    same_function(of, layer, with_unit(layer, w_out=Fraction(0)), x)
    same_function(of, layer, with_unit(layer, w_left=Fraction(0), b_left=Fraction(0)), x)


def split_unit_changes_nothing(of, layer, x):
    layer = with_out(layer)
    split = with_unit(layer, w_out=Fraction(1, 3))
    w_out = split.w_out.copy()
    w_out[:, 0] = w_out[:, 0] * Fraction(2, 3)
    same_function(of, layer, replace(split, w_out=w_out), x)


def batch_is_a_stack(of, layer, x):
    y = of.forward(layer, x)
    same(y, np.stack([of.forward(layer, row) for row in x]))
    same(of.forward(layer, x[None])[0], y)
    tensor, z = of.interaction_tensor(layer), with_constant(of, layer, x)
    same(of.quadratic_form(tensor, z), np.stack([of.quadratic_form(tensor, row) for row in z]))


def second_differences_are_constant(of, layer, x, step):
    """f(x + 2s) − 2 f(x + s) + f(x) does not depend on x."""

    def second(start):
        f0, f1, f2 = (of.forward(layer, start + k * step) for k in range(3))
        return f2 - 2 * f1 + f0

    same(second(x), second(x * 0))


# ---- gradients, exact


def derivative(value, degree):
    """Return the derivative at 0 of a polynomial of the given degree: exact central differences."""
    k = (degree + 1) // 2
    total = Fraction(0)
    for j in range(1, k + 1):
        factor = Fraction(
            -((-1) ** j) * math.factorial(k) ** 2,
            j * math.factorial(k - j) * math.factorial(k + j),
        )
        total += factor * (value(Fraction(j)) - value(Fraction(-j)))
    return total


def moved(array, index, step):
    copy = array.copy()
    copy[index] += step
    return copy


def gradient_by_differences(value, array, degree):
    """Return the exact gradient of a polynomial `value(array)`, entry by entry."""
    gradient = np.empty(array.shape, dtype=object)
    for index in np.ndindex(array.shape):
        gradient[index] = derivative(
            lambda step, index=index: value(moved(array, index, step)), degree
        )
    return gradient


def backward_is_the_differences(of, layer, x, dy):
    gradients = of.backward(layer, x, dy)
    exact_numbers(*gradients)
    same(
        gradients.x,
        gradient_by_differences(lambda z: np.sum(dy * refbilinear.forward(layer, z)), x, 2),
    )
    present = refbilinear.parameters(layer)
    assert set(refbilinear.parameters(gradients)) == set(present)

    def value(w, name):
        return np.sum(dy * refbilinear.forward(replace(layer, **{name: w}), x))

    for name, array in present.items():
        differences = gradient_by_differences(partial(value, name=name), array, 1)
        same(getattr(gradients, name), differences)


def gauge_of_the_gradient(of, layer, x, dy):
    layer = with_out(layer)
    gradients = of.backward(layer, x, dy)

    def along(*names):
        total = 0
        for name in names:
            if getattr(layer, name) is not None:
                part = getattr(layer, name) * getattr(gradients, name)
                total = total + (part.sum(axis=1) if part.ndim == 2 else part)
        return total

    left, right = along("w_left", "b_left"), along("w_right", "b_right")
    same(left, right)
    same(left, (layer.w_out * gradients.w_out).sum(axis=0))


def mlp_backward_is_the_differences(of, model, x, dy):
    gradients = of.mlp_backward(model, x, dy)
    degree = 2 ** len(model.layers)

    def value(one, z):
        return np.sum(dy * refbilinear.mlp_forward(one, z))

    same(gradients.x, gradient_by_differences(lambda z: value(model, z), x, degree))
    present, of_name = refbilinear.parameters(model), refbilinear.parameters(gradients)
    assert list(of_name) == list(present)
    exact_numbers(gradients.x, *of_name.values())

    def value_of(w, name):
        return value(refbilinear.with_parameters(model, present | {name: w}), x)

    for name, array in present.items():
        differences = gradient_by_differences(partial(value_of, name=name), array, degree)
        same(of_name[name], differences)


def mlp_is_its_layers(of, model, x):
    h = x if model.w_embed is None else x @ model.w_embed.T
    for layer in model.layers:
        y = loops_forward(layer, h)
        h = h + y if model.residual else y
    y = of.mlp_forward(model, x)
    exact_numbers(y)
    same(y, h if model.w_head is None else h @ model.w_head.T)


def fold_is_the_model(of, model, x):
    folded = of.fold(model)
    exact_numbers(*refbilinear.parameters(folded).values())
    same(refbilinear.forward(folded, x), refbilinear.mlp_forward(model, x))


# ---- the tensor, exact


def forms_agree(of, layer, x, u):
    form = of.output_form(layer, u)
    value = refbilinear.forward(layer, x) @ u
    exact_numbers(*form)
    same(form.matrix, form.matrix.T)
    same(of.form_value(form, x), value)
    whole, z = of.homogeneous_matrix(form), refbilinear.homogeneous(x)
    exact_numbers(whole, of.form_value(form, x))
    same(((z @ whole) * z).sum(axis=1), value)
    want = whole if layer.has_constant else whole[:-1, :-1]
    same(of.interaction_matrix(of.interaction_tensor(layer), u), want)


def linear_in_the_direction(of, layer, u, v):
    tensor = of.interaction_tensor(layer)
    pair = of.interaction_matrix(tensor, np.stack([u, v]))
    same(of.interaction_matrix(tensor, u + 3 * v), pair[0] + 3 * pair[1])
    whole = refbilinear.unpack(tensor)
    same(pair[0], sum(u[o] * whole[o] for o in range(len(u))))


def polarisation(of, tensor, x, z):
    form = partial(of.quadratic_form, tensor)
    got = of.bilinear_form(tensor, x, z)
    exact_numbers(got)
    same(got, (form(x + z) - form(x - z)) / 4)
    same(got, of.bilinear_form(tensor, z, x))
    same(of.bilinear_form(tensor, x, x), form(x))


def quadratic_form_is_the_definition(of, tensor, x):
    whole = loops_unpack(tensor)
    want = np.array([[row @ matrix @ row for matrix in whole] for row in x], dtype=object)
    same(of.quadratic_form(tensor, x), want)


def tensor_gradient_is_the_differences(of, tensor, x, dy):
    """The derivative in a packed number is the gradient, doubled off the diagonal."""
    gradient = of.tensor_gradient(x, dy)
    exact_numbers(gradient)
    differences = gradient_by_differences(
        lambda packed: np.sum(dy * refbilinear.quadratic_form(packed, x)), tensor, 1
    )
    i, j = np.tril_indices(x.shape[1])
    same(gradient * np.where(i == j, 1, 2), differences)


# ---- packed storage


def loops_unpack(packed):
    """Entry (i, j), i ≥ j, stands at i(i + 1)/2 + j."""
    d = (math.isqrt(8 * packed.shape[-1] + 1) - 1) // 2
    whole = np.empty((*packed.shape[:-1], d, d), packed.dtype)
    for i in range(d):
        for j in range(d):
            low, high = min(i, j), max(i, j)
            whole[..., i, j] = packed[..., high * (high + 1) // 2 + low]
    return whole


def packing_is_the_order(of, packed):
    whole = loops_unpack(packed)
    same(of.unpack(packed), whole)
    same(of.pack(whole), packed)


# ---- spectra: certificates from the floats as they stand


def norm(array):
    """Return a number at least the Frobenius norm, from its exact square."""
    square = sum((number * number for number in np.asarray(array).flat), Fraction(0))
    # Rounded from the Fraction, rooted: two roundings, so three units above is above.
    return math.sqrt(float(square)) * (1 + 2.0**-51)


class Certificate(SimpleNamespace):
    """What the exact residuals of computed eigenpairs prove."""


def certificate(matrix, values, vectors):
    q, lam, x = exact(matrix), exact(values), exact(vectors)
    identity = exact(np.eye(x.shape[1]))
    return Certificate(
        q=q,
        lam=lam,
        x=x,
        norm=norm(q),
        residual=norm(q @ x - x * lam),
        defect=norm(identity - x.T @ x),
    )


def eigenpairs_are_accurate(of, matrix):
    """Residual and orthogonality ratios of LAPACK's own tests, at most 10 (oracle, section 4)."""
    values, vectors = of.eigendecompose(matrix)
    n = len(matrix)
    assert values.dtype == vectors.dtype == matrix.dtype
    assert (values.shape, vectors.shape) == ((n,), (n, n))
    proof = certificate(matrix, values, vectors)
    assert proof.residual <= accepted(matrix) * proof.norm
    assert proof.defect <= accepted(matrix)


def accepted(matrix):
    """Return the residual that an accurate solver may leave: ten of LAPACK's n eps ‖Q‖_F."""
    return 10 * len(matrix) * float(np.finfo(matrix.dtype).eps)


def eigenvalue_error(matrix, proof):
    """Return how far sorted eigenvalues may be: ‖R‖_F / √(1 − ‖S‖_F) (Kahan), both as accepted."""
    ratio = accepted(matrix)
    return ratio * proof.norm / math.sqrt(1 - ratio)


def eigenvalues_keep_trace_and_norm(of, matrix):
    proof = certificate(matrix, *of.eigendecompose(matrix))
    n, each = len(matrix), eigenvalue_error(matrix, proof)
    assert abs(sum(proof.lam) - np.trace(proof.q)) <= n * each
    # A vector of n errors, each at most `each`, has norm at most √n times that.
    slack = 2.0**-50 * (proof.norm + norm(proof.lam))
    assert abs(norm(proof.lam) - proof.norm) <= math.sqrt(n) * each + slack


def pairs_are_in_order(of, matrix):
    values, vectors = of.eigendecompose(matrix)
    same(np.lexsort((-values, -abs(values))), np.arange(len(values)))
    peaks = np.abs(vectors).argmax(axis=0)
    assert (vectors[peaks, np.arange(len(values))] > 0).all()
    for k in range(len(values) + 1):
        first = of.eigendecompose(matrix, k)
        same(first.eigenvalues, values[:k])
        same(first.eigenvectors, vectors[:, :k])


def spectrum_is_known(of, known, basis):
    """Eigenvalues by value and projectors by cluster, against a matrix built from integers."""
    matrix = float_matrix(known, basis)
    values, vectors = of.eigendecompose(matrix)
    proof = certificate(matrix, values, vectors)
    assert proof.defect <= accepted(matrix)
    assert proof.residual <= accepted(matrix) * proof.norm
    error = proof.residual / math.sqrt(1 - proof.defect) * (1 + 2.0**-50)
    for mine, true in zip(sorted(proof.lam), sorted(known), strict=True):
        assert abs(mine - true) <= error
    for value in set(known):
        projector_is_known(proof, known, basis, value)


def projector_is_known(proof, known, basis, value):
    """Davis and Kahan: √2 ‖R_c‖ / (δ √(1 − ‖S_c‖)), and ‖S_c‖ for a basis not quite orthonormal."""
    mine = [k for k, lam in enumerate(proof.lam) if abs(lam - value) < Fraction(1, 2)]
    assert len(mine) == known.count(value)
    x, lam = proof.x[:, mine], proof.lam[mine]
    residual = norm(proof.q @ x - x * lam)
    defect = norm(exact(np.eye(len(mine))) - x.T @ x)
    columns = basis[:, [k for k, one in enumerate(known) if one == value]]
    gaps = [abs(one - other) for one in lam for other in known if other != value]
    angle = math.sqrt(2) * residual / (float(min(gaps)) * math.sqrt(1 - defect)) if gaps else 0.0
    allowed = (angle + defect) * (1 + 2.0**-49)
    assert norm(x @ x.T - columns @ columns.T) <= allowed


def dyadic_basis(supports, n):
    """Return a product of reflections I − 2vvᵀ/vᵀv, v of 2^j entries ±1: orthogonal and dyadic."""
    basis = exact(np.eye(n))
    for v in map(exact, supports):
        basis = basis - (2 * (basis @ v))[:, None] * v / (v @ v)
    return basis


def float_matrix(known, basis):
    """Return HΛHᵀ as floats, of which none is rounded."""
    matrix = (basis * np.array(known, dtype=object)) @ basis.T
    floats = matrix.astype(np.float64)
    same(exact(floats), matrix)
    return floats


def truncation_is_the_best(of, known, basis):
    """‖Q − Q_k‖_F is the root of the tail's squares, between the bounds that the residuals prove."""
    matrix = float_matrix(known, basis)
    pairs = of.eigendecompose(matrix)
    proof = certificate(matrix, *refbilinear.analysis.eigenpairs.eigendecompose(matrix))
    squares = sorted((value * value for value in known), reverse=True)
    largest = float(abs(proof.lam).max(initial=0))
    drift = proof.residual + proof.defect * (proof.norm + largest)
    skew = largest * proof.defect * (2 + proof.defect)
    for k in range(len(known) + 1):
        near = of.reconstruct(pairs, k)
        same(near, near.T)
        # k products summed, scaled by the eigenvalue, and the mean with the transpose.
        twin = (abs(proof.x[:, :k]) * abs(proof.lam[:k])) @ abs(proof.x[:, :k]).T
        rounding = bounds.gamma(k + 2, np.float64) * norm(twin)
        tail, off = math.sqrt(sum(squares[k:])), norm(proof.q - exact(near))
        slack = rounding + 2.0**-49 * proof.norm
        assert tail - slack <= off <= tail + 2 * drift + skew + slack
    same(of.reconstruct(pairs), of.reconstruct(pairs, len(known)))


def contributions_sum_to_the_form(of, matrix, x):
    """Rounding of each term (2d + 2 on the absolute values), and ‖Q − VΛVᵀ‖·‖x‖²."""
    pairs = of.eigendecompose(matrix)
    proof = certificate(matrix, *pairs)
    terms = of.contributions(pairs, x)
    assert terms.dtype == matrix.dtype
    z = exact(x)
    form = z @ proof.q @ z
    twin = sum(abs(proof.lam) * (abs(z) @ abs(proof.x)) ** 2)
    rounding = bounds.gamma(2 * len(x) + 2, matrix.dtype) * float(twin)
    drift = proof.residual * math.sqrt(1 + proof.defect) + proof.norm * proof.defect
    allowed = (rounding + drift * norm(z) ** 2) * (1 + 2.0**-49)
    assert abs(sum(exact(terms)) - form) <= allowed


# ---- losses and the optimiser, in fifty digits


def decimals(array):
    return [Decimal(number) for number in np.asarray(array).ravel().tolist()]


def log_sum_exp(logits):
    top = max(logits)
    shares = [(logit - top).exp() for logit in logits]
    return top + sum(shares).ln(), [share / sum(shares) for share in shares]


def cross_entropy_is_the_decimal(of, y, labels):
    """With s = y − max y: exp errs by (|s| + 8)u (the difference, and 4 ulp of exp), its sum by C u
    more, ln by 8u of its value and by the relative error of the sum; then one rounding for each of
    the difference, the division and the additions. A quarter more covers the products of errors and
    the smallest normal number stands for what underflows.
    """
    loss = of.cross_entropy(y, labels)
    assert loss.value.dtype == loss.dy.dtype == y.dtype
    assert np.isfinite(loss.value)
    assert np.isfinite(loss.dy).all()
    n, classes = y.shape
    unit, tiny = float(np.finfo(y.dtype).eps) / 2, float(np.finfo(y.dtype).tiny)
    total = allowed = 0
    with localcontext(prec=50):
        for row, label, mine in zip(y, labels, loss.dy, strict=True):
            logits = decimals(row)
            log_total, shares = log_sum_exp(logits)
            spread = [float(max(logits) - logit) for logit in logits]
            off = sum(float(p) * (s + 8) for p, s in zip(shares, spread, strict=True)) + classes
            value = log_total - logits[label]
            total += value / n
            log_sum = float(log_total - max(logits))
            allowed += off + 8 * log_sum + spread[label] + (n + 2) * float(value)
            for c, share in enumerate(shares):
                want = (share - (c == label)) / n
                error = float(share) * (spread[c] + 8 + off + 3) + 2
                bound = 1.25 * unit * error / n + tiny
                assert abs(Decimal(float(mine[c])) - want) <= Decimal(bound)
        bound = 1.25 * unit * allowed / n + tiny
        assert abs(Decimal(float(loss.value)) - total) <= Decimal(float(bound))


def squared_error_is_the_definition(of, y, t):
    loss = of.squared_error(y, t)
    exact_numbers(loss.value, loss.dy)
    n = math.prod(y.shape[:-1])

    def value(z):
        return sum(((a - b) ** 2 for a, b in zip(z.flat, t.flat, strict=True)), Fraction(0)) / n

    assert loss.value == value(y)
    same(loss.dy, gradient_by_differences(value, y, 2))


def decimal_adamw(theta, g, m, v, t, rate, decay, beta1, beta2, epsilon):
    rate, decay, beta1, beta2, epsilon = map(Decimal, (rate, decay, beta1, beta2, epsilon))
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g * g
    root = (v / (1 - beta2**t)).sqrt() + epsilon
    return theta * (1 - rate * decay), rate * m / (1 - beta1**t) / root, m, v


def adamw_is_the_decimal(
    of, theta, g, m, v, t, *, rate=1e-2, decay=0.1, beta1=0.9, beta2=0.999, epsilon=1e-8
):
    """One step against fifty digits, within the roundings of its formula.

    m has 3 roundings on |m| and |g|, v has 4; the root halves those and has, with its correction
    and ε, 5 more, so a step has 15 in all; the decayed θ has 5. 1 − β^t cancels: 2u/(1 − β^t) of
    double precision for each β.
    """
    state = of.adamw(
        theta, g, m, v, t, learning_rate=rate, weight_decay=decay,
        beta1=beta1, beta2=beta2, epsilon=epsilon,
    )  # fmt: skip
    cancel = 2.0**-53 * (2 / (1 - beta1**t) + 2 / (1 - beta2**t))
    several = bounds.gamma(16, theta.dtype)
    with localcontext(prec=50):
        columns = zip(*(decimals(array) for array in (theta, g, m, v)), strict=True)
        for index, (theta0, g0, m0, v0) in enumerate(columns):
            kept, step, m1, v1 = decimal_adamw(
                theta0, g0, m0, v0, t, rate, decay, beta1, beta2, epsilon
            )
            twin = decimal_adamw(
                abs(theta0), abs(g0), abs(m0), v0, t, rate, decay, beta1, beta2, epsilon
            )
            allowed = [
                several * float(twin[0] + twin[1]) + 2 * cancel * float(twin[1]),
                several * float(twin[2]),
                several * float(twin[3]),
            ]
            for mine, want, bound in zip(state, (kept - step, m1, v1), allowed, strict=True):
                assert mine.dtype == theta.dtype
                assert abs(Decimal(float(mine.flat[index])) - want) <= Decimal(bound)


# ---- floats


def forward_is_in_bound(of, layer, x):
    want = refbilinear.forward(exact_layer(layer), exact(x))
    in_bound(of.forward(layer, x), want, of.forward_bound(layer, x), layer.dtype)


def backward_is_in_bound(of, layer, x, dy):
    got = of.backward(layer, x, dy)
    want = refbilinear.backward(exact_layer(layer), exact(x), exact(dy))
    all_in_bound(got, want, of.backward_bound(layer, x, dy), layer.dtype)


def all_in_bound(got, want, bound, dtype):
    for mine, true, allowed in zip(got, want, bound, strict=True):
        assert (mine is None) == (true is None) == (allowed is None)
        if mine is not None:
            in_bound(mine, true, allowed, dtype)


def tensor_is_in_bound(of, layer):
    want = refbilinear.interaction_tensor(exact_layer(layer))
    in_bound(of.interaction_tensor(layer), want, of.tensor_bound(layer), layer.dtype)


def matrix_is_in_bound(of, tensor, u):
    want = refbilinear.interaction_matrix(exact(tensor), exact(u))
    got = of.interaction_matrix(tensor, u)
    in_bound(got, want, of.matrix_bound(tensor, u), tensor.dtype)


def output_form_is_in_bound(of, layer, u):
    got = of.output_form(layer, u)
    want = refbilinear.output_form(exact_layer(layer), exact(u))
    all_in_bound(got, want, of.output_form_bound(layer, u), layer.dtype)


def quadratic_form_is_in_bound(of, tensor, x):
    want = refbilinear.quadratic_form(exact(tensor), exact(x))
    got = of.quadratic_form(tensor, x)
    in_bound(got, want, of.quadratic_form_bound(tensor, x), tensor.dtype)


def bilinear_form_is_in_bound(of, tensor, x, z):
    want = refbilinear.bilinear_form(exact(tensor), exact(x), exact(z))
    got = of.bilinear_form(tensor, x, z)
    in_bound(got, want, of.bilinear_form_bound(tensor, x, z), tensor.dtype)


def tensor_gradient_is_in_bound(of, x, dy):
    want = refbilinear.tensor_gradient(exact(x), exact(dy))
    in_bound(of.tensor_gradient(x, dy), want, of.tensor_gradient_bound(x, dy), x.dtype)


def mlp_forward_is_in_bound(of, model, x):
    want = refbilinear.mlp_forward(exact_model(model), exact(x))
    in_bound(of.mlp_forward(model, x), want, of.mlp_forward_bound(model, x), model.dtype)


def mlp_backward_is_in_bound(of, model, x, dy):
    got = of.mlp_backward(model, x, dy)
    want = refbilinear.mlp_backward(exact_model(model), exact(x), exact(dy))
    bound = of.mlp_backward_bound(model, x, dy)
    ends = [(one.w_embed, one.w_head, one.x) for one in (got, want, bound)]
    all_in_bound(*ends, model.dtype)
    for one in zip(got.layers, want.layers, bound.layers, strict=True):
        all_in_bound(*one, model.dtype)


def folded_form_is_in_bound(of, model, x):
    folded = of.fold(model)
    z = of.homogeneous(x) if folded.has_constant else x
    got = of.quadratic_form(of.interaction_tensor(folded), z)
    want = refbilinear.mlp_forward(exact_model(model), exact(x))
    in_bound(got, want, of.folded_form_bound(model, z), model.dtype)


def fold_is_in_bound(of, model):
    got = refbilinear.parameters(of.fold(model))
    want = refbilinear.parameters(refbilinear.fold(exact_model(model)))
    allowed = of.fold_bound(model)
    assert list(got) == list(want) == list(allowed)
    for name, array in got.items():
        in_bound(array, want[name], allowed[name], model.dtype)


def form_value_is_in_bound(of, form, x):
    """The form as it stands in floats, whatever it was computed from."""
    want = refbilinear.form_value(
        refbilinear.QuadraticForm(
            exact(form.matrix), exact(form.linear), Fraction(float(form.constant))
        ),
        exact(x),
    )
    in_bound(of.form_value(form, x), want, of.form_value_bound(form, x), form.matrix.dtype)


def squared_error_is_in_bound(of, y, t):
    got = of.squared_error(y, t)
    want = refbilinear.squared_error(exact(y), exact(t))
    all_in_bound(got, want, of.squared_error_bound(y, t), y.dtype)


def nan_stays_in_its_row(of, layer, x, bad):
    """One bad number makes its own row of the result bad, and leaves the others as they were."""
    clean = of.forward(layer, x)
    dirty = x.copy()
    dirty[1, 0] = bad
    with np.errstate(invalid="ignore"):
        y = of.forward(layer, dirty)
    assert not np.isfinite(y[1]).any()
    others = np.arange(len(x)) != 1
    same(y[others], clean[others])


def inputs_are_left_alone(of, layer, x, dy):
    before = x.tobytes(), dy.tobytes()
    of.forward(layer, x)
    of.backward(layer, x, dy)
    assert (x.tobytes(), dy.tobytes()) == before


def asymmetry_is_refused(of, matrix):
    """One ulp in one triangle, which LAPACK would read or not read, is an error."""
    tilted = matrix.copy()
    for index in ((0, 1), (1, 0)):
        tilted[index] = np.nextafter(matrix[index], np.inf)
        refused = False
        try:
            of.eigendecompose(tilted)
        except ValueError:
            refused = True
        assert refused
        tilted[index] = matrix[index]


def without_hidden_units(of, layer, x):
    """d_hidden = 0 leaves b_out + w_skip x."""
    want = refbilinear.spec.arrays.constant(0, (len(x), layer.d_out), object)
    if layer.w_skip is not None:
        want = want + x @ layer.w_skip.T
    if layer.b_out is not None:
        want = want + layer.b_out
    y = of.forward(layer, x)
    exact_numbers(y, of.interaction_tensor(layer))
    same(y, want)


def small_mlp(layer, *, residual=False, embed=None, head=None):
    """Return a model of one layer."""
    return BilinearMLP(embed, [layer], head, residual)
