import itertools
import json
import os
import re
import runpy
import signal
import subprocess
import sys
import time
from importlib.util import find_spec

import numpy as np
import pytest

import refbilinear
from refbilinear import BilinearLayer, accuracy, init_mlp, mlp_forward
from refbilinear.analysis import cosine
from refbilinear.oracle import vectors
from refbilinear.spec.mlp import fold
from refbilinear.study import (
    digits,
    extras,
    jobs,
    load,
    plots,
    report,
    save,
    sections,
    tables,
    training,
    writing,
)
from refbilinear.study.cli import main

PICTURES = {
    f"{name}.png"
    for name in ("training", "eigenvectors", "spectra", "truncation", "explanation", "masks")
}
MASKED = ("accuracy", "control_accuracy", "success", "control_success")
NUMBERS = {"report.html", "metrics.json", "model.npz", "spectrum.npz"}
TRUNCATION = [{"k": 1, "accuracy": 0.5}, {"k": 5, "accuracy": 0.75}, {"k": 64, "accuracy": 1.0}]
BEHIND = [{"k": 1, "accuracy": 0.25}, {"k": 32, "accuracy": 1.0}]
FEW = ["--epochs", "2", "--d-model", "6", "--d-hidden", "5"]


def run(*words):
    return main([str(word) for word in words])


def names(folder):
    return {entry.name for entry in folder.iterdir()}


def data_file(folder, **changes):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((60, 6))
    arrays = {"x": x, "y": (x[:, 0] * x[:, 1] > 0).astype(int)} | changes
    np.savez(folder / "data.npz", **arrays)
    return folder / "data.npz"


def model_file(folder, **changes):
    arrays = {"w_left": np.ones((2, 6)), "w_right": np.arange(12.0).reshape(2, 6)} | changes
    np.savez(folder / "model.npz", **arrays)
    return folder / "model.npz"


@pytest.fixture
def undrawn(monkeypatch):
    """Leave the pictures out, which take seconds, where a test is not about them."""
    monkeypatch.setattr(writing, "installed", lambda name: name != "matplotlib")


@pytest.fixture(scope="module")
def studied(tmp_path_factory):
    pytest.importorskip("matplotlib")
    out = tmp_path_factory.mktemp("study") / "out"
    assert run("study", "digits", "--out", out, "--quiet") == 0
    return out


def test_the_study_reaches_its_accuracy_and_writes_everything(studied):
    metrics = json.loads((studied / "metrics.json").read_text())
    assert names(studied) == PICTURES | NUMBERS
    assert metrics["test_accuracy"] >= 0.97
    assert metrics["check"]["passed"]
    for space in ("input space", "model space"):
        curve = metrics["truncation"][space]
        assert [entry["k"] for entry in curve] == [1, 2, 3, 5, 10, 20, 30, 64]
        assert curve[-1]["accuracy"] == metrics["test_accuracy"]
    assert {entry["example"] for entry in metrics["explained"]} == {0, 2}
    strongest = {n: np.mean([o[n][-1] for o in metrics["masks"]["outputs"]]) for n in MASKED}
    assert strongest["accuracy"] < strongest["control_accuracy"] - 0.1
    assert strongest["success"] > strongest["control_success"] + 0.1
    assert len(metrics["epochs"]) == 60
    assert metrics["settings"]["seed"] == 0
    assert metrics["seconds"]["total"] > metrics["seconds"]["training"] > 0


def test_the_model_and_the_spectra_are_those_of_the_report(studied):
    metrics = json.loads((studied / "metrics.json").read_text())
    data = digits(np.float32)
    model = load(studied / "model.npz")
    assert accuracy(mlp_forward(model, data.x_test), data.y_test) == metrics["test_accuracy"]
    spectrum = np.load(studied / "spectrum.npz")
    assert spectrum["eigenvectors"].shape == (10, 64, 64)
    for row, values in zip(metrics["outputs"], spectrum["eigenvalues"], strict=True):
        assert row["eigenvalues"] == [float(value) for value in values[:5]]


def test_the_report_stands_alone(studied):
    html = (studied / "report.html").read_text()
    assert html.count("data:image/png;base64,") == len(PICTURES)
    assert len(re.findall(r'<img alt="[^"]{40,}"', html)) == len(PICTURES)
    assert not re.search(r"(src|href)=.http", html)
    assert "The tensor gives the forward pass on 355 examples" in html
    assert '<html lang="en">' in html
    for png in PICTURES:
        assert (studied / png).read_bytes().startswith(b"\x89PNG")


def test_the_truncation_curve_shows_its_numbers():
    pytest.importorskip("matplotlib")
    figure = plots.truncation_figure({"input space": TRUNCATION, "model space": BEHIND})
    points = [line.get_xydata().tolist() for line in figure.axes[0].lines[:2]]
    assert points == [[[1, 0.5], [5, 0.75], [64, 1.0]], [[1, 0.25], [32, 1.0]]]
    labels = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert labels == ["1", "5", "64"]


