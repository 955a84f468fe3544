"""What a study finds in a model: its tensor checked, its spectra, truncations, examples, masks.

Everything here returns numbers; words, tables and pictures are made of them elsewhere.
"""

from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from refbilinear.analysis.eigenpairs import EIGH_RATIO, Spectrum, contributions, eigendecompose
from refbilinear.analysis.masks import Curve, attack, model_space_masks
from refbilinear.analysis.ranks import effective_rank
from refbilinear.analysis.truncation import (
    AffineParts,
    Forms,
    model_space_forms,
    truncation_curve,
)
from refbilinear.oracle.bounds import folded_form_bound, mlp_forward_bound
from refbilinear.spec import tensor
from refbilinear.spec.arrays import Array, require_finite
from refbilinear.spec.layer import BilinearLayer
from refbilinear.spec.loss import accuracy
from refbilinear.spec.mlp import BilinearMLP, fold, mlp_forward, parameters
from refbilinear.spec.tensor import QuadraticForm, homogeneous, output_form

RANKS = (1, 2, 3, 5, 10, 20, 30)
STRENGTHS = (0.0, 0.05, 0.1, 0.2, 0.4, 0.8)
"""Of masks, as standard deviations of what is added to each input, over that of the inputs."""

CONTROLS = 3
"""How many permuted copies of a mask stand beside it."""

JUDGED = 1000
"""How many test examples, evenly spread, the tensor is checked and masks are tried on."""

MOST_EXAMPLES = 6


class OutputFinding(NamedTuple):
    """One output of a layer as a quadratic form, with its whole spectrum."""

    output: int
    form: QuadraticForm
    spectrum: Spectrum
    effective_rank: float
    name: str
    """Of its class, or its number."""


class Check(NamedTuple):
    """How far the tensor's outputs were from the model's, and how far rounding may take them."""

    examples: int
    worst_error: float
    allowed_there: float
    worst_ratio: float
    passed: bool


class Explanation(NamedTuple):
    """One output at one example, as two sums: over inputs, and over eigenvectors."""

    example: int
    output: int
    name: str
    """Of the output."""
    label: int
    value: float
    x: Array
    of_inputs: Array
    """`x_i (Q x)_i + b_i x_i`, (d_in,): with the constant they sum to the value."""
    of_eigenvectors: Array
    """`λ_k (v_k · x)²`, (d_in,): with the linear part and the constant they sum to the value."""
    of_linear: float
    of_constant: float


class MaskFinding(NamedTuple):
    """A mask, what it does at each of `STRENGTHS`, and what permuted copies of it do."""

    output: int
    name: str
    mask: Array
    curve: Curve
    controls: tuple[Curve, ...]


def examine(
    layer: BilinearLayer, outputs: Iterable[int], names: Sequence[str] = ()
) -> list[OutputFinding]:
    """Return the form and the spectrum of each of the given outputs of a layer.

    Parameters
    ----------
    layer : BilinearLayer
    outputs : iterable of int
    names : sequence of str
        Of all outputs, where they have some.

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
    return [_examine_output(layer, output, names) for output in outputs]


def _examine_output(layer: BilinearLayer, output: int, names: Sequence[str]) -> OutputFinding:
    if not 0 <= output < layer.d_out:
        raise ValueError(f"output must lie in 0..{layer.d_out - 1}; got {output}")
    u = np.zeros(layer.d_out, layer.dtype)
    u[output] = 1
    form = output_form(layer, u)
    spectrum = eigendecompose(form.matrix)
    name = names[output] if output < len(names) else str(output)
    return OutputFinding(output, form, spectrum, effective_rank(spectrum.eigenvalues), name)


def spread_out(x: Array, labels: NDArray[np.intp]) -> tuple[Array, NDArray[np.intp]]:
    """Return at most `JUDGED` examples, evenly spread.

    Examples
    --------
    >>> x, labels = spread_out(np.arange(2500.0)[:, None], np.arange(2500))
    >>> labels[:3], len(labels)
    (array([0, 3, 6]), 834)
    """
    step = -(-len(x) // JUDGED)
    return x[::step], labels[::step]


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
        For k of `RANKS` where there are as many eigenvectors, and all of them.
    """
    linear = np.stack([found.form.linear for found in findings])
    constant = np.stack([found.form.constant for found in findings])
    spectra = tuple(found.spectrum for found in findings)
    return _curve(Forms(spectra, AffineParts(linear, constant)), x, labels)


def truncated_behind_embedding(
    model: BilinearMLP, x: Array, labels: NDArray[np.intp]
) -> list[tuple[int, float]]:
    """Return the same with the eigenvectors of *model space*, of forms of `w_embed x`."""
    behind = x if model.w_embed is None else x @ model.w_embed.T
    return _curve(model_space_forms(model), behind, labels)


def _curve(forms: Forms, x: Array, labels: NDArray[np.intp]) -> list[tuple[int, float]]:
    d = x.shape[1]
    ranks = [k for k in RANKS if k < d] + [d]
    shares = truncation_curve(forms, x, lambda y: accuracy(y, labels), ranks)
    return list(zip(ranks, shares.tolist(), strict=True))


