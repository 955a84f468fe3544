"""How much of its eigenvectors a model spends on inputs that never vary: a sign of overfitting.

    mass_k = Σ_{i constant} v_ki²        by chance |constant| / d_in

An input that is the same in every example, as the border of an image, tells no two examples apart.
Where it is 0 no gradient reaches its weights: what stands there is what the initial weights left,
less what decay and noise have taken away. So eigenvectors that are little but initial weights have
about the mass of chance there, and those that are learned far less.
"""

from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from refbilinear.analysis.eigenpairs import Spectrum
from refbilinear.analysis.explanations import enter_pairs
from refbilinear.analysis.layers import identity
from refbilinear.spec.arrays import Array, enter, require_finite


class UnusedMass(NamedTuple):
    """The share of eigenvectors on inputs that never vary."""

    constant: NDArray[np.bool_]
    """(d_in,), whether an input is the same in every example."""
    mass: Array
    """(k,), of each eigenvector: from 0 to 1."""
    weighted: Any
    """The mean of these, weighted by |λ|."""
    by_chance: Any
    """What to expect of a random unit vector: the share of the inputs that are constant."""


def constant_inputs(x: ArrayLike) -> NDArray[np.bool_]:
    """Return which inputs are exactly equal in every example of a data set.

    Parameters
    ----------
    x : (n, d_in) array_like
        At least two examples, finite.

    Returns
    -------
    (d_in,) array of bool

    Raises
    ------
    ValueError
        For fewer than two examples, of which nothing varies.

    Examples
    --------
    >>> constant_inputs([[0, 1, 7], [0, 2, 7]])
    array([ True, False,  True])
    """
    x = enter("x", x, {"n": None, "d_in": None})
    if len(x) < 2:
        raise ValueError(f"x must have at least two examples, which may differ; got {len(x)}")
    require_finite("x", x)
    same: NDArray[np.bool_] = np.all(x == x[0], axis=0).astype(bool)
    return same


def unused_mass(pairs: Spectrum, x: ArrayLike) -> UnusedMass:
    """Return the mass `Σ_i v_ki²` of eigenvectors on the inputs i that never vary over x.

    Parameters
    ----------
    pairs : Spectrum
        In *input space*, with orthonormal vectors: of `input_spectrum(model, u, k)`. What an
        embedding projects from model space is refused.
    x : (n, d_in) array_like
        The data that the model was trained on.

    Returns
    -------
    UnusedMass
        Of a cluster of equal eigenvalues only the sum of the masses is meaningful.

    Raises
    ------
    ValueError, TypeError
        For arguments that do not fit, what is not finite, vectors that are not orthonormal, and
        eigenvalues that are all zero, which weight nothing.

    References
    ----------
    Pearce et al. 2025, arXiv:2410.08417, where eigenvectors of overfitted models show it.

    Examples
    --------
    >>> pairs = Spectrum(np.array([3.0, -1.0]), np.array([[0.6, 0.8], [0.8, -0.6]]))
    >>> found = unused_mass(pairs, [[0, 1], [0, 2]])
    >>> found.constant, found.mass, round(float(found.weighted), 12), found.by_chance
    (array([ True, False]), array([0.36, 0.64]), 0.43, 0.5)
    """
    values, vectors = enter_pairs(pairs)
    _require_orthonormal(vectors)
    d_in, sizes = len(vectors), np.abs(values)
    x = enter("x", x, {"n": None, "d_in": d_in}, match="to match the eigenvectors")
    if not sizes.any():
        raise ValueError("eigenvalues must not be all zero, to weight the mass of their vectors")
    constant = constant_inputs(x)
    mass = np.sum(vectors[constant] * vectors[constant], axis=0)
    weights = sizes / sizes.max()
    share = Fraction(int(constant.sum()), d_in)
    by_chance = share if vectors.dtype == object else float(share)
    return UnusedMass(constant, mass, weights @ mass / weights.sum(), by_chance)


@np.errstate(over="ignore", invalid="ignore")
def _require_orthonormal(vectors: Array) -> None:
    """Raise ValueError unless `VᵀV = I`, to k √u in floats, which a mass cannot notice."""
    defect = vectors.T @ vectors - identity(vectors.shape[1], vectors.dtype)
    allowed = 0.0
    if vectors.dtype != object:
        allowed = vectors.shape[1] * float(np.sqrt(np.finfo(vectors.dtype).eps))
    if not (np.abs(defect) <= allowed).all():
        raise ValueError(
            "eigenvectors must be orthonormal columns, as those of input space are; vectors of "
            "model space, projected by the embedding, are not"
        )
