"""The higher-order singular value decomposition of a layer's tensor, whole or truncated.

    B ≈ core ×₁ u_out ×₂ u_in ×₃ u_in        core[o,i,j] = B ×₁ u_outᵀ ×₂ u_inᵀ ×₃ u_inᵀ

u_out holds the left singular vectors of the unfolding over the outputs, u_in those over the inputs
(one for both, the tensor is symmetric in them). The core is a layer again, rotated: `w_out` becomes
`u_outᵀ w_out`, `w_left` and `w_right` are multiplied by u_in. So is the truncated tensor.

By the Gram matrices, `gram_hosvd`, no tensor is formed: with L, R, D for `w_left, w_right, w_out`
and `K = DᵀD`

    over outputs   D · ½ [(LLᵀ) ⊙ (RRᵀ) + (LRᵀ) ⊙ (RLᵀ)] · Dᵀ
    over inputs    Σ_o B_o² = ¼ [Lᵀ(K ⊙ RRᵀ)L + Lᵀ(K ⊙ RLᵀ)R + Rᵀ(K ⊙ LRᵀ)L + Rᵀ(K ⊙ LLᵀ)R]

Their eigenvalues are the squared singular values, which squares the condition number: singular
values below √u of the largest, and their vectors, are rounding. Directly from the unfoldings,
`direct_hosvd`, they are good to about u of the largest. How far rounding can have moved each is
kept beside them. With `S = Σ_h ‖D_h‖ ‖l_h‖ ‖r_h‖`, which the tensor of absolute values does not
exceed, and γ of all roundings met,

    by the Gram matrices   |σ̂² − σ²| ≤ δ = γ S²,   so |σ̂ − σ| ≤ min(√δ, δ / σ̂)
    directly               |σ̂ − σ| ≤ γ S

and the part of the tensor along the computed singular vector lies within the same of σ̂.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from refbilinear.analysis.eigenpairs import EIGH_RATIO, eigendecompose
from refbilinear.analysis.grams import blocks
from refbilinear.analysis.layers import homogeneous_layer, output_weights
from refbilinear.analysis.products import frobenius
from refbilinear.analysis.truncation import length
from refbilinear.oracle.bounds import gamma
from refbilinear.spec.arrays import Array, constant, require_count, require_finite
from refbilinear.spec.layer import BilinearLayer
from refbilinear.spec.mlp import parameters
from refbilinear.spec.packed import pair_indices, symmetric_part, unpack
from refbilinear.spec.tensor import enter_tensor, interaction_tensor


class HOSVD(NamedTuple):
    """A decomposition of the tensor of a layer, over `[x; 1]` where it has a constant."""

    u_out: Array
    """(d_out, r_out), orthonormal columns."""
    u_in: Array
    """(d, r_in), orthonormal columns."""
    singular_out: Array
    """All singular values of the unfolding over outputs, descending."""
    singular_in: Array
    """All of the unfolding over inputs."""
    core: BilinearLayer
    """Without bias and skip, of r_in inputs and r_out outputs: its tensor is the core."""
    noise_out: Array
    """How far rounding can have moved each of `singular_out`, in float64."""
    noise_in: Array
    """Of `singular_in`."""

    @property
    def error_bounds(self) -> tuple[float, float]:
        """Bounds of the Frobenius error of a truncation, by the singular values left out.

        With t of the outputs and s of the inputs: `max(‖t‖, ‖s‖) ≤ error ≤ √(‖t‖² + 2‖s‖²)`, each
        value less its noise on the left and with it on the right. What the roundings of the core
        and of the factors add, about d u ‖B‖, is not in them.
        """
        out = _tail_norms(self.singular_out, self.noise_out, self.u_out.shape[1])
        inputs = _tail_norms(self.singular_in, self.noise_in, self.u_in.shape[1])
        return max(out[0], inputs[0]), float(np.hypot(out[1], np.sqrt(2) * inputs[1]))


class Grams(NamedTuple):
    """The Gram matrices of both unfoldings of a tensor."""

    out: Array
    """(d_out, d_out): `Σ_ij B[o,i,j] B[p,i,j]`."""
    inputs: Array
    """(d, d): `Σ_o B_o²`."""


def gram_matrices(layer: BilinearLayer) -> Grams:
    """Return the Gram matrices of both unfoldings of a layer's tensor, without the tensor.

    Parameters
    ----------
    layer : BilinearLayer
        Over `[x; 1]` where it has a constant. Exact on exact numbers.

    Returns
    -------
    Grams

    Examples
    --------
    >>> gram_matrices(BilinearLayer([[2, 0]], [[0, 1]]))          # 2x₀x₁, B = [[0, 1], [1, 0]]
    Grams(out=array([[2.]]), inputs=array([[1., 0.],
           [0., 1.]]))
    """
    _require_finite_layer(layer)
    if layer.dtype == object:
        return _grams(homogeneous_layer(layer))
    plain, exponent = _moderate(homogeneous_layer(layer))
    with np.errstate(over="ignore"):
        grams = Grams(*(np.ldexp(gram, 2 * exponent) for gram in _grams(plain)))
    if not all(np.isfinite(gram).all() for gram in grams):
        raise OverflowError(f"the Gram matrices exceed the largest {layer.dtype}: scale it down")
    return grams


def gram_hosvd(layer: BilinearLayer, r_out: int | None = None, r_in: int | None = None) -> HOSVD:
    """Return the higher-order SVD of a layer's tensor by its Gram matrices, without the tensor.

    Parameters
    ----------
    layer : BilinearLayer
        float32 or float64; over `[x; 1]` where it has a constant.
    r_out, r_in : int, optional
        How many columns to keep of each factor; all of them by default.

    Returns
    -------
    HOSVD
        Of the dtype of the layer. Singular values below their noise, about √(n u) of the largest,
        are rounding.

    Raises
    ------
    ValueError, TypeError
        For ranks out of range, parameters that are not finite, and exact numbers.
    OverflowError
        For singular values beyond the largest number of the dtype.

    See Also
    --------
    direct_hosvd : keeps small singular values, and forms the tensor.

    References
    ----------
    De Lathauwer, De Moor and Vandewalle, "A multilinear singular value decomposition", 2000.

    Examples
    --------
    The forms −4x₀² and 3x₁²:

    >>> layer = BilinearLayer([[1, 0], [0, 1]], [[-4, 0], [0, 3]])
    >>> found = gram_hosvd(layer)
    >>> found.singular_out, found.singular_in
    (array([4., 3.]), array([4., 3.]))
    >>> interaction_tensor(gram_hosvd(layer, r_out=1).core)
    array([[-4.,  0.,  0.]])
    """
    _require_floats("layer", layer.w_left)
    _require_finite_layer(layer)
    plain, exponent = _moderate(homogeneous_layer(layer))
    of_out, of_in = (eigendecompose(symmetric_part(gram)) for gram in gram_matrices(plain))
    u_out = of_out.eigenvectors[:, : _rank("r_out", r_out, len(of_out.eigenvectors))]
    u_in = of_in.eigenvectors[:, : _rank("r_in", r_in, len(of_in.eigenvectors))]
    out, inputs = (np.sqrt(np.maximum(s.eigenvalues, 0)) for s in (of_out, of_in))
    delta = _rounding(plain) * _size(plain) ** 2
    noise = [delta / np.maximum(s.astype(np.float64), np.sqrt(delta) or 1) for s in (out, inputs)]
    return _decomposition(layer, u_out, u_in, (out, inputs, *noise), exponent)


def direct_hosvd(layer: BilinearLayer, r_out: int | None = None, r_in: int | None = None) -> HOSVD:
    """Return the higher-order SVD of a layer's tensor by the SVD of its unfoldings.

    The one over outputs is packed, (d_out, n_pairs), with √2 on what lies off the diagonal; the one
    over inputs is (d, d_out d).

    Parameters
    ----------
    layer : BilinearLayer
        float32 or float64, with a tensor that fits into memory several times.
    r_out, r_in : int, optional
        How many columns to keep of each factor; all of them by default.

    Returns
    -------
    HOSVD
        Singular values are good to about u of the largest.

    Raises
    ------
    ValueError, TypeError, OverflowError
        As for `gram_hosvd`.

    Examples
    --------
    >>> layer = BilinearLayer([[1, 0], [0, 1]], [[-4, 0], [0, 3e-12]])
    >>> direct_hosvd(layer).singular_in
    array([4.e+00, 3.e-12])
    """
    _require_floats("layer", layer.w_left)
    _require_finite_layer(layer)
    plain, exponent = _moderate(homogeneous_layer(layer))
    tensor = interaction_tensor(plain)
    out, inputs = _left_singular(output_unfolding(tensor)), _left_singular(input_unfolding(tensor))
    u_out = out[0][:, : _rank("r_out", r_out, len(out[0]))]
    u_in = inputs[0][:, : _rank("r_in", r_in, len(inputs[0]))]
    phi = _rounding(plain) * _size(plain)
    noise = [np.full(len(values), phi) for _, values in (out, inputs)]
    return _decomposition(layer, u_out, u_in, (out[1], inputs[1], *noise), exponent)


def truncated_layer(found: HOSVD) -> BilinearLayer:
    """Return the layer whose tensor is `core ×₁ u_out ×₂ u_in ×₃ u_in`, over the same inputs.

    Parameters
    ----------
    found : HOSVD

    Returns
    -------
    BilinearLayer
        Without bias and skip; where the layer had a constant, over `[x; 1]`.

    Examples
    --------
    >>> layer = BilinearLayer([[1, 0], [0, 1]], [[-4, 0], [0, 3]])
    >>> interaction_tensor(truncated_layer(gram_hosvd(layer, r_out=1, r_in=1)))
    array([[-4.,  0.,  0.],
           [ 0.,  0.,  0.]])
    """
    core = found.core
    left, right = core.w_left @ found.u_in.T, core.w_right @ found.u_in.T
    return BilinearLayer(left, right, found.u_out @ output_weights(core))


def truncation_error(layer: BilinearLayer, found: HOSVD) -> float:
    """Return the Frobenius norm of the layer's tensor less its truncation, `√(‖B‖² − ‖core‖²)`.

    From the weights, and as of all differences known to within about √u ‖B‖; `error_bounds` of the
    decomposition has bounds that are as good as its singular values.

    Parameters
    ----------
    layer : BilinearLayer
    found : HOSVD
        Of this layer.

    Returns
    -------
    float

    Examples
    --------
    >>> layer = BilinearLayer([[1, 0], [0, 1]], [[-4, 0], [0, 3]])
    >>> found = gram_hosvd(layer, r_out=1)
    >>> [round(size, 12) for size in (truncation_error(layer, found), *found.error_bounds)]
    [3.0, 3.0, 3.0]
    """
    modes = len(found.u_out), len(found.u_in)
    if modes != (layer.d_out, layer.d_in + layer.has_constant):
        raise ValueError(f"found must be a decomposition of the layer; its modes are {modes}")
    (plain, power), (core, of_core) = _moderate(homogeneous_layer(layer)), _moderate(found.core)
    kept = np.ldexp(float(frobenius(core, core)), 2 * (of_core - power))
    left = max(float(frobenius(plain, plain)) - kept, 0.0)
    return float(np.ldexp(np.sqrt(left), power))


def output_unfolding(tensor: ArrayLike) -> Array:
    """Return a packed tensor with √2 on what lies off the diagonal: rows with Frobenius products.

    Parameters
    ----------
    tensor : (d_out, n_pairs) array_like of float32 or float64

    Returns
    -------
    (d_out, n_pairs) array

    Examples
    --------
    >>> rows = output_unfolding([[1, 2, 3]])
    >>> print(f"{(rows @ rows.T).item():.12f}")                   # 1² + 2 · 2² + 3²
    18.000000000000
    """
    array, d = enter_tensor(tensor)
    _require_floats("tensor", array)
    i, j = pair_indices(d)
    scale = np.where(i == j, 1, np.sqrt(2)).astype(array.dtype)
    unfolded: Array = array * scale
    return unfolded


def input_unfolding(tensor: ArrayLike) -> Array:
    """Return the slices `B[:, i, :]` of a packed tensor as rows i, (d, d_out d).

    Parameters
    ----------
    tensor : (d_out, n_pairs) array_like

    Returns
    -------
    (d, d_out d) array

    Examples
    --------
    >>> input_unfolding([[1, 2, 3], [4, 5, 6]])
    array([[1., 2., 4., 5.],
           [2., 3., 5., 6.]])
    """
    array, d = enter_tensor(tensor)
    return unpack(array).transpose(1, 0, 2).reshape(d, len(array) * d)


def _grams(layer: BilinearLayer) -> Grams:
    """Return both Gram matrices of a plain layer, in blocks of units.

    Half of each, h ≥ k by blocks, and its transpose. Where two units meet, four inner products of
    their factors serve both: over the inputs, the two factors that do not meet stay.
    """
    weights, w = output_weights(layer), (layer.w_left, layer.w_right)
    out = constant(0, (layer.d_out, layer.d_out), layer.dtype)
    inputs = constant(0, (layer.d_in, layer.d_in), layer.dtype)
    for s in blocks(layer.d_hidden):
        of_out = constant(0, (s.stop - s.start, layer.d_out), layer.dtype)
        stay = [constant(0, w[0][s].shape, layer.dtype) for _ in w]
        for t in blocks(s.stop):
            shared = weights[:, t] / (2 * (1 + (s == t)))
            (ll, lr), (rl, rr) = ([one[s] @ two[t].T for two in w] for one in w)
            of_out = of_out + (ll * rr + lr * rl) @ shared.T
            k = (weights[:, s] / 2).T @ shared
            stay[0] = stay[0] + (k * rr) @ w[0][t] + (k * rl) @ w[1][t]
            stay[1] = stay[1] + (k * lr) @ w[0][t] + (k * ll) @ w[1][t]
        out = out + weights[:, s] @ of_out
        inputs = inputs + w[0][s].T @ stay[0] + w[1][s].T @ stay[1]
    return Grams(out + out.T, inputs + inputs.T)


def _moderate(layer: BilinearLayer) -> tuple[BilinearLayer, int]:
    """Return a plain layer with weights below 1, and the power of two that takes its tensor back.

    So that squares of its tensor neither overflow nor vanish: both factors of every unit go to
    magnitude 1, what they were into its column of `w_out`, and the largest column to 1. Powers of
    two round nothing but numbers that vanish beside the largest.
    """
    w_out = output_weights(layer)
    left, right, out = (
        np.frexp(np.abs(w).max(axis=1, initial=0))[1]
        for w in (layer.w_left, layer.w_right, w_out.T)
    )
    there = layer.w_left.any(axis=1) & layer.w_right.any(axis=1) & w_out.any(axis=0)
    most = int((left + right + out)[there].max()) if there.any() else 0
    return BilinearLayer(
        np.ldexp(layer.w_left, -left[:, None]),
        np.ldexp(layer.w_right, -right[:, None]),
        np.ldexp(w_out, np.where(there, left + right - most, -out)),
    ), most


def _size(layer: BilinearLayer) -> float:
    """Return `Σ_h ‖D_h‖ ‖l_h‖ ‖r_h‖`, at least the Frobenius norm of the tensor."""
    weights = layer.w_left, layer.w_right, output_weights(layer).T
    left, right, out = (np.linalg.norm(w.astype(np.float64), axis=1) for w in weights)
    return float(np.sum(left * right * out))


def _rounding(layer: BilinearLayer) -> float:
    """Return γ of all roundings from the weights of a plain layer to squared singular values.

    A Gram matrix is at most 2 d_in + d_out + 2 d_hidden + 4, its symmetric part one more, the
    square of `_size` 4 d_in + 2 d_out + 2 d_hidden + 11; tensor and unfolding are fewer. The
    decomposition is as of `EIGH_RATIO`, in units of 2u, and two roots follow.
    """
    d_in, d_out, side = layer.d_in, layer.d_out, max(layer.d_in, layer.d_out)
    of_weights = 6 * d_in + 3 * d_out + 4 * layer.d_hidden + 16
    return gamma(of_weights + 2 * EIGH_RATIO * side + 2, layer.dtype)


def _tail_norms(values: Array, noise: Array, kept: int) -> tuple[float, float]:
    """Return the norms of what is left out, less its noise and with it."""
    left, noise = values[kept:].astype(np.float64), noise[kept:]
    return float(length(np.maximum(left - noise, 0))), float(length(left + noise))


def _decomposition(
    layer: BilinearLayer, u_out: Array, u_in: Array, found: tuple[Array, ...], exponent: int
) -> HOSVD:
    """Return the decomposition with the singular values and noises of the layer as it is."""
    with np.errstate(over="ignore", under="ignore"):
        out, inputs, *noise = (np.ldexp(values, exponent) for values in found)
    if not (np.isfinite(out).all() and np.isfinite(inputs).all()):
        raise OverflowError(f"singular values exceed the largest {layer.dtype}: scale it down")
    return HOSVD(u_out, u_in, out, inputs, _rotated(homogeneous_layer(layer), u_out, u_in), *noise)


def _rotated(layer: BilinearLayer, u_out: Array, u_in: Array) -> BilinearLayer:
    """Return the layer of the core."""
    out = u_out.T @ output_weights(layer)
    return BilinearLayer(layer.w_left @ u_in, layer.w_right @ u_in, out)


def _left_singular(matrix: Array) -> tuple[Array, Array]:
    """Return all left singular vectors, as columns, and as many values, 0 where none is left.

    The triangle of a QR decomposition stands for a long matrix: its SVD is small.
    """
    size, long = matrix.shape
    if long > size:
        matrix = np.asarray(np.linalg.qr(matrix.T, mode="r")).T
    u, values, _ = np.linalg.svd(matrix, full_matrices=True)
    return u, np.concatenate([values, np.zeros(size - len(values), matrix.dtype)])


def _rank(name: str, rank: int | None, most: int) -> int:
    if rank is None:
        return most
    if require_count(name, rank, 0) > most:
        raise ValueError(f"{name} must be at most {most}; got {rank}")
    return int(rank)


def _require_floats(name: str, array: Array) -> None:
    if array.dtype == object:
        raise TypeError(f"{name} must be float32 or float64: singular values are not rational")


def _require_finite_layer(layer: BilinearLayer) -> None:
    for name, array in parameters(layer).items():
        require_finite(name, array)
