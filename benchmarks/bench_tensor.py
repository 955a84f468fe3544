"""The tensor and its forms by the compiled kernel, against NumPy, opt_einsum and PyTorch.

First every entry that the kernel computes is compared with the specification in float64, within the
derived bounds; each competitor is checked likewise on a small problem, in its own process. Then
each is timed in processes of its own, in turn: the waiting threads of one BLAS would take the
processors of whoever runs next.

    python benchmarks/bench_tensor.py --out tensor.json --table tensor.md
    python benchmarks/bench_tensor.py --dtype float32 --cases form build-1x3072x768 --rounds 1

A case is its kind and d_out x d_hidden x d_in. A build is `interaction_tensor`; a form is
`quadratic_form` of a batch of 2048, and d_hidden is that of the layer whose forward stands beside
it. Ratios are their time over ours. Below d_hidden = d_out n_pairs / (2 d_in + d_out), the
break-even, the factors are cheaper than their tensor.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np

import machine
import refbilinear as rb
from refbilinear import fast
from refbilinear.oracle.bounds import (
    gamma,
    quadratic_form_bound,
    quadratic_form_roundings,
    tensor_bound,
    tensor_roundings,
)

BATCH = 2048
REPEATS, BUDGET = 9, 1.0
DTYPES = ("float32", "float64")
BUILD, FORM = "oh,hi,hj->oij", "ni,oij,nj->no"
SLOW = "np.einsum"
"""The competitor that, where its path fits in no memory it allows itself, takes minutes."""


class Case(NamedTuple):
    """What is computed, and its sizes."""

    kind: str
    d_out: int
    d_hidden: int
    d_in: int

    @property
    def name(self) -> str:
        """The name that `--cases` takes."""
        return f"{self.kind}-{self.d_out}x{self.d_hidden}x{self.d_in}"

    @property
    def flops(self) -> int:
        """The flops of the sums; those that make the pairs are not counted."""
        terms = self.d_hidden if self.kind == "build" else BATCH
        return self.d_out * terms * self.d_in * (self.d_in + 1)

    @property
    def break_even(self) -> int:
        """The d_hidden from which the tensor is cheaper to apply than its factors."""
        return round(self.d_out * rb.n_pairs(self.d_in) / (2 * self.d_in + self.d_out))


CASES = (
    Case("build", 1, 3072, 768),
    Case("build", 10, 512, 784),
    Case("build", 64, 1024, 256),
    Case("build", 256, 1024, 256),
    Case("build", 512, 2048, 512),
    Case("form", 10, 512, 784),
    Case("form", 256, 1024, 256),
)
SMALL = {kind: Case(kind, 3, 5, 4) for kind in ("build", "form")}


class Task(NamedTuple):
    """A function to time, and the function that makes its arguments of a layer and a batch."""

    run: Callable[..., Any]
    prepare: Callable[[rb.BilinearLayer, np.ndarray], tuple[Any, ...]]
    needs: str = "numpy"


# ---- the competitors: symmetric tensors, with the half in the output weights ----


def row_panel(w_out: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Build the packed tensor row by row: pairs, then one product."""
    half, d = w_out / 2, left.shape[1]
    tensor = np.empty((len(w_out), rb.n_pairs(d)), w_out.dtype)
    for i in range(d):
        pairs = left[:, : i + 1] * right[:, [i]] + left[:, [i]] * right[:, : i + 1]
        np.matmul(half, pairs, out=tensor[:, rb.n_pairs(i) : rb.n_pairs(i + 1)])
    return tensor


