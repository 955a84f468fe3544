"""The command line: `refbilinear study digits`, `train`, `analyze`, `vectors`, `verify`, `info`.

Exit codes: 0 done, 1 a check failed, 2 bad usage or input, 130 interrupted; of `verify` also 3 too
few tests, 4 the oracle's own check failed.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import refbilinear
from refbilinear.oracle import vectors
from refbilinear.oracle.certificates import ORDERS
from refbilinear.oracle.claims import CLAIMS
from refbilinear.spec.arrays import require_non_negative
from refbilinear.study import jobs, verdicts
from refbilinear.study.files import staged_folder, write_file

VECTORS = ("manifest.json", f'"schema":"{vectors.SCHEMA}"')
GREETING = f"""refbilinear {refbilinear.__version__}: the reference for bilinear layers.

  refbilinear study digits                    train on handwritten digits and read the model
  refbilinear train DATA.npz --out MODEL.npz  train on your own examples
  refbilinear analyze MODEL.npz               read your own weights
  refbilinear vectors export DIR              the test vectors for another implementation
  refbilinear verify RESULTS --claim f32      is it right? what it answered is judged
  refbilinear case ID                         one of the vectors, or a script of it
  refbilinear info                            versions, kernel, threads

Each has --help with an example."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    Examples
    --------
    >>> main(["train"])
    Traceback (most recent call last):
    SystemExit: 2
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a console that lacks λ shows an escape instead
            stream.reconfigure(errors="backslashreplace")
    options = _parser().parse_args(arguments)
    try:
        code: int = options.run(options)
        if sys.stdout is not None:
            sys.stdout.flush()
    except KeyboardInterrupt as interrupt:
        _complain("interrupted", interrupt if str(interrupt) else "nothing more was written")
        return 130
    except BrokenPipeError:
        # Whoever read our output has left; nothing that is flushed later may complain of it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ArithmeticError, ImportError, MemoryError, OSError, TypeError, ValueError) as error:
        _complain("error", error)
        return 2
    return code


def _complain(kind: str, error: BaseException | str) -> None:
    words = str(error) or type(error).__name__
    print(f"refbilinear: {kind}: {words}", file=sys.stderr)


def _study(options: argparse.Namespace) -> int:
    kernel = jobs.import_kernel(options.kernel)
    return jobs.study_digits(_settings(options), options.out, _talk(options), kernel)


def _train(options: argparse.Namespace) -> int:
    return jobs.train_file(options.data, _settings(options), options.out, _talk(options))


def _analyze(options: argparse.Namespace) -> int:
    return jobs.analyze_file(
        options.model,
        outputs=options.output,
        top=options.top,
        data_path=options.data,
        image=options.image,
        out=options.out,
        talk=_talk(options),
        kernel=jobs.import_kernel(options.kernel),
    )


def _export(options: argparse.Namespace) -> int:
    """Write the shipped vectors into a folder that is new, or that this command wrote before."""
    files = vectors.files()
    with staged_folder(options.out, files, VECTORS) as folder:
        for name, content in files.items():
            write_file(folder / name, content)
    if options.json:
        print(files["manifest.json"].decode("ascii"), end="")
    else:
        print(f"Written to {options.out}: {', '.join(sorted(files))}")
    return 0


def _verify(options: argparse.Namespace) -> int:
    return verdicts.verify(
        options.results,
        options.claim,
        convention={n: v for n in ("order", "reduction") if (v := getattr(options, n))},
        skip=dict(options.skip),
        min_tests=options.min_tests,
        json_path=options.json,
    )


def _case(options: argparse.Namespace) -> int:
    print(verdicts.case(options.id, as_python=options.python))
    return 0


def _info(options: argparse.Namespace) -> int:
    facts = jobs.information()
    if options.json:
        print(json.dumps(facts, indent=1))
    else:
        for name, fact in facts.items():
            print(f"{name:12} {_flat(fact)}")
    return 0


def _greet(options: argparse.Namespace) -> int:
    print(GREETING)
    return 0


def _flat(fact: object) -> str:
    """Return a fact as one line: a list's items; of the extras, those that are installed."""
    if isinstance(fact, list):
        return ", ".join(fact)
    if isinstance(fact, dict):
        return ", ".join(f"{name} {'yes' if there else 'no'}" for name, there in fact.items())
    return str(fact)


def _settings(options: argparse.Namespace) -> jobs.Settings:
    return jobs.Settings(**{name: getattr(options, name) for name in jobs.Settings._fields})


def _talk(options: argparse.Namespace) -> jobs.Talk:
    return jobs.Talk(options.quiet, options.json)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="refbilinear", description=GREETING, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--version", action="version", version=refbilinear.__version__)
    parser.set_defaults(run=_greet)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    _add_study(commands)
    _add_train(commands)
    _add_analyze(commands)
    _add_vectors(commands)
    _add_verify(commands)
    info = _command(commands, "info", _info, "show versions, BLAS, kernel and threads", "info")
    info.add_argument("--json", action="store_true", help="print JSON")
    return parser


if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]


