import numpy as np
import pytest

from foreign import llama_bytes, safetensors_bytes
from refbilinear import BilinearLayer, BilinearMLP, forward, mlp_forward, parameters
from refbilinear.study import load
from refbilinear.study.files import npz_bytes
from refbilinear.study.layouts import mapped, translated

RNG = np.random.default_rng(11)
D, H, O = 4, 3, 5  # noqa: E741


def whole(*shape, dtype=np.float32):
    """Return non-zero integers, with which every float of a forward pass is exact."""
    return (RNG.integers(1, 4, shape) * RNG.choice([-1, 1], shape)).astype(dtype)


def model_of(path, arrays, **how):
    np.savez(path / "other.npz", **arrays)
    return load(path / "other.npz", **how)


def same(got, want):
    assert got.dtype == want.dtype
    assert np.array_equal(got, want)


# ---- what each code computes, in its own names


def linear(arrays, name, x):
    y = x @ arrays[f"{name}.weight"].T
    return y + arrays[f"{name}.bias"] if f"{name}.bias" in arrays else y


def fused(arrays, name, x):
    left, right = np.split(linear(arrays, name, x), 2, axis=-1)
    return left * right


def image(depth, bias):
    arrays = {"embed.weight": whole(D, 7), "head.weight": whole(O, H)}
    for i in range(depth):
        arrays[f"blocks.{i}.weight"] = whole(2 * H, H if i else D)
        if bias:
            arrays[f"blocks.{i}.bias"] = whole(2 * H)
    return arrays


def image_forward(arrays, depth, x):
    h = x @ arrays["embed.weight"].T
    for i in range(depth):
        h = fused(arrays, f"blocks.{i}", h)
    return h @ arrays["head.weight"].T


def linears(stem, shapes, bias):
    arrays = {f"{stem}{name}.weight": whole(*shape) for name, shape in shapes.items()}
    if bias:
        arrays |= {f"{stem}{name}.bias": whole(shape[0]) for name, shape in shapes.items()}
    return arrays


def language(i, bias, out="p"):
    arrays = linears(f"transformer.h.{i}.mlp.", {"w": (2 * H, D), out: (O, H)}, bias)
    return arrays | {f"transformer.h.{i}.n2.weight": whole(D), "lm_head.weight": whole(9, D)}


def language_forward(arrays, i, x, out="p"):
    stem = f"transformer.h.{i}.mlp."
    return linear(arrays, stem + out, fused(arrays, f"{stem}w", x))


def transformer(i, bias, scale=True):
    shapes = {"w_m": (H, D), "w_n": (H, D), "w_proj": (O, H)}
    arrays = linears(f"blocks.{i}.mlp.", shapes, bias) | {"embed.weight": whole(9, D)}
    arrays[f"blocks.{i}.norm_attn.scale"] = whole(D)
    return arrays | ({f"blocks.{i}.norm_mlp.scale": whole(D)} if scale else {})


def transformer_forward(arrays, i, x):
    stem = f"blocks.{i}."
    h = arrays.get(f"{stem}norm_mlp.scale", np.float32(1)) * x
    product = linear(arrays, f"{stem}mlp.w_m", h) * linear(arrays, f"{stem}mlp.w_n", h)
    return linear(arrays, f"{stem}mlp.w_proj", product)


def gated(i, bias):
    shapes = {"gate_proj": (H, D), "up_proj": (H, D), "down_proj": (O, H)}
    return linears(f"model.layers.{i}.mlp.", shapes, bias) | {"model.norm.weight": whole(D)}


def gated_forward(arrays, i, x):
    stem = f"model.layers.{i}.mlp."
    product = linear(arrays, f"{stem}gate_proj", x) * linear(arrays, f"{stem}up_proj", x)
    return linear(arrays, f"{stem}down_proj", product)


def older(i, bias):
    return language(i, bias, "o")


def older_forward(arrays, i, x):
    return language_forward(arrays, i, x, "o")


