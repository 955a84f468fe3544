import json

import numpy as np
import pytest

from refbilinear import BilinearMLP, accuracy, init_mlp, mlp_forward
from refbilinear.spec import tensor
from refbilinear.spec.mlp import fold
from refbilinear.spec.train import train
from refbilinear.study import experiments, load, plots, report, sections, tables
from refbilinear.study.datasets import Dataset
from refbilinear.study.extras import Talk
from refbilinear.study.findings import (
    attacks,
    examine,
    truncated_accuracy,
    truncated_behind_embedding,
)
from refbilinear.study.training import Settings, kept_if_it_fails, train_with_progress

RNG = np.random.default_rng(3)
X = RNG.random((90, 6))
Y = (X[:, 0] > X[:, 1]).astype(np.intp) + (X[:, 2] > 0.7)
DATA = Dataset(X[:70], Y[:70], X[70:], Y[70:], (2, 3), ("none", "one", "both"))
SETTINGS = Settings(
    seed=4, epochs=3, d_model=5, d_hidden=7, batch_size=8, noise=0.1, dtype="float64"
)
QUIET = Talk(quiet=True, as_json=False)


def trained_by_hand(data, **changes):
    asked = SETTINGS._replace(**changes)
    rng = np.random.default_rng(asked.seed)
    model = init_mlp(rng, 6, 5, 7, 3)
    *_, last = train(
        model, data.x, data.y, rng=rng, epochs=asked.epochs, batch_size=asked.batch_size,
        learning_rate=asked.learning_rate,
        weight_decay=asked.weight_decay, noise=asked.noise,
    )  # fmt: skip
    return last.model


def test_other_seeds_are_trained_and_compared():
    first = train_with_progress(DATA, SETTINGS, QUIET)
    of_first = examine(fold(first.model), range(3))
    found = experiments.other_seeds(first, of_first, DATA, SETTINGS, 3, QUIET)
    assert found.seeds == [4, 5, 6]
    assert len(found.likenesses) == 3
    models = [trained_by_hand(DATA, seed=seed) for seed in found.seeds]
    assert found.accuracies == [accuracy(mlp_forward(m, DATA.x_test), DATA.y_test) for m in models]
    assert (models[0].w_embed == first.model.w_embed).all()
    entry = sections.seeds(found).metrics["seeds"]
    assert json.loads(json.dumps(entry)) == entry
    assert [row[0] for row in tables.TABLES["seeds"](entry).rows] == ["4", "5", "6"]


def test_other_noise_is_all_that_differs():
    found = experiments.other_noise(DATA, SETTINGS, QUIET)
    assert [one.noise for one in found] == list(experiments.NOISES)
    for one in found:
        by_hand = trained_by_hand(DATA, noise=one.noise)
        assert (one.trained.model.w_head == by_hand.w_head).all()
        of = examine(fold(by_hand), range(3))
        assert one.effective_rank == np.mean([each.effective_rank for each in of])
        assert one.examples == 70
        assert one.names == ["none", "one", "both"]
        for vector, each in zip(one.leading, of, strict=True):
            matrix = each.form.matrix
            assert vector.sum() >= 0
            assert vector @ matrix @ vector == pytest.approx(np.linalg.eigvalsh(matrix)[-1])


def test_too_few_examples_are_the_first_of_each_class():
    bare, held = experiments.too_few(DATA, SETTINGS, QUIET)
    chosen = np.concatenate([np.flatnonzero(DATA.y == label)[:10] for label in range(3)])
    few = DATA._replace(x=DATA.x[chosen], y=DATA.y[chosen])
    assert bare.examples == held.examples == len(chosen) <= 30
    assert (bare.noise, bare.weight_decay, held.noise, held.weight_decay) == (0, 0, 0.1, 0.2)
    longer = {"epochs": 15, "batch_size": 7}
    for one, changes in ((bare, {"noise": 0, "weight_decay": 0}), (held, {})):
        by_hand = trained_by_hand(few, **longer, **changes)
        assert (one.trained.model.w_head == by_hand.w_head).all()
    entries = sections.overfitting([bare, held], None).metrics["overfitting"]
    assert json.loads(json.dumps(entries)) == entries
    rows = tables.TABLES["overfitting"](entries).rows
    assert [row[:3] for row in rows] == [["0", "0", "30"], ["0.1", "0.2", "30"]]


