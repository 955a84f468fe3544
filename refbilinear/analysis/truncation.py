"""Truncated layers: of every form the k leading eigenpairs, linear and constant parts kept whole.

    f_k(x) = Σ_{i≤k} λ_i (v_i · x)² + b·x + c        |f(x) − f_k(x)| ≤ |λ_{k+1}| ‖x‖²

A truncation is a bilinear layer again: `λ v vᵀ` is one hidden unit, with w_left = w_right = v and λ
in w_out. Of what space the eigenvectors are is in the name: those of *model space* stand behind the
embedding, which stays; those of *input space* contain it. Truncations to the same k differ.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from refbilinear.analysis.directions import spectra, spectrum
from refbilinear.analysis.eigenpairs import Spectrum, contributions, enter_spectrum, require_rank
from refbilinear.analysis.layers import require_layer, require_model
from refbilinear.spec.arrays import (
    Array,
    constant,
    enter,
    require_count,
    require_finite,
    require_representable,
)
from refbilinear.spec.layer import BilinearLayer
from refbilinear.spec.mlp import BilinearMLP, fold, parameters


class AffineParts(NamedTuple):
    """The linear parts (n, d_in) and constants (n,) of n forms."""

    linear: Array
    constant: Array


class Forms(NamedTuple):
    """Quadratic forms by their leading eigenpairs, `f(x) = Σ_i λ_i (v_i · x)² + b·x + c`."""

    spectra: tuple[Spectrum, ...]
    affine: AffineParts | None
    """None for a layer without biases and skip path, whose forms have no such parts."""


def affine_parts(layer: BilinearLayer, U: ArrayLike) -> AffineParts:
    """Return the linear parts and the constants of the forms of output directions.

    With `w = w_outᵀu`::

        b = Σ_h w_h (b_right,h l_h + b_left,h r_h) + w_skipᵀ u
        c = Σ_h w_h b_left,h b_right,h + u·b_out

    Parameters
    ----------
    layer : BilinearLayer
    U : (n, d_out) array_like

    Returns
    -------
    AffineParts
        Those of `output_form`, of which the quadratic part is never formed.

    Raises
    ------
    ValueError, TypeError
        For a U that does not fit, and for numbers that are not finite.
    OverflowError
        For parts beyond the largest number of the dtype.

    Examples
    --------
    (x₀ + 1)(x₁ + 2) = x₀x₁ + 2x₀ + x₁ + 2:

    >>> affine_parts(BilinearLayer([[1, 0]], [[0, 1]], b_left=[1], b_right=[2]), [[1]])
    AffineParts(linear=array([[2., 1.]]), constant=array([2.]))
    """
    U = _enter_directions(layer, U)
    for name, array in (*parameters(layer).items(), ("U", U)):
        require_finite(name, array)
    with np.errstate(over="ignore", invalid="ignore"):
        return _representable(_affine_parts(layer, U))


def forms(
    layer: BilinearLayer,
    U: ArrayLike | None = None,
    k: int | None = None,
    embed: ArrayLike | None = None,
) -> Forms:
    """Return the forms of output directions by their leading eigenpairs, all or the first k.

    Parameters
    ----------
    layer : BilinearLayer
        Finite, float32 or float64.
    U : (n, d_out) array_like, optional
        Output directions; the outputs themselves by default.
    k : int, optional
        How many eigenpairs of each; all by default, as the bounds of the error want them.
    embed : (d_model, d_in) array_like, optional
        An embedding before the layer; the forms are then of its inputs.

    Returns
    -------
    Forms

    Raises
    ------
    ValueError, TypeError
        For arguments that do not fit, and for numbers that are not finite.
    OverflowError
        For eigenvalues, linear or constant parts beyond the largest number of the dtype.

    Examples
    --------
    >>> squares = BilinearLayer([[1, 1], [1, -1]], [[1, 1], [1, -1]])
    >>> [pairs.eigenvalues for pairs in forms(squares, [[1, 0], [1, -1]]).spectra]
    [array([2., 0.]), array([ 2., -2.])]
    """
    require_layer(layer)
    U = np.eye(layer.d_out, dtype=layer.dtype) if U is None else _enter_directions(layer, U)
    if not len(U):
        raise ValueError("U must have at least one direction; got none")
    plain = BilinearLayer(layer.w_left, layer.w_right, layer.w_out)
    if embed is None and k is not None:
        found = spectra(plain, U, k)
        pairs = tuple(found.spectrum(number) for number in range(len(U)))
    else:
        pairs = tuple(spectrum(plain, u, k, embed=embed) for u in U)
    if not layer.has_constant:
        return Forms(pairs, None)
    linear, constants = affine_parts(layer, U)
    if embed is not None:
        with np.errstate(over="ignore", invalid="ignore"):
            linear = linear @ np.asarray(embed)
    return Forms(pairs, _representable(AffineParts(linear, constants)))


def model_space_forms(
    model: BilinearMLP, U: ArrayLike | None = None, k: int | None = None
) -> Forms:
    """Return the forms of a model's outputs in *model space*: of `w_embed x`, not of x.

    Parameters
    ----------
    model : BilinearMLP
        Of one layer. Its head and its residual connection are in the forms.
    U, k
        As of `forms`.

    Returns
    -------
    Forms

    Examples
    --------
    >>> model = BilinearMLP([[3]], [BilinearLayer([[1]], [[1]])], None, residual=True)
    >>> model_space_forms(model).spectra[0].eigenvalues, input_space_forms(model).affine.linear
    (array([1.]), array([[3.]]))
    """
    return forms(_behind_embedding(model), U, k)


def input_space_forms(
    model: BilinearMLP, U: ArrayLike | None = None, k: int | None = None
) -> Forms:
    """Return the forms of a model's outputs in *input space*: of x, the embedding inside.

    Parameters
    ----------
    model, U, k
        As of `model_space_forms`.

    Returns
    -------
    Forms

    Examples
    --------
    >>> input_space_forms(BilinearMLP([[3]], [BilinearLayer([[1]], [[1]])], None)).spectra[0]
    Spectrum(eigenvalues=array([9.]), eigenvectors=array([[1.]]))
    """
    return forms(_behind_embedding(model), U, k, model.w_embed)


def truncate(forms: Forms, k: int) -> BilinearLayer:
    """Return the layer of the k leading eigenpairs of each form, linear and constant parts kept.

    Pair i of form o is one hidden unit: `w_left = w_right = v_i`, `w_out[o] = λ_i`. The matrix of
    output o is `reconstruct(spectra[o], k)`; no layer whose forms have rank k is nearer.

    Parameters
    ----------
    forms : Forms
    k : int
        At most the number of pairs of each form.

    Returns
    -------
    BilinearLayer
        `d_hidden = n k`, `d_out = n`, over the space of the forms. With those of model space,
        `BilinearMLP(model.w_embed, [layer], None)` is the truncated model.

    Raises
    ------
    ValueError, TypeError
        For forms that are none, not finite or not all over one space, and a k out of range.

    Examples
    --------
    >>> layer = BilinearLayer([[1, 0], [0, 1]], [[3, 0], [0, 1]], [[1, 1]], b_out=[7])
    >>> truncate(forms(layer), 1).w_left, truncate(forms(layer), 1).b_out
    (array([[1., 0.]]), array([7.]))
    """
    vectors, values = zip(*(_first(pairs, k) for pairs in _entered(forms)), strict=True)
    w = np.concatenate(vectors)
    w_out = constant(0, (len(values), len(w)), w.dtype)
    for o, of_form in enumerate(values):
        w_out[o, o * k : (o + 1) * k] = of_form
    if forms.affine is None:
        return BilinearLayer(w, w, w_out)
    return BilinearLayer(w, w, w_out, w_skip=forms.affine.linear, b_out=forms.affine.constant)


def truncated_outputs(forms: Forms, x: ArrayLike, ks: Sequence[int]) -> Iterator[Array]:
    """Yield `f_k(x)` of every form, for each k: the outputs of `truncate(forms, k)`.

    Parameters
    ----------
    forms : Forms
    x : (..., d) array_like
        Of the space of the forms: `w_embed x` in model space.
    ks : sequence of int
        Ascending.

    Yields
    ------
    (..., n) array

    Raises
    ------
    ValueError, TypeError
        As of `truncate`, and for an x that does not fit.
    OverflowError
        For outputs beyond the largest number of the dtype.

    Examples
    --------
    >>> layer = BilinearLayer([[1, 0], [0, 1]], [[3, 0], [0, -1]], [[1, 1]])
    >>> [y.item() for y in truncated_outputs(forms(layer), [1, 1], [0, 1, 2])]
    [0.0, 3.0, 2.0]
    """
    x = _enter_x(forms, x)
    least = min(len(pairs.eigenvalues) for pairs in forms.spectra)
    y, before = _affine_outputs(forms, x), 0
    for k in ks:
        if not before <= require_rank("ks", require_count("ks", k, 0), least):
            raise ValueError(f"ks must ascend; got {k} after {before}")
        parts = [
            contributions(Spectrum(lam[before:k], v[:, before:k]), x) for lam, v in forms.spectra
        ]
        with np.errstate(over="ignore", invalid="ignore"):
            y, before = y + np.stack([part.sum(axis=-1) for part in parts], axis=-1), k
        yield require_representable("y", y)


def truncation_curve(
    forms: Forms, x: ArrayLike, measure: Callable[[Array], float], ks: Sequence[int]
) -> Array:
    """Return `measure(f_k(x))` for each k: accuracy, or a loss, against the rank.

    Parameters
    ----------
    forms : Forms
    x : (n, d) array_like
        Of the space of the forms.
    measure : callable
        Of the outputs (n, d_out), such as `lambda y: accuracy(y, labels)`.
    ks : sequence of int
        Ascending.

    Returns
    -------
    (len(ks),) array of float64

    Examples
    --------
    >>> layer = BilinearLayer([[1, 0], [0, 1]], [[3, 0], [0, -1]], [[1, 1]])
    >>> truncation_curve(forms(layer), [[1, 1]], np.mean, [0, 1, 2])
    array([0., 3., 2.])
    """
    return np.array([float(measure(y)) for y in truncated_outputs(forms, x, ks)])


def input_error_bound(forms: Forms, k: int, x: ArrayLike) -> Array:
    """Return `|λ_{k+1}| ‖x‖²`, which `|f(x) − f_k(x)|` does not exceed, for each form.

    Parameters
    ----------
    forms : Forms
        With more than k pairs each, or all.
    k : int
    x : (..., d) array_like

    Returns
    -------
    (..., n) array
        Up to the roundings of the pairs and of this product.

    Raises
    ------
    ValueError, TypeError
        As of `truncate`, and for forms of which λ_{k+1} is not known.
    OverflowError
        For a bound beyond the largest number of the dtype.

    Examples
    --------
    >>> layer = BilinearLayer([[1, 0], [0, 1]], [[3, 0], [0, -1]], [[1, 1]])
    >>> input_error_bound(forms(layer), 1, [1, 2])
    array([5.])
    """
    x = _enter_x(forms, x)
    left = np.array([_magnitude_after(pairs, k) for pairs in _entered(forms)], x.dtype)
    power = np.frexp(np.abs(x).max(axis=-1, initial=0))[1][..., None]
    scaled = np.ldexp(x, -power)
    with np.errstate(over="ignore", under="ignore"):
        bound: Array = np.ldexp(np.sum(scaled * scaled, axis=-1, keepdims=True) * left, 2 * power)
    return require_representable("the bound", bound)


def norm_errors(forms: Forms, k: int) -> Array:
    """Return `‖Q − Q_k‖_F = √(Σ_{i>k} λ_i²)` for each form.

    Parameters
    ----------
    forms : Forms
        With all their pairs.
    k : int

    Returns
    -------
    (n,) array
        Up to the roundings of the pairs and of this sum.

    Raises
    ------
    ValueError, TypeError
        As of `truncate`, and for forms of which not all eigenvalues are known.
    OverflowError
        For a norm beyond the largest number of the dtype.

    Examples
    --------
    >>> layer = BilinearLayer([[1, 0], [0, 1]], [[3, 0], [0, -1]], [[1, 1]])
    >>> norm_errors(forms(layer), 1)
    array([1.])
    """
    with np.errstate(over="ignore"):
        norms = np.array([length(_tail(pairs, k)) for pairs in _entered(forms)])
    return require_representable("the norm", norms)


def _enter_directions(layer: BilinearLayer, U: ArrayLike) -> Array:
    require_layer(layer)
    sizes = {"n": None, "d_out": layer.d_out}
    return enter("U", U, sizes, dtype=layer.dtype, match="to match the layer")


def _affine_parts(layer: BilinearLayer, U: Array) -> AffineParts:
    weights = U if layer.w_out is None else U @ layer.w_out
    linear = constant(0, (len(U), layer.d_in), layer.dtype)
    constants = constant(0, len(U), layer.dtype)
    if layer.b_right is not None:
        linear = linear + (weights * layer.b_right) @ layer.w_left
    if layer.b_left is not None:
        linear = linear + (weights * layer.b_left) @ layer.w_right
    if layer.w_skip is not None:
        linear = linear + U @ layer.w_skip
    if layer.b_left is not None and layer.b_right is not None:
        constants = constants + (weights * layer.b_left) @ layer.b_right
    return AffineParts(linear, constants if layer.b_out is None else constants + U @ layer.b_out)


def _representable(parts: AffineParts) -> AffineParts:
    """Return the parts if they are finite, as exact numbers always are."""
    dtype = parts.linear.dtype
    if not (dtype.hasobject or all(np.isfinite(part).all() for part in parts)):
        raise OverflowError(f"linear or constant parts exceed the largest {dtype}: scale it down")
    return parts


def _entered(forms: Forms) -> tuple[Spectrum, ...]:
    """Return the spectra of forms: at least one, finite, all over one space."""
    if not isinstance(forms, Forms):
        raise TypeError(f"forms must be Forms; got {type(forms).__name__}")
    if not forms.spectra:
        raise ValueError("forms must have at least one spectrum; got none")
    spectra = tuple(enter_spectrum(pairs) for pairs in forms.spectra)
    sizes = sorted({len(pairs.eigenvectors) for pairs in spectra})
    if len(sizes) > 1:
        raise ValueError(f"forms must be over one space; got eigenvectors of sizes {sizes}")
    return spectra


def _enter_x(forms: Forms, x: ArrayLike) -> Array:
    vectors = _entered(forms)[0].eigenvectors
    sizes, match = {"d": len(vectors)}, "to match the forms"
    x = enter("x", x, sizes, dtype=vectors.dtype, batched=True, match=match)
    require_finite("x", x)
    return x


def _affine_outputs(forms: Forms, x: Array) -> Array:
    """Return `b·x + c` of every form."""
    if forms.affine is None:
        return np.zeros((*x.shape[:-1], len(forms.spectra)), x.dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        affine: Array = x @ forms.affine.linear.T + forms.affine.constant
    return affine


def _behind_embedding(model: BilinearMLP) -> BilinearLayer:
    """Return the layer that a model of one layer is behind its embedding."""
    require_model(model)
    return fold(BilinearMLP(None, model.layers, model.w_head, model.residual))


def _first(pairs: Spectrum, k: int) -> tuple[Array, Array]:
    """Return the first k eigenvectors as rows, and their eigenvalues."""
    require_rank("k", require_count("k", k, 0), len(pairs.eigenvalues))
    return pairs.eigenvectors[:, :k].T, pairs.eigenvalues[:k]


def _tail(pairs: Spectrum, k: int) -> Array:
    """Return the eigenvalues after the first k, of a spectrum that has all."""
    d, known = pairs.eigenvectors.shape
    if known < d:
        raise ValueError(f"forms must have all {d} eigenvalues; got {known}")
    return pairs.eigenvalues[require_rank("k", require_count("k", k, 0), d) :]


def length(values: Array) -> Any:
    """Return the norm, of numbers whose squares may over- or underflow."""
    power = np.frexp(np.abs(values).max(initial=0))[1]
    return np.ldexp(np.linalg.norm(np.ldexp(values, -power)), power)


def _magnitude_after(pairs: Spectrum, k: int) -> float:
    """Return |λ_{k+1}|, 0 after the last."""
    d, known = pairs.eigenvectors.shape
    if require_count("k", k, 0) < known:
        return abs(float(pairs.eigenvalues[k]))
    if k == known == d:
        return 0.0
    raise ValueError(f"forms must have more than k = {k} eigenvalues, or all {d}; got {known}")
