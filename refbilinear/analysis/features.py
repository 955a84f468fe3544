"""Dictionary features: how the input features of a layer interact in one output feature.

With the input decoded from features, `x = W_dec f + b_dec` (of a sparse autoencoder, say), and the
encoder direction e of an output feature, the layer is a form in f, `e · y = fᵀ q f + b·f + c`:

    q = ½ (Aᵀ diag(w) C + Cᵀ diag(w) A) = W_decᵀ Q W_dec
    A = w_left W_dec,   C = w_right W_dec,   w = w_outᵀ e,   Q that of `output_form(layer, e)`

The (n_features, n_features) matrix q is never formed. It is kept as `q = left rightᵀ`, one row for
each feature and as few columns as either formula needs:

    left = W_decᵀ Q,                      right = W_decᵀ          d_in columns
    left = ½ [Aᵀ diag(w), Cᵀ diag(w)],    right = [Cᵀ, Aᵀ]        2 · (units with w_h ≠ 0) columns

so an entry costs O(d_hidden) at most, and a row O(d_hidden · n_features). Both are exact on exact
numbers. In floats both obey one bound, γ_K times the same q of absolute values (see
`feature_form_roundings`), and q is symmetric up to that.

A nonlinearity and a bias of the output feature's encoder stand outside of the form.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from refbilinear.analysis.eigenpairs import EIGH_RATIO
from refbilinear.analysis.truncation import Forms, affine_parts, forms, truncate, truncated_outputs
from refbilinear.oracle.bounds import forward_bound, forward_roundings
from refbilinear.oracle.claims import claim_of
from refbilinear.oracle.twins import allowed, followed
from refbilinear.spec.arrays import (
    Array,
    as_array,
    constant,
    enter,
    require_count,
    require_finite,
)
from refbilinear.spec.layer import BilinearLayer, forward
from refbilinear.spec.mlp import BilinearMLP, fold, parameters
from refbilinear.spec.packed import n_pairs
from refbilinear.spec.tensor import output_form

BLOCK = 1024
"""Features at a time: a block of q in float32 takes 4 MiB."""


class FeatureForm(NamedTuple):
    """The form `fᵀ q f + linear · f + constant` of an output feature, `q = left rightᵀ`."""

    left: Array
    """(n_features, m)"""
    right: Array
    """(n_features, m), `q_ij = left_i · right_j = left_j · right_i`."""
    linear: Array
    """(n_features,)"""
    constant: Any
    """A number."""


class Interactions(NamedTuple):
    """Pairs of features, i ≥ j, by descending magnitude of what they have in q."""

    i: Array
    """(k,)"""
    j: Array
    """(k,)"""
    values: Array
    """(k,), `2 q_ij` for two features and `q_ii` for one, or the entries themselves."""


class Terms(NamedTuple):
    """A whole in three parts: of i = j, of i ≠ j, and of the linear and constant parts."""

    self_terms: Any
    cross_terms: Any
    affine: Any


def feature_layer(
    layer: BilinearLayer, decoder: ArrayLike, bias: ArrayLike | None = None
) -> BilinearLayer:
    """Return the layer as a function of features: `f ↦ layer(W_dec f + b_dec)`.

    Its weights are `A = w_left W_dec` and `C = w_right W_dec`; what b_dec adds to biases and skip
    path is folded in. All of the package reads it like any other layer, for all outputs at once.

    Parameters
    ----------
    layer : BilinearLayer
        Finite.
    decoder : (d_in, n_features) array_like
        W_dec, one column for each feature.
    bias : (d_in,) array_like, optional
        b_dec.

    Returns
    -------
    BilinearLayer
        Of n_features inputs.

    Raises
    ------
    ValueError, TypeError
        For arrays that do not fit the layer, or are not finite.

    Examples
    --------
    Two features point along x₀, and one along x₁:

    >>> product = BilinearLayer([[1, 0]], [[0, 1]])
    >>> over = feature_layer(product, [[1, 2, 0], [0, 0, 1]], bias=[0, 5])
    >>> over.w_left, over.b_right
    (array([[1., 2., 0.]]), array([5.]))
    """
    decoder = _enter_decoder(layer, decoder)
    with np.errstate(over="ignore", invalid="ignore"):
        over = fold(BilinearMLP(decoder, (_shifted(layer, bias),), None))
    for name, array in parameters(over).items():
        _require_representable(name, array)
    return over


@np.errstate(over="ignore", invalid="ignore")
def feature_form(
    layer: BilinearLayer, e: ArrayLike, decoder: ArrayLike, bias: ArrayLike | None = None
) -> FeatureForm:
    """Return the form `e · layer(W_dec f + b_dec)` over input features.

    The linear part is `W_decᵀ (b + 2 Q b_dec)`, the constant the form's value at b_dec.

    Parameters
    ----------
    layer : BilinearLayer
        Finite. A layer behind a residual stream is met through what it reads and writes.
    e : (d_out,) array_like
        Encoder direction of the output feature.
    decoder : (d_in, n_features) array_like
        W_dec, one column for each feature. (Some columns alone are the form of these features.)
    bias : (d_in,) array_like, optional
        b_dec.

    Returns
    -------
    FeatureForm
        With m = min(d_in, 2 · (units with w_h ≠ 0)).

    Raises
    ------
    ValueError, TypeError
        For arrays that do not fit the layer, or are not finite.
    OverflowError
        For products too large for the dtype.

    References
    ----------
    Pearce et al. 2025, arXiv:2410.08417, section 5.

    Examples
    --------
    >>> product = BilinearLayer([[1, 0]], [[0, 1]])
    >>> form = feature_form(product, [10], [[1, 2, 0], [0, 0, 1]], bias=[0, 5])
    >>> form.linear                               # 10 (f₀ + 2f₁)(f₂ + 5)
    array([ 50., 100.,   0.])
    >>> float(interaction(form, 1, 2))
    10.0
    """
    decoder = _enter_decoder(layer, decoder)
    e = enter("e", e, {"d_out": layer.d_out}, dtype=layer.dtype, match="to match the layer")
    require_finite("e", e)
    shifted = _shifted(layer, bias)
    affine = affine_parts(shifted, e[None])
    linear = affine.linear[0] @ decoder + constant(0, decoder.shape[1], layer.dtype)
    form = FeatureForm(*_factors(layer, e, decoder), linear, affine.constant[0])
    for name, array in form._asdict().items():
        _require_representable(name, array)
    return form


def feature_form_roundings(layer: BilinearLayer) -> int:
    """Return K of every entry of q that a `FeatureForm` of the layer gives.

    The weights w are d_out. Through Q it is d_hidden + 2 more, and d_in for each product with
    W_dec; through A and C d_in for each, one for the product with w, and their sum over
    2 · units < d_in. A row or a block rounds as an entry does; doubling is exact.

    Examples
    --------
    >>> feature_form_roundings(BilinearLayer([[1, 2]], [[3, 4]], w_out=[[5]]))
    8
    """
    through_q, through_units = layer.d_hidden + 2, min(2 * layer.d_hidden + 1, layer.d_in)
    return layer.d_out + 2 * layer.d_in + max(through_q, through_units)


@np.errstate(over="ignore", invalid="ignore")
def interaction(form: FeatureForm, i: int, j: int) -> Any:
    """Return the entry `q_ij`, in O(d_hidden).

    The pair adds `2 q_ij f_i f_j` to the form where i ≠ j, and `q_ii f_i²` where i = j.

    Parameters
    ----------
    form : FeatureForm
    i, j : int
        Features, in either order.

    Returns
    -------
    number

    Raises
    ------
    ValueError, TypeError
        For a feature that does not exist.

    Examples
    --------
    >>> form = feature_form(BilinearLayer([[1, 0]], [[0, 1]]), [1], [[1, 2], [3, 4]])
    >>> float(interaction(form, 0, 1))            # (f₀ + 2f₁)(3f₀ + 4f₁) has 10 f₀f₁
    5.0
    """
    i, j = (_enter_feature(form, name, value) for name, value in (("i", i), ("j", j)))
    entry = form.left[max(i, j)] @ form.right[min(i, j)]
    _require_representable("q", entry)
    return entry


@np.errstate(over="ignore", invalid="ignore")
def interaction_row(form: FeatureForm, i: int) -> Array:
    """Return the row `q_i`, how feature i meets every other, in O(d_hidden · n_features).

    Parameters
    ----------
    form : FeatureForm
    i : int

    Returns
    -------
    (n_features,) array

    Raises
    ------
    ValueError, TypeError
        For a feature that does not exist.

    Examples
    --------
    >>> form = feature_form(BilinearLayer([[1, 0]], [[0, 1]]), [1], [[1, 2], [3, 4]])
    >>> interaction_row(form, 0)
    array([3., 5.])
    """
    row: Array = form.right @ form.left[_enter_feature(form, "i", i)]
    _require_representable("q", row)
    return row


@np.errstate(over="ignore", invalid="ignore")
def top_interactions(
    form: FeatureForm,
    k: int,
    *,
    doubled: bool = True,
    progress: Callable[[int, int], object] | None = None,
) -> Interactions:
    """Return the k pairs of features that interact most, without the matrix of all.

    The triangle i ≥ j is gone through in blocks, O(n_features² · m) work for the m of the form.

    Parameters
    ----------
    form : FeatureForm
    k : int
        At most the number of pairs, n_features (n_features + 1)/2.
    doubled : bool
        Whether pairs are ranked by what stands before `f_i f_j` in the form, `2 q_ij` for i ≠ j and
        `q_ii` for i = j, or by the entries `q_ij`. Either way `values` is what they are ranked by.
    progress : callable, optional
        Called as `progress(done, total)` with the number of pairs that are done.

    Returns
    -------
    Interactions
        By descending magnitude; of equal numbers the pair with the lowest (i, j) first. (Equal as
        computed: what rounding sets apart is not a tie.)

    Raises
    ------
    ValueError, TypeError
        For a k out of range.
    OverflowError
        For entries too large for the dtype.

    Examples
    --------
    The form (f₀ + 2f₁) f₂ has the two interactions f₀f₂ and 2f₁f₂:

    >>> product = BilinearLayer([[1, 0]], [[0, 1]])
    >>> found = top_interactions(feature_form(product, [1], [[1, 2, 0], [0, 0, 1]]), 2)
    >>> found.i, found.j, found.values
    (array([2, 2]), array([1, 0]), array([2., 1.]))
    """
    n = len(form.left)
    total, done = n_pairs(n), 0
    if require_count("k", k, 0) > total:
        raise ValueError(f"k must be at most {total}, the number of pairs of features; got {k}")
    none = np.empty(0, np.intp)
    found = Interactions(none, none, np.empty(0, form.left.dtype))
    for s in _blocks(n if k else 0):
        left = form.left[s] * 2 if doubled else form.left[s]
        for t in _blocks(s.stop):
            block = left @ form.right[t].T
            if s == t and doubled:
                np.fill_diagonal(block, block.diagonal() / 2)
            found = _with_block(found, block, s, t, k)
            done += n_pairs(len(block)) if s == t else block.size
            if progress is not None:
                progress(done, total)
    return found


@np.errstate(over="ignore", invalid="ignore")
def activation_terms(form: FeatureForm, f: ArrayLike) -> Terms:
    """Return what features add to an output feature alone, in pairs, and linearly.

        self = Σ_i q_ii f_i²      cross = Σ_{i≠j} q_ij f_i f_j      affine = linear · f + constant

    Their sum is `e · layer(W_dec f + b_dec)`. O(n_features · m) for each example.

    Parameters
    ----------
    form : FeatureForm
    f : (..., n_features) array_like
        Activations of the input features.

    Returns
    -------
    Terms
        Each (...). `cross` is the quadratic part less `self`, and carries the rounding of both.

    Raises
    ------
    ValueError, TypeError
        For activations that do not fit, or are not finite.
    OverflowError
        For terms too large for the dtype.

    Examples
    --------
    (f₀ + f₁) f₁ + 7 at f = (2, 3):

    >>> layer = BilinearLayer([[1, 0]], [[0, 1]], b_out=[7])
    >>> terms = activation_terms(feature_form(layer, [1], [[1, 1], [0, 1]]), [2, 3])
    >>> [float(part) for part in terms]
    [9.0, 6.0, 7.0]
    """
    sizes, dtype = {"n_features": len(form.left)}, form.left.dtype
    f = enter("f", f, sizes, dtype=dtype, batched=True, match="to match the form")
    require_finite("f", f)
    alone = (f * f) @ _diagonal(form)
    quadratic = np.sum((f @ form.left) * (f @ form.right), axis=-1)
    terms = Terms(alone, quadratic - alone, f @ form.linear + form.constant)
    for name, part in terms._asdict().items():
        _require_representable(name, part)
    return terms


@np.errstate(over="ignore", invalid="ignore")
def weight_terms(form: FeatureForm) -> Terms:
    """Return what the weights of a form hold for features alone, in pairs, and linearly.

        self = Σ_i q_ii²        cross = Σ_{i≠j} q_ij²        affine = ½ ‖linear‖² + constant²

    Their sum is the squared Frobenius norm over `[f; 1]`, `frobenius` of the `feature_layer` along
    e. By the identity `‖q‖² = ⟨leftᵀ left, rightᵀ right⟩` it takes O(n_features · m²).

    Parameters
    ----------
    form : FeatureForm

    Returns
    -------
    Terms
        Numbers. `cross` is `‖q‖²` less `self`, 0 where rounding would leave less.

    Raises
    ------
    OverflowError
        For squares too large for the dtype.
    ValueError
        For a form that is not zero, all of whose squares are below the least normal number.

    Examples
    --------
    >>> layer = BilinearLayer([[1, 0]], [[0, 1]], b_out=[7])      # (f₀ + f₁) f₁ + 7
    >>> terms = weight_terms(feature_form(layer, [1], [[1, 1], [0, 1]]))
    >>> [float(part) for part in terms]
    [1.0, 0.5, 49.0]
    """
    if form.left.dtype == object:
        return _squares(form)
    scaled, power = _moderate(form)
    near = _squares(scaled)
    terms = Terms(*(np.ldexp(part, 2 * power) for part in near))
    for name, part in terms._asdict().items():
        _require_representable(name, part)
    if max(near) > 0 and max(terms) < np.finfo(form.left.dtype).tiny:
        raise ValueError(f"form has squares below the least {form.left.dtype}: scale it up")
    return terms


def shares(terms: Terms) -> Terms:
    """Return the share of each part, `Σ|part| / (Σ|self| + Σ|cross| + Σ|affine|)`.

    Over all examples of `activation_terms`, or of the squared norm that `weight_terms` divides.

    Parameters
    ----------
    terms : Terms

    Returns
    -------
    Terms
        Numbers from 0 to 1 that sum to 1, up to rounding; all 0 where all terms are. Of floats in
        float64.

    Raises
    ------
    ValueError
        For terms that are not finite.

    Examples
    --------
    >>> float(shares(Terms([3, -2], [2, 1], [0, 0])).self_terms)
    0.625
    """
    sizes = []
    for name, part in terms._asdict().items():
        array = as_array(name, part)
        require_finite(name, array)
        sizes.append(np.abs(array if array.dtype == object else array.astype(np.float64)))
    largest = max(np.max(size, initial=0) for size in sizes)
    sums = [np.sum(size / (largest or 1)) for size in sizes]
    return Terms(*(total / (sum(sums) or 1) for total in sums))


@np.errstate(over="ignore", invalid="ignore")
def prediction_correlations(
    layer: BilinearLayer,
    e: ArrayLike,
    x: ArrayLike,
    ks: Sequence[int],
    activations: ArrayLike | None = None,
) -> Array:
    """Return how well the k leading eigenpairs predict an output feature, for each k.

    Pearson's correlation over examples, of the true activation with

        Σ_{i≤k} λ_i (v_i · x)² + b·x + c

    the eigenpairs being those of Q in the space of the inputs of the layer that is given: of the
    interaction matrix itself. With `feature_layer` for a layer and features for x they are those
    of q, which sees no more of x than the dictionary decodes.

    Parameters
    ----------
    layer : BilinearLayer
        Finite, float32 or float64.
    e : (d_out,) array_like
        Encoder direction of the output feature.
    x : (n, d_in) array_like
        At least two examples.
    ks : sequence of int
        Ascending.
    activations : (n,) array_like, optional
        The true activations, such as after a ReLU; by default `e · layer(x)`.

    Returns
    -------
    (len(ks),) array of float64
        Within −1..1; 0 where the prediction is, up to rounding, the same for all examples.

    Raises
    ------
    ValueError, TypeError
        For arguments that do not fit, are not finite, or activations that do not vary: computed
        ones by more than rounding may.
    OverflowError
        For outputs too large for the dtype.

    See Also
    --------
    truncated_outputs : the predictions.

    References
    ----------
    Pearce et al. 2025, arXiv:2410.08417, section 5.

    Examples
    --------
    >>> layer = BilinearLayer([[2, 0], [0, 1]], [[2, 0], [0, 1]], w_out=[[1, 1]])     # 4x₀² + x₁²
    >>> x = [[0, 0], [0, 2], [1, 0], [1, 2]]
    >>> prediction_correlations(layer, [1], x, [0, 1, 2]).round(3)
    array([0.   , 0.707, 1.   ])
    """
    _require_finite_layer(layer)
    match = "to match the layer"
    e = enter("e", e, {"d_out": layer.d_out}, dtype=layer.dtype, match=match)
    x = enter("x", x, {"n": None, "d_in": layer.d_in}, dtype=layer.dtype, match=match)
    require_finite("e", e)
    require_finite("x", x)
    if len(x) < 2:
        raise ValueError(f"x must hold at least two examples; got {len(x)}")
    ks = list(ks)
    own = forms(layer, e[None], max(ks, default=0))
    noise = _forward_noise(layer, x, e)
    true = forward(layer, x) @ e if activations is None else activations
    true = enter("activations", true, {"n": len(x)}, dtype=layer.dtype, match="to match x")
    if activations is not None:
        require_finite("activations", true)
    wanted = _deviations("activations", true)
    if not wanted.any() or (activations is None and _is_constant(true, noise)):
        raise ValueError(
            f"activations must vary to be predicted; got {true[0]} for all examples, up to rounding"
        )
    correlations = []
    for k, y in zip(ks, truncated_outputs(own, x, ks), strict=True):
        found = _deviations("predictions", y[:, 0])
        same = _is_constant(y[:, 0], noise + _truncation_noise(own, x, k))
        correlations.append(0.0 if same else _cosine(wanted, found))
    return np.array(correlations)


# ---- factors of q


def _factors(layer: BilinearLayer, e: Array, decoder: Array) -> tuple[Array, Array]:
    """Return left and right of `q = left rightᵀ`, by whichever formula has fewer columns."""
    weights = e if layer.w_out is None else e @ layer.w_out
    used = np.flatnonzero(weights)
    if not (len(used) and layer.d_in):
        zeros = constant(0, (decoder.shape[1], 1), layer.dtype)
        return zeros, zeros
    if layer.d_in <= 2 * len(used):
        return decoder.T @ output_form(layer, e).matrix, decoder.T
    a, c = decoder.T @ layer.w_left[used].T, decoder.T @ layer.w_right[used].T
    half = weights[used] / 2
    return np.concatenate([a * half, c * half], axis=1), np.concatenate([c, a], axis=1)


def _diagonal(form: FeatureForm) -> Array:
    """Return `q_ii` of every feature."""
    diagonal: Array = np.sum(form.left * form.right, axis=1)
    return diagonal


def _squares(form: FeatureForm) -> Terms:
    """Return `weight_terms` of a form whose squares are in range."""
    diagonal, zero = _diagonal(form), constant(0, (), form.left.dtype)
    alone = diagonal @ diagonal
    whole = np.sum((form.left.T @ form.left) * (form.right.T @ form.right))
    affine = (form.linear / 2) @ form.linear + form.constant * form.constant
    return Terms(alone, np.maximum(whole - alone, zero), affine)


def _moderate(form: FeatureForm) -> tuple[FeatureForm, int]:
    """Return a form with entries below 1, and the power of two that takes it back."""
    left, right, *affine = (int(np.frexp(np.abs(p).max(initial=0))[1]) for p in form)
    there = [left + right] * bool(form.left.any() and form.right.any())
    there += [power for power, part in zip(affine, form[2:], strict=True) if np.any(part)]
    most = max(there, default=0)
    return FeatureForm(
        np.ldexp(form.left, right - most),
        np.ldexp(form.right, -right),
        np.ldexp(form.linear, -most),
        np.ldexp(form.constant, -most),
    ), most


# ---- the largest entries


def _blocks(size: int) -> Iterator[slice]:
    for start in range(0, size, BLOCK):
        yield slice(start, min(size, start + BLOCK))


def _with_block(found: Interactions, block: Array, s: slice, t: slice, k: int) -> Interactions:
    """Return the k leading pairs of those found and of a block, rows s and columns t of q."""
    largest = max(block.max(), -block.min())
    if not largest < math.inf:
        raise OverflowError(f"q has entries beyond the largest {block.dtype}: scale it down")
    least = abs(found.values[-1]) if len(found.values) == k else 0
    if largest < least:
        return found
    sizes = abs(block)
    if s == t:
        sizes[np.triu_indices(len(block), 1)] = -1
    hits = np.flatnonzero(sizes >= least)
    hits = hits[_first_largest(sizes.flat[hits], k)]
    i, j = np.divmod(hits, block.shape[1])
    new = Interactions(s.start + i, t.start + j, block.flat[hits])
    joined = Interactions(*map(np.concatenate, zip(found, new, strict=True)))
    order = np.lexsort((joined.j, joined.i, -abs(joined.values)))[:k]
    return Interactions(*(part[order] for part in joined))


def _first_largest(sizes: Array, k: int) -> Array:
    """Return the positions of the k largest numbers, the first of equal ones."""
    if len(sizes) <= k:
        return np.arange(len(sizes))
    least = np.partition(sizes, len(sizes) - k)[len(sizes) - k]
    above, equal = np.flatnonzero(sizes > least), np.flatnonzero(sizes == least)
    return np.concatenate([above, equal[: k - len(above)]])


# ---- correlation


def _deviations(name: str, values: Array) -> Array:
    """Return what values are from their mean, up to scale; exact zeros where all are equal."""
    _require_representable(name, values)
    scaled = _scaled(values.astype(np.float64))
    apart = scaled - scaled[0]
    return _scaled(apart - apart.mean())


def _is_constant(values: Array, noise: Array) -> bool:
    """Return whether one number is within its noise of every value."""
    wide = values.astype(np.float64)
    return not np.max(wide - noise) > np.min(wide + noise)


def _forward_noise(layer: BilinearLayer, x: Array, e: Array) -> Array:
    """Return the allowed error of `e · layer(x)`, which contains that of x Q x."""
    claim, roundings = claim_of(None, layer.dtype), forward_roundings(layer) + layer.d_out
    pair = followed(lambda *of: forward(of[0], of[1]) @ of[2], claim, layer, x, e)
    return allowed(roundings, 0, claim, pair)


def _truncation_noise(own: Forms, x: Array, k: int) -> Array:
    """Return the allowed error of f_k(x), and the residual of `eigh` in it, `c d 2u ‖λ‖ ‖x‖²`."""
    size = np.linalg.norm(own.spectra[0].eigenvalues.astype(np.float64))
    squares = np.sum((np.sqrt(size) * x) ** 2, axis=1, dtype=np.float64)
    residual = EIGH_RATIO * x.shape[1] * np.finfo(x.dtype).eps * squares
    noise: Array = forward_bound(truncate(own, k), x)[:, 0] + residual
    return noise


def _scaled(values: Array) -> Array:
    """Return values over the largest magnitude, so that squares neither overflow nor vanish."""
    largest = np.max(np.abs(values))
    scaled: Array = values / largest if largest else values
    return scaled


def _cosine(a: Array, b: Array) -> float:
    """Return `a·b / (‖a‖‖b‖)`, neither of them zero."""
    return float(np.clip(a @ b / np.sqrt((a @ a) * (b @ b)), -1, 1))


# ---- what enters, and what may leave


def _shifted(layer: BilinearLayer, bias: ArrayLike | None) -> BilinearLayer:
    """Return the layer over `x − b_dec`: what b_dec adds is in its biases."""
    _require_finite_layer(layer)
    if bias is None:
        return layer
    b = enter("bias", bias, {"d_in": layer.d_in}, dtype=layer.dtype, match="to match the layer")
    require_finite("bias", b)
    return replace(
        layer,
        b_left=_added(layer.w_left @ b, layer.b_left),
        b_right=_added(layer.w_right @ b, layer.b_right),
        b_out=layer.b_out if layer.w_skip is None else _added(layer.w_skip @ b, layer.b_out),
    )


def _added(b: Array, own: Array | None) -> Array:
    return b if own is None else b + own


def _enter_decoder(layer: BilinearLayer, decoder: ArrayLike) -> Array:
    sizes = {"d_in": layer.d_in, "n_features": None}
    array = enter("decoder", decoder, sizes, dtype=layer.dtype, match="to match the layer")
    require_finite("decoder", array)
    return array


def _enter_feature(form: FeatureForm, name: str, value: int) -> int:
    n = len(form.left)
    if require_count(name, value, 0) >= n:
        raise ValueError(f"{name} must be below {n}, the number of features; got {value}")
    return int(value)


def _require_finite_layer(layer: BilinearLayer) -> None:
    for name, array in parameters(layer).items():
        require_finite(name, array)


def _require_representable(name: str, values: Any) -> None:
    """Raise OverflowError for what products took beyond the largest float."""
    array = np.asarray(values)
    if array.dtype != object and not np.isfinite(array).all():
        raise OverflowError(f"{name} has entries beyond the largest {array.dtype}: scale it down")