BLOCKS = {
    "language": (language, language_forward, {}),
    "older": (older, older_forward, {}),
    "transformer": (transformer, transformer_forward, {}),
    "gated": (gated, gated_forward, {"gate": "ignore"}),
}
PREFIXES = ["", "module.", "_orig_mod.", "state_dict.model."]


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("depth", [1, 2, 11])
def test_an_image_model_is_read_whole(tmp_path, prefix, bias, depth):
    arrays = image(depth, bias)
    model = model_of(tmp_path, {prefix + name: array for name, array in arrays.items()})
    assert isinstance(model, BilinearMLP)
    assert (len(model.layers), model.residual) == (depth, False)
    if depth < 3:
        x = whole(6, 7)
        same(mlp_forward(model, x), image_forward(arrays, depth, x))
    for i, layer in enumerate(model.layers):
        assert layer.w_out is None
        same(np.vstack([layer.w_left, layer.w_right]), arrays[f"blocks.{i}.weight"])


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("name", BLOCKS)
def test_the_mlp_of_a_block_is_its_function(tmp_path, name, bias, prefix):
    make, compute, how = BLOCKS[name]
    arrays = make(0, bias) | make(1, bias)
    x = whole(6, D)
    stored = {prefix + key: array for key, array in arrays.items()}
    for i in (0, 1):
        layer = model_of(tmp_path, stored, layer=i, **how)
        assert isinstance(layer, BilinearLayer)
        same(forward(layer, x), compute(arrays, i, x))
        assert len(parameters(layer)) == (6 if bias else 3)


@pytest.mark.parametrize("name", BLOCKS)
def test_one_block_is_taken_whatever_its_number(tmp_path, name):
    make, compute, how = BLOCKS[name]
    arrays, x = make(12, bias=True), whole(6, D)
    same(forward(model_of(tmp_path, arrays, **how), x), compute(arrays, 12, x))
    same(forward(model_of(tmp_path, arrays, layer=12, **how), x), compute(arrays, 12, x))


LEFT = {
    "language": lambda arrays: arrays["transformer.h.0.mlp.w.weight"][:H],
    "older": lambda arrays: arrays["transformer.h.0.mlp.w.weight"][:H],
    "transformer": lambda a: a["blocks.0.mlp.w_m.weight"] * a["blocks.0.norm_mlp.scale"],
    "gated": lambda arrays: arrays["model.layers.0.mlp.gate_proj.weight"],
}


@pytest.mark.parametrize("name", BLOCKS)
def test_left_is_the_first_of_the_two_factors(tmp_path, name):
    """The function does not tell them apart."""
    make, _, how = BLOCKS[name]
    arrays = make(0, bias=True)
    same(model_of(tmp_path, arrays, **how).w_left, LEFT[name](arrays))


def test_a_block_of_an_image_model_is_chosen(tmp_path):
    arrays = image(2, bias=True)
    layer = model_of(tmp_path, arrays, layer=1)
    h = whole(6, H)
    same(forward(layer, h), fused(arrays, "blocks.1", h))


def test_a_transformer_without_a_scale_is_read_as_it_is(tmp_path):
    arrays, x = transformer(0, bias=True, scale=False), whole(6, D)
    layer = model_of(tmp_path, arrays)
    same(layer.w_left, arrays["blocks.0.mlp.w_m.weight"])
    same(forward(layer, x), transformer_forward(arrays, 0, x))


def test_halves_are_widened_where_they_are_parameters(tmp_path):
    arrays = {key: array.astype(np.float16) for key, array in transformer(0, bias=True).items()}
    layer, x = model_of(tmp_path, arrays), whole(6, D)
    wide = {key: array.astype(np.float32) for key, array in arrays.items()}
    same(forward(layer, x), transformer_forward(wide, 0, x))


@pytest.mark.parametrize("name", BLOCKS)
def test_three_formats_give_the_same_layer(tmp_path, name):
    torch = pytest.importorskip("torch", reason="needs torch")
    make, _, how = BLOCKS[name]
    arrays = make(0, bias=True)
    (tmp_path / "a.npz").write_bytes(npz_bytes(arrays))
    (tmp_path / "a.safetensors").write_bytes(safetensors_bytes(arrays))
    held = {key: torch.from_numpy(array) for key, array in arrays.items()}
    torch.save({"state_dict": held, "epoch": 3}, tmp_path / "a.pt")
    layers = [load(tmp_path / f"a.{end}", **how) for end in ("npz", "safetensors", "pt")]
    first, *others = [
        {key: w.tobytes() for key, w in parameters(layer).items()} for layer in layers
    ]
    assert others == [first, first]


def test_the_flat_file_of_a_small_language_model_gives_its_mlps(tmp_path):
    d, h, n, f32 = 4, 3, 2, np.float32
    shapes = [(5, d), (n, d), (n, d, d), (n, 2, d), (n, 2, d), (n, d, d), (n, d)]
    shapes += [(n, h, d), (n, d, h), (n, h, d), (d,), (6, 1), (6, 1)]
    tensors = [whole(*shape) for shape in shapes]
    (tmp_path / "a.bin").write_bytes(llama_bytes(tensors))
    gate, down, up = tensors[7:10]
    x = whole(6, d, dtype=f32)
    for i in range(n):
        layer = load(tmp_path / "a.bin", layer=i, gate="ignore")
        same(forward(layer, x), ((x @ gate[i].T) * (x @ up[i].T)) @ down[i].T)


