"""Training throughput of the specification against the same model in PyTorch.

784 → 256 → (256 products) → 10, softmax cross-entropy, AdamW, batch 2048, float32, on random
inputs. First the outputs and every gradient of one batch are compared, within the derived bounds.
Then each trains in processes of its own, in turn: in one process the waiting threads of one BLAS
would take the processors of the other.

    python benchmarks/bench_training.py --out training.json        (needs torch)

OPENBLAS_NUM_THREADS sets the threads of both; by default all usable processors.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

import machine
import refbilinear as rb
from refbilinear.oracle.bounds import mlp_backward_bound, mlp_forward_bound

D_IN, D_MODEL, D_HIDDEN, D_OUT, BATCH = 784, 256, 256, 10, 2048
STEPS, EPOCHS, WARM_UP = 8, 30, 10
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


def train_ours(model: rb.BilinearMLP, data: Any, noise: float) -> list[float]:
    """Train with the specification; return the seconds of each epoch."""
    x, labels = data
    epochs = rb.train(model, x, labels, rng=0, epochs=EPOCHS, batch_size=BATCH, noise=noise)
    return timed(epochs)


def train_torch(model: rb.BilinearMLP, data: Any, noise: float) -> list[float]:
    """Train with PyTorch; return the seconds of each epoch."""
    torch.set_num_threads(machine.blas_threads())
    return timed(torch_epochs(model, data, noise))


def torch_epochs(model: rb.BilinearMLP, data: Any, noise: float) -> Iterator[None]:
    """Do what `rb.train` does: shuffle, noise, schedule, the loss read at every step."""
    x, labels = (torch.from_numpy(array) for array in data)
    net = TorchModel(model)
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, EPOCHS)
    for _ in range(EPOCHS):
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


TRAINERS = {"ours": train_ours, "torch": train_torch}


def timed(epochs: Iterator[object]) -> list[float]:
    """Return the seconds that each item of an iterator takes, once it runs steadily."""
    seconds, start = [], time.perf_counter()
    for _ in epochs:
        seconds.append(time.perf_counter() - start)
        start = time.perf_counter()
    return seconds[WARM_UP:]


def problem() -> tuple[rb.BilinearMLP, tuple[np.ndarray, np.ndarray]]:
    """Return the model and the data, the same in every process."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((STEPS * BATCH, D_IN), dtype=np.float32)
    model = rb.init_mlp(0, D_IN, D_MODEL, D_HIDDEN, D_OUT, dtype=np.float32)
    return model, (x, rng.integers(0, D_OUT, len(x)))


def work(name: str, noise: float) -> None:
    """Be a process that trains one of the two, and prints the seconds and the GEMM rate."""
    seconds = TRAINERS[name](*problem(), noise)
    print(json.dumps({"seconds": seconds, "gemm": machine.gemm_rate(np.float32)}))


def in_its_own_process(name: str, noise: float) -> dict[str, Any]:
    """Return what `work` prints."""
    command = [sys.executable, __file__, "--work", name, str(noise)]
    result: dict[str, Any] = json.loads(subprocess.check_output(command))
    return result


def compare(noise: float, rounds: int) -> dict[str, float]:
    """Let both train in turn; return median milliseconds a step, and their ratio by rounds."""
    ms: dict[str, list[float]] = {name: [] for name in TRAINERS}
    gemm = []
    for _ in range(rounds):
        for name in TRAINERS:
            done = in_its_own_process(name, noise)
            ms[name].append(1e3 * median(done["seconds"]) / STEPS)
            gemm.append(done["gemm"])
    limit = 1e3 * product_flops() / median(gemm)
    return {
        "noise": noise,
        "our_ms": median(ms["ours"]),
        "torch_ms": median(ms["torch"]),
        "our_examples_a_second": 1e3 * BATCH / median(ms["ours"]),
        "throughput_over_torch": median(b / a for a, b in zip(*ms.values(), strict=True)),
        "gemm_gflops": median(gemm) / 1e9,
        "products_ms_at_gemm_rate": limit,
        "products_share": limit / median(ms["ours"]),
    }


def product_flops() -> int:
    """Return the flops of a step's products: 2 with the inputs, 6 square ones, 3 with the head."""
    return 2 * BATCH * (2 * D_IN * D_MODEL + 6 * D_MODEL * D_HIDDEN + 3 * D_HIDDEN * D_OUT)


def main() -> None:
    """Verify, time, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="JSON file to write (default: standard output)")
    parser.add_argument("--rounds", type=int, default=7, help="of both, in turn")
    parser.add_argument("--work", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(options.work[0], float(options.work[1]))
        return
    about = machine.describe(machine.blas_threads()) | {"torch": torch.__version__}
    model, (x, _) = problem()
    error = verify(model, x)
    rows = [compare(noise, options.rounds) for noise in (0.0, 0.5)]
    machine.write({"machine": about, "error_over_bound": error, "rows": rows}, options.out)


if __name__ == "__main__":
    main()