def product_per_output(w_out: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Build the full tensor by one square product an output."""
    tensor = np.empty((len(w_out), left.shape[1], left.shape[1]), w_out.dtype)
    for o, half in enumerate(w_out / 2):
        product = (left * half[:, None]).T @ right
        np.add(product, product.T, out=tensor[o])
    return tensor


def numpy_einsum(w_out: np.ndarray, left: np.ndarray, right: np.ndarray) -> Any:
    """Build the full tensor by NumPy's einsum."""
    tensor = np.einsum(BUILD, w_out / 2, left, right, optimize=True)
    return tensor + tensor.swapaxes(1, 2)


def opt_einsum(w_out: np.ndarray, left: np.ndarray, right: np.ndarray) -> Any:
    """Build the full tensor by opt_einsum."""
    tensor = import_module("opt_einsum").contract(BUILD, w_out / 2, left, right)
    return tensor + tensor.swapaxes(1, 2)


def torch_einsum(w_out: Any, left: Any, right: Any) -> Any:
    """Build the full tensor by PyTorch's einsum."""
    tensor = import_module("torch").einsum(BUILD, w_out / 2, left, right)
    return tensor + tensor.transpose(1, 2)


def form_per_output(x: np.ndarray, dense: np.ndarray) -> np.ndarray:
    """Evaluate the form by one product an output."""
    return np.stack([((x @ matrix) * x).sum(1) for matrix in dense], axis=1)


def torch_batched(x: Any, dense: Any) -> Any:
    """Evaluate the form by PyTorch's batched product."""
    return ((x @ dense) * x).sum(2).T


def einsum_form(x: np.ndarray, dense: np.ndarray) -> Any:
    """Evaluate the form by NumPy's einsum."""
    return np.einsum(FORM, x, dense, x, optimize=True)


def one_product(left: np.ndarray, right: np.ndarray) -> Any:
    """Return the one product of both factors: what BLAS takes at least for one output."""
    return left.T @ right


# ---- their arguments ----


def weights(layer: rb.BilinearLayer, _: np.ndarray) -> tuple[Any, ...]:
    """Return the arrays of a layer."""
    return layer.w_out, layer.w_left, layer.w_right


def packed(layer: rb.BilinearLayer, x: np.ndarray) -> tuple[Any, ...]:
    """Return the packed tensor and the batch."""
    return fast.interaction_tensor(layer), x


def dense(layer: rb.BilinearLayer, x: np.ndarray) -> tuple[Any, ...]:
    """Return the batch and the full tensor."""
    return x, rb.unpack(fast.interaction_tensor(layer))


def in_torch(prepare: Callable[..., tuple[Any, ...]]) -> Callable[..., tuple[Any, ...]]:
    """Return the function that prepares tensors of PyTorch, and sets its threads."""

    def tensors(layer: rb.BilinearLayer, x: np.ndarray) -> tuple[Any, ...]:
        torch = import_module("torch")
        torch.set_num_threads(machine.blas_threads())
        return tuple(torch.tensor(array) for array in prepare(layer, x))

    return tensors


COMPETITORS = {
    "build": {
        "row panel": Task(row_panel, weights),
        "GEMM per output": Task(product_per_output, weights),
        SLOW: Task(numpy_einsum, weights),
        "opt_einsum": Task(opt_einsum, weights, "opt_einsum"),
        "torch.einsum": Task(torch_einsum, in_torch(weights), "torch"),
    },
    "form": {
        "GEMM per output": Task(form_per_output, dense),
        "torch batched": Task(torch_batched, in_torch(dense), "torch"),
        SLOW: Task(einsum_form, dense),
    },
}
OURS = {
    "build": Task(fast.interaction_tensor, lambda layer, _: (layer,)),
    "form": Task(fast.quadratic_form, packed),
}
OTHERS = {
    "forward": Task(rb.forward, lambda layer, x: (layer, x)),
    "one product": Task(one_product, lambda layer, _: (layer.w_left, layer.w_right)),
}


# ---- right first ----


def problem(case: Case, dtype: str, batch: int = BATCH) -> tuple[rb.BilinearLayer, np.ndarray]:
    """Return the layer and the batch, the same in every process."""
    rng, hidden = np.random.default_rng(0), (case.d_hidden, case.d_in)
    shapes = hidden, hidden, (case.d_out, case.d_hidden), (batch, case.d_in)
    *arrays, x = (rng.standard_normal(shape).astype(dtype) for shape in shapes)
    return rb.BilinearLayer(*arrays), x


def reference(
    kind: str, layer: rb.BilinearLayer, x: np.ndarray, any_order: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Return the specification's result in float64, and how far one in `layer.dtype` may be off.

    A competitor may sum a form in any order, d² terms in one sum: `any_order`.
    """
    dtype = layer.dtype
    if kind == "build":
        exact = rb.BilinearLayer(**{k: w.astype(float) for k, w in rb.parameters(layer).items()})
        k = tensor_roundings(layer)
        return rb.interaction_tensor(exact), joint(tensor_bound(layer), k, k, dtype)
    tensor, k = fast.interaction_tensor(layer), quadratic_form_roundings(layer.d_in)
    bound = joint(quadratic_form_bound(tensor, x), k, layer.d_in**2 + 2 if any_order else k, dtype)
    return rb.quadratic_form(tensor.astype(float), x.astype(float)), bound


def joint(bound: np.ndarray, roundings: int, theirs: int, dtype: Any) -> np.ndarray:
    """Return the bound, given for K roundings, of `theirs` in dtype and K in float64 together."""
    both = gamma(theirs, dtype) + gamma(roundings, np.float64)
    return bound * (both / gamma(roundings, dtype))


def worst(result: np.ndarray, expected: np.ndarray, bound: np.ndarray) -> float:
    """Return the largest error over bound; NaN where a result is."""
    error = np.subtract(result, expected, dtype=np.float64)
    return float(np.max(np.abs(error, out=error) / bound))


def verify(case: Case, dtype: str) -> float:
    """Return the worst error over bound of every entry of our result."""
    layer, x = problem(case, dtype)
    task = OURS[case.kind]
    ratio = worst(task.run(*task.prepare(layer, x)), *reference(case.kind, layer, x))
    if not ratio <= 1:
        raise SystemExit(f"{case.name} in {dtype} errs {ratio:.3g} times what rounding can explain")
    return ratio


def check(kind: str, name: str, dtype: str) -> None:
    """Refuse a competitor whose result on a small problem is not the specification's."""
    layer, x = problem(SMALL[kind], dtype, batch=7)
    task = COMPETITORS[kind][name]
    result = np.asarray(task.run(*task.prepare(layer, x)))
    if result.ndim == 3:
        result = rb.pack(result)
    ratio = worst(result, *reference(kind, layer, x, any_order=True))
    if not ratio <= 1:
        raise SystemExit(
            f"{name} ({kind}, {dtype}) errs {ratio:.3g} times what rounding can explain"
        )


# ---- a process that times one of them ----


def work(name: str, case: Case, dtype: str) -> None:
    """Be a process that times one function, and prints its seconds, or the rate of NumPy."""
    if name == "gemm":
        print(json.dumps(machine.gemm_rate(np.dtype(dtype).type, repeats=4)))
        return
    if name in COMPETITORS[case.kind]:
        check(case.kind, name, dtype)
    task = ({"ours": OURS[case.kind]} | OTHERS | COMPETITORS[case.kind])[name]
    arguments = task.prepare(*problem(case, dtype))
    once = name == SLOW and not has_path(case)
    print(json.dumps(median(timed(task.run, arguments, least=1 if once else 2))))


def timed(run: Callable[..., Any], arguments: tuple[Any, ...], least: int) -> list[float]:
    """Return the seconds of several runs, without the first if there are more."""
    seconds: list[float] = []
    while len(seconds) < least or (len(seconds) < REPEATS and sum(seconds) < BUDGET):
        start = time.perf_counter()
        result = run(*arguments)
        seconds.append(time.perf_counter() - start)
        del result
    return seconds[1:] or seconds


def has_path(case: Case) -> bool:
    """Return whether NumPy's einsum finds products for it; else it loops over all indices."""
    o, h, d, n = case.d_out, case.d_hidden, case.d_in, BATCH
    build = case.kind == "build"
    shapes = [(o, h), (h, d), (h, d)] if build else [(n, d), (o, d, d), (n, d)]
    arrays = [np.broadcast_to(np.float32(0), shape) for shape in shapes]
    return len(np.einsum_path(BUILD if build else FORM, *arrays, optimize=True)[0]) > 2


def in_its_own_process(name: str, case: Case, dtype: str, threads: int) -> float | None:
    """Return what `work` prints, None for a competitor that lacks memory; stop for other errors."""
    names = ("OPENBLAS", "OMP", "MKL")
    counts = {f"{library}_NUM_THREADS": str(threads) for library in names}
    environment = os.environ | counts | {"REFBILINEAR_THREADS": str(threads)}
    command = [sys.executable, __file__, "--work", name, case.name, dtype]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return float(done.stdout)
    reason = (done.stderr.strip().splitlines() or ["without a word"])[-1]
    if name in COMPETITORS[case.kind] and lacks_memory(done.returncode, reason):
        return None
    raise SystemExit(f"{name} on {case.name} in {dtype} failed ({done.returncode}): {reason}")


def lacks_memory(code: int, reason: str) -> bool:
    """Return whether a process ended for want of memory: by its own word, or killed."""
    return code == -9 or "memory" in reason.lower()


# ---- rounds, and what they say ----


def names_of(case: Case, slow: bool) -> Iterator[str]:
    """Yield the names of all that is timed for a case."""
    for name, task in COMPETITORS[case.kind].items():
        if (name != SLOW or slow or has_path(case)) and installed(task.needs):
            yield name
    yield "forward"
    if case.kind == "build" and case.d_out == 1:
        yield "one product"


def turns(case: Case, slow: bool, threads: int, number: int) -> Iterator[tuple[str, str, int]]:
    """Yield key, name and threads of all that a round times; what takes long in the first only."""
    for name in ("gemm", "ours", *names_of(case, slow)):
        if name != SLOW or number == 0 or has_path(case):
            yield name, name, threads
    for name in ("gemm", "ours") if threads > 1 else ():
        yield f"{name} on one", name, 1


def rounds_of(case: Case, dtype: str, options: argparse.Namespace) -> dict[str, list[Any]]:
    """Let all run in turn; return what each round gave, by name."""
    found: dict[str, list[Any]] = {}
    for number in range(options.rounds):
        for key, name, threads in turns(case, options.slow, options.threads, number):
            progress(f"{case.name} {dtype}, round {number + 1} of {options.rounds}: {key}")
            found.setdefault(key, []).append(in_its_own_process(name, case, dtype, threads))
    return found


def compare(case: Case, dtype: str, options: argparse.Namespace) -> dict[str, Any]:
    """Verify a case and time it; return its row."""
    progress(f"{case.name} {dtype}: verification")
    row = case._asdict() | {"case": case.name, "dtype": dtype, "error_over_bound": None}
    row["error_over_bound"] = verify(case, dtype)
    row["load"] = os.getloadavg()[0]
    found = rounds_of(case, dtype, options)
    return row | rates(case, found) | scaling(found) | ratios(case, found)


def rates(case: Case, found: dict[str, list[Any]]) -> dict[str, Any]:
    """Return our time and rate, the rate of GEMM and the ceiling, of the rounds."""
    return {
        "ms": 1e3 * median(found["ours"]),
        "gflops": case.flops / median(found["ours"]) / 1e9,
        "gemm_gflops": median(found["gemm"]) / 1e9,
        "of_gemm": median(
            case.flops / t / rate for t, rate in zip(found["ours"], found["gemm"], strict=True)
        ),
        "ceiling": case.d_out / (case.d_out + 3) if case.kind == "build" else None,
        "forward_ms": 1e3 * median(found["forward"]),
        "break_even_d_hidden": case.break_even,
    }


def scaling(found: dict[str, list[Any]]) -> dict[str, Any]:
    """Return what all threads gain over one: ours, GEMM, and ours over GEMM's."""
    if "ours on one" not in found:
        return {"speedup": None, "gemm_speedup": None, "speedup_over_gemm": None}
    ours = quotients(found["ours on one"], found["ours"])
    gemm = quotients(found["gemm"], found["gemm on one"])
    names = ("speedup", "gemm_speedup", "speedup_over_gemm")
    return dict(zip(names, map(over, (ours, gemm, quotients(ours, gemm))), strict=True))


def ratios(case: Case, found: dict[str, list[Any]]) -> dict[str, Any]:
    """Return the time of each competitor over ours, and of ours over one product."""
    theirs = {
        name: over(quotients(found.get(name, []), found["ours"])) for name in COMPETITORS[case.kind]
    }
    of_product = over(quotients(found["ours"], found.get("one product", [])))
    return {"ratios": theirs, "over_one_product": of_product}


def quotients(a: list[Any], b: list[Any]) -> list[float]:
    """Return a over b, round by round, of the rounds that have both."""
    return [p / q for p, q in zip(a, b, strict=False) if p is not None and q is not None]


def over(values: list[float]) -> float | None:
    """Return the median over the rounds, None without rounds."""
    return median(values) if values else None


def progress(text: str) -> None:
    """Show what runs, on a terminal alone."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()


# ---- the tables ----

COMMON = {
    "dtype": "{dtype}",
    "load": "{load:.1f}",
    "ms": "{ms:.1f}",
    "GFLOP/s": "{gflops:.0f}",
    "of GEMM": "{of_gemm:.2f}",
    "ceiling": "{ceiling:.2f}",
    "error/bound": "{error_over_bound:.1e}",
    "speedup": "{speedup:.2f}",
    "of GEMM's": "{speedup_over_gemm:.2f}",
    "forward, ms": "{forward_ms:.1f}",
    "break-even": "{break_even_d_hidden}",
}


def table(rows: list[dict[str, Any]], kind: str) -> list[str]:
    """Return the lines of a Markdown table of all cases of a kind; none where there are none."""
    headers = ["d_out, d_hidden, d_in", *columns(kind), *COMPETITORS[kind]]
    lines = [cells(row, kind) for row in rows if row["kind"] == kind]
    lines = [headers, ["---", "---", *["---:"] * (len(headers) - 2)], *lines] if lines else []
    return [*(f"| {' | '.join(line)} |" for line in lines), *[""] * bool(lines)]


def columns(kind: str) -> list[str]:
    """Return the columns that a kind has: a form has no ceiling."""
    return [name for name in COMMON if kind == "build" or name != "ceiling"]


def cells(row: dict[str, Any], kind: str) -> list[str]:
    """Return the cells of a row of the table, a dash where there is no number."""
    sizes = f"{row['d_out']}, {row['d_hidden']}, {row['d_in']}"
    ours = [cell(COMMON[name], row) for name in columns(kind)]
    theirs = [cell("{ratio:.2f}", {"ratio": r}) for r in row["ratios"].values()]
    return [sizes, *ours, *theirs]


def cell(form: str, values: dict[str, Any]) -> str:
    """Return a value in its form, or a dash for None."""
    try:
        return form.format_map(values)
    except TypeError:
        return "–"


def markdown(results: dict[str, Any]) -> str:
    """Return both tables, and below them how and where they were measured."""
    about, rows = results["machine"], results["rows"]
    lines = [line for kind in SMALL for line in table(rows, kind)]
    lines += [
        f"{row['case']}, {row['dtype']}: {row['over_one_product']:.2f} of the time of one BLAS "
        "product of its two factors.\n"
        for row in rows
        if row["over_one_product"] is not None
    ]
    return "\n".join([*lines, LEGEND.format_map(about | results), ""])


LEGEND = """\
{processor}, threads: {threads}, kernel {variant}; Python {python}, NumPy {numpy}, PyTorch {torch},
opt_einsum {opt_einsum}; load before the run {load:.2f}, and in the table before the rounds of a
case, our own processes included. Medians over rounds ({rounds}), each in a process of its own, by
`benchmarks/bench_tensor.py`. The last columns are their time over ours; a dash was not timed.
*of GEMM*: our rate over that of NumPy's product of 2048³. *ceiling*: d_out/(d_out + 3), since three
operations make a pair. *error/bound*: the worst of all entries, against the specification in
float64. *speedup*: of all threads over one, and over what GEMM gains. *forward*: of the layer,
batch 2048; below a d_hidden of *break-even* the factors are cheaper than their tensor."""


# ---- the command ----


def installed(package: str) -> str | None:
    """Return the version of a package, None if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def about(threads: int) -> dict[str, object]:
    """Describe machine and versions."""
    others = {package: installed(package) for package in ("torch", "opt_einsum")}
    return machine.describe(threads) | {"variant": fast.active()} | others


def selected(asked: list[str] | None) -> list[Case]:
    """Return the cases that names, kinds or numbers ask for, all if none is asked for."""
    known = [{str(number), case.kind, case.name} for number, case in enumerate(CASES)]
    for name in asked or ():
        if not any(name in names for names in known):
            raise argparse.ArgumentTypeError(
                f"--cases must name build, form, 0 to {len(CASES) - 1} or one of "
                f"{', '.join(case.name for case in CASES)}; got {name}"
            )
    return [
        case for case, names in zip(CASES, known, strict=True) if not asked or names & set(asked)
    ]


def positive(text: str) -> int:
    """Return the number of at least 1 that a text is."""
    if not (text.isascii() and text.isdigit() and int(text) >= 1):
        raise argparse.ArgumentTypeError(f"must be a number of at least 1; got {text}")
    return int(text)


def writable(text: str) -> Path:
    """Return the path of a file in a folder that is there."""
    path = Path(text)
    if not path.parent.is_dir() or path.is_dir():
        raise argparse.ArgumentTypeError(f"must be a file in a folder that exists; got {text}")
    return path


def parse() -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--out", type=writable, help="JSON file to write (default: standard output)")
    add("--table", type=writable, help="Markdown file to write: a table of builds, one of forms")
    add("--dtype", choices=DTYPES, help="(default: both)")
    add("--cases", nargs="+", metavar="CASE", help="names, kinds or numbers from 0 (default: all)")
    add("--rounds", type=positive, default=5, help="of all, in turn (default: 5)")
    add("--threads", type=positive, default=machine.blas_threads(), help="of all (default: all)")
    add("--slow", action="store_true", help="also np.einsum where it takes minutes, once")
    add("--work", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    try:
        options.cases = selected(options.cases)
    except argparse.ArgumentTypeError as error:
        parser.error(str(error))
    return options


def main() -> None:
    """Verify, time, write."""
    options = parse()
    if options.work:
        name, case, dtype = options.work
        work(name, selected([case])[0], dtype)
        return
    results: dict[str, Any] = {"machine": about(options.threads), "rounds": options.rounds}
    dtypes = [options.dtype] if options.dtype else DTYPES
    results["rows"] = [compare(case, dtype, options) for case in options.cases for dtype in dtypes]
    progress("")
    machine.write(results, options.out)
    if options.table:
        options.table.write_text(markdown(results), encoding="utf-8")


if __name__ == "__main__":
    main()
