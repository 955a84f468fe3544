"""What `import refbilinear` costs beside `import numpy`: whole processes in turn, with bytecode.

python benchmarks/bench_import.py
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import machine

STATEMENTS = {
    "nothing": "pass",
    "numpy": "import numpy",
    "refbilinear": "import refbilinear",
    "fast": "import refbilinear, refbilinear.fast",
}


def once(statement: str) -> float:
    """Return the seconds of a fresh interpreter that runs one statement."""
    with_bytecode = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True, env=with_bytecode)
    return time.perf_counter() - start


def main() -> None:
    """Verify that the import gives the specification, then time."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="JSON file to write (default: standard output)")
    parser.add_argument("--repeats", type=int, default=31)
    options = parser.parse_args()
    about = machine.describe(1)
    once("import refbilinear; assert refbilinear.forward")
    seconds: dict[str, list[float]] = {name: [] for name in STATEMENTS}
    for _ in range(options.repeats):
        for name, statement in STATEMENTS.items():
            seconds[name].append(once(statement))
    ms = {name: 1e3 * median(taken) for name, taken in seconds.items()}
    ratio = (ms["refbilinear"] - ms["nothing"]) / (ms["numpy"] - ms["nothing"])
    machine.write({"machine": about, "ms": ms, "over_numpy": ratio}, options.out)


if __name__ == "__main__":
    main()