def test_the_same_seed_gives_the_same_bytes(studied, undrawn, tmp_path):
    assert run("study", "digits", "--out", tmp_path / "again", "--quiet") == 0
    assert (tmp_path / "again/model.npz").read_bytes() == (studied / "model.npz").read_bytes()
    first, second = (
        json.loads((folder / "metrics.json").read_text())
        for folder in (studied, tmp_path / "again")
    )
    assert first.pop("seconds") != second.pop("seconds")
    assert first == second


def test_five_seeds_reach_97_percent_on_average(undrawn, tmp_path, capsys):
    accuracies = []
    for seed in range(5):
        assert run("study", "digits", "--seed", seed, "--out", tmp_path / "out", "--json") == 0
        accuracies.append(json.loads(capsys.readouterr().out)["test_accuracy"])
    assert np.mean(accuracies) >= 0.97


def test_another_seed_gives_another_model(tmp_path, undrawn):
    for seed in (1, 2):
        run("study", "digits", "--seed", seed, "--out", tmp_path / str(seed), "--quiet", *FEW)
    one, two = (load(tmp_path / str(seed) / "model.npz") for seed in (1, 2))
    assert (one.w_embed != two.w_embed).all()


def test_every_setting_reaches_the_model(tmp_path, capsys, undrawn):
    words = ["--dtype", "float64", "--bias", "--residual", "--noise", "0", "--weight-decay", "0"]
    assert run("study", "digits", "--out", tmp_path / "out", "--json", *FEW, *words) == 0
    metrics = json.loads(capsys.readouterr().out)
    model = load(tmp_path / "out/model.npz")
    assert (model.dtype, model.residual) == (np.float64, True)
    assert (model.layers[0].d_in, model.layers[0].d_hidden) == (6, 5)
    assert model.layers[0].b_out is not None
    assert metrics["outputs"][0]["linear_norm"] > 0
    assert metrics["settings"]["noise"] == 0
    assert metrics["check"]["passed"]


def test_a_failed_check_is_exit_code_1(tmp_path, monkeypatch, capsys, undrawn):
    right = sections.check_tensor
    monkeypatch.setattr(sections, "check_tensor", lambda *a: right(*a)._replace(passed=False))
    assert run("study", "digits", "--out", tmp_path / "out", *FEW) == 1
    assert "DOES NOT give the forward pass" in capsys.readouterr().out
    assert 'class="verdict failed"' in (tmp_path / "out/report.html").read_text()


def test_a_report_is_replaced_as_a_whole(tmp_path, monkeypatch, capsys, undrawn):
    out = tmp_path / "out"
    run("study", "digits", "--out", out, "--quiet", *FEW)
    before = {name: (out / name).read_bytes() for name in names(out)}
    monkeypatch.setattr(writing, "fill", lambda *_: (_ for _ in ()).throw(OSError("disk is full")))
    assert run("study", "digits", "--out", out, "--seed", "9", *FEW) == 2
    assert "disk is full" in capsys.readouterr().err
    assert {name: (out / name).read_bytes() for name in names(out)} == before
    assert names(tmp_path) == {"out", "out.interrupted.npz"}


def test_without_matplotlib_all_but_the_pictures_is_there(tmp_path, undrawn, capsys):
    assert run("study", "digits", "--out", tmp_path / "out", *FEW) == 0
    said = capsys.readouterr()
    assert names(tmp_path / "out") == NUMBERS
    assert "no pictures: they need matplotlib: pip install 'refbilinear[study]'" in said.err
    assert "Pictures need matplotlib" in (tmp_path / "out/report.html").read_text()
    assert "Written to" in said.out


def interrupt_after(monkeypatch, epochs):
    """Let Ctrl-C come when so many epochs are done."""

    def interrupted(items, *_, **__):
        yield from itertools.islice(items, epochs)
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "progress", interrupted)


def test_an_interrupted_study_keeps_its_last_epoch_and_says_so(tmp_path, monkeypatch, capsys):
    interrupt_after(monkeypatch, 2)
    assert run("study", "digits", "--out", tmp_path / "out", "--epochs", "5") == 130
    said = capsys.readouterr().err
    assert "interrupted: after epoch 2 of 5: its model is kept in" in said
    assert names(tmp_path) == {"out.interrupted.npz"}
    assert load(tmp_path / "out.interrupted.npz").d_in == 64


def test_an_interrupted_training_leaves_the_earlier_model(tmp_path, monkeypatch, capsys):
    model_file(tmp_path).rename(tmp_path / "m.npz")
    before = (tmp_path / "m.npz").read_bytes()
    interrupt_after(monkeypatch, 0)
    assert run("train", data_file(tmp_path), "--out", tmp_path / "m.npz", *FEW) == 130
    assert "nothing was kept" in capsys.readouterr().err
    assert names(tmp_path) == {"data.npz", "m.npz"}
    assert (tmp_path / "m.npz").read_bytes() == before