@pytest.mark.parametrize("shape", [None, (2, 3)])
def test_every_picture_of_the_experiments_is_drawn(shape):
    pytest.importorskip("matplotlib")
    first = train_with_progress(DATA, SETTINGS, QUIET)
    of_first = examine(fold(first.model), range(3))
    parts = [
        sections.seeds(experiments.other_seeds(first, of_first, DATA, SETTINGS, 2, QUIET)),
        sections.noise(experiments.other_noise(DATA, SETTINGS, QUIET), shape),
        sections.overfitting(experiments.too_few(DATA, SETTINGS, QUIET), shape),
        sections.masks(first.model, of_first, DATA, shape),
    ]
    drawn = {name: draw() for part in parts for name, draw in part.pictures.items()}
    assert set(drawn) == {"seeds.png", "noise.png", "overfitting.png", "masks.png"}
    assert set(drawn) <= set(report.CAPTIONS)
    assert all(png.startswith(b"\x89PNG") for png in drawn.values())


def test_ctrl_c_in_an_experiment_saves_no_variation(tmp_path, monkeypatch):
    def interrupted(items, *_, **__):
        yield next(iter(items))
        raise KeyboardInterrupt

    monkeypatch.setattr("refbilinear.study.training.progress", interrupted)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(KeyboardInterrupt) as interrupt:
        experiments.other_noise(DATA, SETTINGS, QUIET)
    assert not str(interrupt.value)
    assert list(tmp_path.iterdir()) == []


def test_a_model_is_kept_beside_where_reading_it_fails_or_the_words_say_why_not(
    tmp_path, monkeypatch
):
    trained = train_with_progress(DATA, SETTINGS, QUIET)
    with pytest.raises(ValueError, match="no picture") as failure:
        with kept_if_it_fails(trained, 3, tmp_path / "out"):
            raise ValueError("no picture")
    assert "after epoch 3 of 3: its model is kept in" in failure.value.__notes__[0]
    assert (load(tmp_path / "out.interrupted.npz").w_head == trained.model.w_head).all()

    def full(*_):
        raise OSError(28, "No space left on device", "there")

    monkeypatch.setattr("refbilinear.study.training.save", full)
    with pytest.raises(ValueError, match="no picture") as failure:
        with kept_if_it_fails(trained, 3, tmp_path / "out"):
            raise ValueError("no picture")
    assert "its model could not be kept: [Errno 28] No space left" in failure.value.__notes__[0]


def test_pictures_show_the_numbers_that_they_are_of():
    pytest.importorskip("matplotlib")
    first = train_with_progress(DATA, SETTINGS, QUIET)
    of_first = examine(fold(first.model), range(3))
    found = attacks(first.model, of_first, DATA.x_test, DATA.y_test)
    left, right = plots.masks_figure(found, None).subfigs[0].axes
    for axes, name in ((left, "accuracy"), (right, "success")):
        own, permuted = (line.get_ydata() for line in axes.lines)
        copies = [getattr(curve, name) for one in found for curve in one.controls]
        assert np.array_equal(own, np.mean([getattr(one.curve, name) for one in found], axis=0))
        assert np.array_equal(permuted, np.mean(copies, axis=0))
        assert [text.get_text() for text in axes.get_legend().texts] == [
            "mask",
            "its entries permuted",
        ]


# ---- tables, of numbers that all differ


def test_the_table_of_masks():
    outputs = [
        {
            "accuracy": [0.9, 0.5],
            "control_accuracy": [0.8, 0.7],
            "success": [0.1, 0.2],
            "control_success": [0.01, 0.02],
        },
        {
            "accuracy": [0.7, 0.3],
            "control_accuracy": [0.6, 0.5],
            "success": [0.3, 0.6],
            "control_success": [0.03, 0.06],
        },
    ]
    table = tables.TABLES["masks"]({"strengths": [0, 0.5], "outputs": outputs})
    assert table.header == ["mask strength", "accuracy", "permuted", "taken", "permuted"]
    assert table.rows == [
        ["0", "0.8000", "0.7000", "0.2000", "0.0200"],
        ["0.5", "0.4000", "0.6000", "0.4000", "0.0400"],
    ]
    assert tables.TABLES["masks"]({"none": "why"}).rows == []


def test_the_tables_of_trainings():
    one = {
        "noise": 0.1,
        "weight_decay": 0.2,
        "train_examples": 30,
        "train_accuracy": 0.4,
        "test_accuracy": 0.5,
        "effective_rank": 6.0,
    }
    assert tables.TABLES["noise"]([one]).rows == [["0.1", "0.4000", "0.5000", "6.0"]]
    row = ["0.1", "0.2", "30", "0.4000", "0.5000", "6.0"]
    assert tables.TABLES["overfitting"]([one]).rows == [row]