def _command(
    commands: "Commands",
    name: str,
    run: Callable[[argparse.Namespace], int],
    words: str,
    example: str,
) -> argparse.ArgumentParser:
    """Add a command with its one sentence and an example."""
    command = commands.add_parser(
        name,
        help=words,
        description=f"{words[0].upper()}{words[1:]}.",
        epilog=f"example: refbilinear {example}",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    command.set_defaults(run=run)
    return command


def _add_study(commands: "Commands") -> None:
    words = "train a bilinear MLP on a data set, read its weights, write a report"
    study = _command(commands, "study", _study, words, "study digits --seed 1 --out my-report")
    study.add_argument("data", choices=["digits"], help="the 1,797 8x8 digits that are shipped")
    study.add_argument("--out", type=Path, default=Path("digits-report"), help="folder to write")
    _add_settings(study, noise=0.3)
    _add_kernel(study)
    _add_talk(study)


def _add_train(commands: "Commands") -> None:
    words = "train a bilinear MLP on your own examples, from an .npz with x (n, d_in) and y (n,)"
    train = _command(commands, "train", _train, words, "train mine.npz --out model.npz --epochs 20")
    train.add_argument("data", type=Path, help="an .npz; x_test and y_test in it are optional")
    train.add_argument("--out", type=Path, required=True, help="the model file to write")
    _add_settings(train, noise=0.0)
    _add_talk(train)


def _add_analyze(commands: "Commands") -> None:
    words = "read a layer or one-layer model as quadratic forms, from an .npz of its parameters"
    analyze = _command(commands, "analyze", _analyze, words, "analyze model.npz --output 3")
    analyze.add_argument("model", type=Path, help="w_left, w_right, ... or a model's parameters")
    analyze.add_argument(
        "--output", type=_count, action="append", metavar="N",
        help="an output to read, from 0; may be repeated (default: all)",
    )  # fmt: skip
    analyze.add_argument("--top", type=_positive, default=5, help="eigenvalues to show")
    analyze.add_argument("--data", type=Path, help="an .npz to check and truncate the model on")
    analyze.add_argument("--image", type=_image, metavar="HxW", help="shape of inputs as images")
    analyze.add_argument("--out", type=Path, help="folder to write a report into")
    _add_kernel(analyze)
    _add_talk(analyze)


def _add_vectors(commands: "Commands") -> None:
    words = "write the test vectors for another implementation: JSON and flat text"
    example = "vectors export my-vectors"
    parser = _command(commands, "vectors", _greet, words, example)
    actions = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    export = _command(actions, "export", _export, words, example)
    export.add_argument("out", type=Path, metavar="DIR", help="folder to write")
    export.add_argument("--json", action="store_true", help="print what was written as JSON")


def _add_verify(commands: "Commands") -> None:
    words = "judge what another implementation answered to the vectors, and say what is wrong"
    example = "verify results.txt --claim f32 --json report.json"
    command = _command(commands, "verify", _verify, words, example)
    add = command.add_argument
    add("results", type=Path, help="a file of results, or a folder with results*.txt or *.json")
    add("--claim", choices=list(CLAIMS), required=True, help="in which precision it computes")
    add("--json", type=Path, metavar="OUT", help="write the whole report as JSON; - to print it")
    add("--order", choices=ORDERS, help="of eigenvalues, if not by magnitude")
    add("--reduction", choices=["mean-batch", "mean", "sum"], help="of losses, if not mean-batch")
    add(
        "--skip", type=_reason, action="append", default=[], metavar="NAME=REASON",
        help="a known failure: a tcId, flag or operation; may be repeated",
    )  # fmt: skip
    add("--min-tests", type=_positive, default=1, help="how many vectors must be judged at least")
    case = _command(commands, "case", _case, "show one of the vectors", "case 20201 --python")
    case.add_argument("id", type=_positive, metavar="ID", help="its tcId")
    case.add_argument("--python", action="store_true", help="as a script to paste")


def _add_settings(command: argparse.ArgumentParser, noise: float) -> None:
    add = command.add_argument
    add("--seed", type=_count, default=0, help="of weights, order and noise")
    add("--epochs", type=_positive, default=60, help="passes over the training examples")
    add("--d-model", type=_positive, default=64, help="width of the embedding")
    add("--d-hidden", type=_positive, default=64, help="number of products")
    add("--batch-size", type=_positive, default=64, help="examples in a step")
    add("--learning-rate", type=_non_negative, default=3e-3, help="of the first epoch")
    add("--weight-decay", type=_non_negative, default=0.2, help="decoupled, as in AdamW")
    add("--noise", type=_non_negative, default=noise, help="standard deviation, on inputs")
    add("--bias", action="store_true", help="give the layer biases")
    add("--residual", action="store_true", help="add the layer's input to its output")
    add("--dtype", choices=["float32", "float64"], default="float32", help="number type")


def _add_kernel(command: argparse.ArgumentParser) -> None:
    words = "what computes the tensor that is checked on data: NumPy or compiled code"
    command.add_argument("--kernel", choices=list(jobs.KERNELS), default="spec", help=words)


def _add_talk(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="print the result as JSON")
    command.add_argument("--quiet", action="store_true", help="print nothing but errors")


def _reason(text: str) -> tuple[str, str]:
    name, found, reason = text.partition("=")
    if not (name and found and reason):
        raise argparse.ArgumentTypeError(f"must be NAME=REASON, as in NotANumber=jit; got {text}")
    return name, reason


def _count(text: str) -> int:
    return _integer(text, 0)


def _positive(text: str) -> int:
    return _integer(text, 1)


def _integer(text: str, least: int) -> int:
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"must be an integer of at least {least}; got {text}")
    return int(text)


def _non_negative(text: str) -> float:
    try:
        return require_non_negative("it", float(text))
    except ValueError:
        words = f"must be a finite number of at least 0; got {text}"
        raise argparse.ArgumentTypeError(words) from None


def _image(text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    if not (height.isdecimal() and width.isdecimal()):
        raise argparse.ArgumentTypeError(f"must be HxW, as in 28x28; got {text}")
    return int(height), int(width)
