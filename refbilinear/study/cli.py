"""The command line: `refbilinear study`, `train`, `analyze`, `compare`, `vectors`, `verify`, ….

Exit codes: 0 done, 1 a check failed, 2 bad usage or input, 130 interrupted; of `verify` also 3 too
few tests, 4 the oracle's own check failed.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import refbilinear
from refbilinear.oracle import vectors
from refbilinear.oracle.certificates import ORDERS
from refbilinear.oracle.claims import CLAIMS
from refbilinear.spec.arrays import require_non_negative
from refbilinear.study import jobs, verdicts
from refbilinear.study.extras import Talk
from refbilinear.study.files import staged_folder, write_file
from refbilinear.study.training import DEFAULTS, Settings

DEFAULT = " (default: %(default)s)"
VECTORS = ("manifest.json", f'"schema":"{vectors.SCHEMA}"')
GREETING = f"""refbilinear {refbilinear.__version__}: the reference for bilinear layers.

  refbilinear study digits                    train on handwritten digits and read the model
  refbilinear study mnist                     the same on MNIST, or fashion-mnist
  refbilinear train DATA.npz --out MODEL.npz  train on your own examples
  refbilinear analyze MODEL                   read weights: .npz, .safetensors, .pt
  refbilinear compare MODEL MODEL             how alike are two models?
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
    words = [str(error) or type(error).__name__, *getattr(error, "__notes__", ())]
    print(f"refbilinear: {kind}: {'; '.join(words)}", file=sys.stderr)


def _study(options: argparse.Namespace) -> int:
    return jobs.study(
        options.data,
        _settings(options, DEFAULTS[options.data]),
        options.out or Path(f"{options.data}-report"),
        _talk(options),
        jobs.import_kernel(options.kernel),
        runs=options.runs,
        sweep=options.sweep,
        examples=options.example,
    )


def _train(options: argparse.Namespace) -> int:
    return jobs.train_file(
        options.data, _settings(options, Settings()), options.out, _talk(options)
    )


def _analyze(options: argparse.Namespace) -> int:
    return jobs.analyze_file(
        options.model,
        outputs=options.output,
        top=options.top,
        data_name=options.data,
        image=options.image,
        out=options.out,
        talk=_talk(options),
        kernel=jobs.import_kernel(options.kernel),
        examples=options.example,
        **_choices(options),
    )


def _compare(options: argparse.Namespace) -> int:
    return jobs.compare_files(
        options.first,
        options.second,
        outputs=options.output,
        image=options.image,
        out=options.out,
        talk=_talk(options),
        **_choices(options),
    )


def _choices(options: argparse.Namespace) -> dict[str, Any]:
    """Return how a model file is read."""
    mapping = dict(options.map)
    if len(mapping) < len(options.map):
        raise ValueError("--map must name each parameter once")
    return {"layer": options.layer, "gate": options.gate, "mapping": mapping or None}


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


def _settings(options: argparse.Namespace, usual: Settings) -> Settings:
    """Return what was asked for, and the usual where nothing was."""
    asked = {name: getattr(options, name) for name in Settings._fields}
    return usual._replace(**{name: one for name, one in asked.items() if one is not None})


def _talk(options: argparse.Namespace) -> Talk:
    return Talk(options.quiet, options.json)


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
    _add_compare(commands)
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
    )
    command.set_defaults(run=run)
    return command


def _add_study(commands: "Commands") -> None:
    words = "train a bilinear MLP on a data set, read its weights, write a report"
    study = _command(commands, "study", _study, words, "study mnist --runs 3 --out my-report")
    add = study.add_argument
    words = "digits are shipped; others are downloaded, or read from the folder REFBILINEAR_DATA"
    add("data", choices=list(DEFAULTS), help=words)
    add("--out", type=Path, help="folder to write (default: DATA-report)")
    add("--runs", type=_positive, default=1, help=f"models to train and compare, by seed{DEFAULT}")
    add("--sweep", action="store_true", help="also train with other noise, and on few examples")
    _add_settings(study, DEFAULTS)
    _add_example(study)
    _add_kernel(study)
    _add_talk(study)


def _add_train(commands: "Commands") -> None:
    words = "train a bilinear MLP on your own examples, from an .npz with x (n, d_in) and y (n,)"
    train = _command(commands, "train", _train, words, "train mine.npz --out model.npz --epochs 20")
    words = "an .npz (x_test and y_test in it are optional), or a folder of IDX files"
    train.add_argument("data", type=Path, help=words)
    train.add_argument("--out", type=Path, required=True, help="the model file to write")
    _add_settings(train, {"": Settings()})
    _add_talk(train)


