"""One input explained: what eigenvectors, pairs of inputs and inputs add to an output.

    f(x) = Σ_k λ_k (v_k · x)² + b·x + c        C_ij = x̃_i M_ij x̃_j        Σ_j C_ij = x̃_i (M x̃)_i

with M the homogeneous matrix `[[Q, b/2], [bᵀ/2, c]]` of the direction u, f = u · y. Each of the
three sums to f(x), with nothing left over: biases, skip path, residual and head are inside, and
what the eigenpairs that were kept do not explain has a place of its own.

A layer is explained over its own inputs. A model of one layer is explained in *input space*, its
embedding, residual and head folded in. A deeper model is no quadratic form, and is refused; its
`stages` are layers, each to be explained over its own inputs. All but the search for eigenpairs
is exact on exact numbers.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from refbilinear.analysis.eigenpairs import Spectrum, contributions
from refbilinear.analysis.products import Model
from refbilinear.analysis.truncation import affine_parts
from refbilinear.spec.arrays import (
    Array,
    Sizes,
    as_array,
    enter,
    plain,
    require_count,
    require_finite,
    require_representable,
)
from refbilinear.spec.layer import BilinearLayer
from refbilinear.spec.mlp import fold, parameters
from refbilinear.spec.tensor import homogeneous, homogeneous_matrix, output_form

BLOCK = 4096
"""How many examples of a data set are held, and multiplied by the eigenvectors, at a time."""


class EigenvectorTerms(NamedTuple):
    """What eigenvectors add to `f(x)`; all parts together are `value`."""

    of_eigenvectors: Array
    """(..., k), `λ_k (v_k · x)²` of each pair that was kept."""
    of_rest: Array
    """(...), `xᵀQx` less these: what the pairs that were not kept add."""
    of_linear: Array
    """(...), `b·x`."""
    of_constant: np.generic
    """c."""

    @property
    def value(self) -> Array:
        """`f(x)`, (...): the sum of the parts."""
        of_form = self.of_eigenvectors.sum(axis=-1) + self.of_rest
        total: Array = of_form + self.of_linear + self.of_constant
        return total


class Extremes(NamedTuple):
    """For each of k eigenvectors some examples of a data set, the most extreme first."""

    examples: NDArray[np.intp]
    """(k, count), their places in the data set."""
    activations: Array
    """(k, count), `v_k · x`."""
    contributions: Array
    """(k, count), `λ_k (v_k · x)²`."""


class TopInputs(NamedTuple):
    """The examples at both ends of each eigenvector."""

    highest: Extremes
    """Of the largest `v_k · x`."""
    lowest: Extremes
    """Of the smallest."""


@np.errstate(over="ignore", invalid="ignore")
def eigenvector_terms(
    model: Model, u: ArrayLike, x: ArrayLike, pairs: Spectrum
) -> EigenvectorTerms:
    """Return what each eigenvector, the rest, the linear part and the constant add to `f = u · y`.

    `Σ_k λ_k (v_k · x)² + rest + b·x + c = f(x)`, the rest being `Σ_h w_h (l_h·x)(r_h·x)` less the
    sum. So it is an identity whatever the pairs; with eigenpairs, `|rest| ≤ |λ_{k+1}| ‖x‖²`.

    Parameters
    ----------
    model : BilinearLayer or BilinearMLP
        A layer, or a model of one layer, which stands for `fold(model)`: in *input space*.
    u : (d_out,) array_like
        Output direction: a unit vector for one logit, a difference of two for a margin.
    x : (..., d_in) array_like
        Finite.
    pairs : Spectrum
        Any number of eigenpairs of the form of u: of `spectrum(layer, u, k)`, for a model of
        `input_spectrum(model, u, k)`.

    Returns
    -------
    EigenvectorTerms

    Raises
    ------
    ValueError, TypeError
        For a model of more layers, arguments that do not fit, and what is not finite.
    OverflowError
        For terms beyond the largest number of the dtype.

    References
    ----------
    Pearce et al. 2025, arXiv:2410.08417, section 3.

    Examples
    --------
    The product x₀x₁ is half the square of one diagonal less half that of the other:

    >>> from refbilinear.analysis.directions import spectrum
    >>> layer = BilinearLayer([[1, 0]], [[0, 1]], w_skip=[[10, 0]], b_out=[7])
    >>> terms = eigenvector_terms(layer, [1], [[1, 3]], spectrum(layer, [1], k=1))
    >>> [part.round(12).tolist() for part in terms]
    [[[4.0]], [-1.0], [10.0], 7.0]
    >>> terms.value.round(12)
    array([20.])
    """
    layer, u, x = enter_explained(model, u, x)
    pairs = enter_pairs(pairs, layer)
    weights = u if layer.w_out is None else u @ layer.w_out
    linear, constants = affine_parts(layer, u[None])
    each = contributions(pairs, x)
    squares = ((x @ layer.w_left.T) * (x @ layer.w_right.T)) @ weights
    terms = EigenvectorTerms(each, squares - each.sum(axis=-1), x @ linear[0], constants[0])
    for name, part in zip(terms._fields, terms, strict=True):
        require_representable(name, np.asarray(part))
    return terms


@np.errstate(over="ignore", invalid="ignore")
def pair_terms(model: Model, u: ArrayLike, x: ArrayLike) -> Array:
    """Return the table `C_ij = x̃_i M_ij x̃_j` of what pairs of inputs add; it sums to `f(x)`.

    Without biases and skip path `C_ij = x_i Q_ij x_j`, the form of BiLRP. With one of them the
    constant is the last coordinate: half of each linear term `b_i x_i` stands in its row, half in
    its column, and c in the corner.

    Parameters
    ----------
    model : BilinearLayer or BilinearMLP
        A layer, or a model of one layer, explained in *input space*.
    u : (d_out,) array_like
    x : (..., d_in) array_like
        Finite.

    Returns
    -------
    (..., d, d) array
        Symmetric; d = d_in, or d_in + 1 where the layer has a constant.

    Raises
    ------
    ValueError, TypeError, OverflowError
        As of `eigenvector_terms`.

    See Also
    --------
    input_terms : the sums of its rows, without the table.

    References
    ----------
    Eberle, Büttner, Kräutli, Müller, Valleriani, Montavon, "Building and interpreting deep
    similarity models", 2020, arXiv:2003.05431.

    Examples
    --------
    (x₀ + 1) x₁ at (2, 3):

    >>> pair_terms(BilinearLayer([[1, 0]], [[0, 1]], b_left=[1]), [1], [2, 3])
    array([[0. , 3. , 0. ],
           [3. , 0. , 1.5],
           [0. , 1.5, 0. ]])
    """
    layer, u, x = enter_explained(model, u, x)
    form = output_form(layer, u)
    M, z = form.matrix, x
    if layer.has_constant:
        M, z = homogeneous_matrix(form), homogeneous(x)
    return require_representable("C", M * (z[..., :, None] * z[..., None, :]))


@np.errstate(over="ignore", invalid="ignore")
def input_terms(model: Model, u: ArrayLike, x: ArrayLike) -> Array:
    """Return what each input adds: the row sums of `pair_terms`; they sum to `f(x)`.

    `x ⊙ (Qx + b/2)`, and last, where the layer has a constant, its own `x·b/2 + c`. Straight from
    the layer, `Qx = ½ (Lᵀ(w ⊙ Rx) + Rᵀ(w ⊙ Lx))`, in O(d_hidden d_in) for each x.

    Parameters
    ----------
    model : BilinearLayer or BilinearMLP
        A layer, or a model of one layer, explained in *input space*.
    u : (d_out,) array_like
    x : (..., d_in) array_like
        Finite.

    Returns
    -------
    (..., d) array
        d = d_in, or d_in + 1 where the layer has a constant.

    Raises
    ------
    ValueError, TypeError, OverflowError
        As of `eigenvector_terms`.

    Notes
    -----
    The other half of each linear term is in the constant's entry. Where that shall be c alone, add
    `x ⊙ b/2` to the inputs (b of `affine_parts`): that is gradient times input at x/2, and the
    Shapley value with baseline 0.

    Examples
    --------
    (x₀ + 1) x₁ at (2, 3):

    >>> input_terms(BilinearLayer([[1, 0]], [[0, 1]], b_left=[1]), [1], [2, 3])
    array([3. , 4.5, 1.5])
    """
    layer, u, x = enter_explained(model, u, x)
    # u is halved, not the sum: an empty sum of rationals is the int 0, and 0 / 2 a float.
    half = u / 2 if layer.w_out is None else (u / 2) @ layer.w_out
    along_left, along_right = x @ layer.w_left.T, x @ layer.w_right.T
    Qx = (half * along_right) @ layer.w_left + (half * along_left) @ layer.w_right
    if not layer.has_constant:
        return require_representable("x ⊙ Qx", x * Qx)
    linear, constants = affine_parts(layer, u[None] / 2)
    of_constant = x @ linear.T + 2 * constants
    terms = np.concatenate([x * (Qx + linear[0]), of_constant], axis=-1)
    return require_representable("x ⊙ (Qx + b/2)", terms)


@np.errstate(over="ignore", invalid="ignore")
def top_inputs(pairs: Spectrum, x: ArrayLike, count: int = 10) -> TopInputs:
    """Return the examples of a data set at both ends of each eigenvector, by `v_k · x`.

    Examples at either end add alike, `λ_k (v_k · x)²`, and look unlike: the one end shows the
    pattern, the other its negative. The strongest are among both.

    Parameters
    ----------
    pairs : Spectrum
    x : (n, d) array_like
        Of the space of the pairs: inputs for pairs of input space, `w_embed x` for those of model
        space. It is read in blocks, so that a memory map is never held whole.
    count : int
        How many examples at each end, at most n.

    Returns
    -------
    TopInputs
        Of equal activations the first example stands first.

    Raises
    ------
    ValueError, TypeError
        For arguments that do not fit, and what is not finite.
    OverflowError
        For activations or contributions beyond the largest number of the dtype.

    Examples
    --------
    >>> pairs = Spectrum(np.array([2.0]), np.array([[0.6], [0.8]]))
    >>> top = top_inputs(pairs, [[5, 0], [0, 5], [0, -5], [5, 5]], count=2)
    >>> top.highest.examples, top.highest.activations
    (array([[3, 1]]), array([[7., 4.]]))
    >>> top.lowest.examples, top.lowest.contributions
    (array([[2, 0]]), array([[32., 18.]]))
    """
    data = plain("x", x) if hasattr(x, "dtype") else as_array("x", x)
    if data.ndim != 2:
        raise ValueError(f"x must have shape (n, d); got {data.shape}")
    if require_count("count", count, 1) > len(data):
        raise ValueError(f"count must be at most {len(data)}, the examples; got {count}")
    values, vectors = enter_pairs(pairs)
    ends = [(vectors[:0].T, np.zeros((len(values), 0), np.intp))] * 2
    for start, along in _activations(data, vectors):
        places = np.broadcast_to(np.arange(start, start + along.shape[1]), along.shape)
        ends = [
            _leading(end, along, places, sign, count)
            for end, sign in zip(ends, (1, -1), strict=True)
        ]
    return TopInputs(*(_extremes(values, *end) for end in ends))


def enter_explained(model: Model, u: ArrayLike, x: ArrayLike) -> tuple[BilinearLayer, Array, Array]:
    """Return the layer that a model is, an output direction and inputs, all finite."""
    layer, match = as_layer(model), "to match the model"
    u = enter("u", u, {"d_out": layer.d_out}, dtype=layer.dtype, match=match)
    x = enter("x", x, {"d_in": layer.d_in}, dtype=layer.dtype, batched=True, match=match)
    require_finite("u", u)
    require_finite("x", x)
    return layer, u, x


def enter_pairs(pairs: Spectrum, layer: BilinearLayer | None = None) -> Spectrum:
    """Return finite eigenpairs, of the inputs and the number type of a layer where one is given."""
    sizes: Sizes = {"d": None, "k": None} if layer is None else {"d_in": layer.d_in, "k": None}
    dtype, match = (None, "") if layer is None else (layer.dtype, "to match the model")
    vectors = enter("eigenvectors", pairs.eigenvectors, sizes, dtype=dtype, match=match)
    sizes, match = {"k": vectors.shape[1]}, "to match the eigenvectors"
    values = enter("eigenvalues", pairs.eigenvalues, sizes, dtype=vectors.dtype, match=match)
    require_finite("eigenvalues", values)
    require_finite("eigenvectors", vectors)
    return Spectrum(values, vectors)


@np.errstate(over="ignore", invalid="ignore")
def as_layer(model: Model) -> BilinearLayer:
    """Return the one layer, in input space, that a layer or a model of one layer is.

    Examples
    --------
    >>> from refbilinear import BilinearMLP
    >>> as_layer(BilinearMLP([[2, 0]], [BilinearLayer([[1]], [[1]])], None)).w_left
    array([[2., 0.]])
    """
    if not isinstance(model, Model):
        raise TypeError(
            f"model must be a BilinearLayer or a BilinearMLP; got {type(model).__name__}"
        )
    for name, array in parameters(model).items():
        require_finite(name, array)
    if isinstance(model, BilinearLayer):
        return model
    layer = fold(model)
    for name, array in parameters(layer).items():
        require_representable(f"{name} of the folded model", array)
    return layer


def _activations(data: Array, vectors: Array) -> Iterator[tuple[int, Array]]:
    """Yield `v_k · x`, (k, n), of a block of n examples, with the place of its first."""
    sizes, match = {"n": None, "d": len(vectors)}, "to match the eigenvectors"
    for start in range(0, len(data), BLOCK):
        x = enter("x", data[start : start + BLOCK], sizes, dtype=vectors.dtype, match=match)
        require_finite(f"x[{start}:{start + len(x)}]", x)
        yield start, require_representable("v · x", (x @ vectors).T)


def _leading(
    end: tuple[Array, NDArray[np.intp]],
    along: Array,
    places: NDArray[np.intp],
    sign: int,
    count: int,
) -> tuple[Array, NDArray[np.intp]]:
    """Return the `count` largest of `sign · activation` in each row, of those kept and the new.

    What was kept stands first and came first, so that of equal ones the first example stays.
    """
    activations = np.concatenate([end[0], along], axis=1)
    order = np.argsort(-sign * activations, axis=1, kind="stable")[:, :count]
    examples = np.concatenate([end[1], places], axis=1)
    return np.take_along_axis(activations, order, 1), np.take_along_axis(examples, order, 1)


def _extremes(values: Array, activations: Array, examples: NDArray[np.intp]) -> Extremes:
    terms = values[:, None] * (activations * activations)
    return Extremes(examples, activations, require_representable("λ (v · x)²", terms))
