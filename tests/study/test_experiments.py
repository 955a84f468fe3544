import json

import numpy as np
import pytest

from refbilinear import accuracy, init_mlp, mlp_forward
from refbilinear.spec.mlp import fold
from refbilinear.spec.train import train
from refbilinear.study import experiments, report, sections, tables
from refbilinear.study.datasets import Dataset
from refbilinear.study.extras import Talk
from refbilinear.study.findings import examine
from refbilinear.study.training import Settings, train_with_progress

RNG = np.random.default_rng(3)
X = RNG.random((90, 6))
Y = (X[:, 0] > X[:, 1]).astype(np.intp) + (X[:, 2] > 0.7)
DATA = Dataset(X[:70], Y[:70], X[70:], Y[70:], (2, 3), ("none", "one", "both"))
SETTINGS = Settings(
    seed=4, epochs=3, d_model=5, d_hidden=7, batch_size=8, noise=0.1, dtype="float64"
)
QUIET = Talk(quiet=True, as_json=False)


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def trained_by_hand(data, **changes):
    asked = SETTINGS._replace(**changes)
    rng = np.random.default_rng(asked.seed)
    model = init_mlp(rng, 6, 5, 7, 3)
    *_, last = train(
        model, data.x, data.y, rng=rng, epochs=3, batch_size=8, learning_rate=asked.learning_rate,
        weight_decay=asked.weight_decay, noise=asked.noise,
    )  # fmt: skip
    return last.model


def test_other_seeds_are_trained_and_compared(out):
    first = train_with_progress(DATA, SETTINGS, out, QUIET)
    of_first = examine(fold(first.model), range(3))
    found = experiments.other_seeds(first, of_first, DATA, SETTINGS, 3, out, QUIET)
    assert found.seeds == [4, 5, 6]
    assert len(found.likenesses) == 3
    models = [trained_by_hand(DATA, seed=seed) for seed in found.seeds]
    assert found.accuracies == [accuracy(mlp_forward(m, DATA.x_test), DATA.y_test) for m in models]
    assert (models[0].w_embed == first.model.w_embed).all()
    entry = sections.seeds(found).metrics["seeds"]
    assert json.loads(json.dumps(entry)) == entry
    assert [row[0] for row in tables.TABLES["seeds"](entry).rows] == ["4", "5", "6"]


def test_other_noise_is_all_that_differs(out):
    found = experiments.other_noise(DATA, SETTINGS, out, QUIET)
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


def test_too_few_examples_are_the_first_of_each_class(out):
    bare, held = experiments.too_few(DATA, SETTINGS, out, QUIET)
    chosen = np.concatenate([np.flatnonzero(DATA.y == label)[:10] for label in range(3)])
    few = DATA._replace(x=DATA.x[chosen], y=DATA.y[chosen])
    assert bare.examples == held.examples == len(chosen) <= 30
    assert (bare.noise, bare.weight_decay, held.noise, held.weight_decay) == (0, 0, 0.1, 0.2)
    for one, changes in ((bare, {"noise": 0, "weight_decay": 0}), (held, {})):
        assert (one.trained.model.w_head == trained_by_hand(few, **changes).w_head).all()
    entries = sections.overfitting([bare, held], None).metrics["overfitting"]
    assert json.loads(json.dumps(entries)) == entries
    rows = tables.TABLES["overfitting"](entries).rows
    assert [row[:3] for row in rows] == [["0", "0", "30"], ["0.1", "0.2", "30"]]


@pytest.mark.parametrize("shape", [None, (2, 3)])
def test_every_picture_of_the_experiments_is_drawn(out, shape):
    pytest.importorskip("matplotlib")
    first = train_with_progress(DATA, SETTINGS, out, QUIET)
    of_first = examine(fold(first.model), range(3))
    parts = [
        sections.seeds(experiments.other_seeds(first, of_first, DATA, SETTINGS, 2, out, QUIET)),
        sections.noise(experiments.other_noise(DATA, SETTINGS, out, QUIET), shape),
        sections.overfitting(experiments.too_few(DATA, SETTINGS, out, QUIET), shape),
        sections.masks(first.model, of_first, DATA, shape),
    ]
    drawn = {name: draw() for part in parts for name, draw in part.pictures.items()}
    assert set(drawn) == {"seeds.png", "noise.png", "overfitting.png", "masks.png"}
    assert set(drawn) <= set(report.CAPTIONS)
    assert all(png.startswith(b"\x89PNG") for png in drawn.values())


def test_ctrl_c_in_an_experiment_keeps_a_model(out, monkeypatch):
    def interrupted(items, *_, **__):
        yield next(iter(items))
        raise KeyboardInterrupt

    monkeypatch.setattr("refbilinear.study.training.progress", interrupted)
    with pytest.raises(KeyboardInterrupt, match="after epoch 1 of 3: its model is kept"):
        experiments.other_noise(DATA, SETTINGS, out, QUIET)