def _add_analyze(commands: "Commands") -> None:
    words = "read a layer or one-layer model as quadratic forms, from a file of its parameters"
    analyze = _command(commands, "analyze", _analyze, words, "analyze model.npz --output 3")
    words = "an .npz of w_left, w_right, ...; or an .npz, .safetensors or .pt of other code"
    analyze.add_argument("model", type=Path, help=words)
    analyze.add_argument("--top", type=_positive, default=5, help=f"eigenvalues to show{DEFAULT}")
    words = "examples to check, truncate and explain on: an .npz, IDX files, or a name as of study"
    analyze.add_argument("--data", metavar="DATA", help=words)
    _add_reading(analyze)
    _add_example(analyze)
    _add_kernel(analyze)
    _add_talk(analyze)


def _add_compare(commands: "Commands") -> None:
    words = "say how alike two models are: their tensors, and the subspaces of their outputs"
    compare = _command(commands, "compare", _compare, words, "compare one.npz two.npz --out report")
    compare.add_argument("first", type=Path, metavar="MODEL", help="a file as of analyze")
    compare.add_argument("second", type=Path, metavar="MODEL", help="another")
    _add_reading(compare)
    _add_talk(compare)


def _add_reading(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add(
        "--output", type=_count, action="append", metavar="N",
        help="an output to read, from 0; may be repeated (default: all)",
    )  # fmt: skip
    add("--image", type=_image, metavar="HxW", help="shape of inputs as images")
    add("--out", type=Path, help="folder to write a report into")
    add("--layer", type=_count, metavar="I", help="which block of a file with several, from 0")
    add("--gate", choices=["ignore"], help="read a gated layer as if its gate were the identity")
    add(
        "--map", type=_mapped, action="append", default=[], metavar="OURS=THEIRS",
        help="a parameter by its name in the file, as in w_left=mlp.w.weight[left]; repeated",
    )  # fmt: skip


def _add_example(command: argparse.ArgumentParser) -> None:
    words = "a test example to explain, from 0; repeated for more (default: the first, a wrong one)"
    command.add_argument(
        "--example", type=_count, action="append", default=[], metavar="N", help=words
    )


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
    add("--min-tests", type=_positive, default=1, help=f"vectors to judge at least{DEFAULT}")
    case = _command(commands, "case", _case, "show one of the vectors", "case 20201 --python")
    case.add_argument("id", type=_positive, metavar="ID", help="its tcId")
    case.add_argument("--python", action="store_true", help="as a script to paste")


def _add_settings(command: argparse.ArgumentParser, usual: Mapping[str, Settings]) -> None:
    """Add the settings of training; each says what it is where it is not given."""

    def add(name: str, kind: Callable[[str], Any], words: str) -> None:
        values: dict[str, str] = {}
        for data, one in usual.items():
            values.setdefault(f"{getattr(one, name):g}", data)
        default = ", ".join(
            f"{value} ({data})" if len(values) > 1 else value for value, data in values.items()
        )
        command.add_argument(
            f"--{name.replace('_', '-')}", type=kind, help=f"{words} (default: {default})"
        )

    add("seed", _count, "of weights, order and noise")
    add("epochs", _positive, "passes over the training examples")
    add("d_model", _positive, "width of the embedding")
    add("d_hidden", _positive, "number of products")
    add("batch_size", _positive, "examples in a step")
    add("learning_rate", _non_negative, "of the first epoch")
    add("weight_decay", _non_negative, "decoupled, as in AdamW")
    add("noise", _non_negative, "standard deviation, on inputs")
    words = "add the layer's input to its output"
    command.add_argument("--bias", action="store_true", help="give the layer biases")
    command.add_argument("--residual", action="store_true", help=words)
    command.add_argument(
        "--dtype", choices=["float32", "float64"], default="float32", help=f"number type{DEFAULT}"
    )


def _add_kernel(command: argparse.ArgumentParser) -> None:
    words = f"what computes the tensor that is checked on data: NumPy or compiled code{DEFAULT}"
    command.add_argument("--kernel", choices=list(jobs.KERNELS), default="spec", help=words)


def _add_talk(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="print the result as JSON")
    command.add_argument("--quiet", action="store_true", help="print nothing but errors")


def _reason(text: str) -> tuple[str, str]:
    return _pair(text, "NAME=REASON, as in NotANumber=jit")


def _mapped(text: str) -> tuple[str, str]:
    return _pair(text, "OURS=THEIRS, as in w_left=mlp.w.weight[left]")


def _pair(text: str, form: str) -> tuple[str, str]:
    name, found, value = text.partition("=")
    if not (name and found and value):
        raise argparse.ArgumentTypeError(f"must be {form}; got {text}")
    return name, value


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