# ---- a mapping


def test_a_mapping_reads_a_layer(tmp_path):
    arrays = language(0, bias=True) | {"w_left": np.ones(3), "schema": np.array("theirs")}
    stem, x = "transformer.h.0.mlp.", whole(6, D)
    mapping = {
        "w_left": f"{stem}w.weight[left]",
        "w_right": f"{stem}w.weight[right]",
        "b_left": f"{stem}w.bias[left]",
        "b_right": f"{stem}w.bias[right]",
        "w_out": f"{stem}p.weight",
        "b_out": f"{stem}p.bias",
    }
    same(forward(model_of(tmp_path, arrays, mapping=mapping), x), language_forward(arrays, 0, x))
    for swapped in ({"w_left": mapping["w_right"]}, {"b_left": mapping["b_right"]}):
        other = model_of(tmp_path, arrays, mapping=mapping | swapped)
        assert not np.array_equal(forward(other, x), language_forward(arrays, 0, x))


def test_a_mapping_reads_a_model_and_parts_from_left_to_right(tmp_path):
    w, e, out = whole(2 * H, D), whole(7, D), whole(H, O)
    arrays = {"w": w, "[odd] name": e, "out": out, "skip": whole(D, 2 * H)}
    mapping = {
        "w_embed": "[odd] name[T]",
        "layers.0.w_left": "w[left]",
        "layers.0.w_right": "w[right]",
        "layers.0.w_skip": "skip[T,left]",
        "w_head": "out[T]",
    }
    model, x = model_of(tmp_path, arrays, mapping=mapping), whole(6, 7)
    h = x @ e
    h = (h @ w[:H].T) * (h @ w[H:].T) + h @ arrays["skip"].T[:H].T
    same(mlp_forward(model, x), h @ out)
    same(model_of(tmp_path, arrays, mapping=mapping, layer=0).w_left, w[:H])
    same(mapped(arrays, {"w_skip": "skip[left,T]"})["w_skip"], arrays["skip"][:2].T)


W = np.ones((3, 2))
PAIR = {"w_left": "w", "w_right": "w"}
MAPPINGS = {
    "no mapping": ("w_left", TypeError, "mapping must be a mapping of names; got str"),
    "number": ({"w_left": 0}, TypeError, "mapping must map names to names; got 'w_left': 0"),
    "unknown": (PAIR | {"w_gate": "w"}, ValueError, "mapping must give parameters, .* got w_gate"),
    "residual": (PAIR | {"residual": "w"}, ValueError, "mapping must give parameters"),
    "no such name": (PAIR | {"w_out": "v"}, ValueError, "it holds no v; it holds flat, one, w"),
    "bracket": (PAIR | {"w_out": "w[T"}, ValueError, r"it holds no w\[T; it holds"),
    "empty": (PAIR | {"w_out": ""}, ValueError, "it holds no ; it holds"),
    "odd": (PAIR | {"w_out": "w[left]"}, ValueError, r"w\[left\] must have an even number of rows; got \(3, 2\)"),
    "scalar": (PAIR | {"w_out": "one[left]"}, ValueError, r"must have an even number of rows; got \(\)"),
    "flat": (PAIR | {"b_out": "flat[T]"}, ValueError, r"flat\[T\] must have 2 axes to be transposed; got \(4,\)"),
    "part": (PAIR | {"w_out": "w[top]"}, ValueError, r"must ask for \[left\], \[right\] or \[T\]; got \[top\]"),
    "no part": (PAIR | {"w_out": "w[]"}, ValueError, r"got \[\]"),
    "shape": (PAIR | {"w_out": "w"}, ValueError, "w_out must have shape .* to match w_left"),
    "no right": ({"w_left": "w"}, ValueError, "must hold w_right"),
    "nothing": ({}, ValueError, "must hold w_left, or layers.0.w_left; it holds nothing"),
}  # fmt: skip


@pytest.mark.parametrize("name", MAPPINGS)
def test_a_mapping_that_does_not_fit_is_refused(tmp_path, name):
    mapping, error, words = MAPPINGS[name]
    arrays = {"w": W, "flat": np.ones(4), "one": np.array(1.0)}
    with pytest.raises(error, match=f"other.npz: .*{words}"):
        model_of(tmp_path, arrays, mapping=mapping)


# ---- what is refused


def with_name(arrays, old, new):
    return {key.replace(old, new): array for key, array in arrays.items()}


def without(arrays, name):
    return {key: array for key, array in arrays.items() if key != name}


