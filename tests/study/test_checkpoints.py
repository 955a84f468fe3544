import os
from pathlib import Path

import numpy as np
import pytest

from foreign import safetensors_bytes
from refbilinear import BilinearLayer, BilinearMLP, forward, init_mlp, parameters
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


def test_a_layer_of_a_model_of_ours_is_chosen(tmp_path):
    deep = models()["deep model"]
    save(tmp_path / "model.npz", deep)
    same = load(tmp_path / "model.npz", layer=11)
    assert np.array_equal(same.w_left, deep.layers[11].w_left)
    with pytest.raises(ValueError, match=r"model.npz: layer must be 0 … 11; got 12"):
        load(tmp_path / "model.npz", layer=12)
    save(tmp_path / "layer.npz", models()["full layer"])
    with pytest.raises(ValueError, match=r"layer.npz: it is one layer: leave layer .* away"):
        load(tmp_path / "layer.npz", layer=0)


def test_our_names_are_read_in_any_format(tmp_path):
    layer = models()["full layer"]
    (tmp_path / "layer.safetensors").write_bytes(safetensors_bytes(parameters(layer)))
    again = load(tmp_path / "layer.safetensors")
    assert all(
        np.array_equal(array, parameters(layer)[name]) for name, array in parameters(again).items()
    )
    assert repr(again) == repr(layer)


# ---- weights that others trained


def real(name):
    folder = os.environ.get("REFBILINEAR_DATA")
    path = Path(folder or "nowhere", "weights", name)
    if not path.exists():
        pytest.skip(f"REFBILINEAR_DATA names no folder with weights/{name}")
    return path


@pytest.mark.parametrize("number", [0, 1])
def test_a_trained_bilinear_transformer_is_read(number):
    path = real("bilinear-transformer/v16_model_final.npz")
    layer = load(path, layer=number)
    assert (layer.d_in, layer.d_hidden, layer.d_out, layer.dtype) == (64, 128, 64, np.float32)
    arrays, stem = np.load(path), f"blocks.{number}."
    h = RNG.standard_normal((7, 64))
    m, n, p = (arrays[f"{stem}mlp.{w}.weight"].astype(float) for w in ("w_m", "w_n", "w_proj"))
    x = arrays[f"{stem}norm_mlp.scale"] * h
    want = ((x @ m.T) * (x @ n.T)) @ p.T
    assert np.allclose(forward(layer, h.astype(np.float32)), want, rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="it holds 2 blocks: choose one by layer=0 … 1"):
        load(path)


@pytest.mark.parametrize("number", [0, 1])
def test_both_files_of_the_transformer_give_the_same_bytes(number):
    pytest.importorskip("torch", reason="needs torch")
    layers = [
        parameters(load(real(f"bilinear-transformer/v16_model_final.{end}"), layer=number))
        for end in ("npz", "pt")
    ]
    one, other = ({name: array.tobytes() for name, array in layer.items()} for layer in layers)
    assert one == other


def test_a_trained_small_language_model_is_read():
    path = real("stories260K/stories260K.bin")
    with pytest.raises(ValueError, match="no polynomial unless"):
        load(path, layer=0)
    for number in range(5):
        layer = load(path, layer=number, gate="ignore")
        assert (layer.d_in, layer.d_hidden, layer.d_out) == (64, 172, 64)
        for weights in parameters(layer).values():
            assert 0.05 < weights.std() < 0.5
