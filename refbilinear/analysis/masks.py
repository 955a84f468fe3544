"""Adversarial masks from weights: what added to any input excites one eigenvector and no other.

    A = VᵀE        m_k = A⁺ e_k,  A m_k = e_k        f(x + t m) − f(x) = t (2Qx + b)·m + t² mᵀQm

The rows of A are eigenvectors *as they act on the input*, behind the embedding E: the
pseudo-inverse is taken of VᵀE. (Taken of Vᵀ alone and then projected by E, it excites all of them:
EᵀV is no inverse of VᵀE.) Positive eigenvalues are taken, along which a mask raises its output
whatever its sign; what it does through the other eigenvectors, the skip path, the residual and the
biases is counted in `mask_change`, exactly. No data are used.

A mask is as strong as the standard deviation of its entries, and is measured beside permuted
copies of itself, which are as strong and say how much of it is but noise.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from refbilinear.analysis.directions import spectrum
from refbilinear.analysis.eigenpairs import EIGH_RATIO, Spectrum
from refbilinear.analysis.explanations import as_layer
from refbilinear.analysis.products import Model
from refbilinear.oracle.bounds import output_form_bound
from refbilinear.spec.arrays import (
    Array,
    enter,
    require_count,
    require_finite,
    require_non_negative,
    require_representable,
)
from refbilinear.spec.layer import BilinearLayer, forward, project
from refbilinear.spec.loss import accuracy, enter_labels
from refbilinear.spec.mlp import BilinearMLP


class Masks(NamedTuple):
    """Masks with what they excite: `readers @ masks.T` is the identity."""

    masks: Array
    """(m, d_in), one for each eigenvector."""
    readers: Array
    """(m, d_in), the eigenvectors as they act on the input, rows of VᵀE."""
    outputs: NDArray[np.intp]
    """(m,), the output of each eigenvector."""
    eigenvalues: Array
    """(m,), all positive, descending within each output."""


class Change(NamedTuple):
    """What `t` times a mask adds to every output: `t · slope + t² · curvature`."""

    slope: Array
    """(..., d_out), `(2 Q_o x + b_o) · m`."""
    curvature: Array
    """(d_out,), `mᵀ Q_o m`, the same at every input."""

    def at(self, t: float) -> Array:
        """Return the change of the outputs, (..., d_out)."""
        change: Array = t * self.slope + t * t * self.curvature
        return change


class Curve(NamedTuple):
    """What a mask does to a data set, at each strength."""

    accuracy: Array
    """(s,), the share of examples whose largest output is that of their label."""
    success: Array
    """(s,), of the examples of other labels, the share whose largest output is the target."""


class Attack(NamedTuple):
    """The curves of a mask and of permuted copies of it."""

    mask: Curve
    controls: tuple[Curve, ...]


def model_space_masks(
    model: Model, outputs: Sequence[int], k: int = 1, rcond: float | None = None
) -> Masks:
    """Return the masks of eigenvectors of *model space*: rows of A are `v_kᵀE`.

    Parameters
    ----------
    model : BilinearLayer or BilinearMLP
        Of one layer, float32 or float64. Without an embedding both spaces are the same.
    outputs : sequence of int
        Of which the eigenvectors are taken, each once.
    k : int
        How many of each, those of the k largest positive eigenvalues. Where the k-th is equal to
        the next, another choice would do as well.
    rcond : float, optional
        Singular values of A, its rows normalised, that are no larger than rcond times the largest
        count as zero. By default `max(m, d_in) · 2u`.

    Returns
    -------
    Masks
        The pseudo-inverse, which of all that excite one eigenvector alone is the smallest.

    Raises
    ------
    ValueError, TypeError
        For a model of more layers, arguments that do not fit, an output with fewer than k positive
        eigenvalues, an eigenvector that the embedding does not reach (vᵀE = 0), and eigenvectors
        that depend on each other, of which no mask can excite one alone.

    References
    ----------
    Pearce, Dooms, Rigg, Oramas, Sharkey, "Bilinear MLPs enable weight-based mechanistic
    interpretability", ICLR 2025, arXiv:2410.08417.

    Examples
    --------
    Two outputs read x₀ + x₁ and x₁; what excites the one and not the other:

    >>> layer = BilinearLayer([[1, 0], [0, 1]], [[1, 0], [0, 1]])
    >>> model = BilinearMLP([[1, 1], [0, 1]], [layer], None)
    >>> found = model_space_masks(model, [0, 1])
    >>> found.masks.round(12) + 0.0
    array([[ 1.,  0.],
           [-1.,  1.]])
    """
    if not isinstance(model, BilinearMLP):
        return input_space_masks(model, outputs, k, rcond)
    # A residual connection is linear: no eigenvector depends on it.
    behind = as_layer(BilinearMLP(None, model.layers, model.w_head))
    if model.w_embed is not None:
        require_finite("w_embed", model.w_embed)
    return _masks(behind, model.w_embed, outputs, k, rcond)


def input_space_masks(
    model: Model, outputs: Sequence[int], k: int = 1, rcond: float | None = None
) -> Masks:
    """Return the masks of eigenvectors of *input space*: rows of A are `v_kᵀ`, v_k those of EᵀQE.

    Those of one output are their own masks, being orthonormal; those of several are not.

    Parameters
    ----------
    model, outputs, k, rcond
        As of `model_space_masks`.

    Returns
    -------
    Masks

    Raises
    ------
    ValueError, TypeError
        As of `model_space_masks`.

    Examples
    --------
    >>> model = BilinearMLP([[3, 4]], [BilinearLayer([[1]], [[1]])], None)
    >>> input_space_masks(model, [0]).masks.round(12)
    array([[0.6, 0.8]])
    """
    return _masks(as_layer(model), None, outputs, k, rcond)


@np.errstate(over="ignore", invalid="ignore")
def mask_change(model: Model, x: ArrayLike, mask: ArrayLike) -> Change:
    """Return the change of every output when a mask is added, a polynomial in its strength.

    `f(x + t m) − f(x) = t (2Qx + b)·m + t² mᵀQm`, with nothing left out::

        slope     = D ((Lm) ⊙ (Rx + b_right) + (Lx + b_left) ⊙ (Rm)) + S m
        curvature = D ((Lm) ⊙ (Rm))

    The slope is affine in x: the mean over a data set is the change at the mean of its inputs.

    Parameters
    ----------
    model : BilinearLayer or BilinearMLP
        A layer, or a model of one layer: residual, head and embedding are counted.
    x : (..., d_in) array_like
        Finite.
    mask : (d_in,) array_like
        m, finite.

    Returns
    -------
    Change
        Exact on exact numbers.

    Raises
    ------
    ValueError, TypeError
        For a model of more layers, arguments that do not fit, and what is not finite.
    OverflowError
        For changes beyond the largest number of the dtype.

    Examples
    --------
    (x₀ + 1) x₁ from (2, 3), along (1, 1): 9 + 6t + t²

    >>> change = mask_change(BilinearLayer([[1, 0]], [[0, 1]], b_left=[1]), [2, 3], [1, 1])
    >>> change.slope, change.curvature, change.at(10)
    (array([6.]), array([1.]), array([160.]))
    """
    layer = as_layer(model)
    sizes, match = {"d_in": layer.d_in}, "to match the model"
    x = enter("x", x, sizes, dtype=layer.dtype, batched=True, match=match)
    m = enter("mask", mask, sizes, dtype=layer.dtype, match=match)
    require_finite("x", x)
    require_finite("mask", m)
    left, right = m @ layer.w_left.T, m @ layer.w_right.T
    a, b = project(layer, x)
    slope, curvature = left * b + a * right, left * right
    if layer.w_out is not None:
        slope, curvature = slope @ layer.w_out.T, curvature @ layer.w_out.T
    if layer.w_skip is not None:
        slope = slope + m @ layer.w_skip.T
    return Change(
        require_representable("slope", slope), require_representable("curvature", curvature)
    )


def scaled_mask(mask: ArrayLike, strength: float) -> Array:
    """Return the mask times what makes `strength` the standard deviation of its entries.

    It is not centred, which would excite other eigenvectors too.

    Parameters
    ----------
    mask : (d_in,) array_like of float32 or float64
        Finite.
    strength : float
        σ, at least 0.

    Returns
    -------
    (d_in,) array

    Raises
    ------
    ValueError
        For a mask whose entries are all equal, up to rounding: it has no standard deviation.
    TypeError
        For exact numbers, whose standard deviation is not rational.
    OverflowError
        For entries beyond the largest number of the dtype.

    Examples
    --------
    >>> scaled_mask([0, 2, 0, 2], 5)
    array([ 0., 10.,  0., 10.])
    """
    mask, sigma = enter("mask", mask, {"d_in": None}), require_non_negative("strength", strength)
    if mask.dtype == object:
        raise TypeError("mask must be float32 or float64: its standard deviation is not rational")
    require_finite("mask", mask)
    largest = np.abs(mask).max(initial=0)
    wide = mask.astype(np.float64) / (float(largest) or 1.0)
    deviation = float(wide.std()) if wide.size else 0.0
    if not deviation > len(mask) * np.finfo(mask.dtype).eps:
        raise ValueError(
            f"mask must have entries that differ; their standard deviation is "
            f"{deviation * float(largest):.1e}, which is but rounding"
        )
    with np.errstate(over="ignore"):
        scaled: Array = (wide * (sigma / deviation)).astype(mask.dtype)
    require_representable("mask", scaled)
    return scaled


def permuted_mask(mask: ArrayLike, rng: np.random.Generator | int) -> Array:
    """Return the entries of a mask in a random order: a control of the same strength.

    Parameters
    ----------
    mask : (d_in,) array_like
    rng : numpy.random.Generator or int
        The generator, or its seed.

    Returns
    -------
    (d_in,) array

    Examples
    --------
    >>> permuted_mask([1, 2, 3, 4], 0)
    array([3., 1., 2., 4.])
    """
    return _generator(rng).permutation(enter("mask", mask, {"d_in": None}))


@np.errstate(over="ignore", invalid="ignore")
def attack(
    model: Model,
    x: ArrayLike,
    labels: ArrayLike,
    mask: ArrayLike,
    target: int,
    strengths: Sequence[float],
    controls: int = 1,
    rng: np.random.Generator | int = 0,
) -> Attack:
    """Return accuracy and success against strength, of a mask and of permuted copies of it.

    The mask is added to every example, not clipped. One forward pass serves all strengths: the
    outputs are `f(x) + t · slope + t² · curvature` (see `mask_change`).

    Parameters
    ----------
    model : BilinearLayer or BilinearMLP
        A layer, or a model of one layer, float32 or float64.
    x : (n, d_in) array_like
    labels : (n,) array_like of integers
        Not all of them the target.
    mask : (d_in,) array_like
        As it stands; its negative is another attack, which differs in the linear terms.
    target : int
        The output that the mask is for.
    strengths : sequence of float
        Standard deviations of the entries of what is added, each at least 0.
    controls : int
        How many permuted copies.
    rng : numpy.random.Generator or int
        Of the permutations.

    Returns
    -------
    Attack

    Raises
    ------
    ValueError, TypeError, OverflowError
        As of `mask_change` and `scaled_mask`, and for labels and a target that are no outputs.

    Examples
    --------
    >>> squares = BilinearLayer([[1, 0], [0, 1]], [[1, 0], [0, 1]])
    >>> attack(squares, [[3, 1], [2, 1]], [0, 0], [0, 1], target=1, strengths=[0, 1, 2]).mask
    Curve(accuracy=array([1. , 0.5, 0. ]), success=array([0. , 0.5, 1. ]))
    """
    layer, generator = as_layer(model), _generator(rng)
    sizes = {"n": None, "d_in": layer.d_in}
    x = enter("x", x, sizes, dtype=layer.dtype, match="to match the model")
    require_finite("x", x)
    labels = enter_labels(labels, len(x), layer.d_out)
    others = labels != _enter_output("target", target, layer)
    if not others.any():
        raise ValueError(f"labels must hold another class than the target, {target}")
    _require_iterable("strengths", strengths)
    sigmas = [require_non_negative("strengths", strength) for strength in strengths]
    y = require_representable("y", forward(layer, x))
    copies = [permuted_mask(mask, generator) for _ in range(require_count("controls", controls, 0))]
    curves = []
    for one in (mask, *copies):
        change = mask_change(layer, x, scaled_mask(one, 1.0))
        outputs = [require_representable("y", y + change.at(sigma)) for sigma in sigmas]
        taken = [float(np.mean(each[others].argmax(axis=1) == target)) for each in outputs]
        curves.append(
            Curve(np.array([accuracy(each, labels) for each in outputs]), np.array(taken))
        )
    return Attack(curves[0], tuple(curves[1:]))


@np.errstate(over="ignore", invalid="ignore")
def _masks(
    layer: BilinearLayer,
    embed: Array | None,
    outputs: Sequence[int],
    k: int,
    rcond: float | None,
) -> Masks:
    """Return the masks of the leading positive eigenvectors of a layer behind an embedding."""
    places = _enter_outputs(outputs, layer)
    pairs = [_positive_pairs(layer, output, k) for output in places]
    of = np.repeat(places, k)
    vectors = np.concatenate([one.eigenvectors.T for one in pairs])
    readers = vectors if embed is None else _reached(vectors, embed, of)
    values = np.concatenate([one.eigenvalues for one in pairs])
    return Masks(_pseudo_inverse(readers, rcond), readers, of, values)


def _positive_pairs(layer: BilinearLayer, output: int, k: int) -> Spectrum:
    """Return the k largest positive eigenvalues of an output's form, and their eigenvectors.

    Only what rounding cannot have made of zero counts: the residual of `eigh`, and the rounding of
    the form itself, by Weyl's inequality.
    """
    u = np.zeros(layer.d_out, layer.dtype)
    u[output] = 1
    values, vectors = spectrum(layer, u)
    noise = EIGH_RATIO * layer.d_in * np.finfo(values.dtype).eps * _norm(values)
    noise += _norm(output_form_bound(layer, u).matrix)
    positive = np.flatnonzero(values > noise)
    if require_count("k", k, 1) > len(positive):
        raise ValueError(
            f"k must be at most {len(positive)}, the number of positive eigenvalues of output "
            f"{output}; got {k}"
        )
    return Spectrum(values[positive[:k]], vectors[:, positive[:k]])


def _reached(vectors: Array, embed: Array, of: NDArray[np.intp]) -> Array:
    """Return the rows vᵀE, none of which is zero or the rounding of zero."""
    readers: Array = require_representable("VᵀE", vectors @ embed)
    noise = len(embed) * np.finfo(embed.dtype).eps * _norm(embed)
    for output, reader in zip(of, readers, strict=True):
        if not _norm(reader) > noise:
            raise ValueError(
                f"outputs must have eigenvectors that the embedding reaches; of output {output} "
                f"vᵀE is zero, up to rounding, and no input excites v"
            )
    return readers


def _pseudo_inverse(readers: Array, rcond: float | None) -> Array:
    """Return the pseudo-inverse of independent rows, transposed: one mask for each."""
    if rcond is None:
        rcond = max(readers.shape) * float(np.finfo(readers.dtype).eps)
    sizes = np.array([[_norm(reader)] for reader in readers], readers.dtype)
    U, values, V = np.linalg.svd(readers / sizes, full_matrices=False)
    rank = int(np.sum(values > require_non_negative("rcond", rcond) * values[0]))
    if rank < len(readers):
        raise ValueError(
            f"outputs and k must give eigenvectors that act on the input independently; of these "
            f"{len(readers)} only {rank} do, at rcond = {rcond:.1e}: take fewer"
        )
    masks: Array = (U / values) @ V / sizes
    return masks


def _enter_outputs(outputs: Sequence[int], layer: BilinearLayer) -> list[int]:
    _require_iterable("outputs", outputs)
    places = [_enter_output("outputs", output, layer) for output in outputs]
    if not places or len(set(places)) < len(places):
        raise ValueError(f"outputs must hold at least one output, each once; got {places}")
    return places


def _enter_output(name: str, output: int, layer: BilinearLayer) -> int:
    if require_count(name, output, 0) >= layer.d_out:
        raise ValueError(f"{name} must lie in 0..{layer.d_out - 1}; got {output}")
    return int(output)


def _require_iterable(name: str, values: Any) -> None:
    if not isinstance(values, Iterable):
        raise TypeError(f"{name} must be a sequence; got {type(values).__name__}")


def _generator(rng: np.random.Generator | int) -> np.random.Generator:
    """Return a generator, or that of a seed; None would be another one each time."""
    if isinstance(rng, np.random.Generator):
        return rng
    return np.random.default_rng(require_count("rng", rng, 0))


def _norm(array: Array) -> float:
    """Return the root of the sum of squares in float64, where no square over- or underflows."""
    largest = float(np.abs(array).max(initial=0))
    return largest * float(np.linalg.norm(array.astype(np.float64) / (largest or 1.0)))
