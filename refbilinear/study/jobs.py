"""What the commands do: study, train, analyse; each writes its result whole or not at all.

Tables go to standard output, everything said on the way to standard error.
"""

import json
import math
import platform
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

import refbilinear
from refbilinear.spec import tensor
from refbilinear.spec.arrays import Array, require_finite
from refbilinear.spec.layer import BilinearLayer
from refbilinear.spec.loss import accuracy
from refbilinear.spec.mlp import BilinearMLP, fold, mlp_forward, parameters
from refbilinear.spec.optim import init_mlp
from refbilinear.spec.train import Epoch, train
from refbilinear.study import plots, report
from refbilinear.study.checkpoints import load, model_bytes, save
from refbilinear.study.datasets import Dataset, digits, read_dataset
from refbilinear.study.extras import INSTALL, installed, progress
from refbilinear.study.files import npz_bytes, require_writable, staged_folder, write_file
from refbilinear.study.findings import (
    Explanation,
    OutputFinding,
    check_tensor,
    examine,
    explain,
    summary,
    truncated_accuracy,
)
from refbilinear.threads import usable_cores

SCHEMA = "refbilinear-study-1"
KERNELS = {"spec": "refbilinear.spec.tensor", "fast": "refbilinear.fast"}
EXTRAS = ("matplotlib", "tqdm", "pooch", "safetensors")
REPORT_FILES = {"report.html", "metrics.json", "spectrum.npz", *report.CAPTIONS}
STUDY_FILES = {"model.npz", *REPORT_FILES}
SIGNATURE = ("metrics.json", f'"schema": "{SCHEMA}"')
MOST_OUTPUTS = 32


class Settings(NamedTuple):
    """What training was asked for; it stands in metrics.json as it is."""

    seed: int
    epochs: int
    d_model: int
    d_hidden: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    noise: float
    bias: bool
    residual: bool
    dtype: str


class Trained(NamedTuple):
    """A model after its last epoch, and how every epoch went."""

    model: BilinearMLP
    history: list[dict[str, Any]]


class Talk(NamedTuple):
    """How much is said, and in which form."""

    quiet: bool
    as_json: bool


def import_kernel(name: str) -> ModuleType:
    """Import what computes a tensor: done first, so that a missing one costs no training."""
    return import_module(KERNELS[name])


def study_digits(settings: Settings, out: Path, talk: Talk, kernel: ModuleType = tensor) -> int:
    """Train on the shipped digits, read the model, write the folder `out`; return the exit code."""
    started = time.perf_counter()
    data = digits(settings.dtype)
    with staged_folder(out, STUDY_FILES, SIGNATURE) as folder:
        trained = train_with_progress(data, settings, out, talk)
        with _kept_if_interrupted(trained, settings.epochs, out):
            write_file(folder / "model.npz", model_bytes(trained.model))
            seconds = {"training": time.perf_counter() - started}
            findings = _examine(fold(trained.model), range(data.classes), talk)
            metrics = _about("digits", kernel) | _training_metrics(settings, trained, data)
            metrics |= _outputs_metrics(findings)
            metrics |= _data_metrics(trained.model, findings, data, kernel)
            pictures = _pictures(findings, (8, 8), metrics, data, talk)
            metrics["seconds"] = seconds | {"total": time.perf_counter() - started}
            _fill(folder, "Handwritten digits, read from the weights", metrics, pictures, findings)
    _tell(metrics, f"Written to {out}: open {out / 'report.html'}", talk)
    return _verdict(metrics)


def train_file(data_path: Path, settings: Settings, out: Path, talk: Talk) -> int:
    """Train on a data file and write the model; return the exit code."""
    started = time.perf_counter()
    data = read_dataset(data_path, settings.dtype)
    require_writable(out)
    _require_model_or_nothing(out)
    trained = train_with_progress(data, settings, out, talk)
    with _kept_if_interrupted(trained, settings.epochs, out):
        save(out, trained.model)
    metrics = _about("train") | _training_metrics(settings, trained, data)
    metrics["seconds"] = {"total": time.perf_counter() - started}
    _tell(metrics, f"Written to {out}: read it with `refbilinear analyze {out}`", talk)
    return 0


