"""The specification's own answer to each operation of the vectors.

A run takes the inputs of a vector by name and gives the outputs by name: what the same function of
another implementation is held against, and what every planted mistake starts from.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from refbilinear.oracle.agreement import layer_of, settings_of
from refbilinear.oracle.exact import NAMES
from refbilinear.spec.arrays import Array, affine, constant, require_finite
from refbilinear.spec.layer import BilinearLayer, Gradients, backward, forward
from refbilinear.spec.loss import Loss, cross_entropy, squared_error
from refbilinear.spec.mlp import BilinearMLP, fold, parameters
from refbilinear.spec.optim import adamw
from refbilinear.spec.packed import require_symmetric, symmetric_part, unpack
from refbilinear.spec.tensor import interaction_matrix, interaction_tensor, quadratic_form

Inputs = dict[str, Array]
Outputs = dict[str, Array]
Run = Callable[[Inputs], Outputs]


def by_name(gradients: Gradients) -> Outputs:
    """Return the gradients that are there, by parameter name, and that of `x`."""
    return {name: one for name, one in gradients._asdict().items() if one is not None}


def eigenpairs(q: Array) -> tuple[Array, Array]:
    """Return all eigenpairs of a symmetric matrix by descending |λ|, the positive one first.

    Raises
    ------
    ValueError
        For a matrix that is not finite, or does not equal its transpose.

    Examples
    --------
    >>> eigenpairs(np.array([[0.0, 2], [2, 0]]))[0]
    array([ 2., -2.])
    """
    require_finite("Q", q)
    require_symmetric("Q", q)
    values, vectors = np.linalg.eigh(q)
    order = np.lexsort((-values, -abs(values)))
    return values[order], vectors[:, order]


def rebuilt(values: Array, vectors: Array) -> Array:
    """Return `Σ_k λ_k v_k v_kᵀ`, symmetric exactly."""
    return symmetric_part((vectors * values) @ vectors.T)


def contracted(whole: Array, u_out: Array, u_in: Array) -> Array:
    """Return the core of a HOSVD: the whole tensor (o, d, d) times the transposed factors."""
    core: Array = np.einsum("oij,oa,ib,jc->abc", whole, u_out, u_in, u_in)
    return core


def factors(whole: Array) -> tuple[Array, Array]:
    """Return the left singular vectors of both unfoldings of a tensor (o, d, d).

    A column for each singular value that is not zero: above `max(m, d²) · 2u` of the largest.
    """
    m, d, _ = whole.shape
    noise = max(m, d * d) * np.finfo(whole.dtype).eps
    unfoldings = whole.reshape(m, d * d), whole.transpose(1, 0, 2).reshape(d, m * d)
    u_out, u_in = (_left_vectors(unfolding, noise) for unfolding in unfoldings)
    return u_out, u_in


def _left_vectors(matrix: Array, noise: float) -> Array:
    u, sizes, _ = np.linalg.svd(matrix, full_matrices=False)
    return u[:, sizes > noise * sizes.max(initial=0)]


def _of_loss(loss: Loss) -> Outputs:
    return {"value": np.asarray(loss.value), "dy": loss.dy}


def _matrix(held: Inputs) -> Outputs:
    tensor = interaction_tensor(layer_of(held))
    return {"matrix": interaction_matrix(tensor, held["u"])}


def _adamw(held: Inputs) -> Outputs:
    theta, g, m, v = (held[name] for name in NAMES)
    return adamw(theta, g, m, v, int(held["t"]), **settings_of(held))._asdict()


def _spectrum(held: Inputs) -> Outputs:
    values, vectors = eigenpairs(held["Q"])
    k = int(held["k"])
    return {"eigenvalues": values[:k], "eigenvectors": vectors[:, :k]}


def _truncate(held: Inputs) -> Outputs:
    values, vectors = eigenpairs(held["Q"])
    k = int(held["k"])
    return {"matrix": rebuilt(values[:k], vectors[:, :k]), "tail": (values[k:] ** 2).sum()}


def _hosvd(held: Inputs) -> Outputs:
    whole = unpack(held["tensor"])
    u_out, u_in = factors(whole)
    return {"u_out": u_out, "u_in": u_in, "core": contracted(whole, u_out, u_in)}


def _fold(held: Inputs) -> Outputs:
    layer, residual = _seen_by_the_embedding(held), "residual" in held
    model = BilinearMLP(held.get("w_embed"), (layer,), held.get("w_head"), residual)
    return parameters(fold(model))


def _seen_by_the_embedding(held: Inputs) -> BilinearLayer:
    """Return the layer of `w_embed x` alone: gain g, bias b and scale s are in its parameters.

        w_left' = s w_left diag(g)        b_left' = s (w_left (g ⊙ b) + b_left)

    the right factor likewise without s, and so the skip path, of which b_out has the constant.
    """
    layer = layer_of(held)
    gain = held.get("gain", constant(1, layer.d_in, layer.dtype))
    scale = held.get("left_scale", constant(1, (), layer.dtype))
    shift = gain * held.get("b_embed", constant(0, layer.d_in, layer.dtype))
    return replace(
        layer,
        w_left=scale * layer.w_left * gain,
        w_right=layer.w_right * gain,
        b_left=scale * affine(shift, layer.w_left, layer.b_left),
        b_right=affine(shift, layer.w_right, layer.b_right),
        b_out=_output_bias(held, layer, shift),
        w_skip=None if layer.w_skip is None else layer.w_skip * gain,
    )


def _output_bias(held: Inputs, layer: BilinearLayer, shift: Array) -> Array:
    """Return `b_out + w_skip (g ⊙ b)`, and the b that a residual passes."""
    b = constant(0, layer.d_out, layer.dtype) if layer.b_out is None else layer.b_out
    b = b if layer.w_skip is None else b + layer.w_skip @ shift
    return b + held["b_embed"] if {"residual", "b_embed"} <= set(held) else b


ANSWERS: dict[str, Run] = {
    "forward": lambda held: {"y": forward(layer_of(held), held["x"])},
    "tensor": lambda held: {"tensor": interaction_tensor(layer_of(held))},
    "matrix": _matrix,
    "form": lambda held: {"y": quadratic_form(held["tensor"], held["x"])},
    "backward": lambda held: by_name(backward(layer_of(held), held["x"], held["dy"])),
    "squared_error": lambda held: _of_loss(squared_error(held["y"], held["t"])),
    "cross_entropy": lambda held: _of_loss(cross_entropy(held["y"], held["labels"])),
    "adamw": _adamw,
    "spectrum": _spectrum,
    "truncate": _truncate,
    "hosvd": _hosvd,
    "fold": _fold,
}
