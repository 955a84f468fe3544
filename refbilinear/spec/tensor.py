"""The interaction tensor: a bilinear layer is a third-order tensor, and here it is.

    B[o,i,j] = Σ_h w_out[o,h] (w_left[h,i] w_right[h,j] + w_left[h,j] w_right[h,i]) / 2
    y[o] = x̃ᵀ B[o] x̃

The tensor is symmetric in i and j, with the ½ inside; two layers are the same function if and
only if their tensors are equal. It is stored packed, `(d_out, n_pairs)` (see `packed`).

A layer with a bias or a skip path has its tensor over `x̃ = [x; 1]`: the constant is the last
coordinate, every linear coefficient stands there as half of itself (it is met twice in
`x̃ᵀ B x̃`), and the constant term stands in the corner, whole. A row of the packed tensor is then
`[quadratic | linear/2 | constant]`.

The functions run over rows i of the triangle, one matrix product a row: nothing of the size of
`d_in² d_hidden` or `n d_in²` is ever held. Exact on exact numbers.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from refbilinear.spec.arrays import Array, as_array, check_batch, constant, enter, rows
from refbilinear.spec.layer import BilinearLayer
from refbilinear.spec.packed import dimension, empty_packed, row, unpack


class QuadraticForm(NamedTuple):
    """The form `f(x) = xᵀ matrix x + linear · x + constant`; `matrix` is symmetric."""

    matrix: Array
    linear: Array
    constant: np.generic


def interaction_tensor(layer: BilinearLayer) -> Array:
    """Return the packed symmetric interaction tensor of a layer, over `[x; 1]` where needed.

    `B[o,i,j] = Σ_h w_out[o,h] (w_left[h,i] w_right[h,j] + w_left[h,j] w_right[h,i]) / 2`

    Parameters
    ----------
    layer : BilinearLayer
        With a bias or a skip path (`layer.has_constant`) the tensor has d = d_in + 1 coordinates,
        the constant last; otherwise d = d_in.

    Returns
    -------
    (d_out, n_pairs) array
        Entry (i, j), i ≥ j, at i(i + 1)/2 + j; `unpack` gives (d_out, d, d).

    See Also
    --------
    quadratic_form : evaluates it.
    output_form : the matrix of one output direction, without the tensor.

    References
    ----------
    Pearce et al. 2025, arXiv:2410.08417, section 3.

    Examples
    --------
    The product x₀x₁ is half in each of the two mirrored entries:

    >>> tensor = interaction_tensor(BilinearLayer([[1, 0]], [[0, 1]]))
    >>> unpack(tensor)
    array([[[0. , 0.5],
            [0.5, 0. ]]])
    """
    left, right = layer.w_left, layer.w_right
    if layer.has_constant:
        left, right = _with_bias(left, layer.b_left), _with_bias(right, layer.b_right)
    d = left.shape[1]
    tensor = empty_packed(layer.d_out, d, layer.dtype)
    for i in range(d):
        j = slice(i + 1)
        pairs = (left[:, [i]] * right[:, j] + left[:, j] * right[:, [i]]) / 2
        tensor[:, row(i)] = pairs if layer.w_out is None else layer.w_out @ pairs
    if layer.w_skip is not None:
        tensor[:, -d:-1] += layer.w_skip / 2
    if layer.b_out is not None:
        tensor[:, -1] += layer.b_out
    return tensor


def interaction_matrix(tensor: ArrayLike, u: ArrayLike) -> Array:
    """Return `Q = Σ_o u[o] B[o]`, the symmetric matrix of an output direction.

    Parameters
    ----------
    tensor : (d_out, n_pairs) array_like
    u : (..., d_out) array_like
        One output direction, or several.

    Returns
    -------
    (..., d, d) array
        Over all coordinates of the tensor: a packed array does not know whether its last one is
        the constant.

    Examples
    --------
    >>> interaction_matrix([[1, 0, 0], [0, 0, 1]], [2, -3])
    array([[ 2.,  0.],
           [ 0., -3.]])
    """
    tensor, _ = enter_tensor(tensor)
    return unpack(_enter_outputs("u", u, tensor) @ tensor)


def output_form(layer: BilinearLayer, u: ArrayLike) -> QuadraticForm:
    """Return the quadratic form `u · y(x) = xᵀQx + b·x + c` of an output direction.

    Straight from the weights, by one matrix product, with `w = w_outᵀ u`::

        Q = Σ_h w_h (l_h r_hᵀ + r_h l_hᵀ)/2
        b = Σ_h w_h (b_right,h l_h + b_left,h r_h) + w_skipᵀ u
        c = Σ_h w_h b_left,h b_right,h + u·b_out

    Parameters
    ----------
    layer : BilinearLayer
    u : (d_out,) array_like
        Any output direction; a unit vector for one output, a difference of two for a margin.

    Returns
    -------
    QuadraticForm
        `matrix` (d_in, d_in), `linear` (d_in,), `constant` a scalar.

    See Also
    --------
    homogeneous_matrix : the one matrix of `[x; 1]` that holds all three.

    Examples
    --------
    (x₀ + 1)(x₁ + 2) = x₀x₁ + 2x₀ + x₁ + 2:

    >>> layer = BilinearLayer([[1, 0]], [[0, 1]], b_left=[1], b_right=[2])
    >>> form = output_form(layer, [1])
    >>> form.linear, float(form.constant)
    (array([2., 1.]), 2.0)
    """
    u = enter("u", u, {"d_out": layer.d_out}, dtype=layer.dtype, match="to match the layer")
    # u is halved, not the sum: an empty sum of rationals is the int 0, and 0 / 2 a float.
    half = u / 2 if layer.w_out is None else (u / 2) @ layer.w_out
    product = (layer.w_left.T * half) @ layer.w_right
    return QuadraticForm(product + product.T, _linear(layer, u, half), _constant(layer, u, half))


def form_value(form: QuadraticForm, x: ArrayLike) -> Array:
    """Return `xᵀQx + b·x + c` for every x.

    Parameters
    ----------
    form : QuadraticForm
    x : (..., d_in) array_like

    Returns
    -------
    (...) array

    Examples
    --------
    >>> layer = BilinearLayer([[1, 0]], [[0, 1]], b_left=[1], b_right=[2])
    >>> form_value(output_form(layer, [1]), [[3, 4], [0, 0]])
    array([24.,  2.])
    """
    sizes, dtype = {"d_in": len(form.linear)}, form.matrix.dtype
    x = enter("x", x, sizes, dtype=dtype, batched=True, match="to match the form")
    value: Array = np.sum((x @ form.matrix + form.linear) * x, axis=-1) + form.constant
    return value


def homogeneous_matrix(form: QuadraticForm) -> Array:
    """Return `M = [[Q, b/2], [bᵀ/2, c]]`, with `f(x) = [x; 1]ᵀ M [x; 1]`.

    Parameters
    ----------
    form : QuadraticForm

    Returns
    -------
    (d_in + 1, d_in + 1) array

    Examples
    --------
    >>> homogeneous_matrix(output_form(BilinearLayer([[1]], [[1]], w_skip=[[6]]), [1]))
    array([[1., 3.],
           [3., 0.]])
    """
    half = form.linear[:, None] / 2
    corner = np.reshape(form.constant, (1, 1)).astype(form.matrix.dtype)
    return np.block([[form.matrix, half], [half.T, corner]])


def quadratic_form(tensor: ArrayLike, x: ArrayLike) -> Array:
    """Return `y[o] = xᵀ B[o] x = Σ_i x_i (B_ii x_i + 2 Σ_{j<i} B_ij x_j)`.

    Parameters
    ----------
    tensor : (d_out, n_pairs) array_like
    x : (..., d) array_like
        Of the tensor's own dimension; see `homogeneous`.

    Returns
    -------
    (..., d_out) array

    Raises
    ------
    ValueError, TypeError
        For an x that does not fit; if it is one short, the message says what to append.

    Examples
    --------
    >>> layer = BilinearLayer([[1, 0]], [[0, 1]], b_left=[1], b_right=[2])
    >>> quadratic_form(interaction_tensor(layer), homogeneous([3, 4]))
    array([24.])
    """
    tensor, d = enter_tensor(tensor)
    x = enter_x("x", x, tensor, d)
    y = constant(0, (*x.shape[:-1], len(tensor)), tensor.dtype)
    for i in range(d):
        b, xi = tensor[:, row(i)], x[..., [i]]
        y = y + xi * (b[:, i] * xi + 2 * (x[..., :i] @ b[:, :i].T))
    return y


def bilinear_form(tensor: ArrayLike, x: ArrayLike, z: ArrayLike) -> Array:
    """Return `xᵀ B[o] z`, the polar form: `bilinear_form(B, x, x) == quadratic_form(B, x)`.

    Parameters
    ----------
    tensor : (d_out, n_pairs) array_like
    x, z : (..., d) array_like
        Of the tensor's own dimension; their leading axes are broadcast against each other.

    Returns
    -------
    (..., d_out) array

    Examples
    --------
    >>> bilinear_form([[0, 0.5, 0]], [1, 0], [[0, 1], [1, 0]])      # the form x₀x₁
    array([[0.5],
           [0. ]])
    """
    tensor, d = enter_tensor(tensor)
    x, z = enter_x("x", x, tensor, d), enter_x("z", z, tensor, d)
    batch = broadcast(x.shape[:-1], z.shape[:-1])
    y = constant(0, (*batch, len(tensor)), tensor.dtype)
    for i in range(d):
        b, xi, zi = tensor[:, row(i)], x[..., [i]], z[..., [i]]
        lower, upper = x[..., :i] @ b[:, :i].T, z[..., :i] @ b[:, :i].T
        y = y + (xi * (b[:, i] * zi + upper) + zi * lower)
    return y


def tensor_gradient(x: ArrayLike, dy: ArrayLike) -> Array:
    """Return `Σ_n dy[n,o] x[n,i] x[n,j]`, the gradient of `⟨dy, quadratic_form(B, x)⟩` in B.

    Under the full Frobenius product of (d, d) matrices. The derivative in the packed number itself
    is twice this off the diagonal, where one number stands for two entries.

    Parameters
    ----------
    x : (..., d) array_like
        Of the tensor's own dimension.
    dy : (..., d_out) array_like
        Gradient in the outputs, with the leading axes of x.

    Returns
    -------
    (d_out, n_pairs) array

    Examples
    --------
    >>> tensor_gradient([[1, 2]], [[1]])
    array([[1., 2., 4.]])
    """
    x, dy = enter_gradient(x, dy)
    gradient = empty_packed(dy.shape[1], x.shape[1], x.dtype)
    for i in range(x.shape[1]):
        gradient[:, row(i)] = dy.T @ (x[:, [i]] * x[:, : i + 1])
    return gradient


def homogeneous(x: ArrayLike) -> Array:
    """Return `[x; 1]`: x with the constant coordinate 1 appended.

    Parameters
    ----------
    x : (..., d_in) array_like

    Returns
    -------
    (..., d_in + 1) array

    Examples
    --------
    >>> homogeneous([[3, 4]])
    array([[3., 4., 1.]])
    """
    x = enter("x", x, {"d_in": None}, batched=True)
    return np.concatenate([x, constant(1, (*x.shape[:-1], 1), x.dtype)], axis=-1)


def _with_bias(w: Array, b: Array | None) -> Array:
    """Return `[w | b]`; an absent bias beside a present bias or skip is a column of zeros."""
    column = constant(0, len(w), w.dtype) if b is None else b
    return np.concatenate([w, column[:, None]], axis=1)


def _linear(layer: BilinearLayer, u: Array, half: Array) -> Array:
    """Return `b = Σ_h w_h (b_right,h l_h + b_left,h r_h) + w_skipᵀ u`, `w = 2 half`."""
    linear = constant(0, layer.d_in, layer.dtype)
    if layer.b_right is not None:
        linear = linear + (2 * half * layer.b_right) @ layer.w_left
    if layer.b_left is not None:
        linear = linear + (2 * half * layer.b_left) @ layer.w_right
    return linear if layer.w_skip is None else linear + u @ layer.w_skip


def _constant(layer: BilinearLayer, u: Array, half: Array) -> np.generic:
    """Return `c = Σ_h w_h b_left,h b_right,h + u·b_out`, `w = 2 half`."""
    c: np.generic = constant(0, 1, layer.dtype)[0]
    if layer.b_left is not None and layer.b_right is not None:
        c = c + (2 * half * layer.b_left) @ layer.b_right
    return c if layer.b_out is None else c + u @ layer.b_out


def broadcast(x: tuple[int, ...], z: tuple[int, ...]) -> tuple[int, ...]:
    """Return the common batch axes of x and z."""
    try:
        return np.broadcast_shapes(x, z)
    except ValueError as error:
        raise ValueError(
            f"x and z must have leading axes that broadcast; got {x} and {z}"
        ) from error


def enter_tensor(tensor: ArrayLike) -> tuple[Array, int]:
    """Return a packed tensor and its dimension d."""
    array = enter("tensor", tensor, {"d_out": None, "n_pairs": None})
    return array, dimension(array.shape[1])


def _enter_outputs(name: str, value: ArrayLike, tensor: Array) -> Array:
    sizes = {"d_out": len(tensor)}
    return enter(name, value, sizes, dtype=tensor.dtype, batched=True, match="to match the tensor")


def enter_gradient(x: ArrayLike, dy: ArrayLike) -> tuple[Array, Array]:
    """Return x as (n, d) and dy as (n, d_out)."""
    x = enter("x", x, {"d": None}, batched=True)
    dy = enter("dy", dy, {"d_out": None}, dtype=x.dtype, batched=True, match="to match x")
    check_batch("dy", dy, x)
    return rows(x), rows(dy)


def enter_x(name: str, value: ArrayLike, tensor: Array, d: int) -> Array:
    """Return x of the tensor's own dimension; one short, and the message says what to append."""
    array = as_array(name, value)
    match = "to match the tensor"
    if array.shape[-1:] == (d - 1,):
        match += " (append its constant coordinate: homogeneous(x))"
    return enter(name, array, {"d": d}, dtype=tensor.dtype, batched=True, match=match)
