"""Inner products of tensors from the weights of their hidden units, in blocks, without a tensor.

With units `U_h = sym(l_h r_hᵀ)`, output o of a layer is the form `Σ_h D_oh U_h`. Under a symmetric
matrix G of inner products of the inputs (the identity, a covariance, or the layer before),

    ⟨U_h, U_k⟩_G = ½ [(l_h·G l_k)(r_h·G r_k) + (l_h·G r_k)(r_h·G l_k)]
    ⟨B₁, B₂⟩_G = D₁ ⟨U₁, U₂⟩_G D₂ᵀ

so O(d_hidden² d_in) work and a few blocks of memory stand for O(d_out d_in²) numbers. All of it is
exact on exact numbers.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from refbilinear.analysis.layers import carrying_constant, output_weights, over_constant
from refbilinear.spec.arrays import Array, constant
from refbilinear.spec.layer import BilinearLayer

BLOCK = 512
"""Hidden units at a time: four blocks of float64 take 8 MiB."""

Stages = tuple[BilinearLayer, ...]


def paired(a: Array, b: Array, outputs: str) -> Any:
    """Return inner products of rows: all `pairs`, `each` with its like, or the sum of these.

    Examples
    --------
    >>> a, b = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[5.0, 6.0], [7.0, 8.0]])
    >>> paired(a, b, "pairs"), paired(a, b, "each"), float(paired(a, b, "whole"))
    (array([[17., 23.],
           [39., 53.]]), array([17., 53.]), 70.0)
    """
    if outputs == "pairs":
        return a @ b.T
    each = np.sum(a * b, axis=1)
    return each if outputs == "each" else np.sum(each)


def none_paired(first: BilinearLayer, second: BilinearLayer, outputs: str) -> Array:
    """Return the zeros to which inner products are added."""
    shapes = {"pairs": (first.d_out, second.d_out), "each": (first.d_out,), "whole": ()}
    return constant(0, shapes[outputs], first.dtype)


def unit_products(left: Array, right: Array, left2: Array, right2: Array) -> Array:
    """Return `⟨U_h, U_k⟩ = ½ [(l_h·l_k)(r_h·r_k) + (l_h·r_k)(r_h·l_k)]` for two blocks of units."""
    half = left / 2  # not the sum: an empty sum of rationals is the int 0, and 0 / 2 a float
    products: Array = (half @ left2.T) * (right @ right2.T) + (half @ right2.T) * (right @ left2.T)
    return products


def inner_products(
    first: BilinearLayer, second: BilinearLayer, inputs: Array | None, outputs: str
) -> Any:
    """Return `D₁ ⟨U₁, U₂⟩_G D₂ᵀ` of two plain layers, or what `outputs` asks for of it.

    Parameters
    ----------
    first, second : BilinearLayer
        Without bias and skip. Where both are one object, G is symmetric and half the work is done.
    inputs : (d_in of first, d_in of second) array or None
        G; None is the identity.
    outputs : str
        As `paired` takes it.

    Examples
    --------
    >>> layer = BilinearLayer([[1, 0]], [[0, 1]])                 # x₀x₁ has B = [[0, ½], [½, 0]]
    >>> inner_products(layer, layer, None, "pairs")
    array([[0.5]])
    """
    left, right = first.w_left, first.w_right
    if inputs is not None:
        left, right = left @ inputs, right @ inputs
    out, out2 = output_weights(first), output_weights(second)
    total: Any = none_paired(first, second, outputs)
    for s in blocks(first.d_hidden):
        row = constant(0, (len(left[s]), second.d_out), first.dtype)
        for t in blocks(s.stop if second is first else second.d_hidden):
            products = unit_products(left[s], right[s], second.w_left[t], second.w_right[t])
            twice = second is first and s == t
            row = row + products @ (out2[:, t] / (1 + twice)).T
        total = total + paired(out[:, s], row.T, outputs)
    if second is first:
        total = total + total.T if outputs == "pairs" else 2 * total
    return total[()] if isinstance(total, np.ndarray) and not total.ndim else total


def inner_product_roundings(
    first: BilinearLayer, second: BilinearLayer, of_inputs: int | None, outputs: str
) -> int:
    """Return K of `inner_products`; `of_inputs` is that of G, None for the identity.

    Each of two factors is d_in roundings (and as many with G), their product and sum two, `w_out`
    d_hidden on either side, the sum over all outputs d_out; the sum of both halves one.
    """
    factor = second.d_in + (0 if of_inputs is None else of_inputs + first.d_in)
    of_sum = first.d_out if outputs == "whole" else 0
    return 2 * factor + 2 + second.d_hidden + first.d_hidden + of_sum + 1


def blocks(size: int) -> Iterator[slice]:
    """Yield slices of BLOCK that cover `size`."""
    for start in range(0, size, BLOCK):
        yield slice(start, min(size, start + BLOCK))


# ---- deep models


def chained(outputs: str, first: Stages, second: Stages) -> Any:
    """Return `frobenius` of two stacks of one depth, by the recursion on their Gram matrices.

        G ← D₁ · ½[(L₁ G L₂ᵀ) ⊙ (R₁ G R₂ᵀ) + (L₁ G R₂ᵀ) ⊙ (R₁ G L₂ᵀ)] · D₂ᵀ

    from the identity, over `[x; 1]` where either stack has a constant anywhere.
    """
    gram, last = None, len(first) - 1
    first, second = plain_stages(first, second)
    for number, (one, two) in enumerate(zip(first, second, strict=True)):
        gram = inner_products(one, two, gram, outputs if number == last else "pairs")
    return gram


def chained_roundings(outputs: str, first: Stages, second: Stages, of_weights: int = 0) -> int:
    """Return K of `chained`: each layer doubles what the Gram matrix has met before it."""
    met, last = None, len(first) - 1
    for number, (one, two) in enumerate(zip(*plain_stages(first, second), strict=True)):
        kind = outputs if number == last else "pairs"
        met = inner_product_roundings(one, two, met, kind) + 6 * of_weights
    return met or 0


def plain_stages(first: Stages, second: Stages) -> tuple[Stages, Stages]:
    """Return both stacks without bias and skip, over `[x; 1]` where either has a constant."""
    if not any(layer.has_constant for layer in (*first, *second)):
        return first, second
    plain = _carrying(first)
    return plain, plain if second is first else _carrying(second)


def _carrying(stages: Stages) -> Stages:
    return (*map(carrying_constant, stages[:-1]), over_constant(stages[-1]))


# ---- fully symmetrised, at depth two


def symmetrised(outputs: str, first: Stages, second: Stages) -> Any:
    """Return `symmetric` of two stacks of one or two layers.

    With the forms B_a of the first layer and Q of the second, two of the three ways to pair four
    inputs are the Gram recursion, twice, and the third runs across the subtrees:

        ⟨f, g⟩ = (⟨f, g⟩_frobenius + 2 Σ Q_ab Q'_ce tr(B_a B'_c B_b B'_e)) / 3
    """
    straight = chained(outputs, first, second)
    if len(first) == 1:
        return straight
    return (straight + 2 * _crossed(outputs, *plain_stages(first, second))) / 3


def symmetrised_roundings(outputs: str, first: Stages, second: Stages, of_weights: int = 0) -> int:
    """Return K of `symmetrised`: of the recursion, or of the crossed sum, and three more."""
    straight = chained_roundings(outputs, first, second, of_weights)
    if len(first) == 1:
        return straight
    (below, above), (below2, above2) = plain_stages(first, second)
    crossed = 4 * below.d_in + 3 * below.d_hidden + 4 * below2.d_hidden + 4 + first[-1].d_out
    for layer in (above, above2):
        crossed += 2 * layer.d_in + layer.d_hidden + 3
    return max(straight, crossed + 14 * of_weights) + 3


def _crossed(outputs: str, first: Stages, second: Stages) -> Any:
    """Return `Σ Q_ab Q'_ce tr(B_a B'_c B_b B'_e)` for outputs o of Q and p of Q'."""
    above, above2 = first[1], second[1]
    met = _meetings(first[0], second[0])
    found = none_paired(above, above2, "each" if outputs == "whole" else outputs)
    for o, p in np.ndindex(above.d_out, above2.d_out):
        if outputs == "pairs" or o == p:
            weights, weights2 = (
                _unit_weights(stack[0], stack[1], number)
                for stack, number in ((first, o), (second, p))
            )
            found[(o, p)[: found.ndim]] += _crossed_sum(weights, weights2, *met)
    found = found / 8
    return np.sum(found) if outputs == "whole" else found


def _meetings(first: BilinearLayer, second: BilinearLayer) -> tuple[Array, Array]:
    """Return `[R; L][L'; R']ᵀ` and `[L; R][R'; L']ᵀ`: where neighbours in the trace meet."""
    ones, others = (first.w_left, first.w_right), (second.w_left, second.w_right)
    back = np.concatenate(ones[::-1]) @ np.concatenate(others).T
    return back, np.concatenate(ones) @ np.concatenate(others[::-1]).T


def _unit_weights(below: BilinearLayer, above: BilinearLayer, o: int) -> Array:
    """Return `D₁ᵀ Q D₁` for output o of the second layer, for either orientation of each unit."""
    out = output_weights(below)
    half = (above.w_left @ out).T * output_weights(above)[o] / 2
    product = half @ (above.w_right @ out)
    whole = product + product.T
    return np.concatenate([np.concatenate([whole] * 2)] * 2, axis=1)


def _crossed_sum(weights: Array, weights2: Array, back: Array, ahead: Array) -> Any:
    """Return `8 Σ_ik S_ik Σ_jm S'_jm tr(U_i U'_j U_k U'_m)`, one unit i at a time.

    `U_i = ½ (l_i r_iᵀ + r_i l_iᵀ)` has two orientations, and the trace is one sixteenth of a sum of
    products of four meetings; by reversal the two orientations of i give the same.
    """
    total: Any = 0
    for i in range(len(weights) // 2):
        inner = (ahead * weights[i][:, None]).T @ back
        total = total + back[i] @ (inner * weights2) @ ahead[i]
    return total
