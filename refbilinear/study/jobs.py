"""What the commands do: study, train, analyse, compare; a result is written whole or not at all."""

import math
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

import refbilinear
from refbilinear.spec import tensor
from refbilinear.spec.arrays import require_finite
from refbilinear.spec.layer import BilinearLayer
from refbilinear.spec.mlp import BilinearMLP, fold, parameters
from refbilinear.study import experiments, sections, writing
from refbilinear.study.checkpoints import load, model_bytes, save
from refbilinear.study.datasets import Dataset, load_dataset, read_dataset
from refbilinear.study.extras import Talk, installed, progress
from refbilinear.study.files import read_npz, require_writable, write_file
from refbilinear.study.findings import OutputFinding, examine, require_examples
from refbilinear.study.layouts import is_ours
from refbilinear.study.likeness import likeness
from refbilinear.study.sections import Section
from refbilinear.study.training import Settings, Trained, kept_if_it_fails, train_with_progress
from refbilinear.threads import usable_cores

KERNELS = {"spec": "refbilinear.spec.tensor", "fast": "refbilinear.fast"}
EXTRAS = ("matplotlib", "tqdm", "pooch")
MOST_OUTPUTS = 64
TITLES = {"digits": "Handwritten digits", "mnist": "MNIST", "fashion-mnist": "Fashion-MNIST"}


def import_kernel(name: str) -> ModuleType:
    """Import what computes a tensor: done first, so that a missing one costs no training."""
    return import_module(KERNELS[name])


def study(
    name: str,
    settings: Settings,
    out: Path,
    talk: Talk,
    kernel: ModuleType = tensor,
    *,
    runs: int = 1,
    sweep: bool = False,
    examples: Sequence[int] = (),
) -> int:
    """Train on a data set, read the model, write the folder `out`; return the exit code.

    With more runs also train with the following seeds and compare; with a sweep also with other
    noise, and on too few examples.
    """
    started = time.perf_counter()
    data = load_dataset(name, settings.dtype)
    require_examples(examples, len(data.x_test))
    with writing.study_folder(out) as folder:
        trained = train_with_progress(data, settings, talk, out=out)
        with kept_if_it_fails(trained, settings.epochs, out):
            model, seconds = trained.model, {"training": time.perf_counter() - started}
            write_file(folder / "model.npz", model_bytes(model))
            findings = _examine(fold(model), range(data.classes), talk, data.names)
            parts = [
                sections.training(settings, trained, data),
                sections.outputs(findings, data.image),
                *_on_data(model, findings, data, data.image, kernel, examples),
                *_experiments(trained, findings, data, settings, talk, runs, sweep),
            ]
            metrics = _about("study", kernel) | {"data": name} | writing.merged(parts)
            metrics["seconds"] = seconds | {"total": time.perf_counter() - started}
            title = f"{TITLES[name]}, read from the weights"
            write_file(folder / "spectrum.npz", writing.spectrum_bytes(findings))
            writing.fill(folder, title, metrics, parts, talk)
    writing.tell(metrics, out, talk)
    return _verdict(metrics)


def _experiments(
    trained: Trained,
    findings: Sequence[OutputFinding],
    data: Dataset,
    settings: Settings,
    talk: Talk,
    runs: int,
    sweep: bool,
) -> Iterator[Section]:
    """Yield what other trainings show, where they are asked for."""
    if runs > 1:
        yield sections.seeds(experiments.other_seeds(trained, findings, data, settings, runs, talk))
    if sweep:
        yield sections.noise(experiments.other_noise(data, settings, talk), data.image)
        yield sections.overfitting(experiments.too_few(data, settings, talk), data.image)


def train_file(data_path: Path, settings: Settings, out: Path, talk: Talk) -> int:
    """Train on a data file and write the model; return the exit code."""
    started = time.perf_counter()
    data = read_dataset(data_path, settings.dtype)
    require_writable(out)
    _require_model_or_nothing(out)
    trained = train_with_progress(data, settings, talk, out=out)
    with kept_if_it_fails(trained, settings.epochs, out):
        save(out, trained.model)
    metrics = _about("train") | sections.training(settings, trained, data).metrics
    metrics["seconds"] = {"total": time.perf_counter() - started}
    writing.tell(metrics, None, talk)
    if not (talk.quiet or talk.as_json):
        print(f"Written to {out}: read it with `refbilinear analyze {out}`")
    return 0


def analyze_file(
    path: Path,
    *,
    outputs: Sequence[int] | None,
    top: int,
    data_name: str | None,
    image: tuple[int, int] | None,
    out: Path | None,
    talk: Talk,
    kernel: ModuleType = tensor,
    examples: Sequence[int] = (),
    **choices: Any,
) -> int:
    """Read a model file's outputs as quadratic forms; return the exit code.

    With data also check the tensor on them, truncate, explain, mask; with `out` write a report.
    The choices are those of `load`.
    """
    if examples and data_name is None:
        raise ValueError("--example needs --data")
    model = _load_model(path, **choices)
    layer = fold(model)
    data = None if data_name is None else _fitting_data(data_name, layer)
    shape = _image_shape(image or (data and data.image), layer.d_in, choices.get("layer") is None)
    with writing.report_folder(out) as folder:
        chosen, names = _chosen_outputs(outputs, layer.d_out), data.names if data else ()
        findings = _examine(layer, chosen, talk, names)
        parts = [sections.outputs(findings, shape, top)]
        if data is not None:
            parts += _on_data(model, findings, data, shape, kernel, examples)
        metrics = _about("analyze", kernel) | {"settings": {"model": _shown(path)}}
        metrics |= writing.merged(parts)
        if folder is not None:
            write_file(folder / "spectrum.npz", writing.spectrum_bytes(findings))
            writing.fill(folder, f"{_shown(path)}, read from the weights", metrics, parts, talk)
    writing.tell(metrics, out, talk)
    return _verdict(metrics)