def test_ctrl_c_while_the_report_is_made_keeps_the_model(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(writing, "fill", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    assert run("study", "digits", "--out", tmp_path / "out", *FEW) == 130
    assert "after epoch 2 of 2: its model is kept" in capsys.readouterr().err
    assert names(tmp_path) == {"out.interrupted.npz"}


def test_a_failure_after_training_keeps_the_model_and_says_where(tmp_path, monkeypatch, capsys):
    def failing(*_):
        raise ValueError("matplotlib is upset")

    monkeypatch.setattr(writing, "fill", failing)
    assert run("study", "digits", "--out", tmp_path / "out", *FEW) == 2
    said = capsys.readouterr().err
    assert "error: matplotlib is upset; after epoch 2 of 2: its model is kept in" in said
    assert names(tmp_path) == {"out.interrupted.npz"}


def test_ctrl_c_while_weights_are_read_writes_nothing(tmp_path, monkeypatch, capsys):
    model = model_file(tmp_path)
    monkeypatch.setattr(jobs, "_examine", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    assert run("analyze", model, "--out", tmp_path / "out") == 130
    assert "interrupted: nothing more was written" in capsys.readouterr().err
    assert names(tmp_path) == {"model.npz"}


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_real_ctrl_c_leaves_no_broken_file(tmp_path):
    command = [sys.executable, "-m", "refbilinear", "study", "digits", "--epochs", "100000"]
    process = subprocess.Popen([*command, "--out", tmp_path / "out"], stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not names(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1.0)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert re.search(rb"interrupted: (after epoch \d+|before the first) of 100000", said)
    assert names(tmp_path) <= {"out.interrupted.npz"}


def test_own_data_and_own_weights_go_the_whole_way(tmp_path, capsys):
    model, out = tmp_path / "m.npz", tmp_path / "report"
    data = data_file(tmp_path)
    assert run("train", data, "--out", model, *FEW) == 0
    assert f"refbilinear analyze {model}" in capsys.readouterr().out
    assert run("analyze", model, "--data", data, "--out", out, "--image", "2x3") == 0
    said = capsys.readouterr().out
    assert "The tensor gives the forward pass on 1" in said
    assert "Written to" in said
    assert names(out) == (PICTURES | NUMBERS) - {"training.png", "model.npz"}


def test_training_without_a_class_of_five_has_no_test(tmp_path, capsys):
    data = data_file(tmp_path, x=np.eye(6)[:3], y=np.array([0, 1, 0]))
    assert run("train", data, "--out", tmp_path / "m.npz", "--json", *FEW) == 0
    assert json.loads(capsys.readouterr().out)["test_accuracy"] is None
    assert run("train", data, "--out", tmp_path / "m.npz", *FEW) == 0
    assert "Test accuracy" not in capsys.readouterr().out


def test_chosen_outputs_of_a_layer_that_is_no_image(tmp_path, capsys):
    layer = BilinearLayer(*np.random.default_rng(0).standard_normal((2, 40, 6)))
    save(tmp_path / "layer.npz", layer)
    words = [
        "--output",
        "39",
        "--output",
        "3",
        "--output",
        "3",
        "--top",
        "2",
        "--out",
        tmp_path / "out",
    ]
    assert run("analyze", tmp_path / "layer.npz", "--json", *words) == 0
    rows = json.loads(capsys.readouterr().out)["outputs"]
    assert [row["output"] for row in rows] == [3, 39]
    assert [len(row["eigenvalues"]) for row in rows] == [2, 2]
    assert "eigenvectors.png" not in names(tmp_path / "out")


def test_some_outputs_on_data_are_explained_without_truncation(tmp_path, capsys):
    model, data = model_file(tmp_path), data_file(tmp_path)
    for output in ("0", "1"):
        words = ["--output", output, "--data", data, "--out", tmp_path / "out"]
        assert run("analyze", model, *words) == 0
        assert "eigenvectors  input space" not in capsys.readouterr().out
        assert "explanation.png" in names(tmp_path / "out")


def test_an_example_whose_class_is_not_among_the_outputs_is_still_explained(tmp_path, undrawn):
    model = model_file(tmp_path)
    data = data_file(tmp_path, y=np.zeros(60, dtype=int))
    words = ["--output", "1", "--data", data, "--out", tmp_path / "out", "--quiet"]
    for example in ([], ["--example", "0"]):
        assert run("analyze", model, *words, *example) == 0
        (entry,) = json.loads((tmp_path / "out/metrics.json").read_text())["explained"]
        assert (entry["example"], entry["output"], entry["label"]) == (0, 1, 0)


def test_a_study_of_seeds_noise_and_few_examples(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    out = tmp_path / "out"
    words = ["--runs", "2", "--sweep", "--example", "7"]
    assert run("study", "digits", "--out", out, *words, *FEW) == 0
    said = capsys.readouterr().out
    metrics = json.loads((out / "metrics.json").read_text())
    drawn = {"seeds.png", "noise.png", "overfitting.png"}
    assert names(out) - {"masks.png"} == PICTURES - {"masks.png"} | NUMBERS | drawn
    assert metrics["data"] == "digits"
    assert metrics["seeds"]["seeds"] == [0, 1]
    assert metrics["seeds"]["accuracies"][0] == metrics["test_accuracy"]
    assert [one["noise"] for one in metrics["noise"]] == [0, 0.1, 0.2, 0.4, 0.8]
    assert [one["train_examples"] for one in metrics["overfitting"]] == [100, 100]
    assert {one["example"] for one in metrics["explained"]} == {7}
    assert f"{metrics['seeds']['accuracies'][1]:.4f}" in said
    html = (out / "report.html").read_text()
    for heading, _ in report.SECTIONS.values():
        assert (f"<h2>{heading}</h2>" in html) == (heading != "Likeness")


def two_models(folder):
    for seed, name in ((1, "one"), (2, "two")):
        save(folder / f"{name}.npz", init_mlp(seed, 9, 5, 4, 3, bias=True))
    return ["compare", folder / "one.npz", folder / "two.npz"]


def test_two_models_are_compared(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    words = two_models(tmp_path)
    assert run(*words, "--out", tmp_path / "out") == 0
    said = capsys.readouterr().out
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    a, b = (fold(load(path)) for path in words[1:])
    assert metrics["likeness"]["cosine"] == cosine(a, b)
    assert metrics["settings"] == {"first": "one.npz", "second": "two.npz"}
    assert f"Cosine of the two tensors as a whole: {cosine(a, b):+.3f}" in said
    assert names(tmp_path / "out") == {
        "report.html",
        "metrics.json",
        "likeness.png",
        "side-by-side.png",
    }
    assert run(words[0], words[1], words[1], "--output", "2", "--json", "--image", "1x9") == 0
    same = json.loads(capsys.readouterr().out)["likeness"]
    assert (same["outputs"], round(same["cosine"], 12)) == ([2], 1)
    layers = [BilinearLayer(np.eye(3, 6) + n, np.eye(3, 6) - n) for n in range(2)]
    for name, layer in zip("ab", layers, strict=True):
        save(tmp_path / f"{name}.npz", layer)
    files = [tmp_path / "a.npz", tmp_path / "b.npz"]
    assert run("compare", *files, "--quiet", "--out", tmp_path / "flat") == 0
    assert "side-by-side.png" not in names(tmp_path / "flat")
    assert capsys.readouterr() == ("", "")


def test_weights_of_other_code_are_read_by_block_gate_and_name(tmp_path, capsys):
    rng = np.random.default_rng(0)
    shapes = {"gate_proj": (5, 4), "up_proj": (5, 4), "down_proj": (4, 5)}
    arrays = {
        f"model.layers.{i}.mlp.{name}.weight": rng.standard_normal(shape)
        for i in range(2)
        for name, shape in shapes.items()
    }
    np.savez(tmp_path / "m.npz", **arrays)
    read = ["analyze", tmp_path / "m.npz", "--json"]
    assert run(*read, "--layer", "1", "--gate", "ignore") == 0
    by_layout = json.loads(capsys.readouterr().out)["outputs"]
    mapped = {"w_left": "gate_proj", "w_right": "up_proj", "w_out": "down_proj"}
    words = [f"--map={ours}=model.layers.1.mlp.{name}.weight" for ours, name in mapped.items()]
    assert run(*read, *words) == 0
    assert json.loads(capsys.readouterr().out)["outputs"] == by_layout
    assert run(*read, "--layer", "1") == 2
    assert "is no polynomial" in capsys.readouterr().err
    assert run("analyze", tmp_path / "m.npz", "--out", tmp_path / "out", *words) == 0
    assert run(*read, "--layer", "1", "--gate", "ignore", "--out", tmp_path / "out") == 0
    assert "eigenvectors.png" not in names(tmp_path / "out")  # four channels are no 2x2 image


def test_a_data_set_may_be_named(tmp_path, capsys):
    save(tmp_path / "m.npz", init_mlp(0, 64, 5, 4, 10))
    assert run("analyze", tmp_path / "m.npz", "--data", "digits", "--json") == 0
    assert json.loads(capsys.readouterr().out)["check"]["examples"] == 355


def test_where_no_mask_can_be_made_the_report_says_why(tmp_path, undrawn):
    """An output whose form is negative definite has no eigenvector to excite."""
    model = model_file(tmp_path, w_right=-np.ones((2, 6)))
    words = ["--data", data_file(tmp_path), "--out", tmp_path / "out", "--quiet"]
    assert run("analyze", model, *words) == 0
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    assert "positive" in metrics["masks"]["none"]
    assert "<p>There are none: " in (tmp_path / "out/report.html").read_text()


def test_a_square_number_of_inputs_is_an_image(tmp_path, capsys):
    save(tmp_path / "layer.npz", BilinearLayer(np.ones((6, 9)), np.ones((6, 9))))
    assert run("analyze", tmp_path / "layer.npz") == 0
    assert "effective rank" in capsys.readouterr().out
    assert run("analyze", tmp_path / "layer.npz", "--out", tmp_path / "out", "--quiet") == 0
    assert "eigenvectors.png" in names(tmp_path / "out")


def test_greeting_and_information(capsys):
    assert run() == 0
    assert "refbilinear study digits" in capsys.readouterr().out
    assert run("info") == 0
    assert f"numpy        {np.__version__}" in capsys.readouterr().out
    assert run("info", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    compiled = find_spec("refbilinear._kernel") is not None
    assert not compiled or facts["kernel"] in facts["variants"]
    assert not compiled or facts["threads"] >= 1


def test_info_says_why_there_is_no_kernel(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "refbilinear.fast", None)
    assert run("info") == 0
    assert re.search(r"^kernel +none: .*refbilinear.fast", capsys.readouterr().out, re.MULTILINE)


def written(folder):
    """Return what a job wrote: its metrics but the seconds, and the bytes of its arrays."""
    metrics = json.loads((folder / "metrics.json").read_text())
    metrics.pop("seconds", None)
    return metrics, {path.name: path.read_bytes() for path in folder.glob("*.npz")}


@pytest.fixture
def fast():
    return pytest.importorskip("refbilinear.fast", exc_type=ImportError)


def test_either_kernel_checks_the_study_and_is_recorded(fast, tmp_path, undrawn):
    found = {}
    for kernel, name in (("spec", "spec"), ("fast", f"fast ({fast.active()})")):
        out = tmp_path / kernel
        assert run("study", "digits", "--out", out, "--quiet", "--kernel", kernel, *FEW) == 0
        assert f"kernel {name}, " in (out / "report.html").read_text()
        found[kernel] = written(out)
        assert found[kernel][0].pop("kernel") == name
        # Both are within the bound of one forward pass, so within twice the bound of each other.
        check = found[kernel][0].pop("check")
        assert check["passed"]
        assert 0 < check["worst_error"] <= check["allowed_there"]
    assert found["spec"] == found["fast"]


def test_on_small_integers_the_kernels_write_the_same(fast, tmp_path, undrawn):
    """No sum is rounded, so nothing but the name may differ."""
    x = np.random.default_rng(0).integers(-9, 10, (60, 6))
    words = ["analyze", model_file(tmp_path), "--data", data_file(tmp_path, x=x), "--quiet"]
    found = []
    for kernel in ("spec", "fast"):
        assert run(*words, "--kernel", kernel, "--out", tmp_path / kernel) == 0
        found.append(written(tmp_path / kernel))
    assert found[0][0].pop("kernel") != found[1][0].pop("kernel")
    assert found[0][0]["check"]["worst_error"] == 0
    assert found[0] == found[1]


@pytest.mark.parametrize("function", ["interaction_tensor", "quadratic_form"])
def test_the_chosen_kernel_is_what_computes(function, fast, tmp_path, monkeypatch, undrawn):
    """A mistake planted in one kernel is found by the check of that kernel alone."""
    right = getattr(fast, function)
    monkeypatch.setattr(fast, function, lambda *arguments: right(*arguments) * 2)
    analyze = ["analyze", model_file(tmp_path), "--data", data_file(tmp_path), "--quiet"]
    for words in (analyze, ["study", "digits", "--out", tmp_path / "out", "--quiet", *FEW]):
        assert run(*words) == 0
        assert run(*words, "--kernel", "fast") == 1


KERNEL_JOBS = {
    "study": lambda folder: ["study", "digits", "--out", folder / "out"],
    "analyze": lambda folder: ["analyze", folder / "model.npz", "--out", folder / "out"],
}


@pytest.fixture(params=KERNEL_JOBS)
def no_work(request, tmp_path, monkeypatch):
    """Return the words of a job that fails, in words of its own, once it reads anything."""
    for reader in ("load_dataset", "load"):
        monkeypatch.setattr(jobs, reader, None)
    monkeypatch.setattr(writing, "staged_folder", None)
    monkeypatch.delitem(sys.modules, "refbilinear.fast", raising=False)
    return KERNEL_JOBS[request.param](tmp_path)


def test_a_missing_kernel_is_told_before_any_work(no_work, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "refbilinear._kernel", None)
    monkeypatch.delattr(refbilinear, "_kernel", raising=False)
    assert run(*no_work, "--kernel", "fast") == 2
    said = capsys.readouterr().err
    assert said.startswith("refbilinear: error: refbilinear.fast needs the compiled kernel, which")
    assert "or use refbilinear.spec" in said
    assert names(tmp_path) == set()


def test_a_kernel_that_refuses_is_told_before_any_work(
    fast, no_work, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("REFBILINEAR_VARIANT", "abacus")
    assert run(*no_work, "--kernel", "fast") == 2
    said = capsys.readouterr().err
    assert said.startswith("refbilinear: error: REFBILINEAR_VARIANT must be one of")
    assert names(tmp_path) == set()


def test_the_compiled_kernel_is_imported_only_when_asked_for(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "refbilinear.fast", None)
    words = ["analyze", model_file(tmp_path), "--data", data_file(tmp_path), "--quiet"]
    assert run(*words) == run(*words, "--kernel", "spec") == 0


@pytest.mark.parametrize("command", ["study", "train", "analyze", "vectors", "info"])
def test_every_command_has_help_with_an_example(command, capsys):
    with pytest.raises(SystemExit, match="0"):
        run(command, "--help")
    assert f"example: refbilinear {command}" in capsys.readouterr().out


def test_python_dash_m_and_a_reader_that_leaves(tmp_path):
    command = [sys.executable, "-m", "refbilinear"]
    done = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", done.stdout)
    reader, writer = os.pipe()
    os.close(reader)
    left = subprocess.run([*command, "info"], stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (left.returncode, left.stderr) == (0, b"")


def test_the_module_is_the_command(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["refbilinear"])
    with pytest.raises(SystemExit, match="0"):
        runpy.run_module("refbilinear", run_name="__main__")
    assert "study digits" in capsys.readouterr().out


def test_a_reader_that_leaves_is_no_error(monkeypatch, capfd):
    redirected = []
    monkeypatch.setattr(os, "dup2", lambda *files: redirected.append(files))
    monkeypatch.setattr(jobs, "information", lambda: (_ for _ in ()).throw(BrokenPipeError))
    assert run("info") == 0
    assert redirected[0][1] == sys.stdout.fileno()
    os.close(redirected[0][0])


def test_quiet_and_pipes_are_quiet(tmp_path, undrawn, capsys):
    assert run("study", "digits", "--out", tmp_path / "out", "--quiet", *FEW) == 0
    assert capsys.readouterr() == ("", "")
    assert run("train", data_file(tmp_path), "--out", tmp_path / "m.npz", *FEW) == 0
    assert capsys.readouterr().err == ""


def test_progress_on_a_terminal(monkeypatch, capsys):
    pytest.importorskip("tqdm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert list(extras.progress(range(3), 3, "working", quiet=False)) == [0, 1, 2]
    assert "working" in capsys.readouterr().err
    monkeypatch.setattr(extras, "installed", lambda _: False)
    assert list(extras.progress(range(3), 3, "working", quiet=False)) == [0, 1, 2]
    assert "working: to see progress, pip install 'refbilinear[study]'" in capsys.readouterr().err


def test_a_missing_extra_is_named():
    with pytest.raises(ImportError, match=r"drawing needs nosuch, .*: pip install 'refbilinear\[s"):
        extras.need("nosuch.figure", "drawing")


def test_a_table_without_rows_is_its_header():
    assert tables.text_table(["a", "bc"], []) == "a  bc"


def test_a_model_in_the_folder_of_its_report_is_not_lost(tmp_path, undrawn, capsys):
    out = tmp_path / "out"
    run("study", "digits", "--out", out, "--quiet", *FEW)
    before = (out / "model.npz").read_bytes()
    assert run("analyze", out / "model.npz", "--out", out) == 2
    assert "holds model.npz, which this command did not write" in capsys.readouterr().err
    assert (out / "model.npz").read_bytes() == before


def test_names_alone_do_not_make_a_folder_ours(tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    model_file(out)
    for content in (None, "{}"):
        if content:
            (out / "metrics.json").write_text(content)
        assert run("study", "digits", "--out", out, *FEW) == 2
        assert "which this command did not write" in capsys.readouterr().err
    assert names(out) == {"model.npz", "metrics.json"}


def test_an_earlier_model_is_replaced_and_nothing_else(tmp_path, capsys):
    data, out = data_file(tmp_path), tmp_path / "m.npz"
    for _ in range(2):
        assert run("train", data, "--out", out, "--quiet", *FEW) == 0
    before = data.read_bytes()
    assert run("train", data, "--out", data, *FEW) == 2
    assert "data.npz exists and is no model: name another file" in capsys.readouterr().err
    assert data.read_bytes() == before


def test_large_float32_weights_keep_their_signs_and_norms(tmp_path, capsys):
    rows = np.full((1, 3), 1e10, np.float32)
    skip = np.full((1, 3), 1e30, np.float32)
    np.savez(tmp_path / "m.npz", w_left=rows, w_right=rows, w_skip=skip)
    assert run("analyze", tmp_path / "m.npz", "--json") == 0
    row = json.loads(capsys.readouterr().out)["outputs"][0]
    assert (row["positive"], row["negative"]) == (1, 0)
    assert 1e30 < row["linear_norm"] < 2e30


def test_a_console_without_greek_and_one_that_is_closed(tmp_path):
    command = [sys.executable, "-m", "refbilinear", "analyze", model_file(tmp_path)]
    latin = os.environ | {"PYTHONIOENCODING": "latin-1"}
    done = subprocess.run(command, env=latin, capture_output=True, check=True)
    assert b"\\u03bb1" in done.stdout
    closed = subprocess.run(
        ["sh", "-c", '"$@" >&-', "sh", *command], capture_output=True, check=False
    )
    assert (closed.returncode, closed.stderr) == (0, b"")


def test_without_a_standard_output_nothing_breaks(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    assert run("info") == 0


def no_output_file(folder):
    return model_file(folder, w_out=np.ones((0, 2)))


def no_input_file(folder):
    return model_file(folder, w_left=np.ones((2, 0)), w_right=np.ones((2, 0)))


def ids_file(folder):
    return data_file(folder, y=np.arange(60) + 1_700_000_000)


def deep_file(folder):
    save(folder / "deep.npz", init_mlp(0, 6, 4, 3, 2, depth=2))
    return folder / "deep.npz"


def foreign_folder(folder):
    (folder / "writing").mkdir()
    (folder / "writing/thesis.txt").write_text("mine")
    return folder / "writing"


def infinite_file(folder):
    return model_file(folder, w_left=np.full((2, 6), np.inf))


def wide_file(folder):
    return model_file(folder, w_left=np.ones((80, 6)), w_right=np.ones((80, 6)))


def diverging(folder):
    return data_file(folder, x=np.full((60, 6), 1e30))


def test_vectors_are_exported_as_they_are_shipped(tmp_path, capsys):
    out = tmp_path / "vectors"
    for _ in range(2):
        assert run("vectors", "export", out) == 0
        assert "core.json, core.txt, manifest.json, schema.json" in capsys.readouterr().out
    assert vectors.read_folder(out) == vectors.files()
    assert vectors.read(out / "core.json").min_tests >= 600
    assert run("vectors", "export", out, "--json") == 0
    manifest = json.loads(capsys.readouterr().out)
    assert manifest["sha256"].keys() == names(out) - {"manifest.json"}
    (out / "results.txt").write_text("mine")
    assert run("vectors", "export", out) == 2
    assert "holds results.txt, which this command did not write" in capsys.readouterr().err


def test_vectors_that_were_changed_are_not_exported(tmp_path, monkeypatch, capsys):
    for name, content in vectors.files().items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "core.txt").write_bytes(b"other")
    monkeypatch.setattr(vectors, "DATA", tmp_path)
    assert run("vectors", "export", tmp_path / "out") == 2
    assert "core.txt must have the SHA-256" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


BAD = {
    "an example of no data": (["analyze", model_file, "--example", "0"], "--example needs --data"),
    "too many examples": (["analyze", model_file, "--data", data_file, *["--example", "0"] * 7], "at most 6 examples are explained; got 7"),
    "a parameter mapped twice": (["analyze", model_file, "--map", "w_left=a", "--map", "w_left=b"], "--map must name each parameter once"),
    "models without inputs": (["compare", no_input_file, no_input_file], "must have at least one input to be compared; it has none"),
    "runs 0": (["study", "digits", "--runs", "0"], "--runs: must be an integer of at least 1; got 0"),
    "an example that is not there": (["study", "digits", "--example", "355", *FEW, "--out", "out"], "examples must lie in 0..354; got 355"),
    "map of one word": (["analyze", model_file, "--map", "w_left"], "--map: must be OURS=THEIRS, as in w_left=mlp.w.weight[left]; got w_left"),
    "map of no parameter": (["analyze", model_file, "--map", "weight=w_left"], "weight"),
    "gate": (["analyze", model_file, "--gate", "open"], "--gate: invalid choice: 'open'"),
    "data by no name": (["analyze", model_file, "--data", "imagenet"], "imagenet is neither a file or folder nor one of digits, mnist, fashion-mnist"),
    "one model": (["compare", model_file], "required: MODEL"),
    "models of two sizes": (
        ["compare", model_file, lambda folder: two_models(folder)[1]],
        "one.npz must have the inputs, outputs and dtype of"),
    "no such command": (["stduy"], "invalid choice: 'stduy'"),
    "no such data": (["study", "imagenet"], "invalid choice: 'imagenet'"),
    "no such action": (["vectors", "improt", "out"], "invalid choice: 'improt'"),
    "no action": (["vectors"], "arguments are required: COMMAND"),
    "vectors over a file": (["vectors", "export", data_file], "is a file"),
    "vectors in nowhere": (["vectors", "export", "nowhere/out"], "nowhere does not exist"),
    "vectors over the working folder": (["vectors", "export", "."], "is the working folder, or above it"),
    "vectors over foreign files": (["vectors", "export", foreign_folder], "holds thesis.txt, which this command did not write"),
    "no data": (["train"], "required: data, --out"),
    "epochs 0": (["study", "digits", "--epochs", "0"], "--epochs: must be an integer of at least 1; got 0"),
    "epochs word": (["study", "digits", "--epochs", "ten"], "at least 1; got ten"),
    "seed -1": (["study", "digits", "--seed", "-1"], "--seed: must be an integer of at least 0"),
    "noise nan": (["study", "digits", "--noise", "nan"], "--noise: must be a finite number"),
    "decay word": (["study", "digits", "--weight-decay", "much"], "finite number of at least 0; got much"),
    "dtype": (["study", "digits", "--dtype", "float16"], "invalid choice: 'float16'"),
    "kernel": (["study", "digits", "--kernel", "quick"], "--kernel: invalid choice: 'quick'"),
    "kernel of analyze": (["analyze", model_file, "--kernel", "quick"], "--kernel: invalid choice: 'quick'"),
    "out in nowhere": (["study", "digits", "--out", "nowhere/out"], "nowhere does not exist"),
    "out is here": (["study", "digits", "--out", "."], "is the working folder, or above it"),
    "out is nothing": (["study", "digits", "--out", ""], "is the working folder, or above it"),
    "out is the root": (["study", "digits", "--out", "/"], "is the working folder, or above it"),
    "image of one number": (["analyze", model_file, "--image", "8"], "must be HxW, as in 28x28; got 8"),
    "model without outputs": (["analyze", no_output_file], "the model has no output to read"),
    "labels that are ids": (["train", ids_file, "--out", "m.npz"], "fewer than the 60 examples; got 1700000059"),
    "train over anything": (["train", data_file, "--out", "notes.txt"], "exists and is no model"),
    "a step too far": (["train", data_file, "--out", "m.npz", "--learning-rate", "1e30", "--epochs", "1", "--batch-size", "60"],
                       "not finite after epoch 1"),
    "out in a file": (["study", "digits", "--out", data_file, "--quiet"], "is a file"),
    "out under a device": (["study", "digits", "--out", "/dev/null/out"], "/dev/null"),
    "out with foreign files": (["study", "digits", "--out", foreign_folder], "holds thesis.txt, which this command did not write"),
    "model is missing": (["analyze", "nothing.npz"], "No such file or directory: 'nothing.npz'"),
    "model is a folder": (["analyze", "."], "Is a directory"),
    "model is text": (["analyze", __file__], "is not a usable .npz file"),
    "model is data": (["analyze", data_file], "it must hold w_left, or layers.0.w_left; it holds x, y"),
    "model is deep": (["analyze", deep_file], "model must have one layer to be one bilinear layer; got 2"),
    "model is infinite": (["analyze", infinite_file], "model.npz: w_left must be finite; got inf at (0, 0)"),
    "model is wide": (["analyze", wide_file], "the model has 80 outputs: choose some with --output"),
    "output": (["analyze", model_file, "--output", "2"], "output must lie in 0..1; got 2"),
    "output -1": (["analyze", model_file, "--output", "-1"], "at least 0; got -1"),
    "image": (["analyze", model_file, "--image", "3x3"], "--image must have 6 pixels in all; got 3x3"),
    "image word": (["analyze", model_file, "--image", "square"], "argument --image"),
    "data do not fit": (["analyze", deep_file, "--data", data_file], "one layer"),
    "data with more classes": (
        ["analyze", model_file, "--data", lambda folder: data_file(folder, y=np.arange(60))],
        "a model of 6 inputs and 2 classes needs x (n, 6), labels below 2"),
    "data of another width": (
        ["analyze", model_file, "--data", lambda folder: data_file(folder, x=np.ones((60, 5)))],
        "labels below 2 and test examples; got x (4"),
    "train out is a folder": (["train", data_file, "--out", "."], "is a folder: name a file"),
    "train out in nowhere": (["train", data_file, "--out", "nowhere/m.npz"], "nowhere does not exist"),
    "training diverges": (["train", diverging, "--out", "m.npz"], "in epoch 1: train on finite inputs"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_usage_and_input_are_exit_code_2_with_a_reason(name, tmp_path, monkeypatch, capsys):
    words, reason = BAD[name]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    words = [word(tmp_path) if callable(word) else word for word in words]
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    try:
        code = run(*words)
    except SystemExit as usage:
        code = usage.code
    assert code == 2
    assert reason in re.sub(r"\s+", " ", capsys.readouterr().err)
    after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert after == before
