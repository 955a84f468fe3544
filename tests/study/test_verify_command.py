"""`refbilinear verify` and `case`: results of a program judged, one vector shown."""

import io
import json
import sys

import numpy as np
import pytest

from refbilinear.oracle import vectors
from refbilinear.oracle.answers import ANSWERS
from refbilinear.oracle.results import SCHEMA
from refbilinear.oracle.standards import questions
from refbilinear.study import verdicts
from refbilinear.study.cli import main

SUITE, LOAD = vectors.load(), vectors.load


@pytest.fixture(autouse=True)
def loaded(monkeypatch):
    """Read the vectors once: to parse and hash them is most of a short verification."""
    monkeypatch.setattr(vectors, "load", lambda: SUITE)


def run(*words):
    return main([str(word) for word in words])


def line(tc_id, name, array):
    shape = " ".join(map(str, (array.ndim, *array.shape)))
    return " ".join([f"{tc_id} {name} f64 {shape}", *(x.hex() for x in array.ravel().tolist())])


def answers(op="form", change=lambda y: y):
    """The results of an operation as lines of flat text."""
    with np.errstate(all="ignore"):
        return [
            line(one.vector.tc_id, name, np.asarray(change(array), np.float64))
            for one in questions(SUITE, "f64", [op])
            for name, array in ANSWERS[op](one.vector.inputs).items()
        ]


def file_of(folder, lines, name="results.txt"):
    path = folder / name
    path.write_text("\n".join(lines) + "\n")
    return path


def test_right_results_are_code_0(tmp_path, capsys):
    assert run("verify", file_of(tmp_path, answers()), "--claim", "f64") == 0
    assert "63 vectors: passed (exit 0)" in capsys.readouterr().out


def test_wrong_results_are_code_1(tmp_path, capsys):
    path = file_of(tmp_path, answers(change=lambda y: 2 * y))
    assert run("verify", path, "--claim", "f64", "--json", tmp_path / "out.json") == 1
    assert "every entry is 2 times what it should be" in capsys.readouterr().out
    data = json.loads((tmp_path / "out.json").read_text())
    assert (data["exitCode"], data["failures"][0]["operation"]) == (1, "form")


def test_nan_is_wrong_and_json(tmp_path, capsys):
    path = file_of(tmp_path, answers(change=lambda y: y * np.nan))
    assert run("verify", path, "--claim", "f64", "--json", "-") == 1
    said = capsys.readouterr().out
    data = json.loads(said)
    assert data["failures"][0]["pattern"] == "NaN where numbers should be"
    assert "NaN" not in said.replace("NaN where", "")


def test_missing_results_are_code_2(tmp_path, capsys):
    assert run("verify", file_of(tmp_path, answers()[1:]), "--claim", "f64") == 2
    assert "PROBLEM 1 of 63 vectors of form have no result" in capsys.readouterr().out


def test_too_few_are_code_3(tmp_path, capsys):
    path = file_of(tmp_path, answers())
    assert run("verify", path, "--claim", "f64", "--min-tests", "64") == 3
    assert run("verify", file_of(tmp_path, ["# none"]), "--claim", "f64") == 3
    assert "too few tests (exit 3)" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["core.txt", "manifest.json"])
def test_changed_vectors_are_code_4(tmp_path, monkeypatch, capsys, name):
    path = file_of(tmp_path, answers())
    for file, content in vectors.files().items():
        (tmp_path / file).write_bytes(content + b" " * (file == name))
    (tmp_path / "manifest.json").write_bytes((tmp_path / "manifest.json").read_bytes()[:-9])
    monkeypatch.setattr(vectors, "DATA", tmp_path)
    monkeypatch.setattr(vectors, "load", LOAD)
    assert run("verify", path, "--claim", "f64") == 4
    assert "refbilinear: self-check: " in capsys.readouterr().err


def test_a_folder_of_results(tmp_path, capsys):
    half, rest = answers()[:30], answers()[30:]
    file_of(tmp_path, half, "results-1.txt")
    tests = [
        {
            "tcId": int(words[0]),
            "outputs": {
                "y": {
                    "dtype": "f64",
                    "shape": [int(n) for n in words[4:6]],
                    "data": words[6:],
                }
            },
        }
        for words in (text.split(" ") for text in rest)
    ]
    (tmp_path / "results-2.json").write_text(json.dumps({"schema": SCHEMA, "results": tests}))
    assert run("verify", tmp_path, "--claim", "f64") == 0
    file_of(tmp_path, half[:1], "results-3.txt")
    assert run("verify", tmp_path, "--claim", "f64") == 2
    assert "which another file gives too" in capsys.readouterr().err


BAD = {
    "no file": (["nowhere.txt"], "nowhere.txt"),
    "no results in the folder": (["."], "must hold results*.txt or results*.json"),
    "skip without reason": (["x", "--skip", "NotANumber"], "must be NAME=REASON"),
    "skip without name": (["x", "--skip", "=jit"], "must be NAME=REASON"),
    "min-tests 0": (["x", "--min-tests", "0"], "at least 1; got 0"),
    "order": (["x", "--order", "up"], "invalid choice: 'up'"),
    "reduction": (["x", "--reduction", "max"], "invalid choice: 'max'"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_usage_is_code_2(tmp_path, monkeypatch, capsys, name):
    words, said = BAD[name]
    monkeypatch.chdir(tmp_path)
    try:
        code = run("verify", *words, "--claim", "f64")
    except SystemExit as left:
        code = left.code
    assert code == 2
    assert said in capsys.readouterr().err


def test_malformed_results_are_code_2(tmp_path, capsys):
    assert run("verify", file_of(tmp_path, ["30001 y f64"]), "--claim", "f64") == 2
    assert "line 1 must be tcId name dtype" in capsys.readouterr().err


def test_a_skip_and_a_convention_reach_the_verdict(tmp_path, capsys):
    path = file_of(tmp_path, answers())
    assert run("verify", path, "--claim", "f64", "--skip", "form=why") == 2
    assert "all that it names passes" in capsys.readouterr().out
    wrong = answers()
    wrong[0] = wrong[0].replace(" f64 ", " f32 ").rsplit(" ", 1)[0] + " 0"
    path = file_of(tmp_path, wrong)
    assert run("verify", path, "--claim", "f64", "--skip", f"{wrong[0].split()[0]}=old") == 0
    assert "skipped 1: old" in capsys.readouterr().out
    order = ["--order", "descending", "--reduction", "sum"]
    assert run("verify", path, "--claim", "f64", *order) == 1
    assert "order descending, reduction sum" in capsys.readouterr().out


def test_a_reader_that_leaves_is_no_error(tmp_path, monkeypatch):
    class Closed(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

        def fileno(self):
            return 1

    redirected = []
    monkeypatch.setattr("os.dup2", lambda *files: redirected.append(files))
    monkeypatch.setattr(sys, "stdout", Closed())
    assert run("case", "20201") == 0
    assert redirected[0][1] == 1


def test_a_case_is_shown_and_runs(capsys):
    assert run("case", "20201") == 0
    assert "tcId 20201: tensor, exact, f32, valid" in capsys.readouterr().out
    assert run("case", "20201", "--python") == 0
    assert "from mine import tensor" in capsys.readouterr().out
    commented = next(v for g in SUITE.groups for v in g.vectors if v.comment)
    assert f"; {commented.comment}" in verdicts.case(commented.tc_id, as_python=False)


def test_an_unknown_case_is_code_2(capsys):
    assert run("case", "999999") == 2
    assert "there is none of 999999" in capsys.readouterr().err