def explain(found: OutputFinding, x: Array, label: int, example: int = 0) -> Explanation:
    """Return what each input and each eigenvector adds to an output at one example.

    Parameters
    ----------
    found : OutputFinding
    x : (d_in,) array
    label, example : int
        The example's class and its number, kept beside.

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
        example=example,
        output=found.output,
        name=found.name,
        label=label,
        value=float(of_inputs.sum() + form.constant),
        x=x,
        of_inputs=of_inputs,
        of_eigenvectors=contributions(found.spectrum, x),
        of_linear=float(form.linear @ x),
        of_constant=float(form.constant),
    )


def explained(
    model: BilinearMLP,
    findings: Sequence[OutputFinding],
    x: Array,
    labels: NDArray[np.intp],
    chosen: Sequence[int] = (),
) -> list[Explanation]:
    """Return explanations of examples: of the output that is their class, and of a wrong answer.

    Parameters
    ----------
    model : BilinearMLP
    findings : sequence of OutputFinding
        Outputs that are not among them are not explained.
    x : (n, d_in) array
    labels : (n,) array of integers
    chosen : sequence of int
        Numbers of examples, at most six. If there are none: the first whose class is among the
        outputs, and the first of these that the model gets wrong.

    Raises
    ------
    ValueError
        For an example that is not there, and for too many.
    """
    of = {found.output: found for found in findings}
    answers = mlp_forward(model, x).argmax(axis=1)
    require_examples(chosen, len(x))
    return [
        explain(of[output], x[n], int(labels[n]), n)
        for n in chosen or _telling(labels, answers, list(of))
        for output in _at_stake(int(labels[n]), int(answers[n]), list(of))
    ]


def require_examples(chosen: Sequence[int], count: int) -> None:
    """Raise ValueError for the number of an example that is not there, and for too many."""
    if len(chosen) > MOST_EXAMPLES:
        raise ValueError(f"at most {MOST_EXAMPLES} examples are explained; got {len(chosen)}")
    for number in chosen:
        if not 0 <= number < count:
            raise ValueError(f"examples must lie in 0..{count - 1}; got {number}")


def _at_stake(label: int, answer: int, outputs: list[int]) -> list[int]:
    """Return the outputs of the class and of the answer; where they were not chosen, the first."""
    return [o for o in dict.fromkeys((label, answer)) if o in outputs] or outputs[:1]


def _telling(labels: NDArray[np.intp], answers: Array, outputs: list[int]) -> list[int]:
    """Return the first example whose class is among outputs, and the first of a wrong answer."""
    there = np.isin(labels, outputs)
    firsts = (np.flatnonzero(where)[:1] for where in (there, there & (answers != labels)))
    return list(dict.fromkeys(np.concatenate(list(firsts)).tolist())) or [0]


def attacks(
    model: BilinearMLP, findings: Sequence[OutputFinding], x: Array, labels: NDArray[np.intp]
) -> list[MaskFinding]:
    """Return, of each output, the mask of its most positive eigenvector, and what it does.

    The masks excite one eigenvector of model space each and none of the others (Pearce et al.
    2025).

    Parameters
    ----------
    model : BilinearMLP
    findings : sequence of OutputFinding
        The outputs.
    x : (n, d_in) array
    labels : (n,) array of integers

    Raises
    ------
    ValueError
        Where the eigenvectors depend on each other, an output has no positive eigenvalue, or all
        examples are of one class.
    """
    sigmas = [float(strength * x.std()) for strength in STRENGTHS]
    masks = model_space_masks(model, [found.output for found in findings]).masks
    return [
        MaskFinding(
            found.output, found.name, mask,
            *attack(model, x, labels, mask, found.output, sigmas, CONTROLS),
        )
        for found, mask in zip(findings, masks, strict=True)
    ]  # fmt: skip


def summary(findings: Sequence[OutputFinding], top: int = 5) -> list[dict[str, Any]]:
    """Return for each output what a table or a JSON file shows of it."""
    return [_summary(found, top) for found in findings]


def significant(found: OutputFinding) -> NDArray[np.bool_]:
    """Return which eigenvalues are larger than rounding in `eigh` can have made them."""
    eigenvalues = found.spectrum.eigenvalues
    unit = np.finfo(eigenvalues.dtype).eps / 2
    noise = EIGH_RATIO * len(eigenvalues) * 2 * unit * _norm(eigenvalues)
    there: NDArray[np.bool_] = np.abs(eigenvalues) > noise
    return there


def _summary(found: OutputFinding, top: int) -> dict[str, Any]:
    eigenvalues, there = found.spectrum.eigenvalues, significant(found)
    return {
        "output": found.output,
        "name": found.name,
        "eigenvalues": [float(value) for value in eigenvalues[:top]],
        "positive": int((eigenvalues[there] > 0).sum()),
        "negative": int((eigenvalues[there] < 0).sum()),
        "effective_rank": found.effective_rank,
        "linear_norm": _norm(found.form.linear),
        "constant": float(found.form.constant),
    }


def _norm(vector: Array) -> float:
    """Return the Euclidean norm in float64, where the squares of no float32 overflow."""
    return float(np.linalg.norm(vector.astype(np.float64)))
