"""What a benchmark says of the machine, and the rate that limits it."""

import json
import os
import platform
import sys
import time
from pathlib import Path
from statistics import median

import numpy as np


def processor() -> str:
    """Return the processor's name where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if "model name" in line), "")


def blas_threads() -> int:
    """Return the threads of NumPy's BLAS: OPENBLAS_NUM_THREADS, or the usable processors."""
    return int(os.environ.get("OPENBLAS_NUM_THREADS", len(os.sched_getaffinity(0))))


def describe(threads: int) -> dict[str, object]:
    """Return processor, versions, threads and the load before the run."""
    return {
        "processor": processor(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "threads": threads,
        "load": os.getloadavg()[0],
    }


def gemm_rate(dtype: type, size: int = 2048, repeats: int = 7) -> float:
    """Return NumPy's rate on a square product, in flop/s: the limit of every matrix product."""
    a = np.random.default_rng(0).standard_normal((size, size)).astype(dtype)
    seconds = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        a @ a
        seconds.append(time.perf_counter() - start)
    return 2 * size**3 / median(seconds[1:])


def write(results: dict[str, object], out: Path | None) -> None:
    """Print results as JSON, or write them into a file."""
    text = json.dumps(results, indent=1)
    if out is None:
        sys.stdout.write(text + "\n")
    else:
        out.write_text(text + "\n", encoding="utf-8")