def analyze_file(
    path: Path,
    *,
    outputs: Sequence[int] | None,
    top: int,
    data_path: Path | None,
    image: tuple[int, int] | None,
    out: Path | None,
    talk: Talk,
    kernel: ModuleType = tensor,
) -> int:
    """Read a model file's outputs as quadratic forms; return the exit code.

    With data also check the tensor on them and truncate; with `out` write a report.
    """
    model = load(path)
    for name, array in parameters(model).items():
        require_finite(f"{path}: {name}", array)
    if isinstance(model, BilinearLayer):
        model = BilinearMLP(None, (model,), None)
    layer = fold(model)
    data = None if data_path is None else _fitting_data(data_path, layer)
    shape = _image_shape(image, layer.d_in)
    with _report_folder(out) as folder:
        findings = _examine(layer, _chosen_outputs(outputs, layer.d_out), talk)
        metrics = _about("analyze", kernel) | {"settings": {"model": path.name}}
        metrics |= _outputs_metrics(findings, top)
        if data is not None:
            metrics |= _data_metrics(model, findings, data, kernel)
        if folder is not None:
            pictures = _pictures(findings, shape, metrics, data, talk)
            _fill(folder, f"{path.name}, read from the weights", metrics, pictures, findings)
    _tell(metrics, "" if out is None else f"Written to {out}: open {out / 'report.html'}", talk)
    return _verdict(metrics)


def _report_folder(out: Path | None) -> AbstractContextManager[Path | None]:
    return nullcontext() if out is None else staged_folder(out, REPORT_FILES, SIGNATURE)


def _require_model_or_nothing(out: Path) -> None:
    """Raise FileExistsError where a model would take the place of anything but a model."""
    if out.exists():
        try:
            load(out)
        except (TypeError, ValueError) as error:
            words = f"{out} exists and is no model: name another file"
            raise FileExistsError(words) from error


def information() -> dict[str, Any]:
    """Return versions, the BLAS of NumPy, the kernel with its variants and threads, the extras."""
    blas = np.show_config(mode="dicts").get("Build Dependencies", {}).get("blas", {})
    return {
        "refbilinear": refbilinear.__version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "blas": f"{blas.get('name', 'unknown')} {blas.get('version', '')}".strip(),
        **_kernel(),
        "extras": {name: installed(name) for name in EXTRAS},
    }


def _kernel() -> dict[str, Any]:
    """Return the compiled kernel's variants and threads, or why there is none."""
    try:
        fast = import_module("refbilinear.fast")
    except ImportError as error:
        return {"kernel": f"none: {error}", "variants": [], "threads": usable_cores()}
    return {
        "kernel": fast.active(),
        "variants": list(fast.variants()),
        "threads": fast.default_threads(),
    }


def train_with_progress(data: Dataset, settings: Settings, out: Path, talk: Talk) -> Trained:
    """Train a fresh model, with progress; if interrupted keep the last whole epoch beside `out`."""
    rng = np.random.default_rng(settings.seed)
    model = _initial_model(rng, data, settings)
    epochs = train(
        model, data.x, data.y, rng=rng, epochs=settings.epochs, batch_size=settings.batch_size,
        learning_rate=settings.learning_rate, weight_decay=settings.weight_decay,
        noise=settings.noise, validation=(data.x_test, data.y_test) if len(data.x_test) else None,
    )  # fmt: skip
    history: list[dict[str, Any]] = []
    try:
        for epoch in progress(epochs, settings.epochs, "training", quiet=talk.quiet):
            model = epoch.model
            history.append(_figures(epoch))
    except KeyboardInterrupt:
        words = _keep(Trained(model, history), settings.epochs, out)
        raise KeyboardInterrupt(words) from None
    return Trained(model, history)


