"""The sections of a report: each is its numbers, as JSON, and its pictures, drawn if asked for."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from refbilinear.spec.loss import accuracy
from refbilinear.spec.mlp import BilinearMLP, mlp_forward, parameters
from refbilinear.study import plots
from refbilinear.study.datasets import Dataset
from refbilinear.study.experiments import Seeds, Variation
from refbilinear.study.findings import (
    STRENGTHS,
    MaskFinding,
    OutputFinding,
    attacks,
    check_tensor,
    explained,
    spread_out,
    summary,
    truncated_accuracy,
    truncated_behind_embedding,
)
from refbilinear.study.likeness import Likeness
from refbilinear.study.training import Settings, Trained

Shape = tuple[int, int] | None


class Section(NamedTuple):
    """Entries of metrics.json, and pictures by file name."""

    metrics: dict[str, Any]
    pictures: Mapping[str, Callable[[], bytes]] = {}


def training(settings: Settings, trained: Trained, data: Dataset) -> Section:
    """Return how training went."""
    last = trained.history[-1]
    metrics = {
        "settings": settings._asdict(),
        "train_examples": len(data.x),
        "test_examples": len(data.x_test),
        "parameters": sum(array.size for array in parameters(trained.model).values()),
        "test_accuracy": last["validation_accuracy"],
        "epochs": trained.history,
    }
    return Section(metrics, {"training.png": partial(plots.training_curve, trained.history)})


def outputs(findings: Sequence[OutputFinding], shape: Shape, top: int = 5) -> Section:
    """Return what the forms of the outputs are."""
    pictures = {"spectra.png": partial(plots.spectra, findings)}
    if shape is not None:
        images = {"eigenvectors.png": partial(plots.eigenvectors, findings, shape)}
        pictures = images | pictures
    return Section({"outputs": summary(findings, top)}, pictures)


def check(model: BilinearMLP, data: Dataset, kernel: ModuleType) -> Section:
    """Return whether the tensor gives the forward pass, and the accuracy."""
    some, _ = spread_out(data.x_test, data.y_test)
    return Section(
        {
            "check": check_tensor(model, some, kernel)._asdict(),
            "test_accuracy": accuracy(mlp_forward(model, data.x_test), data.y_test),
        }
    )


def truncation(model: BilinearMLP, findings: Sequence[OutputFinding], data: Dataset) -> Section:
    """Return the accuracy with the first eigenvectors of all outputs, in both spaces."""
    curves = {"input space": truncated_accuracy(findings, data.x_test, data.y_test)}
    if model.w_embed is not None:
        behind = truncated_behind_embedding(model, data.x_test, data.y_test)
        curves["model space"] = behind
    entries = {
        name: [{"k": k, "accuracy": share} for k, share in curve] for name, curve in curves.items()
    }
    return Section(
        {"truncation": entries}, {"truncation.png": partial(plots.truncation_curve, entries)}
    )


def explanation(
    model: BilinearMLP,
    findings: Sequence[OutputFinding],
    data: Dataset,
    shape: Shape,
    chosen: Sequence[int],
) -> Section:
    """Return what inputs and eigenvectors add to outputs at some examples."""
    found = explained(model, findings, data.x_test, data.y_test, chosen)
    entries = [
        {"example": one.example, "label": one.label, "output": one.output, "value": one.value}
        for one in found
    ]
    pictures = {"explanation.png": partial(plots.explanations, found, shape)}
    return Section({"explained": entries}, pictures)


def masks(
    model: BilinearMLP, findings: Sequence[OutputFinding], data: Dataset, shape: Shape
) -> Section:
    """Return what masks made of the weights do to the test examples, or why there are none."""
    try:
        found = attacks(model, findings, *spread_out(data.x_test, data.y_test))
    except ValueError as error:
        return Section({"masks": {"none": str(error)}})
    entries = {"strengths": list(STRENGTHS), "outputs": [_mask_entry(one) for one in found]}
    return Section({"masks": entries}, {"masks.png": partial(plots.masks, found, shape)})


def _mask_entry(found: MaskFinding) -> dict[str, Any]:
    entry: dict[str, Any] = {"output": found.output}
    for name in ("accuracy", "success"):
        entry[name] = getattr(found.curve, name).tolist()
        controls = [getattr(curve, name) for curve in found.controls]
        entry[f"control_{name}"] = np.mean(controls, axis=0).tolist()
    return entry


def seeds(found: Seeds) -> Section:
    """Return how models of several seeds differ."""
    entries = {
        "seeds": found.seeds,
        "accuracies": found.accuracies,
        "pairs": [one._asdict() for one in found.likenesses],
    }
    return Section({"seeds": entries}, {"seeds.png": partial(plots.likenesses, found.likenesses)})


def noise(found: Sequence[Variation], shape: Shape) -> Section:
    """Return what noise in training does."""
    pictures = {"noise.png": partial(plots.noise_sweep, found, shape)}
    return Section({"noise": [_variation_entry(one) for one in found]}, pictures)


def overfitting(found: Sequence[Variation], shape: Shape) -> Section:
    """Return what too few examples do."""
    pictures = {"overfitting.png": partial(plots.overfitting, found, shape)}
    return Section({"overfitting": [_variation_entry(one) for one in found]}, pictures)


def _variation_entry(found: Variation) -> dict[str, Any]:
    last = found.trained.history[-1]
    return {
        "noise": found.noise,
        "weight_decay": found.weight_decay,
        "train_examples": found.examples,
        "train_accuracy": last["accuracy"],
        "test_accuracy": last["validation_accuracy"],
        "effective_rank": found.effective_rank,
    }


def comparison(
    found: Likeness,
    first: Sequence[OutputFinding],
    second: Sequence[OutputFinding],
    names: tuple[str, str],
    shape: Shape,
) -> Section:
    """Return how alike two models are."""
    pictures = {"likeness.png": partial(plots.likenesses, [found])}
    if shape is not None:
        pictures["side-by-side.png"] = partial(plots.side_by_side, first, second, names, shape)
    return Section({"likeness": found._asdict()}, pictures)