TWO = language(0, bias=False) | language(1, bias=False)
THREE = TWO | language(5, bias=False)
REFUSED = {
    "no choice": (TWO, {}, "it holds 2 blocks: choose one by layer=0 … 1 .*--layer"),
    "no choice, with gaps": (THREE, {}, "it holds 3 blocks: choose one by layer=0, 1, 5 "),
    "too far": (TWO, {"layer": 2}, "layer must be 0 … 1; got 2"),
    "not there": (THREE, {"layer": 4}, "layer must be 0, 1, 5; got 4"),
    "negative": (TWO, {"layer": -1}, "layer must be at least 0; got -1"),
    "of one": (language(0, bias=False), {"layer": 1}, "layer must be 0; got 1"),
    "of an image model": (image(2, bias=False), {"layer": 2}, "layer must be 0 … 1; got 2"),
    "gate": (gated(0, bias=True), {}, r"down\(σ\(gate x\) ⊙ up x\), which is no polynomial unless .*gate='ignore'"),
    "two layouts": (language(0, True) | gated(0, True), {"gate": "ignore"}, r"more than one model: gated \(model\.\), language \(no prefix\); name"),
    "two prefixes": (TWO | with_name(TWO, "transformer", "ema.transformer"), {"layer": 0}, r"language \(no prefix\), language \(ema\.\)"),
    "old and new": (language(0, False) | older(0, False), {}, "more than one model: language .*, older language"),
    "adapter": (gated(0, False) | {"model.layers.0.mlp.gate_proj.lora_A.weight": W}, {"gate": "ignore"},
                r"holds model\.layers\.0\.mlp\.gate_proj\.lora_A\.weight, which its layout does not have"),
    "norm": (image(1, False) | {"blocks.0.norm.weight": W}, {}, r"holds blocks\.0\.norm\.weight, which"),
    "head bias": (image(1, False) | {"head.bias": W}, {}, r"holds head\.bias, which its layout"),
    "gap": (with_name(image(2, False), "s.1", "s.2"), {}, r"numbered from 0 without a gap; they are \[0, 2\]"),
    "odd": (image(1, False) | {"blocks.0.weight": np.ones((3, D))}, {}, "an even number of rows"),
    "embedding": (image(1, False) | {"embed.weight": np.ones((9, 7), np.float32)}, {}, "w_embed must have shape"),
    "scale": (transformer(0, True) | {"blocks.0.norm_mlp.scale": np.ones(3, np.float32)}, {},
              r"blocks\.0\.norm_mlp\.scale must have shape \(d_in,\) = \(4,\) to match w_left; got \(3,\)"),
    "flat": (transformer(0, True) | {"blocks.0.mlp.w_m.weight": np.ones(3)}, {}, "w_left must have shape"),
    "no head": (without(image(1, False), "head.weight"), {}, "it holds blocks.0.weight, embed.weight. Layouts"),
    "no layout": ({"a": W, "b": W}, {}, "must hold w_left, or layers.0.w_left; it holds a, b. Layouts of other "
                  "code that are read: image .*, language .*, bilinear transformer .* and gated .*mapping="),
    "nothing": ({}, {}, "it holds nothing. Layouts"),
    "zeros": (with_name(language(0, False), ".0.", ".00."), {}, "Layouts of other code"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_is_refused_with_its_path(tmp_path, name):
    arrays, how, words = REFUSED[name]
    with pytest.raises(ValueError, match=f"other.npz: .*{words}"):
        model_of(tmp_path, arrays, **how)


def test_mixed_number_types_are_refused(tmp_path):
    for name in ("blocks.0.norm_mlp.scale", "blocks.0.mlp.w_n.weight"):
        arrays = transformer(0, bias=True)
        arrays[name] = arrays[name].astype(np.float64)
        with pytest.raises(
            TypeError, match=r"must have dtype float.. to match w_(left|right); got float..: conv"
        ):
            model_of(tmp_path, arrays)
    with pytest.raises(TypeError, match="layer must be an integer; got str"):
        model_of(tmp_path, TWO, layer="0")


@pytest.mark.parametrize("gate", ["identity", "", 1])
def test_another_gate_is_refused_before_anything_is_read(tmp_path, gate):
    with pytest.raises(ValueError, match="gate must be None or 'ignore'; got"):
        load(tmp_path / "nothing.npz", gate=gate)


def test_a_scale_that_overflows_is_kept_as_ieee_says():
    arrays = transformer(0, bias=False)
    arrays["blocks.0.mlp.w_m.weight"][:] = 2e38
    arrays["blocks.0.norm_mlp.scale"][:] = 3
    assert np.isinf(translated(arrays)["w_left"]).all()