def compare_files(
    first: Path,
    second: Path,
    *,
    outputs: Sequence[int] | None,
    image: tuple[int, int] | None,
    out: Path | None,
    talk: Talk,
    **choices: Any,
) -> int:
    """Say how alike two model files are, output by output; return the exit code."""
    a, b = (fold(_load_model(path, **choices)) for path in (first, second))
    _require_alike(first, second, a, b)
    shape = _image_shape(image, a.d_in, choices.get("layer") is None)
    with writing.report_folder(out) as folder:
        numbers = _chosen_outputs(outputs, a.d_out)
        of_a, of_b = (_examine(layer, numbers, talk) for layer in (a, b))
        names = (_shown(first), _shown(second))
        part = sections.comparison(likeness(a, b, of_a, of_b), of_a, of_b, names, shape)
        metrics = _about("compare") | {"settings": {"first": names[0], "second": names[1]}}
        metrics |= part.metrics
        if folder is not None:
            writing.fill(folder, f"{names[0]} and {names[1]}", metrics, [part], talk)
    writing.tell(metrics, out, talk)
    return 0


def _shown(path: Path) -> str:
    """Return the name of a file; bytes of it that are no text as escapes."""
    return path.name.encode("utf-8", "backslashreplace").decode()


def _on_data(
    model: BilinearMLP,
    findings: Sequence[OutputFinding],
    data: Dataset,
    shape: tuple[int, int] | None,
    kernel: ModuleType,
    examples: Sequence[int],
) -> Iterator[Section]:
    """Yield what a model does to test examples; of all outputs also truncation and masks."""
    yield sections.check(model, data, kernel)
    whole = [found.output for found in findings] == list(range(model.d_out))
    if whole:
        yield sections.truncation(model, findings, data)
    yield sections.explanation(model, findings, data, shape, examples)
    if whole:
        yield sections.masks(model, findings, data, shape)


def _load_model(path: Path, **choices: Any) -> BilinearMLP:
    """Load a model, or a layer as a model, of finite weights."""
    model = load(path, **choices)
    for name, array in parameters(model).items():
        require_finite(f"{path}: {name}", array)
    return BilinearMLP(None, (model,), None) if isinstance(model, BilinearLayer) else model


def _require_alike(first: Path, second: Path, a: BilinearLayer, b: BilinearLayer) -> None:
    """Raise ValueError for two layers that cannot be compared."""
    if not a.d_in:
        raise ValueError(f"{first} must have at least one input to be compared; it has none")
    if (a.d_in, a.d_out, a.dtype) != (b.d_in, b.d_out, b.dtype):
        raise ValueError(
            f"{second} must have the inputs, outputs and dtype of {first}, "
            f"{a.d_in}, {a.d_out} and {a.dtype}; got {b.d_in}, {b.d_out} and {b.dtype}"
        )


def _require_model_or_nothing(out: Path) -> None:
    """Raise FileExistsError where a model would take the place of anything but a model of ours."""
    if out.exists() and not _is_model_of_ours(out):
        raise FileExistsError(f"{out} exists and is no model: name another file")


def _is_model_of_ours(path: Path) -> bool:
    try:
        return is_ours(read_npz(path)) and bool(load(path))
    except (TypeError, ValueError):
        return False


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


def _examine(
    layer: BilinearLayer, outputs: Sequence[int], talk: Talk, names: Sequence[str] = ()
) -> list[OutputFinding]:
    """Examine outputs, with progress: each is an eigenproblem of the size of the input."""
    return examine(layer, progress(outputs, len(outputs), "spectra", quiet=talk.quiet), names)


def _about(command: str, kernel: ModuleType = tensor) -> dict[str, Any]:
    return {
        "schema": writing.SCHEMA,
        "command": command,
        "version": refbilinear.__version__,
        "numpy": np.__version__,
        "kernel": _kernel_name(kernel),
    }


def _kernel_name(kernel: ModuleType) -> str:
    """Return what is recorded of the choice: of the compiled kernel, with its variant."""
    return "spec" if kernel is tensor else f"fast ({kernel.active()})"


def _fitting_data(name: str, layer: BilinearLayer) -> Dataset:
    """Read a data set and make sure that the layer can be run on it."""
    data = load_dataset(name, layer.dtype)
    if data.x.shape[1] != layer.d_in or data.classes > layer.d_out or not len(data.x_test):
        raise ValueError(
            f"{name}: a model of {layer.d_in} inputs and {layer.d_out} classes needs x "
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


def _image_shape(
    image: tuple[int, int] | None, d_in: int, of_images: bool
) -> tuple[int, int] | None:
    """Return the shape that was asked for, or the square one; None for what may be no images."""
    if image is not None:
        if math.prod(image) != d_in:
            raise ValueError(f"--image must have {d_in} pixels in all; got {image[0]}x{image[1]}")
        return image
    side = math.isqrt(d_in)
    return (side, side) if of_images and side > 1 and side * side == d_in else None


def _verdict(metrics: Mapping[str, Any]) -> int:
    """Return exit code 1 if the tensor was checked and failed, otherwise 0."""
    return 0 if metrics.get("check", {"passed": True})["passed"] else 1
