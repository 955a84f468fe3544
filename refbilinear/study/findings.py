"""What a study finds in a model: its tensor checked, its spectra, its truncation, one example.

Everything here returns numbers; words, tables and pictures are made of them elsewhere.
"""

from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from refbilinear.analysis.eigenpairs import EIGH_RATIO, Spectrum, contributions, eigendecompose
from refbilinear.analysis.ranks import effective_rank
from refbilinear.oracle.bounds import folded_form_bound, mlp_forward_bound
from refbilinear.spec import tensor
from refbilinear.spec.arrays import Array, require_finite
from refbilinear.spec.layer import BilinearLayer
from refbilinear.spec.loss import accuracy
from refbilinear.spec.mlp import BilinearMLP, fold, mlp_forward, parameters
from refbilinear.spec.tensor import QuadraticForm, homogeneous, output_form

RANKS = (1, 2, 3, 5, 10)


class OutputFinding(NamedTuple):
    """One output of a layer as a quadratic form, with its whole spectrum."""

    output: int
    form: QuadraticForm
    spectrum: Spectrum
    effective_rank: float


class Check(NamedTuple):
    """How far the tensor's outputs were from the model's, and how far rounding may take them."""

    examples: int
    worst_error: float
    allowed_there: float
    worst_ratio: float
    passed: bool


class Explanation(NamedTuple):
    """One output at one example, as two sums: over inputs, and over eigenvectors."""

    output: int
    label: int
    value: float
    x: Array
    of_inputs: Array
    """`x_i (Q x)_i + b_i x_i`, (d_in,): with the constant they sum to the value."""
    of_eigenvectors: Array
    """`λ_k (v_k · x)²`, (d_in,): with the linear part and the constant they sum to the value."""
    of_linear: float
    of_constant: float


def examine(layer: BilinearLayer, outputs: Iterable[int]) -> list[OutputFinding]:
    """Return the form and the spectrum of each of the given outputs of a layer.

    Raises
    ------
    ValueError
        For weights that are not finite, or an output that the layer does not have.

    Examples
    --------
    >>> found = examine(BilinearLayer([[1, 0]], [[0, 1]]), [0])
    >>> found[0].spectrum.eigenvalues, found[0].effective_rank
    (array([ 0.5, -0.5]), 2.0)
    """
    for name, array in parameters(layer).items():
        require_finite(name, array)
    return [_examine_output(layer, output) for output in outputs]


def _examine_output(layer: BilinearLayer, output: int) -> OutputFinding:
    if not 0 <= output < layer.d_out:
        raise ValueError(f"output must lie in 0..{layer.d_out - 1}; got {output}")
    u = np.zeros(layer.d_out, layer.dtype)
    u[output] = 1
    form = output_form(layer, u)
    spectrum = eigendecompose(form.matrix)
    return OutputFinding(output, form, spectrum, effective_rank(spectrum.eigenvalues))


def check_tensor(model: BilinearMLP, x: Array, kernel: ModuleType = tensor) -> Check:
    """Compare the outputs of a model's tensor with its forward pass, against the derived bound.

    Parameters
    ----------
    model : BilinearMLP
        Of one layer.
    x : (n, d_in) array
    kernel : module, optional
        What computes the tensor and its form: `refbilinear.fast`, or the specification by default.
        Forward pass and bound are the specification's with either.

    Returns
    -------
    Check
        `passed` if every output of every example is within the allowed error.
    """
    layer = fold(model)
    x_tilde = homogeneous(x) if layer.has_constant else x
    of_tensor = kernel.quadratic_form(kernel.interaction_tensor(layer), x_tilde)
    error = np.abs(of_tensor.astype(np.float64) - mlp_forward(model, x))
    allowed = folded_form_bound(model, x_tilde) + mlp_forward_bound(model, x)
    return _check(len(x), error, allowed)


def _check(examples: int, error: Array, allowed: Array) -> Check:
    """Return the verdict; where nothing is allowed an error of 0 is a ratio of 0."""
    ratio = np.divide(error, allowed, out=np.where(error > 0, np.inf, 0.0), where=allowed > 0)
    worst = np.unravel_index(ratio.argmax(), ratio.shape)
    return Check(
        examples=examples,
        worst_error=float(error[worst]),
        allowed_there=float(allowed[worst]),
        worst_ratio=float(ratio[worst]),
        passed=bool((error <= allowed).all()),
    )


def truncated_accuracy(
    findings: Sequence[OutputFinding], x: Array, labels: NDArray[np.intp]
) -> list[tuple[int, float]]:
    """Return `(k, accuracy)` with the first k eigenvectors a class, linear and constant part kept.

    Parameters
    ----------
    findings : sequence of OutputFinding
        One for each class, in order.
    x : (n, d_in) array
    labels : (n,) array of integers

    Returns
    -------
    list of (int, float)
        For k of 1, 2, 3, 5, 10 where there are as many eigenvectors, and all of them.
    """
    d = x.shape[1]
    ranks = [k for k in RANKS if k < d] + [d]
    outputs = np.empty((len(ranks), len(x), len(findings)), x.dtype)
    for column, found in enumerate(findings):
        sums = np.cumsum(contributions(found.spectrum, x), axis=1)
        rest = x @ found.form.linear + found.form.constant
        for row, k in enumerate(ranks):
            outputs[row, :, column] = sums[:, k - 1] + rest
    return [(k, accuracy(y, labels)) for k, y in zip(ranks, outputs, strict=True)]


def explain(found: OutputFinding, x: Array, label: int) -> Explanation:
    """Return what each input and each eigenvector adds to an output at one example.

    Parameters
    ----------
    found : OutputFinding
    x : (d_in,) array
    label : int
        The example's class, kept beside.

    Returns
    -------
    Explanation

    Examples
    --------
    >>> found = examine(BilinearLayer([[1, 0]], [[0, 1]], b_left=[1]), [0])[0]   # (x₀ + 1) x₁
    >>> parts = explain(found, np.array([2.0, 3.0]), label=0)
    >>> parts.of_inputs, parts.value
    (array([3., 6.]), 9.0)
    """
    form = found.form
    of_inputs = x * (form.matrix @ x) + form.linear * x
    return Explanation(
        output=found.output,
        label=label,
        value=float(of_inputs.sum() + form.constant),
        x=x,
        of_inputs=of_inputs,
        of_eigenvectors=contributions(found.spectrum, x),
        of_linear=float(form.linear @ x),
        of_constant=float(form.constant),
    )


def summary(findings: Sequence[OutputFinding], top: int = 5) -> list[dict[str, Any]]:
    """Return for each output what a table or a JSON file shows of it."""
    return [_summary(found, top) for found in findings]


def _summary(found: OutputFinding, top: int) -> dict[str, Any]:
    """Return one row; signs are counted where rounding in `eigh` cannot have made them."""
    eigenvalues = found.spectrum.eigenvalues
    unit = np.finfo(eigenvalues.dtype).eps / 2
    noise = EIGH_RATIO * len(eigenvalues) * 2 * unit * _norm(eigenvalues)
    return {
        "output": found.output,
        "eigenvalues": [float(value) for value in eigenvalues[:top]],
        "positive": int((eigenvalues > noise).sum()),
        "negative": int((eigenvalues < -noise).sum()),
        "effective_rank": found.effective_rank,
        "linear_norm": _norm(found.form.linear),
        "constant": float(found.form.constant),
    }


def _norm(vector: Array) -> float:
    """Return the Euclidean norm in float64, where the squares of no float32 overflow."""
    return float(np.linalg.norm(vector.astype(np.float64)))
