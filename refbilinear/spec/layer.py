"""The bilinear layer, and its gradient.

    y = w_out ((w_left x + b_left) ⊙ (w_right x + b_right)) + b_out + w_skip x

A product and no other nonlinearity, so every output is a quadratic form in x. The letters of the
shapes: n examples, i j inputs, h hidden units (each is one product), o outputs.

Exact on exact numbers: on object arrays of Fraction every function returns Fractions (an empty sum
is NumPy's int 0, which the next function makes a Fraction). No float literal, no mean, no
accumulator of np.zeros stands here, because each would turn a Fraction into a float.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from refbilinear.spec.arrays import Array, Sizes, affine, check_batch, enter, rows

LAYER_PARAMETERS = ("w_left", "w_right", "w_out", "b_left", "b_right", "b_out", "w_skip")


@dataclass(frozen=True, eq=False, repr=False)
class BilinearLayer:
    """The layer `y = w_out((w_left x + b_left) ⊙ (w_right x + b_right)) + b_out + w_skip x`.

    Its arrays are checked once, here. They are read-only views of what was given, not copies
    (integers and foreign byte orders are converted, which copies).

    Parameters
    ----------
    w_left, w_right : (d_hidden, d_in) array
        The two factors of each product, oriented as the weight of `torch.nn.Linear`.
    w_out : (d_out, d_hidden) array, optional
        Output weights. None is the identity; then `d_out == d_hidden`.
    b_left, b_right : (d_hidden,) array, optional
        Biases of the two factors.
    b_out : (d_out,) array, optional
        Bias of the output.
    w_skip : (d_out, d_in) array, optional
        A linear path beside the product. A residual connection is `w_skip = I`.

    Raises
    ------
    ValueError
        For a shape that does not fit the others.
    TypeError
        For a number type that is not admitted, or not that of `w_left`.

    References
    ----------
    Sharkey, "A technical note on bilinear layers for interpretability", 2023, arXiv:2305.03452.
    Pearce, Dooms, Rigg, Oramas, Sharkey, "Bilinear MLPs enable weight-based mechanistic
    interpretability", ICLR 2025, arXiv:2410.08417.

    Examples
    --------
    XOR of two bits is one bilinear form: `x₁ + x₂ − 2 x₁x₂`.

    >>> layer = BilinearLayer([[1, 0]], [[0, 1]], w_out=[[-2]], w_skip=[[1, 1]])
    >>> layer
    BilinearLayer(d_in=2, d_hidden=1, d_out=1, float64, w_out, w_skip)
    >>> forward(layer, [[0, 0], [0, 1], [1, 0], [1, 1]]).ravel()
    array([0., 1., 1., 0.])
    """

    w_left: Array
    w_right: Array
    w_out: Array | None = None
    b_left: Array | None = None
    b_right: Array | None = None
    b_out: Array | None = None
    w_skip: Array | None = None

    def __post_init__(self) -> None:
        left = enter("w_left", self.w_left, {"d_hidden": None, "d_in": None})
        hidden, inputs = {"d_hidden": left.shape[0]}, {"d_in": left.shape[1]}
        self._keep("w_left", left)
        self._check("w_right", hidden | inputs)
        self._check("w_out", {"d_out": None} | hidden)
        outputs = {"d_out": self.d_out}
        self._check("b_left", hidden)
        self._check("b_right", hidden)
        self._check("b_out", outputs, "w_left" if self.w_out is None else "w_out")
        self._check("w_skip", outputs | inputs, "the other weights")

    def _check(self, name: str, sizes: Sizes, like: str = "w_left") -> None:
        value = getattr(self, name)
        if value is not None or name == "w_right":
            array = enter(name, value, sizes, dtype=self.dtype, match=f"to match {like}")
            self._keep(name, array)

    def _keep(self, name: str, array: Array) -> None:
        view = array.view()
        view.flags.writeable = False
        object.__setattr__(self, name, view)

    @property
    def d_in(self) -> int:
        """Number of inputs."""
        return int(self.w_left.shape[1])

    @property
    def d_hidden(self) -> int:
        """Number of hidden units, that is of products."""
        return int(self.w_left.shape[0])

    @property
    def d_out(self) -> int:
        """Number of outputs."""
        return self.d_hidden if self.w_out is None else int(self.w_out.shape[0])

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """The one number type of all arrays: float32, float64, or object for exact rationals."""
        return self.w_left.dtype

    @property
    def has_constant(self) -> bool:
        """Whether a bias or a skip path asks for the constant coordinate, `[x; 1]`."""
        optional = (self.b_left, self.b_right, self.b_out, self.w_skip)
        return any(array is not None for array in optional)

    def __repr__(self) -> str:
        present = [name for name in LAYER_PARAMETERS[2:] if getattr(self, name) is not None]
        sizes = f"d_in={self.d_in}, d_hidden={self.d_hidden}, d_out={self.d_out}"
        return f"BilinearLayer({', '.join([sizes, str(self.dtype), *present])})"


class Projections(NamedTuple):
    """The two factors of the product, each `(..., d_hidden)`."""

    left: Array
    right: Array


class Gradients(NamedTuple):
    """Gradients by parameter name, and for x; None where there is no such parameter."""

    w_left: Array
    w_right: Array
    w_out: Array | None
    b_left: Array | None
    b_right: Array | None
    b_out: Array | None
    w_skip: Array | None
    x: Array | None


def project(layer: BilinearLayer, x: ArrayLike) -> Projections:
    """Return the two factors `w_left x + b_left` and `w_right x + b_right`.

    Parameters
    ----------
    layer : BilinearLayer
    x : (..., d_in) array_like

    Returns
    -------
    Projections
        `left` and `right`, each (..., d_hidden).

    Examples
    --------
    >>> project(BilinearLayer([[1, 0]], [[0, 1]], b_left=[10]), [2, 3])
    Projections(left=array([12.]), right=array([3.]))
    """
    x = _enter_x(layer, x)
    return Projections(
        affine(x, layer.w_left, layer.b_left), affine(x, layer.w_right, layer.b_right)
    )


def combine(layer: BilinearLayer, x: Array, projections: Projections) -> Array:
    """Return the layer's output from its two factors: `w_out(left ⊙ right) + b_out + w_skip x`."""
    y = affine(projections.left * projections.right, layer.w_out, layer.b_out)
    return y if layer.w_skip is None else y + x @ layer.w_skip.T