def _figures(epoch: Epoch) -> dict[str, Any]:
    """Return what metrics.json holds of an epoch: neither its model nor its time."""
    held = epoch._asdict()
    return {name: held[name] for name in held if name not in ("model", "seconds")}


@contextmanager
def _kept_if_interrupted(trained: Trained, epochs: int, out: Path) -> Iterator[None]:
    """Save the model beside `out` if Ctrl-C comes while its report is being made."""
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(_keep(trained, epochs, out)) from None


def _initial_model(rng: np.random.Generator, data: Dataset, settings: Settings) -> BilinearMLP:
    return init_mlp(
        rng, data.x.shape[1], settings.d_model, settings.d_hidden, data.classes,
        bias=settings.bias, residual=settings.residual, dtype=settings.dtype,
    )  # fmt: skip


def _keep(trained: Trained, epochs: int, out: Path) -> str:
    """Save the model of the last whole epoch beside `out`; return what was kept, in words."""
    done = len(trained.history)
    if done == 0:
        return f"before the first of {epochs} epochs was done: nothing was kept, {out} is as it was"
    path = out.with_name(f"{out.name.removesuffix('.npz')}.interrupted.npz")
    save(path, trained.model)
    return f"after epoch {done} of {epochs}: its model is kept in {path}, {out} is as it was"


def _examine(layer: BilinearLayer, outputs: Sequence[int], talk: Talk) -> list[OutputFinding]:
    """Examine outputs, with progress: each is an eigenproblem of the size of the input."""
    return examine(layer, progress(outputs, len(outputs), "spectra", quiet=talk.quiet))


def _about(command: str, kernel: ModuleType = tensor) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "command": command,
        "version": refbilinear.__version__,
        "numpy": np.__version__,
        "kernel": _kernel_name(kernel),
    }


def _kernel_name(kernel: ModuleType) -> str:
    """Return what is recorded of the choice: of the compiled kernel, with its variant."""
    return "spec" if kernel is tensor else f"fast ({kernel.active()})"


def _training_metrics(settings: Settings, trained: Trained, data: Dataset) -> dict[str, Any]:
    sizes = {"train_examples": len(data.x), "test_examples": len(data.x_test)}
    count = sum(array.size for array in parameters(trained.model).values())
    last = trained.history[-1]
    return {
        "settings": settings._asdict(),
        **sizes,
        "parameters": count,
        "test_accuracy": last["validation_accuracy"],
        "epochs": trained.history,
    }


def _outputs_metrics(findings: Sequence[OutputFinding], top: int = 5) -> dict[str, Any]:
    return {"outputs": summary(findings, top)}


def _data_metrics(
    model: BilinearMLP, findings: Sequence[OutputFinding], data: Dataset, kernel: ModuleType
) -> dict[str, Any]:
    """Return the tensor's check, the accuracy, and the truncated ones if all outputs are in."""
    x, labels = data.x_test, data.y_test
    metrics = {
        "check": check_tensor(model, x, kernel)._asdict(),
        "test_accuracy": accuracy(mlp_forward(model, x), labels),
    }
    if [found.output for found in findings] == list(range(model.d_out)):
        curve = truncated_accuracy(findings, x, labels)
        metrics["truncation"] = [{"k": k, "accuracy": share} for k, share in curve]
    return metrics


def _fitting_data(path: Path, layer: BilinearLayer) -> Dataset:
    """Read a data file and make sure that the layer can be run on it."""
    data = read_dataset(path, layer.dtype)
    if data.x.shape[1] != layer.d_in or data.classes > layer.d_out or not len(data.x_test):
        raise ValueError(
            f"{path}: a model of {layer.d_in} inputs and {layer.d_out} classes needs x "
            f"(n, {layer.d_in}), labels below {layer.d_out} and test examples; got x "
            f"{data.x.shape}, {data.classes} classes and {len(data.x_test)} test examples"
        )
    return data


