"""Training throughput of the specification against the same model in PyTorch.

784 → 256 → (256 products) → 10, softmax cross-entropy, AdamW, batch 2048, float32, on random
inputs. First the loss and every gradient of one batch are compared, within the derived bounds;
then both train in turn, epoch by epoch, so that a machine whose speed drifts drifts for both.

    python benchmarks/bench_training.py --out training.json        (needs torch)

OPENBLAS_NUM_THREADS sets the threads of both; by default all usable processors.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

import machine
import refbilinear as rb
from refbilinear.oracle.bounds import mlp_backward_bound, mlp_forward_bound

D_IN, D_MODEL, D_HIDDEN, D_OUT, BATCH = 784, 256, 256, 10, 2048
STEPS = 8
NAMES = {
    "embed": "w_embed",
    "left": "layers.0.w_left",
    "right": "layers.0.w_right",
    "head": "w_head",
}


class TorchModel(torch.nn.Module):
    """The same bilinear MLP as a user of PyTorch writes it."""

    def __init__(self, model: rb.BilinearMLP) -> None:
        super().__init__()
        values = rb.parameters(model)
        for name, ours in NAMES.items():
            d_out, d_in = values[ours].shape
            linear = torch.nn.Linear(d_in, d_out, bias=False)
            linear.weight.data = torch.from_numpy(values[ours].copy())
            setattr(self, name, linear)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        h = self.embed(x)
        return self.head(self.left(h) * self.right(h))


def verify(model: rb.BilinearMLP, x: np.ndarray) -> dict[str, float]:
    """Compare outputs and gradients of both; return the worst error over bound of each."""
    x = x[:64]
    theirs = TorchModel(model)
    y = theirs(torch.from_numpy(x))
    dy = np.random.default_rng(1).standard_normal(y.shape).astype(np.float32)
    y.backward(torch.from_numpy(dy))
    ratios = {"y": ratio(rb.mlp_forward(model, x), y.detach().numpy(), mlp_forward_bound(model, x))}
    ours = rb.parameters(rb.mlp_backward(model, x, dy))
    bounds = rb.parameters(mlp_backward_bound(model, x, dy))
    for name, key in NAMES.items():
        gradient = getattr(theirs, name).weight.grad.numpy()
        ratios[key] = ratio(ours[key], gradient, bounds[key])
    if max(ratios.values()) > 1:
        raise SystemExit(f"the two models differ by more than rounding can: {ratios}")
    return ratios


def ratio(ours: np.ndarray, theirs: np.ndarray, bound: np.ndarray) -> float:
    """Return the largest difference of two roundings of one number, over their joint bound."""
    return float(np.max(np.abs(ours.astype(np.float64) - theirs) / (2 * bound)))


def our_epochs(model: rb.BilinearMLP, data: Any, noise: float, epochs: int) -> Iterator[None]:
    """Train with the specification; one step of the iterator is one epoch."""
    x, labels = data
    for _ in rb.train(model, x, labels, rng=0, epochs=epochs, batch_size=BATCH, noise=noise):
        yield


def torch_epochs(model: rb.BilinearMLP, data: Any, noise: float, epochs: int) -> Iterator[None]:
    """Train with PyTorch, shuffling, noise and schedule included."""
    x, labels = (torch.from_numpy(array) for array in data)
    net = TorchModel(model)
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs)
    for _ in range(epochs):
        for batch in torch.randperm(len(x)).split(BATCH):
            inputs = x[batch]
            if noise:
                inputs = inputs + noise * torch.randn_like(inputs)
            optimiser.zero_grad()
            loss = torch.nn.functional.cross_entropy(net(inputs), labels[batch])
            loss.backward()
            optimiser.step()
            loss.item()
        schedule.step()
        yield


def seconds_a_step(runs: dict[str, Iterator[None]]) -> dict[str, list[float]]:
    """Run all iterators in turn, epoch by epoch; return the seconds of a step of each epoch."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    while True:
        for name, run in runs.items():
            start = time.perf_counter()
            if next(run, STEPS) == STEPS:
                return seconds
            seconds[name].append((time.perf_counter() - start) / STEPS)


def product_flops() -> int:
    """Return the flops of all matrix products of a step: 2 forward-like ones, 6 square, 3 small."""
    return 2 * BATCH * (2 * D_IN * D_MODEL + 6 * D_MODEL * D_HIDDEN + 3 * D_HIDDEN * D_OUT)


def compare(model: rb.BilinearMLP, data: Any, noise: float, epochs: int) -> dict[str, float]:
    """Return median milliseconds a step of both, and their ratio epoch by epoch."""
    makers: dict[str, Callable[..., Iterator[None]]] = {"ours": our_epochs, "torch": torch_epochs}
    runs = {name: make(model, data, noise, epochs) for name, make in makers.items()}
    seconds = {name: taken[2:] for name, taken in seconds_a_step(runs).items()}
    ratios = [b / a for a, b in zip(seconds["ours"], seconds["torch"], strict=True)]
    return {
        "noise": noise,
        "our_ms": 1e3 * median(seconds["ours"]),
        "torch_ms": 1e3 * median(seconds["torch"]),
        "our_examples_a_second": BATCH / median(seconds["ours"]),
        "throughput_over_torch": median(ratios),
    }


def main() -> None:
    """Verify, time, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="JSON file to write (default: standard output)")
    parser.add_argument("--epochs", type=int, default=40, help="of 8 steps each")
    options = parser.parse_args()
    threads = machine.blas_threads()
    torch.set_num_threads(threads)
    about = machine.describe(threads)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((STEPS * BATCH, D_IN), dtype=np.float32)
    data = x, rng.integers(0, D_OUT, len(x))
    model = rb.init_mlp(0, D_IN, D_MODEL, D_HIDDEN, D_OUT, dtype=np.float32)
    error = verify(model, x)
    rows = [compare(model, data, noise, options.epochs) for noise in (0.0, 0.5)]
    rate = machine.gemm_rate(np.float32)
    limit_ms = 1e3 * product_flops() / rate
    machine.write(
        {
            "machine": {**about, "torch": torch.__version__},
            "error_over_bound": error,
            "gemm_gflops": rate / 1e9,
            "products_ms_at_gemm_rate": limit_ms,
            "products_share_without_noise": limit_ms / rows[0]["our_ms"],
            "rows": rows,
        },
        options.out,
    )


if __name__ == "__main__":
    main()