def forward(layer: BilinearLayer, x: ArrayLike) -> Array:
    """Return `y = w_out((w_left x + b_left) ⊙ (w_right x + b_right)) + b_out + w_skip x`.

    Parameters
    ----------
    layer : BilinearLayer
    x : (..., d_in) array_like
        Of the layer's number type; integers count as float64. Non-finite values follow IEEE: a
        NaN in one example reaches that example's outputs and no other.

    Returns
    -------
    (..., d_out) array

    Raises
    ------
    ValueError, TypeError
        For a shape or number type that does not fit the layer.

    Examples
    --------
    >>> from fractions import Fraction
    >>> half = np.array([[Fraction(1, 2), 0]], dtype=object)
    >>> third = np.array([[0, Fraction(1, 3)]], dtype=object)
    >>> forward(BilinearLayer(half, third), np.array([1, 1], dtype=object))
    array([Fraction(1, 6)], dtype=object)
    """
    x = _enter_x(layer, x)
    return combine(layer, x, project(layer, x))


def backward(
    layer: BilinearLayer,
    x: ArrayLike,
    dy: ArrayLike,
    projections: Projections | None = None,
    *,
    input_gradient: bool = True,
) -> Gradients:
    """Return the gradients of `⟨dy, forward(layer, x)⟩`, summed over the examples.

    With `a = w_left x + b_left`, `b = w_right x + b_right` and `s = w_outᵀ dy`::

        ∂w_out = dy (a ⊙ b)ᵀ   ∂w_left = (s ⊙ b) xᵀ   ∂w_right = (s ⊙ a) xᵀ   ∂w_skip = dy xᵀ
        ∂b_out = dy            ∂b_left = s ⊙ b        ∂b_right = s ⊙ a
        ∂x = w_leftᵀ (s ⊙ b) + w_rightᵀ (s ⊙ a) + w_skipᵀ dy

    Parameters
    ----------
    layer : BilinearLayer
    x : (..., d_in) array_like
    dy : (..., d_out) array_like
        Gradient of the loss in the output.
    projections : Projections, optional
        What `project(layer, x)` returned, to spare its recomputation.
    input_gradient : bool
        Whether to compute the gradient in x; without it, `x` of the result is None.

    Returns
    -------
    Gradients
        By parameter name, and for `x`, each of its parameter's shape.

    Raises
    ------
    ValueError, TypeError
        For a shape or number type that does not fit the layer.

    Examples
    --------
    >>> layer = BilinearLayer([[1, 0]], [[0, 1]])
    >>> backward(layer, [2, 3], [1]).x
    array([3., 2.])
    """
    x = _enter_x(layer, x)
    x_rows, dy = rows(x), rows(_enter_like(layer, x, "dy", dy, "d_out", layer.d_out))
    a, b = (rows(p) for p in _enter_projections(layer, x, projections))
    ds = dy if layer.w_out is None else dy @ layer.w_out
    da, db = ds * b, ds * a
    return Gradients(
        w_left=da.T @ x_rows,
        w_right=db.T @ x_rows,
        w_out=None if layer.w_out is None else dy.T @ (a * b),
        b_left=None if layer.b_left is None else da.sum(axis=0),
        b_right=None if layer.b_right is None else db.sum(axis=0),
        b_out=None if layer.b_out is None else dy.sum(axis=0),
        w_skip=None if layer.w_skip is None else dy.T @ x_rows,
        x=_input_gradient(layer, da, db, dy).reshape(x.shape) if input_gradient else None,
    )


def _input_gradient(layer: BilinearLayer, da: Array, db: Array, dy: Array) -> Array:
    """Return `∂x = w_leftᵀ ∂a + w_rightᵀ ∂b + w_skipᵀ dy` for every row."""
    dx: Array = da @ layer.w_left + db @ layer.w_right
    return dx if layer.w_skip is None else dx + dy @ layer.w_skip


def _enter_x(layer: BilinearLayer, x: ArrayLike) -> Array:
    sizes = {"d_in": layer.d_in}
    return enter("x", x, sizes, dtype=layer.dtype, batched=True, match="to match the layer")


def _enter_like(
    layer: BilinearLayer, x: Array, name: str, value: ArrayLike, letter: str, size: int
) -> Array:
    """Return an array that has the batch axes of x and one last axis of the given size."""
    sizes = {letter: size}
    array = enter(name, value, sizes, dtype=layer.dtype, batched=True, match="to match the layer")
    check_batch(name, array, x)
    return array


def _enter_projections(
    layer: BilinearLayer, x: Array, projections: Projections | None
) -> tuple[Array, Array]:
    if projections is None:
        return project(layer, x)
    left, right = projections
    return (
        _enter_like(layer, x, "projections.left", left, "d_hidden", layer.d_hidden),
        _enter_like(layer, x, "projections.right", right, "d_hidden", layer.d_hidden),
    )