def _chosen_outputs(outputs: Sequence[int] | None, d_out: int) -> Sequence[int]:
    if d_out == 0:
        raise ValueError("the model has no output to read: w_out or w_head has no rows")
    if outputs is None and d_out > MOST_OUTPUTS:
        raise ValueError(f"the model has {d_out} outputs: choose some with --output")
    return range(d_out) if outputs is None else sorted(set(outputs))


def _image_shape(image: tuple[int, int] | None, d_in: int) -> tuple[int, int] | None:
    """Return the image shape that was asked for, or the square one, or None if d_in has none."""
    if image is not None:
        if math.prod(image) != d_in:
            raise ValueError(f"--image must have {d_in} pixels in all; got {image[0]}x{image[1]}")
        return image
    side = math.isqrt(d_in)
    return (side, side) if side > 1 and side * side == d_in else None


def _pictures(
    findings: Sequence[OutputFinding],
    shape: tuple[int, int] | None,
    metrics: Mapping[str, Any],
    data: Dataset | None,
    talk: Talk,
) -> dict[str, bytes]:
    """Return every picture that the findings allow; none, with a note, without matplotlib."""
    if not installed("matplotlib"):
        _note(f"no pictures: they need matplotlib: {INSTALL}", talk)
        return {}
    pictures = {}
    if "epochs" in metrics:
        pictures["training.png"] = plots.training_curve(metrics["epochs"])
    if shape is not None:
        pictures["eigenvectors.png"] = plots.eigenvectors(findings, shape)
    pictures["spectra.png"] = plots.spectra(findings)
    if "truncation" in metrics:
        pictures["truncation.png"] = plots.truncation_curve(metrics["truncation"])
    if data is not None:
        pictures["explanation.png"] = plots.explanation(_explained(findings, data), shape)
    return pictures


def _explained(findings: Sequence[OutputFinding], data: Dataset) -> Explanation:
    """Return the explanation of the first test example by the first output that is its class."""
    outputs = [found.output for found in findings]
    matching = np.flatnonzero(np.isin(data.y_test, outputs))
    example = int(matching[0]) if len(matching) else 0
    label = int(data.y_test[example])
    found = findings[outputs.index(label)] if label in outputs else findings[0]
    return explain(found, data.x_test[example], label)


def _fill(
    folder: Path,
    title: str,
    metrics: Mapping[str, Any],
    pictures: Mapping[str, bytes],
    findings: Sequence[OutputFinding],
) -> None:
    """Write report, metrics, pictures and spectra into a folder."""
    write_file(folder / "report.html", report.html_report(title, metrics, pictures))
    write_file(folder / "metrics.json", _json(metrics).encode())
    write_file(folder / "spectrum.npz", npz_bytes(_spectrum_arrays(findings)))
    for name, png in pictures.items():
        write_file(folder / name, png)


def _spectrum_arrays(findings: Sequence[OutputFinding]) -> dict[str, Array]:
    """Return all forms and spectra, stacked over outputs."""
    return {
        "outputs": np.array([found.output for found in findings]),
        "eigenvalues": np.stack([found.spectrum.eigenvalues for found in findings]),
        "eigenvectors": np.stack([found.spectrum.eigenvectors for found in findings]),
        "linear": np.stack([found.form.linear for found in findings]),
        "constant": np.stack([found.form.constant for found in findings]),
    }


def _tell(metrics: Mapping[str, Any], last: str, talk: Talk) -> None:
    """Print the result: JSON for a program, tables for a person, nothing when quiet."""
    if talk.as_json:
        print(_json(metrics))
    elif not talk.quiet:
        print("\n".join(report.text_report(metrics)))
        if last:
            print(last)


def _note(words: str, talk: Talk) -> None:
    if not talk.quiet:
        print(words, file=sys.stderr)


def _json(metrics: Mapping[str, Any]) -> str:
    return json.dumps(metrics, indent=1, allow_nan=False)


def _verdict(metrics: Mapping[str, Any]) -> int:
    """Return exit code 1 if the tensor was checked and failed, otherwise 0."""
    return 0 if metrics.get("check", {"passed": True})["passed"] else 1
