"""Inner products and HOSVD from the weights, against the materialised way of NumPy's products.

First each result is verified: at a small size by exact certificates, and at the size of the case on
slices of outputs, `frobenius` and both Gram matrices against those of the materialised tensors,
within twice the derived bound. Then ours is timed whole, in turn with the materialised way on
slices of outputs, whose time is multiplied.

    python benchmarks/bench_products.py --out products.json
    python benchmarks/bench_products.py --cases 64x96x48 --rounds 1

The materialised way forms the tensors, one product and its transpose an output, and then what it
needs of them: for `frobenius` two tensors and the sum of their products; for `hosvd` one tensor,
the Gram matrices of both its unfoldings by one product each, their `eigh`, and the core by three
products. All of that is linear in the slices but what joins outputs, their Gram matrix (half of it,
by symmetry) and the core's product with u_outᵀ: these are charged at the rate of a square product
of NumPy's, the least they could take.
"""

import argparse
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np

import machine
import refbilinear as rb
from refbilinear.analysis.cosines import product_bound
from refbilinear.analysis.hosvd import gram_hosvd, gram_matrices
from refbilinear.analysis.products import frobenius
from refbilinear.oracle.decompositions import certify_hosvd

SLICES = 8
"""Outputs that the materialised way is timed on."""


class Case(NamedTuple):
    """Sizes of the layers."""

    d_out: int
    d_hidden: int
    d_in: int

    @property
    def name(self) -> str:
        """The name that `--cases` takes."""
        return f"{self.d_out}x{self.d_hidden}x{self.d_in}"


CASES = (Case(768, 3072, 768), Case(256, 1024, 256), Case(10, 512, 784))


def layers(case: Case, dtype: str = "float64") -> tuple[rb.BilinearLayer, rb.BilinearLayer]:
    """Return two layers, the same on every run."""
    rng, pair = np.random.default_rng(0), []
    shapes = (case.d_hidden, case.d_in), (case.d_hidden, case.d_in), (case.d_out, case.d_hidden)
    for _ in range(2):
        arrays = [rng.standard_normal(shape).astype(dtype) for shape in shapes]
        pair.append(rb.BilinearLayer(*arrays))
    return pair[0], pair[1]


# ---- the materialised way, on slices of outputs ----


def slices(layer: rb.BilinearLayer, outputs: slice) -> np.ndarray:
    """Return the tensors of some outputs, by one square product each."""
    chosen = layer.w_out[outputs]
    tensor = np.empty((len(chosen), layer.d_in, layer.d_in), layer.dtype)
    for o, weights in enumerate(chosen / 2):
        product = (layer.w_left * weights[:, None]).T @ layer.w_right
        np.add(product, product.T, out=tensor[o])
    return tensor


def sliced_frobenius(
    first: rb.BilinearLayer, second: rb.BilinearLayer, outputs: slice
) -> np.ndarray:
    """Return the products of each output of a slice with its like."""
    a, b = slices(first, outputs), slices(second, outputs)
    return np.array([np.vdot(one, two) for one, two in zip(a, b, strict=True)])


