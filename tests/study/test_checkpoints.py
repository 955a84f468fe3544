import numpy as np
import pytest

from refbilinear import BilinearLayer, BilinearMLP, init_mlp, parameters
from refbilinear.study import load, save
from refbilinear.study.checkpoints import model_bytes

RNG = np.random.default_rng(0)
PLAIN = {"w_left": RNG.standard_normal((3, 2)), "w_right": RNG.standard_normal((3, 2))}


def models():
    full = BilinearLayer(
        **PLAIN,
        w_out=RNG.standard_normal((4, 3)),
        b_left=np.ones(3),
        b_right=np.full(3, 2.0),
        b_out=np.ones(4),
        w_skip=RNG.standard_normal((4, 2)),
    )
    return {
        "plain layer": BilinearLayer(**PLAIN),
        "full layer": full,
        "float32 model": init_mlp(0, 5, 4, 3, 2, bias=True, dtype=np.float32),
        "deep model": init_mlp(0, 5, 4, 3, 2, depth=12, residual=True),
        "bare model": BilinearMLP(None, [full], None),
    }


@pytest.mark.parametrize("name", models())
def test_what_is_saved_comes_back_bit_for_bit(tmp_path, name):
    model = models()[name]
    save(tmp_path / "model.npz", model)
    again = load(tmp_path / "model.npz")
    assert repr(again) == repr(model)
    before, after = parameters(model), parameters(again)
    assert before.keys() == after.keys()
    assert all(before[key].tobytes() == after[key].tobytes() for key in before)
    assert model_bytes(again) == (tmp_path / "model.npz").read_bytes()


def test_arrays_of_other_code_are_read(tmp_path):
    np.savez(tmp_path / "mine.npz", **PLAIN)
    layer = load(tmp_path / "mine.npz")
    assert np.array_equal(layer.w_left, PLAIN["w_left"])
    deep = {f"layers.0.{name}": array for name, array in PLAIN.items()}
    np.savez(tmp_path / "mine.npz", residual=False, w_head=np.ones((2, 3)), **deep)
    assert load(tmp_path / "mine.npz").d_out == 2


def test_exact_numbers_are_not_saved(tmp_path):
    exact = BilinearLayer(*(np.array([[1, 2]], dtype=object) for _ in range(2)))
    with pytest.raises(TypeError, match="must be float32 or float64 to be saved"):
        save(tmp_path / "model.npz", exact)
    assert list(tmp_path.iterdir()) == []


DEEP = {"layers.0.w_left": PLAIN["w_left"], "layers.0.w_right": PLAIN["w_right"]}
REFUSED = {
    "nothing": ({}, ValueError, "must hold w_left, or layers.0.w_left; it holds nothing"),
    "foreign": ({"weights": np.ones(3)}, ValueError, "it holds weights"),
    "no right": ({"w_left": PLAIN["w_left"]}, ValueError, "must hold w_right; it does not"),
    "shape": (PLAIN | {"w_right": np.ones((3, 5))}, ValueError, r"w_right must have shape .* got \(3, 5\)"),
    "dtype": (PLAIN | {"w_right": np.ones((3, 2), np.float32)}, TypeError, "w_right must have dtype float64"),
    "half": ({"w_left": np.ones((3, 2), np.float16)} | {"w_right": np.ones((3, 2))}, TypeError, "float16"),
    "unknown": (PLAIN | {"w_gate": np.ones(3)}, ValueError, "holds w_gate, which is no parameter"),
    "gap": ({f"layers.1.{k}": v for k, v in PLAIN.items()}, ValueError, r"holds layers\.1\.w_left"),
    "lone": (DEEP | {"w_left": PLAIN["w_left"]}, ValueError, r"holds layers\.0\.w_left"),
    "no deep right": ({"layers.0.w_left": np.ones((3, 2))}, ValueError, r"must hold layers\.0\.w_right"),
    "residual": (DEEP | {"residual": np.ones(2)}, ValueError, "residual must be one bool; got float64"),
    "schema": (PLAIN | {"schema": "other-9"}, ValueError, "its schema is 'other-9'"),
    "no checksum": (PLAIN | {"schema": "refbilinear-model-1"}, ValueError, "the checksum differs"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_refused_with_its_path(tmp_path, name):
    arrays, error, words = REFUSED[name]
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(error, match=f"bad.npz: .*{words}"):
        load(tmp_path / "bad.npz")


def test_a_model_that_was_changed_after_saving_is_refused(tmp_path):
    save(tmp_path / "model.npz", BilinearLayer(**PLAIN))
    arrays = dict(np.load(tmp_path / "model.npz"))
    arrays["w_left"] = arrays["w_left"] + 1
    np.savez(tmp_path / "model.npz", **arrays)
    with pytest.raises(ValueError, match="not those that were saved: the checksum differs"):
        load(tmp_path / "model.npz")