def test_the_table_of_seeds():
    chance = [0.001, 0.002, 0.003, 0.004]
    pairs = [
        {"cosine": 0.5, "ranks": [1, 2, 3, 5], "overlaps": [[0.1, 0.2, 0.3, 0.41], [0.5, 0.6, 0.7, 0.83]], "chance": chance},
        {"cosine": 0.7, "ranks": [1, 2, 3, 5], "overlaps": [[0.1, 0.2, 0.3, 0.47], [0.5, 0.6, 0.7, 0.89]], "chance": chance},
    ]  # fmt: skip
    seeds = {"seeds": [3, 4], "accuracies": [0.25, None], "pairs": pairs}
    table = tables.TABLES["seeds"](seeds)
    assert table.rows == [["3", "0.2500"], ["4", ""]]
    assert "cosine of two seeds' tensors: 0.600." in table.caption
    assert (
        "first 5 eigenvectors of an output span subspaces with an overlap of 0.650; that of random ones is 0.004"
        in table.caption
    )
    pairs[1]["overlaps"][0][3] = None
    assert "span subspaces" not in tables.TABLES["seeds"](seeds).caption
    pairs[0]["cosine"] = pairs[1]["cosine"] = None
    assert tables.TABLES["seeds"](seeds).caption == ""


def test_the_table_of_two_models():
    held = {
        "cosine": None,
        "outputs": [3, 8],
        "cosines": [-0.25, None],
        "ranks": [1, 2],
        "overlaps": [[0.5, None], [0.75, 1.0]],
        "chance": [0.1, 0.2],
    }
    table = tables.TABLES["likeness"](held)
    assert table.header == ["output", "cosine", "overlap 1", "overlap 2"]
    assert table.rows == [
        ["3", "-0.250", "0.500", ""],
        ["8", "", "0.750", "1.000"],
        ["random", "", "0.100", "0.200"],
    ]
    assert "as a whole: none." in table.caption
    assert "as a whole: +0.500." in tables.TABLES["likeness"](held | {"cosine": 0.5}).caption


def test_the_table_of_truncations_ends_with_all():
    curves = {
        "input space": [
            {"k": 1, "accuracy": 0.1},
            {"k": 2, "accuracy": 0.2},
            {"k": 9, "accuracy": 0.9},
        ],
        "model space": [{"k": 1, "accuracy": 0.3}, {"k": 2, "accuracy": 0.9}],
    }
    table = tables.TABLES["truncation"](curves)
    assert table.rows == [
        ["1", "0.1000", "0.3000"],
        ["2", "0.2000", ""],
        ["all", "0.9000", "0.9000"],
    ]


# ---- sections, of a model whose two spaces differ in size


def test_sections_are_of_the_test_examples_and_of_their_own_space():
    model = train_with_progress(DATA, SETTINGS, QUIET).model
    of = examine(fold(model), range(3))
    x, y = DATA.x_test, DATA.y_test
    entries = sections.truncation(model, of, DATA).metrics["truncation"]
    found = {name: [(e["k"], e["accuracy"]) for e in curve] for name, curve in entries.items()}
    assert found == {
        "input space": truncated_accuracy(of, x, y),
        "model space": truncated_behind_embedding(model, x, y),
    }
    assert [found[name][-1][0] for name in found] == [6, 5]
    masks = sections.masks(model, of, DATA, None).metrics["masks"]
    for entry, one in zip(masks["outputs"], attacks(model, of, x, y), strict=True):
        for name in ("accuracy", "success"):
            controls = [getattr(curve, name) for curve in one.controls]
            assert entry[name] == getattr(one.curve, name).tolist()
            assert entry[f"control_{name}"] == np.mean(controls, axis=0).tolist()
    assert sections.check(model, DATA, tensor).metrics["test_accuracy"] == accuracy(
        mlp_forward(model, x), y
    )


def test_a_layer_without_an_embedding_has_one_space_and_one_class_no_masks():
    model = BilinearMLP(None, [fold(init_mlp(0, 6, 5, 7, 3))], None)
    of = examine(fold(model), range(3))
    assert list(sections.truncation(model, of, DATA).metrics["truncation"]) == ["input space"]
    one_class = DATA._replace(y_test=np.zeros_like(DATA.y_test))
    masks = sections.masks(model, of, one_class, None)
    assert "labels must hold another class" in masks.metrics["masks"]["none"]
    assert not masks.pictures