def sliced_grams(tensor: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return one block of the Gram matrix over outputs, and a part of that over inputs."""
    flat = tensor.reshape(len(tensor), -1)
    turned = np.moveaxis(tensor, 1, 0).reshape(tensor.shape[1], -1)
    return flat @ flat.T, turned @ turned.T


def rotated(tensor: np.ndarray, u_in: np.ndarray) -> np.ndarray:
    """Return a slice of outputs in the coordinates of the core's inputs."""
    turned: np.ndarray = u_in.T @ tensor @ u_in
    return turned


def seconds(run: Callable[..., Any], *arguments: Any) -> tuple[float, Any]:
    """Return how long a function takes, and its result."""
    start = time.perf_counter()
    result = run(*arguments)
    return time.perf_counter() - start, result


def materialised_frobenius(
    case: Case, first: rb.BilinearLayer, second: rb.BilinearLayer, _: float
) -> float:
    """Return the seconds of the materialised way, extrapolated from a slice."""
    size = min(SLICES, case.d_out)
    return seconds(sliced_frobenius, first, second, slice(size))[0] * case.d_out / size


def materialised_hosvd(case: Case, layer: rb.BilinearLayer, rate: float) -> float:
    """Return the seconds of the materialised way, extrapolated from a slice."""
    size = min(SLICES, case.d_out)
    often = case.d_out / size
    built, tensor = seconds(slices, layer, slice(size))
    of_inputs, (_, gram) = seconds(sliced_grams, tensor)
    of_eigh, (_, u_in) = seconds(np.linalg.eigh, gram)
    of_eigh += seconds(np.linalg.eigh, layer.w_out @ layer.w_out.T)[0]
    of_core, _ = seconds(rotated, tensor, u_in)
    of_outputs = 3 * (case.d_out * case.d_in) ** 2 / rate
    return (built + of_inputs + of_core) * often + of_outputs + of_eigh


# ---- right first ----


def require(right: bool, words: str) -> None:
    """Stop unless a result is right."""
    if not right:
        raise SystemExit(f"wrong: {words}")


def rational(layer: rb.BilinearLayer) -> rb.BilinearLayer:
    """Return a layer of floats in rationals."""
    exact = np.vectorize(Fraction, otypes=[object])
    return rb.BilinearLayer(**{name: exact(w) for name, w in rb.parameters(layer).items()})


def verify_small() -> None:
    """Compare `frobenius` with rational arithmetic and certify HOSVD, at a small size."""
    first, second = layers(Case(3, 7, 5))
    pair = [rational(layer) for layer in (first, second)]
    off = abs(Fraction(float(frobenius(first, second))) - frobenius(*pair))
    require(off <= Fraction(float(product_bound(first, second))), f"frobenius, by {float(off)}")
    found = gram_hosvd(first)
    proof = certify_hosvd(
        rb.interaction_tensor(first),
        found.u_out,
        found.u_in,
        rb.unpack(rb.interaction_tensor(found.core)),
    )
    require(proof.certified, f"hosvd: {proof.reasons}")


def verify(case: Case, first: rb.BilinearLayer, second: rb.BilinearLayer) -> dict[str, float]:
    """Compare some outputs with materialised slices; return the worst error over bound.

    Both ways err: each by at most the bound of its own, and ours is the larger of the two.
    """
    size = min(SLICES, case.d_out)
    chosen = slice(size)
    few = [rb.BilinearLayer(one.w_left, one.w_right, one.w_out[chosen]) for one in (first, second)]
    bound = product_bound(*few, outputs="each")
    errors = abs(frobenius(*few, outputs="each") - sliced_frobenius(first, second, chosen))
    ratio = float(np.max(errors / (2 * bound)))
    require(
        ratio <= 1, f"frobenius of {case.name} errs {ratio:.3g} times what rounding can explain"
    )
    of_out, of_in = sliced_grams(slices(first, chosen))
    grams = gram_matrices(few[0])
    pairs = product_bound(few[0], few[0], outputs="pairs")
    out = float(np.max(abs(grams.out - of_out) / (2 * pairs)))
    inputs = float(np.linalg.norm(grams.inputs - of_in) / (2 * np.trace(pairs)))
    require(max(out, inputs) <= 1, f"the Gram matrices of {case.name} err {max(out, inputs):.3g}")
    return {"frobenius": ratio, "gram over outputs": out, "gram over inputs": inputs}


# ---- rounds, and what they say ----


def compare(case: Case, rounds: int, rate: float) -> dict[str, Any]:
    """Verify a case and time it; return its row."""
    first, second = layers(case)
    row: dict[str, Any] = case._asdict() | {"error_over_bound": verify(case, first, second)}
    row["load"] = machine.describe(machine.blas_threads())["load"]
    found: dict[str, list[float]] = {name: [] for name in TASKS}
    theirs: dict[str, list[float]] = {name: [] for name in TASKS}
    for _ in range(rounds):
        for name, (ours, materialised) in TASKS.items():
            found[name].append(seconds(ours, first, second)[0])
            theirs[name].append(materialised(case, first, second, rate))
    for name in TASKS:
        ratios = [t / f for t, f in zip(theirs[name], found[name], strict=True)]
        row[name] = {
            "seconds": median(found[name]),
            "materialised_seconds": median(theirs[name]),
            "ratio": median(ratios),
        }
    return row


TASKS: dict[str, tuple[Callable[..., Any], Callable[..., float]]] = {
    "frobenius": (frobenius, materialised_frobenius),
    "hosvd": (
        lambda first, _: gram_hosvd(first),
        lambda case, first, _, rate: materialised_hosvd(case, first, rate),
    ),
}


# ---- the command ----


def sizes(text: str) -> Case:
    """Return the case of a name, d_out x d_hidden x d_in."""
    parts = text.split("x")
    if len(parts) != 3 or not all(part.isdecimal() and int(part) for part in parts):
        raise argparse.ArgumentTypeError(f"must be d_out x d_hidden x d_in, as 3x5x4; got {text}")
    return Case(*map(int, parts))


def positive(text: str) -> int:
    """Return the number of at least 1 that a text is."""
    if not (text.isascii() and text.isdigit() and int(text) >= 1):
        raise argparse.ArgumentTypeError(f"must be a number of at least 1; got {text}")
    return int(text)


def parse() -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--out", type=Path, help="JSON file to write (default: standard output)")
    names = ", ".join(case.name for case in CASES)
    add("--cases", nargs="+", type=sizes, default=CASES, help=f"sizes (default: {names})")
    add("--rounds", type=positive, default=3, help="of all, in turn (default: 3)")
    return parser.parse_args()


def main() -> None:
    """Verify, time, write."""
    options = parse()
    verify_small()
    results: dict[str, Any] = {"machine": machine.describe(machine.blas_threads())}
    rate = machine.gemm_rate(np.float64)
    results |= {"rounds": options.rounds, "slices": SLICES, "gemm_gflops": rate / 1e9}
    results["rows"] = []
    for case in options.cases:
        if sys.stderr.isatty():
            sys.stderr.write(f"{case.name}\n")
        results["rows"].append(compare(case, options.rounds, rate))
    machine.write(results, options.out)


if __name__ == "__main__":
    main()
