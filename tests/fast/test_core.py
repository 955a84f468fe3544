"""The kernel in C, without Python: compiled several ways, each checked against plain loops.

`csrc/check.c` compares bytes; here it is built by every compiler there is, with other block sizes,
with sanitizers and for another architecture, and its fixed cases must hash to one number.
"""

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from bits import BITS

KERNEL = Path(__file__).parents[2] / "csrc"
CHECK = Path(__file__).parents[1] / "csrc" / "check.c"

if not CHECK.exists() or not (KERNEL / "refbilinear.h").exists():
    pytest.skip("the C sources are not here", allow_module_level=True)

FLAGS = ["-std=c11", "-ffp-contract=off", "-Wall", "-Wextra", "-Wconversion", "-Werror"]
SMALL_BLOCKS = ["-DRB_DEPTH=5", "-DRB_SUMS=256", "-DRB_ROWS=3", "-DRB_CHUNK=512"]
ODD_BLOCKS = [
    "-DRB_DEPTH=33",
    "-DRB_SUMS=9999",
    "-DRB_ROWS=10",
    "-DRB_COLUMNS=40",
    "-DRB_CHUNK=4096",
]
SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]

# name: (compiler, its flags, what runs the program, how many of the drawn cases it has time for);
# what compiles fast stands first, so that the rest compiles meanwhile
BUILDS = {
    "small blocks": ("cc", ["-O0", "--coverage", *SMALL_BLOCKS], [], 400),
    "odd blocks": ("cc", ["-O0", *ODD_BLOCKS], [], 400),
    "clang": ("clang", ["-O2"], [], 1000),
    "cc": ("cc", ["-O2"], [], None),
    "sanitizers": ("gcc", ["-O0", *SANITIZE, *SMALL_BLOCKS], [], 100),
    "aarch64": ("aarch64-linux-gnu-gcc", ["-O2", "-static"], ["qemu-aarch64"], 60),
}


def run(*command, **options):
    """Run a command and return what it prints, as bytes."""
    done = subprocess.run(command, capture_output=True, check=False, timeout=300, **options)
    assert done.returncode == 0, (done.stdout[-500:] + done.stderr[-2000:]).decode(errors="replace")
    return done.stdout


def compile_check(folder, compiler, flags):
    """Compile check.c with the kernel, in a folder of its own, and return the program."""
    folder.mkdir()
    flags = [*FLAGS, *flags, f"-I{KERNEL}"]
    for source in [CHECK, *sorted(KERNEL.glob("*.c"))]:
        run(compiler, *flags, "-c", source, cwd=folder)
    run(compiler, *flags, *sorted(folder.glob("*.o")), "-o", "check", "-lm", cwd=folder)
    return folder / "check"


def missing(name):
    """Return the tools that a build needs and that are not here."""
    compiler, _, runner, _ = BUILDS[name]
    return [tool for tool in [compiler, *runner] if not shutil.which(tool)]


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    """Return the builds by name, as futures: the later ones compile while the first are tested."""
    folder = tmp_path_factory.mktemp("csrc")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield {
            name: pool.submit(compile_check, folder / name.replace(" ", "-"), *build[:2])
            for name, build in BUILDS.items()
            if not missing(name)
        }


@pytest.fixture(params=BUILDS)
def build(request, programs):
    """Return a build: its name, the command that runs it, and its number of cases (None: all)."""
    if absent := missing(request.param):
        pytest.skip(f"{' and '.join(absent)} not found")
    _, _, runner, cases = BUILDS[request.param]
    return request.param, [*runner, programs[request.param].result()], cases


def variants(command):
    return run(*command, "--variants").decode().split()


def test_every_variant_gives_the_bytes_of_the_formulas(build):
    _, command, cases = build
    run(*command, *([] if cases is None else ["--cases", str(cases)]))


def test_one_hash_for_every_variant(build):
    name, command, _ = build
    for variant in variants(command):
        output = run(*command, "--hash", variant)
        assert hashlib.sha256(output).hexdigest() == BITS, (name, variant)


