"""Cosines and distances under the inner products, and how far rounding can take a product.

    cos = ⟨f, g⟩ / √(⟨f, f⟩⟨g, g⟩)        ‖f − g‖ = √(⟨f, f⟩ − 2⟨f, g⟩ + ⟨g, g⟩)

A cosine beyond 1, or a negative square, is rounding or a mistake. Which of them, the bound of the
product tells: `|computed − exact| ≤ γ_K · twin`, the twin being the product of absolute values.
What it explains is clipped, what it does not is an error. Of exact numbers the squares are exact,
and roots are rounded to float64.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from refbilinear.analysis import products
from refbilinear.analysis.layers import stages
from refbilinear.analysis.products import Model, entered, evaluated, of_dtype
from refbilinear.oracle.claims import claim_of
from refbilinear.oracle.twins import allowed, followed
from refbilinear.spec.arrays import first_index
from refbilinear.spec.layer import BilinearLayer


def cosine(
    first: Model,
    second: Model,
    product: str = "frobenius",
    *,
    mean: ArrayLike | None = None,
    covariance: ArrayLike | None = None,
    outputs: str = "whole",
) -> Any:
    """Return `⟨f, g⟩ / √(⟨f, f⟩⟨g, g⟩)` under a product, within −1..1.

    Parameters
    ----------
    first, second : BilinearLayer or BilinearMLP
    product : {"frobenius", "symmetric", "gaussian", "covariance", "sphere"}
        The name of the product.
    mean, covariance : array_like, optional
        Of "gaussian" and "covariance".
    outputs : {"whole", "each", "pairs"}
        What to return, see this module.

    Returns
    -------
    number, (d_out,) array or (d_out of first, d_out of second) array
        What rounding took beyond 1 is clipped. Of a difference that cancels, say, whose norm is
        not far above `product_bound`, the direction is rounding too.

    Raises
    ------
    ValueError, TypeError
        As the product does; for an unknown one; for a model, or an output, of norm 0
        or so small that its square is not accurate.
    ArithmeticError
        For a cosine beyond 1 by more than `product_bound` explains.

    Examples
    --------
    >>> x0x1, x0x0 = BilinearLayer([[1, 0]], [[0, 1]]), BilinearLayer([[1, 0]], [[1, 0]])
    >>> total = BilinearLayer([[1, 0]], [[1, 1]])                 # x₀² + x₀x₁
    >>> float(cosine(total, x0x1).round(6)), float(cosine(total, x0x0).round(6))
    (0.57735, 0.816497)
    >>> float(cosine(total, x0x0, "gaussian").round(6))
    0.866025
    """
    found = _compared(product, first, second, mean, covariance, outputs)
    inner, squares, squares2, _ = found
    for name, values in (("first", squares), ("second", squares2)):
        _require_direction(name, values, product)
    if first.dtype == object:
        signed_square = _float(inner * abs(inner) / (squares * squares2))
        return np.sign(signed_square) * np.sqrt(np.abs(signed_square))
    value = inner / (np.sqrt(squares) * np.sqrt(squares2))
    if not np.all(np.abs(value) <= 1):
        _require_explained(value, found)
    return of_dtype(np.clip(value, -1, 1), first.dtype)


def distance(
    first: Model,
    second: Model,
    product: str = "frobenius",
    *,
    mean: ArrayLike | None = None,
    covariance: ArrayLike | None = None,
    outputs: str = "whole",
) -> Any:
    """Return `√(⟨f, f⟩ − 2⟨f, g⟩ + ⟨g, g⟩)` under a product: the norm of the difference.

    In floats, as of all differences of what is nearly equal, the square of a distance is known to
    within about u ‖f‖²: distances below √u ‖f‖ are noise. In rationals the square is exact.

    Parameters
    ----------
    first, second : BilinearLayer or BilinearMLP
    product : {"frobenius", "symmetric", "gaussian", "covariance", "sphere"}
        The name of the product.
    mean, covariance : array_like, optional
        Of "gaussian" and "covariance".
    outputs : {"whole", "each", "pairs"}
        What to return, see this module.

    Returns
    -------
    number, (d_out,) array or (d_out of first, d_out of second) array

    Raises
    ------
    ValueError, TypeError
        As the product does, and for an unknown one.
    ArithmeticError
        For a negative square that `product_bound` does not explain.

    Examples
    --------
    >>> x0x1, x0x0 = BilinearLayer([[1, 0]], [[0, 1]]), BilinearLayer([[1, 0]], [[1, 0]])
    >>> float(distance(x0x1, x0x0).round(6))                      # √(½ + 1)
    1.224745
    """
    found = _compared(product, first, second, mean, covariance, outputs)
    inner, squares, squares2, errors = found
    square = squares - 2 * inner + squares2
    if first.dtype == object:
        return np.sqrt(_float(square))
    if not np.all(square >= 0):
        of_inner, of_first, of_second = errors()
        worst = of_first + 2 * of_inner + of_second
        worst = worst + 4 * _eps(squares) * (squares + 2 * abs(inner) + squares2)
        if not np.all(square >= -worst):
            raise ArithmeticError(f"the square of a distance is {np.min(square)}: not a product")
    return of_dtype(np.sqrt(np.maximum(square, 0)), first.dtype)


def product_bound(
    first: Model,
    second: Model,
    product: str = "frobenius",
    *,
    mean: ArrayLike | None = None,
    covariance: ArrayLike | None = None,
    outputs: str = "whole",
) -> Any:
    """Return how far rounding can take a product from the exact one: γ_K times its twin.

    The twin is the same product of absolute values, so the bound is also what cancels: where it is
    not far below `⟨f, f⟩`, the norm of f is not known.

    Parameters
    ----------
    first, second : BilinearLayer or BilinearMLP
    product : {"frobenius", "symmetric", "gaussian", "covariance", "sphere"}
        The name of the product.
    mean, covariance : array_like, optional
        Of "gaussian" and "covariance".
    outputs : {"whole", "each", "pairs"}
        Of the product.

    Returns
    -------
    number or array of float64
        Of the product's shape; 0 for exact numbers, infinite where it may overflow.

    Examples
    --------
    >>> third = BilinearLayer([[1 / 3]], [[1 / 3]])
    >>> print(f"{float(product_bound(third, third)):.1e}")
    1.1e-17
    """
    *_, moments = entered(product, outputs, first, second, mean, covariance)
    return _bound(product, outputs, first, second, moments)


def _bound(
    product: str, outputs: str, first: Model, second: Model, moments: tuple[Any, ...]
) -> Any:
    """Return γ_K times the twin, in which weights are folded as absolute values too."""
    rule, claim = products.RULES[product], claim_of(None, first.dtype)

    def twin(one: Model, two: Model, *moments: Any) -> Any:
        return rule.twin(outputs, stages(one), stages(two), *moments)

    of_weights = max(_folding(model) for model in (first, second))
    roundings = rule.roundings(outputs, stages(first), stages(second), of_weights)
    return allowed(roundings, 0, claim, followed(twin, claim, first, second, *moments))


class _Compared(NamedTuple):
    """A product, both squared norms in a shape to divide by, and the bounds of all three."""

    inner: Any
    squares: Any
    squares2: Any
    errors: Callable[[], tuple[Any, Any, Any]]


def _compared(
    product: str,
    first: Model,
    second: Model,
    mean: ArrayLike | None,
    spread: ArrayLike | None,
    outputs: str,
) -> _Compared:
    """Return `⟨f, g⟩`, `⟨f, f⟩` and `⟨g, g⟩` under a product."""
    one, two, moments = entered(product, outputs, first, second, mean, spread)
    own = "whole" if outputs == "whole" else "each"
    kinds = (outputs, own, own)

    def shaped(inner: Any, squares: Any, squares2: Any) -> tuple[Any, Any, Any]:
        return inner, squares[:, None] if outputs == "pairs" else squares, squares2

    def errors() -> tuple[Any, Any, Any]:
        pairs = ((first, second), (first, first), (second, second))
        return shaped(
            *(
                _bound(product, kind, *pair, moments)
                for kind, pair in zip(kinds, pairs, strict=True)
            )
        )

    pairs = ((one, two), (one, one), (two, two))
    values = (
        evaluated(product, kind, *pair, moments) for kind, pair in zip(kinds, pairs, strict=True)
    )
    return _Compared(*shaped(*values), errors)


def _require_direction(name: str, squares: Any, product: str) -> None:
    """Raise ValueError for a model, or an output, that is zero, or too small to be squared."""
    exact = np.asarray(squares).dtype == object
    least = 0 if exact else np.finfo(squares.dtype).tiny / _eps(squares)
    low = ~(np.ravel(squares) > least)
    if low.any():
        index = first_index(low)[0]
        place = f" at output {index}" if np.ndim(squares) else ""
        raise ValueError(
            f"{name} must not be zero, nor so small that squares vanish, to have a cosine; "
            f"its squared {product} norm is {np.ravel(squares)[index]}{place}"
        )


def _require_explained(value: Any, found: _Compared) -> None:
    """Raise ArithmeticError for a cosine that Cauchy and Schwarz, and rounding, rule out.

    `|⟨f, g⟩| ≤ ‖f‖‖g‖` of the exact ones: with an error e of each, what was computed is at most
    `√((⟨f, f⟩ + e)(⟨g, g⟩ + e)) + e`, and the two roots, product and quotient are four roundings.
    """
    of_inner, of_first, of_second = found.errors()
    sizes = np.sqrt(np.float64(found.squares)) * np.sqrt(np.float64(found.squares2))
    grown = np.sqrt(found.squares + of_first) * np.sqrt(found.squares2 + of_second)
    most = (grown + of_inner) / sizes * (1 + 8 * _eps(value))
    wrong = ~(np.abs(value) <= most)
    if np.any(wrong):
        worst = np.abs(value)[wrong].max() if np.ndim(value) else abs(value)
        raise ArithmeticError(f"a cosine is {worst}, beyond 1 by more than rounding explains")


def _eps(values: Any) -> float:
    return float(np.finfo(np.asarray(values).dtype).eps)


def _float(values: Any) -> Any:
    """Return exact numbers rounded to float64."""
    return np.asarray(values, dtype=object).astype(np.float64)[()]


def _folding(model: Model) -> int:
    """Return how often folding in embedding, head and residual rounds a weight."""
    if isinstance(model, BilinearLayer):
        return 0
    embed = 0 if model.w_embed is None else len(model.w_embed)
    head = 0 if model.w_head is None else model.w_head.shape[1]
    return embed + head + 1
