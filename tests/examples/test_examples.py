"""The examples answer the vectors rightly, and one wrong word in any of them is found and named."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from refbilinear.oracle import verify, verify_results
from refbilinear.oracle.results import read_results

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"

# What stands once in an example, what is written in its place, and the mistake that this makes.
TWINS = {
    "bilinear.c": (
        "return at(W_RIGHT, B_RIGHT, h, i)",
        "return i < D ? at(W_RIGHT, B_RIGHT, h, i) : 0",
        "forward.right_bias_dropped",
    ),
    "bilinear.rs": (
        "(left(h, i) * right(h, j) + left(h, j) * right(h, i)) / 2.0",
        "left(h, i) * right(h, j) + left(h, j) * right(h, i)",
        "tensor.no_half",
    ),
    "bilinear.mjs": (
        "w_left: () => outer(da, x), w_right: () => outer(db, x)",
        "w_left: () => outer(db, x), w_right: () => outer(da, x)",
        "backward.left_right_swapped",
    ),
    "bilinear_torch.py": (
        "self.left(x) * self.right(x)",
        "torch.relu(self.left(x)) * self.right(x)",
        "forward.gate_left_on",
    ),
    "bilinear_jax.py": (
        "linear(layer.w_out, layer.b_out, product)",
        "linear(layer.w_out, None, product)",
        "forward.output_bias_dropped",
    ),
}
CLAIMS = {"bilinear.c": ("f32", "f64"), "bilinear.rs": ("f32", "f64"), "bilinear.mjs": ("f64",)}
PROGRAMS = pytest.mark.parametrize(
    ("name", "claim"), [(name, claim) for name, claims in CLAIMS.items() for claim in claims]
)
MODULES = pytest.mark.parametrize("name", ["bilinear_torch.py", "bilinear_jax.py"])


def names(report, mistake):
    """Whether a report names a mistake of the catalogue."""
    return mistake in report.text


def need(found, what):
    """Skip without a tool, or fail where REFBILINEAR_FOREIGN=all says that every tool is there."""
    if not found and os.environ.get("REFBILINEAR_FOREIGN") == "all":
        pytest.fail(f"{what} is not there")
    if not found:
        pytest.skip(f"{what} is not there")
    return found


def need_module(name):
    """Skip without the library of an example in Python, which is in its name."""
    library = name.removeprefix("bilinear_").removesuffix(".py")
    need(importlib.util.find_spec(library), library)


def run(*command, code=0, **options):
    """Run a command, which must end with the given code, and return what it prints."""
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, check=False, timeout=600,
        **options,
    )  # fmt: skip
    assert done.returncode == code, done.stderr or done.stdout
    return done.stdout


def twin(name, folder):
    """Write an example with one wrong word, and return its path."""
    old, new, _ = TWINS[name]
    source = (EXAMPLES / name).read_text(encoding="utf-8")
    assert source.count(old) == 1
    path = folder / name
    path.write_text(source.replace(old, new), encoding="utf-8")
    return path


def program(source, claim, folder):
    """Return the command that a source becomes, compiled if it has to be."""
    binary = folder / f"bilinear-{claim}"
    if source.suffix == ".c":
        compiler = need(shutil.which("cc") or shutil.which("gcc"), "a C compiler")
        strict = ("-std=c11", "-pedantic", "-Wall", "-Wextra", "-Wconversion", "-Werror")
        real = {"f32": "float", "f64": "double"}[claim]
        run(compiler, *strict, "-O2", f"-DREAL={real}", "-o", binary, source)
        return (binary,)
    if source.suffix == ".rs":
        compiler = need(shutil.which("rustc"), "rustc")
        single = ("--cfg", "single") if claim == "f32" else ()
        run(compiler, "--edition", "2021", "-O", "-D", "warnings", *single, "-o", binary, source)
        return (binary,)
    return (need(shutil.which("node"), "node"), source)


def report_of(source, claim, vectors, folder):
    """Run a program on the vectors and return the report on what it wrote."""
    results = folder / f"results-{claim}"
    kind = "core.json" if source.suffix == ".mjs" else "core.txt"
    answers = run(*program(source, claim, folder), vectors / kind)
    results.write_text(answers, encoding="ascii")
    return verify_results(read_results(results), claim)


def loaded(path):
    """Return the module of a file."""
    spec = importlib.util.spec_from_file_location(f"example_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def vectors(tmp_path_factory):
    """Export the vectors as a user does."""
    folder = tmp_path_factory.mktemp("vectors") / "exported"
    run(sys.executable, "-m", "refbilinear", "vectors", "export", folder)
    return folder


@PROGRAMS
def test_a_program_passes(name, claim, vectors, tmp_path):
    report = report_of(EXAMPLES / name, claim, vectors, tmp_path)
    assert report.exit_code == 0, report


@pytest.mark.parametrize("name", CLAIMS)
def test_a_wrong_program_is_named(name, vectors, tmp_path):
    report = report_of(twin(name, tmp_path), CLAIMS[name][0], vectors, tmp_path)
    assert report.exit_code == 1, report
    assert names(report, TWINS[name][2]), report


@MODULES
def test_a_python_example_passes(name):
    need_module(name)
    if name == "bilinear_jax.py" and os.environ.get("REFBILINEAR_FOREIGN") != "all":
        pytest.skip(
            "JAX compiles for every shape, two minutes; REFBILINEAR_FOREIGN=all asks for it"
        )
    run(sys.executable, EXAMPLES / name)


def test_the_compiled_forward_passes():
    need_module("bilinear_torch.py")
    if os.environ.get("REFBILINEAR_FOREIGN") != "all":
        pytest.skip("PyTorch compiles fifty graphs, minutes; REFBILINEAR_FOREIGN=all asks for it")
    need(shutil.which("g++"), "a C++ compiler")
    run(sys.executable, EXAMPLES / "bilinear_torch.py", "compiled")


@MODULES
def test_a_wrong_python_example_is_named(name, tmp_path):
    need_module(name)
    wrong = loaded(twin(name, tmp_path))
    report = verify({"forward": wrong.FUNCTIONS["forward"]}, claim="f32")
    assert report.exit_code == 1, report
    assert names(report, TWINS[name][2]), report


@pytest.fixture(scope="module")
def program_in_c(tmp_path_factory):
    return program(EXAMPLES / "bilinear.c", "f64", tmp_path_factory.mktemp("c"))


LAYER_IN_C = "1 op text 0 tensor\n1 inputs.w_left f64 2 1 1 5\n"


@pytest.mark.parametrize(
    "line",
    [
        "1 inputs.w_right f64 2 1\n",
        "1 inputs.w_right f64 2 1 1\n",
        "1 inputs.w_right f64 2 1 1 5 6\n",
        "1 inputs.w_right f64 2 1 2 5 6\n",
        "1 inputs.w_right f64 2 1 1 five\n",
        "1 inputs.w_right f64 2 1 1 5x\n",
        "1 inputs.w_right f64 2 -1 1 5\n",
        "1 inputs.w_right f64 2 nan 1 5\n",
        "1 inputs.w_right f64 2 1 1.5 5\n",
        "1 inputs.w_right f64 1 1 5\n",
        "1 inputs.w_right f64 2 1 1 5",
        "1 inputs.w_right\n",
        "1\n",
        "inputs.w_right f64 2 1 1 5\n",
        "1 inputs.w_skip f64 2 1 1 5\n",
        "1 inputs.w_skip f64 2 999999 1 5\n",
        "1 op\n",
        "",
    ],
)
def test_the_program_in_c_refuses_a_malformed_line(line, program_in_c):
    assert not run(*program_in_c, input=LAYER_IN_C + line, code=2)


@pytest.mark.parametrize(("text", "printed"), [
    ("", ""),
    ("# nothing\n", ""),
    ("1 op text 0 fold\n", ""),
    (LAYER_IN_C + "1 inputs.w_right f64 2 1 1 0x1.8p+1\n", "1 tensor f64 2 1 1 0x1.ep+3\n"),
    (LAYER_IN_C + "1 inputs.w_right f64 2 1 1 -inf\n", "1 tensor f64 2 1 1 -inf\n"),
    (LAYER_IN_C + "1 inputs.w_right f64 2 1 1 nan\n", "1 tensor f64 2 1 1 nan\n"),
])  # fmt: skip
def test_the_program_in_c_reads_standard_input(text, printed, program_in_c):
    assert run(*program_in_c, input=text) == printed