def test_nearly_every_line_of_the_kernel_runs(programs):
    """98 percent of the lines, each in at least one of its instances (number types, targets)."""
    if missing("small blocks") or sys.platform != "linux" or not shutil.which("gcov"):
        pytest.skip("needs cc and gcov")
    program = programs["small blocks"].result()
    run(program, "--cases", "400")
    lines = Counter()
    for counts in sorted(program.parent.glob("*.gcda")):
        text = run("gcov", "--json-format", "--stdout", counts.name, cwd=program.parent)
        for file in json.loads(text)["files"]:
            if Path(file["file"]).parent == KERNEL:
                for line in file["lines"]:
                    lines[Path(file["file"]).name, line["line_number"]] += line["count"]
    unmet = sorted(line for line, count in lines.items() if not count)
    assert len(lines) > 200
    assert len(unmet) <= 0.02 * len(lines), unmet


def test_the_first_difference_is_named(tmp_path):
    """The checker fails, and says where, on a kernel that is wrong in one bit of one sum."""
    if missing("cc") or platform.machine() != "x86_64":
        pytest.skip("needs a compiler for x86-64")
    flags = [*FLAGS, "-O0", f"-I{KERNEL}"]
    sources = [source for source in sorted(KERNEL.glob("*.c")) if source.name != "scalar.c"]
    wrong = (KERNEL / "scalar.c").read_text().replace("__builtin_fma(a, b, c)", "((a) * (b) + (c))")
    (tmp_path / "scalar.c").write_text(wrong)
    run("cc", *flags, CHECK, *sources, "scalar.c", "-o", "check", "-lm", cwd=tmp_path)
    if "scalar" not in variants([tmp_path / "check"]):
        pytest.skip("the processor has no fma instruction")
    done = subprocess.run([tmp_path / "check"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "scalar f64" in done.stdout
    assert done.stdout.endswith("other bytes than the formulas give\n")
    assert done.stdout.count("\n") == 1


HALVES = """
typedef float wide32 __attribute__((vector_size(64)));
typedef double wide64 __attribute__((vector_size(64)));
typedef union { wide32 all; __m256 half[2]; } pair32;
typedef union { wide64 all; __m256d half[2]; } pair64;
#define INLINED static inline __attribute__((always_inline))
INLINED wide32 fma32(wide32 a, wide32 b, wide32 c)
{
    pair32 x = {a}, y = {b}, z = {c};
    for (int k = 0; k < 2; ++k) z.half[k] = _mm256_fmadd_ps(x.half[k], y.half[k], z.half[k]);
    return z.all;
}
INLINED wide64 fma64(wide64 a, wide64 b, wide64 c)
{
    pair64 x = {a}, y = {b}, z = {c};
    for (int k = 0; k < 2; ++k) z.half[k] = _mm256_fmadd_pd(x.half[k], y.half[k], z.half[k]);
    return z.all;
}
INLINED wide32 set32(float s)
{
    pair32 z = {.half = {_mm256_set1_ps(s), _mm256_set1_ps(s)}};
    return z.all;
}
INLINED wide64 set64(double s)
{
    pair64 z = {.half = {_mm256_set1_pd(s), _mm256_set1_pd(s)}};
    return z.all;
}
#define FMA_F32(a, b, c) fma32(a, b, c)
#define FMA_F64(a, b, c) fma64(a, b, c)
#define SET1_F32(s) set32(s)
#define SET1_F64(s) set64(s)
"""


def test_the_loops_of_avx512_on_a_processor_without_it(tmp_path):
    """Its shapes and widths run on AVX2, each vector as two halves: all but four instructions."""
    if missing("cc") or platform.machine() != "x86_64":
        pytest.skip("needs a compiler for x86-64")
    source = (KERNEL / "avx512.c").read_text().replace("avx512f", "avx2")
    start, end = source.index("#define FMA_F32"), source.index('#include "registers.h"')
    (tmp_path / "avx512.c").write_text(source[:start] + HALVES + source[end:])
    flags = [*FLAGS, "-O1", "-Wno-psabi", f"-I{KERNEL}"]
    others = [path for path in sorted(KERNEL.glob("*.c")) if path.name != "avx512.c"]
    run("cc", *flags, CHECK, *others, "avx512.c", "-o", "check", "-lm", cwd=tmp_path)
    if "avx512" not in variants([tmp_path / "check"]):
        pytest.skip("the processor has no AVX2")
    run(tmp_path / "check", "--cases", "400")
    output = run(tmp_path / "check", "--hash", "avx512")
    assert hashlib.sha256(output).hexdigest() == BITS
