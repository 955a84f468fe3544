"""The laws bite: every planted mistake breaks the law that is there for it.

The names with a dot are those of the package's own mistakes.
"""

from dataclasses import replace
from fractions import Fraction
from functools import partial

import numpy as np
import pytest

import laws
import refbilinear
from refbilinear import AdamWState, BilinearLayer, BilinearMLP, Gradients, Loss, pack, parameters
from refbilinear.analysis import eigenpairs
from refbilinear.analysis.eigenpairs import Spectrum
from refbilinear.oracle import twins
from refbilinear.oracle.answers import ANSWERS
from refbilinear.oracle.mistakes import MISTAKES, suspects
from refbilinear.oracle.wrong import after, each, partly, without
from strategies import FLOATS, OPTIONAL, random_array, random_layer

# ---- fixed cases, all sizes distinct, every optional parameter there


def rng(seed=0):
    return np.random.default_rng(seed)


def drawn(shape, seed=0, dtype=object):
    return random_array(rng(seed), shape, dtype)


FULL = random_layer(rng(1))
BARE = random_layer(rng(2), ("w_out",))
X, DY, U = drawn((4, 3), 3), drawn((4, 2), 4), drawn((2,), 5)
TENSOR, Z = drawn((2, 6), 6), drawn((4, 3), 7)
SQUARE = random_layer(rng(8), OPTIONAL, (3, 5, 3))
SQUARE_MODEL = BilinearMLP(drawn((3, 3), 9), [SQUARE], drawn((3, 3), 10), residual=True)
DEEP = BilinearMLP(drawn((2, 3), 11), [random_layer(rng(12), OPTIONAL, (2, 3, 2))] * 2, None, True)
BASIS = laws.dyadic_basis([np.array([1, -1, 0, 1, 1]), np.array([0, 1, 1, 0, 0])], 5)
KNOWN = [5, -7, 2, -2, 1]
TIED = [2, 2, -2, 0, 1]
MATRIX = laws.float_matrix(KNOWN, BASIS)
ROUGH = refbilinear.symmetric_part(rng(30).standard_normal((5, 5)))
LOGITS = np.array([[1, 2, -3], [0.5, -1, 4], [2, 2, 1], [-1, 0, 3]])
LABELS = np.array([0, 1, 2, 2])
STATE = (
    np.array([1.5, -2, 0.75]), np.array([1e-8, -2e-8, 3.0]),
    np.array([2e-8, 1e-8, -1.0]), np.array([1e-16, 3e-16, 2.0]),
)  # fmt: skip


def floats(dtype, seed):
    layer = random_layer(rng(seed), sizes=(7, 5, 3), dtype=dtype)
    return layer, drawn((4, 7), seed + 1, dtype), drawn((4, 3), seed + 2, dtype)


FLOAT = {dtype: floats(dtype, 20) for dtype in FLOATS}

CASES = {
    laws.forward_is_the_definition: [(FULL, X), (BARE, X)],
    laws.form_equals_forward: [(FULL, X), (BARE, X)],
    laws.swap_changes_nothing: [(FULL, X)],
    laws.gauge_changes_nothing: [(FULL, X, drawn((5,), 13), drawn((5,), 14))],
    laws.unit_order_changes_nothing: [(FULL, X)],
    laws.outputs_permute: [(random_layer(rng(1), OPTIONAL, (3, 5, 4)), X)],
    laws.inputs_permute: [(FULL, X)],
    laws.linear_in_the_output_weights: [(FULL, X, drawn((2, 5), 15))],
    laws.hidden_blocks_add: [(FULL, X)],
    laws.zero_unit_changes_nothing: [(FULL, X)],
    laws.split_unit_changes_nothing: [(FULL, X)],
    laws.batch_is_a_stack: [(FULL, X)],
    laws.second_differences_are_constant: [(FULL, X, drawn((3,), 16))],
    laws.tensor_is_the_definition: [(FULL,), (BARE,)],
    laws.forms_agree: [(FULL, X, U), (BARE, X, U)],
    laws.linear_in_the_direction: [(FULL, U, drawn((2,), 17))],
    laws.polarisation: [(TENSOR, X, Z)],
    laws.quadratic_form_is_the_definition: [(TENSOR, X)],
    laws.tensor_gradient_is_the_differences: [(TENSOR, X, DY)],
    laws.packing_is_the_order: [(np.arange(20.0).reshape(2, 10),)],
    laws.backward_is_the_differences: [(FULL, X, DY)],
    laws.gauge_of_the_gradient: [(FULL, X, DY)],
    laws.fold_is_the_model: [(SQUARE_MODEL, X)],
    laws.mlp_is_its_layers: [(DEEP, X)],
    laws.mlp_backward_is_the_differences: [(DEEP, X, drawn((4, 2), 18))],
    laws.squared_error_is_the_definition: [(X, Z)],
    laws.cross_entropy_is_the_decimal: [(LOGITS, LABELS), (LOGITS * 1e4, LABELS)],
    laws.adamw_is_the_decimal: [(*STATE, 3)],
    laws.eigenpairs_are_accurate: [(MATRIX,), (ROUGH,)],
    laws.eigenvalues_keep_trace_and_norm: [(MATRIX,), (ROUGH,)],
    laws.pairs_are_in_order: [(MATRIX,)],
    laws.spectrum_is_known: [(KNOWN, BASIS), (TIED, BASIS)],
    laws.truncation_is_the_best: [(KNOWN, BASIS), (TIED, BASIS)],
    laws.contributions_sum_to_the_form: [(MATRIX, np.arange(1.0, 6))],
    laws.asymmetry_is_refused: [(MATRIX,)],
    laws.forward_is_in_bound: [FLOAT[dtype][:2] for dtype in FLOATS],
    laws.backward_is_in_bound: [FLOAT[dtype] for dtype in FLOATS],
    laws.tensor_is_in_bound: [FLOAT[dtype][:1] for dtype in FLOATS],
    laws.nan_stays_in_its_row: [(*FLOAT[dtype][:2], np.nan) for dtype in FLOATS],
    laws.inputs_are_left_alone: [FLOAT[dtype] for dtype in FLOATS],
    laws.without_hidden_units: [(random_layer(rng(19), OPTIONAL, (3, 0, 2)), X)],
}


def check(law, of):
    for case in CASES[law]:
        law(of, *case)


@pytest.mark.parametrize("law", CASES, ids=lambda law: law.__name__)
def test_the_package_obeys(law):
    check(law, laws.package())


# ---- the package's mistakes, in the form of its functions


def named(form, op, *but):
    """Return the mistakes that show in an operation, in the form of its function."""
    return {name: form(wrong) for name, wrong in suspects(op).items() if name not in but}


def forward_of(wrong):
    run = wrong(ANSWERS["forward"])
    return lambda layer, x: run(parameters(layer) | {"x": x})["y"]


def tensor_of(wrong):
    run = wrong(ANSWERS["tensor"])
    return lambda layer: run(parameters(layer))["tensor"]


def form_of(wrong):
    run = wrong(ANSWERS["form"])
    return lambda tensor, x: run({"tensor": tensor, "x": x})["y"]


def backward_of(wrong):
    def backward(layer, x, dy):
        found = wrong(ANSWERS["backward"])(parameters(layer) | {"x": x, "dy": dy})
        return Gradients(**dict.fromkeys(Gradients._fields) | found)

    return backward


def loss_of(op, second):
    def form(wrong):
        run = wrong(ANSWERS[op])
        return lambda y, target: Loss(*(one[()] for one in run({"y": y, second: target}).values()))

    return form


error_of, entropy_of = loss_of("squared_error", "t"), loss_of("cross_entropy", "labels")


def adamw_of(wrong):
    run = wrong(ANSWERS["adamw"])

    def adamw(theta, g, m, v, t, **settings):
        state = {"theta": theta, "g": g, "m": m, "v": v, "t": t}
        return AdamWState(**run({k: np.asarray(one) for k, one in (state | settings).items()}))

    return adamw


def spectrum_of(wrong):
    run = wrong(lambda held: eigenpairs.eigendecompose(held["Q"], int(held["k"]))._asdict())
    return lambda Q, k=None: Spectrum(**run({"Q": Q, "k": len(Q) if k is None else k}))


def reconstruct_of(wrong):
    run = wrong(ANSWERS["truncate"])

    def reconstruct(pairs, k=None):
        whole = eigenpairs.reconstruct(pairs)
        return run({"Q": whole, "k": len(whole) if k is None else k})["matrix"]

    return reconstruct


def fold_of(wrong):
    run = wrong(ANSWERS["fold"])

    def fold(model):
        held = parameters(model.layers[0]) | {"w_embed": model.w_embed, "w_head": model.w_head}
        return BilinearLayer(**run(held | {"residual": np.array(1)}))

    return fold


# ---- mistakes


def coarse(array):
    """Return float32 numbers with the mantissa of bfloat16."""
    single = np.asarray(array, np.float32)
    return (single.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32).astype(array.dtype)


OF_FLOATS = [name for name in MISTAKES["forward"] if name.startswith("run.")]
OF_FLOATS += [
    "forward.float32_accumulation",
    "forward.coarse_operands",
    "forward.input_overwritten",
]
FORWARD = named(forward_of, "forward")
FORMULAS = {name: f for name, f in FORWARD.items() if name not in OF_FLOATS} | {
    "skip dropped": forward_of(without("w_skip")),
    "floats leak": lambda layer, x: refbilinear.forward(layer, x).astype(float),
}
TENSORS = named(tensor_of, "tensor", "tensor.symmetrised_over_output")
GRADIENTS = named(
    backward_of, "backward", "backward.accumulated", "backward.stale", "forward.output_bias_dropped"
) | {
    "bias gradient None": backward_of(without("b_left")),
    "skip gradient forgotten in x": backward_of(
        after(lambda held, out: {"x": out["x"] - held["dy"] @ held["w_skip"]})
    ),
}
FORMS = named(form_of, "form", "packed.index_32_bit")
SIGN = after(lambda held, out: {"dy": -out["dy"]})
ERRORS = named(error_of, "squared_error") | {"sign of the gradient": error_of(SIGN)}
ENTROPIES = named(entropy_of, "cross_entropy") | {
    "sum for mean": entropy_of(MISTAKES["squared_error"]["loss.sum_for_mean"]),
    "mean over outputs": entropy_of(MISTAKES["squared_error"]["loss.mean_over_outputs"]),
    "sign of the gradient": entropy_of(SIGN),
}
STEPS = named(adamw_of, "adamw", "adamw.decay_on_biases")
SPECTRA = named(spectrum_of, "spectrum") | {
    "signs left free": spectrum_of(after(lambda held, out: {"eigenvectors": -out["eigenvectors"]})),
    "k ignored": lambda matrix, k=None: eigenpairs.eigendecompose(matrix),
}
TRUNCATIONS = named(reconstruct_of, "truncate", "truncate.tail_not_squared")
FOLDS = {
    name: fold
    for name, fold in named(fold_of, "fold", "fold.w_out_forgotten").items()
    if not name.endswith(
        ("bias_not_scaled", "norm_twice", "one_half", "half_left_out", "decoder_bias")
    )
} | {
    "residual forgotten": fold_of(without("residual")),
    "skip forgotten": fold_of(without("w_skip")),
    "head forgotten": fold_of(partly(without("w_head"), "w_out")),
    "biases halved": fold_of(each(lambda b: b / 2, "b_left")),
}


def packed_columns(packed):
    """Read the packed numbers as the lower triangle by columns."""
    d = refbilinear.dimension(packed.shape[-1])
    whole = refbilinear.unpack(packed) * 0
    j, i = np.triu_indices(d)
    whole[..., i, j] = whole[..., j, i] = packed
    return whole


def lower_only(packed):
    return np.tril(refbilinear.unpack(packed))


def root_two(matrices):
    i, j = np.tril_indices(matrices.shape[-1])
    return pack(matrices) * np.where(i == j, 1, np.sqrt(2))


def doubled_off_diagonal(x, dy):
    i, j = np.tril_indices(x.shape[1])
    return refbilinear.tensor_gradient(x, dy) * np.where(i == j, 1, 2)


def plain_contributions(pairs, x):
    return pairs.eigenvalues * (x @ pairs.eigenvectors)


def without_residual(model, x, dy):
    return refbilinear.mlp_backward(replace(model, residual=False), x, dy)


def stale_head(model, x, dy):
    gradients = refbilinear.mlp_backward(model, x, dy)
    return gradients._replace(layers=gradients.layers[::-1])


# ---- the table


def first_output(tensor, u):
    return refbilinear.interaction_matrix(tensor, u * 0 + (np.arange(len(u)) == 0))


def forgotten_identity(model, x):
    return refbilinear.mlp_forward(replace(model, residual=False), x)


def mistake(law, name, **replaced):
    return pytest.param(law, replaced, id=f"{law.__name__}-{name}")


def mistakes(law, function, found, *names, but=()):
    """Return the mistakes of these names, or all but some, each breaking the law."""
    return [mistake(law, n, **{function: found[n]}) for n in names or found if n not in but]


UNSEEN_BY_GAUGE = {  # the gradient of another layer or batch, or of x alone, obeys it too
    "backward.one_term", "backward.last_row_dropped", "forward.last_unit_skipped",
    "forward.hidden_loop_to_d_in", "forward.simd_tail_dropped", "bias gradient None",
    "skip gradient forgotten in x",
}  # fmt: skip
BROKEN = [
    *mistakes(laws.forward_is_the_definition, "forward", FORMULAS),
    *mistakes(laws.tensor_is_the_definition, "interaction_tensor", TENSORS),
    *mistakes(laws.form_equals_forward, "interaction_tensor", TENSORS, but=["packed.root_two"]),
    *mistakes(laws.backward_is_the_differences, "backward", GRADIENTS),
    *mistakes(laws.gauge_of_the_gradient, "backward", GRADIENTS, but=UNSEEN_BY_GAUGE),
    *mistakes(laws.quadratic_form_is_the_definition, "quadratic_form", FORMS),
    *mistakes(laws.squared_error_is_the_definition, "squared_error", ERRORS),
    *mistakes(laws.cross_entropy_is_the_decimal, "cross_entropy", ENTROPIES),
    *mistakes(laws.adamw_is_the_decimal, "adamw", STEPS),
    *mistakes(laws.truncation_is_the_best, "reconstruct", TRUNCATIONS),
    *mistakes(laws.fold_is_the_model, "fold", FOLDS),
    *mistakes(
        laws.pairs_are_in_order, "eigendecompose", SPECTRA, "spectrum.by_value",
        "spectrum.ascending", "spectrum.values_permuted", "spectrum.top_k_per_sign", "signs left free",
        "k ignored",
    ),
    *mistakes(
        laws.eigenpairs_are_accurate, "eigendecompose", SPECTRA, "spectrum.rows",
        "spectrum.values_permuted", "spectrum.singular_values", "spectrum.unnormalised",
        "spectrum.float32_solver", "spectrum.duplicated_vector", "spectrum.shifted",
    ),
    *mistakes(
        laws.spectrum_is_known, "eigendecompose", SPECTRA, "spectrum.duplicated_vector",
        "spectrum.shifted",
    ),
    *mistakes(
        laws.eigenvalues_keep_trace_and_norm, "eigendecompose", SPECTRA, "spectrum.singular_values"
    ),
    *mistakes(laws.asymmetry_is_refused, "eigendecompose", SPECTRA, "spectrum.unsymmetrised"),
    *mistakes(
        laws.swap_changes_nothing, "forward", FORWARD, "forward.right_bias_dropped",
        "forward.gate_left_on",
    ),
    *mistakes(
        laws.gauge_changes_nothing, "forward", FORWARD, "forward.sum_for_product",
        "forward.left_twice",
    ),
    *mistakes(
        laws.unit_order_changes_nothing, "forward", FORWARD, "forward.last_unit_skipped",
        "forward.fortran_order",
    ),
    *mistakes(laws.outputs_permute, "forward", FORWARD, "forward.outputs_reversed"),
    *mistakes(laws.outputs_permute, "interaction_tensor", TENSORS, "tensor.output_axis_last"),
    *mistakes(laws.inputs_permute, "forward", FORWARD, "forward.w_left_transposed"),
    *mistakes(laws.inputs_permute, "interaction_tensor", TENSORS, "tensor.not_symmetrised"),
    *mistakes(laws.hidden_blocks_add, "forward", FORWARD, "forward.last_unit_skipped"),
    *mistakes(laws.zero_unit_changes_nothing, "forward", FORWARD, "forward.last_unit_skipped"),
    *mistakes(laws.split_unit_changes_nothing, "forward", FORWARD, "forward.hidden_loop_to_d_in"),
    *mistakes(laws.batch_is_a_stack, "forward", FORWARD, "forward.first_row_broadcast"),
    *mistakes(laws.second_differences_are_constant, "forward", FORWARD, "forward.gate_left_on"),
    *mistakes(laws.forms_agree, "interaction_tensor", TENSORS, "tensor.no_half"),
    *mistakes(laws.polarisation, "quadratic_form", FORMS),
    *mistakes(
        laws.forward_is_in_bound, "forward", FORWARD, "forward.float32_accumulation",
        "forward.coarse_operands",
    ),
    *mistakes(laws.nan_stays_in_its_row, "forward", FORWARD, "run.nan_swallowed"),
    *mistakes(laws.inputs_are_left_alone, "forward", FORWARD, "forward.input_overwritten"),
    *mistakes(laws.without_hidden_units, "forward", FORWARD, "run.empty"),
    mistake(laws.linear_in_the_output_weights, "magnitude", forward=forward_of(each(abs, "w_out"))),
    mistake(
        laws.forms_agree, "linear part missing",
        output_form=lambda layer, u: (f := refbilinear.output_form(layer, u))._replace(linear=0 * f.linear),
    ),
    mistake(
        laws.forms_agree, "linear part not halved",
        homogeneous_matrix=lambda f: refbilinear.homogeneous_matrix(f._replace(linear=2 * f.linear)),
    ),
    mistake(
        laws.forms_agree, "constant forgotten",
        form_value=lambda f, x: refbilinear.form_value(f._replace(constant=Fraction(0)), x),
    ),
    mistake(
        laws.linear_in_the_direction, "magnitude of the direction",
        interaction_matrix=lambda tensor, u: refbilinear.interaction_matrix(tensor, abs(u)),
    ),
    mistake(laws.linear_in_the_direction, "first output only", interaction_matrix=first_output),
    mistake(
        laws.linear_in_the_direction, "summed before u",
        interaction_matrix=lambda tensor, u: refbilinear.interaction_matrix(
            tensor * 0 + tensor.sum(axis=0), u
        ),
    ),
    mistake(laws.packing_is_the_order, "one triangle zero", unpack=lower_only),
    mistake(laws.packing_is_the_order, "by columns", unpack=packed_columns),
    mistake(laws.packing_is_the_order, "root two", pack=root_two),
    mistake(laws.packing_is_the_order, "upper read", unpack=lambda p: np.triu(lower_only(p))),
    mistake(
        laws.polarisation, "one half of the pair",
        bilinear_form=lambda tensor, x, z: np.stack(
            [((x @ np.tril(whole)) * z).sum(axis=1) for whole in refbilinear.unpack(tensor)], axis=1
        ),
    ),
    mistake(laws.tensor_gradient_is_the_differences, "doubled", tensor_gradient=doubled_off_diagonal),
    mistake(
        laws.tensor_gradient_is_the_differences, "last row dropped",
        tensor_gradient=lambda x, dy: refbilinear.tensor_gradient(x[:-1], dy[:-1]),
    ),
    mistake(laws.mlp_backward_is_the_differences, "residual forgotten", mlp_backward=without_residual),
    mistake(laws.mlp_backward_is_the_differences, "layers reversed", mlp_backward=stale_head),
    mistake(laws.mlp_is_its_layers, "residual forgotten", mlp_forward=forgotten_identity),
    mistake(laws.contributions_sum_to_the_form, "not squared", contributions=plain_contributions),
    mistake(laws.backward_is_in_bound, "coarse inputs", backward=backward_of(each(coarse, "x"))),
    mistake(
        laws.tensor_is_in_bound, "coarse",
        interaction_tensor=lambda one: coarse(refbilinear.interaction_tensor(one)),
    ),
    mistake(
        laws.nan_stays_in_its_row, "spread to the batch",
        forward=lambda layer, x: refbilinear.forward(layer, x) + 0 * x.sum(),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("law", "replaced"), BROKEN)
def test_a_mistake_breaks_its_law(law, replaced):
    with pytest.raises(AssertionError), np.errstate(invalid="ignore"):
        check(law, laws.package(**replaced))


def test_there_are_many_mistakes_and_no_law_without_one():
    assert len(BROKEN) >= 100
    assert {parameter.values[0] for parameter in BROKEN} == set(CASES)


FORMS_OF = {
    "forward": (forward_of, laws.forward_is_the_definition),
    "interaction_tensor": (tensor_of, laws.tensor_is_the_definition),
    "quadratic_form": (form_of, laws.quadratic_form_is_the_definition),
    "backward": (backward_of, laws.backward_is_the_differences),
    "squared_error": (error_of, laws.squared_error_is_the_definition),
    "cross_entropy": (entropy_of, laws.cross_entropy_is_the_decimal),
    "adamw": (adamw_of, laws.adamw_is_the_decimal),
    "eigendecompose": (spectrum_of, laws.pairs_are_in_order),
    "reconstruct": (reconstruct_of, laws.truncation_is_the_best),
    "fold": (fold_of, laws.fold_is_the_model),
}


@pytest.mark.parametrize("name", FORMS_OF)
def test_it_is_the_mistake_that_breaks_the_law(name):
    """In the same form, what the mistakes were made from obeys it."""
    form, law = FORMS_OF[name]
    check(law, laws.package(**{name: form(lambda run: run)}))


POLYNOMIAL = [(f, (FULL, X)) for name, f in FORMULAS.items() if name != "floats leak"]
POLYNOMIAL += [(f, (FULL,)) for name, f in TENSORS.items() if name != "packed.root_two"]
POLYNOMIAL += [(f, (FULL, X, DY)) for f in GRADIENTS.values()]
POLYNOMIAL += [(f, (TENSOR, X)) for f in FORMS.values()] + [(f, (X, Z)) for f in ERRORS.values()]
POLYNOMIAL += [(f, (SQUARE_MODEL,)) for f in FOLDS.values()]


def test_no_float_leaks_into_a_mistake():
    """So it is not the float that breaks an exact law."""
    for mistaken, arguments in POLYNOMIAL:
        found = mistaken(*arguments)
        found = parameters(found).values() if isinstance(found, BilinearLayer) else found
        laws.exact_numbers(*found)


# ---- the bounds are not vacuous


def problem(seed, dtype):
    """Return a layer, x, dy and a tensor from a seed."""
    layer = random_layer(rng(seed), sizes=(5, 4, 3), dtype=dtype)
    return (
        layer,
        drawn((2, 5), seed, dtype),
        drawn((2, 3), seed + 1, dtype),
        drawn((3, 15), seed, dtype),
    )


BOUNDED = {
    "fold": lambda of, layer, x, dy, tensor: laws.fold_is_in_bound(
        of, laws.small_mlp(layer, embed=x.T, head=dy)
    ),
    "form_value": lambda of, layer, x, dy, tensor: laws.form_value_is_in_bound(
        of, of.output_form(layer, dy[0]), x
    ),
    "forward": lambda of, layer, x, dy, tensor: laws.forward_is_in_bound(of, layer, x),
    "backward": lambda of, layer, x, dy, tensor: laws.backward_is_in_bound(of, layer, x, dy),
    "tensor": lambda of, layer, x, dy, tensor: laws.tensor_is_in_bound(of, layer),
    "matrix": lambda of, layer, x, dy, tensor: laws.matrix_is_in_bound(of, tensor, dy),
    "output_form": lambda of, layer, x, dy, tensor: laws.output_form_is_in_bound(of, layer, dy[0]),
    "quadratic_form": lambda of, layer, x, dy, tensor: laws.quadratic_form_is_in_bound(
        of, tensor, x
    ),
    "bilinear_form": lambda of, layer, x, dy, tensor: laws.bilinear_form_is_in_bound(
        of, tensor, x, x[::-1]
    ),
    "tensor_gradient": lambda of, layer, x, dy, tensor: laws.tensor_gradient_is_in_bound(of, x, dy),
    "squared_error": lambda of, layer, x, dy, tensor: laws.squared_error_is_in_bound(
        of, dy, dy[::-1]
    ),
    "mlp_forward": lambda of, layer, x, dy, tensor: laws.mlp_forward_is_in_bound(
        of, laws.small_mlp(layer), x
    ),
    "mlp_backward": lambda of, layer, x, dy, tensor: laws.mlp_backward_is_in_bound(
        of, laws.small_mlp(layer), x, dy
    ),
    "folded_form": lambda of, layer, x, dy, tensor: laws.folded_form_is_in_bound(
        of, laws.small_mlp(layer), x
    ),
}


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", BOUNDED)
def test_a_thousandth_of_the_bound_is_exceeded(name, dtype, monkeypatch):
    law, problems = BOUNDED[name], [problem(seed, dtype) for seed in range(8)]
    for one in problems:
        law(laws.package(), *one)
    gamma = twins.gamma
    monkeypatch.setattr(twins, "gamma", lambda roundings, unit: gamma(roundings, unit) / 1000)
    with pytest.raises(AssertionError):
        for one in problems:
            law(laws.package(), *one)


def test_a_leak_is_seen():
    for leak in (0.5, np.float64(1), np.int64(1), True):
        with pytest.raises(AssertionError):
            laws.exact_numbers(np.array([Fraction(1), leak], dtype=object))
    laws.exact_numbers(np.array([Fraction(1), 0], dtype=object), None, Fraction(1))


def test_differences_differentiate_polynomials_of_their_degree_and_no_higher():
    for degree in range(1, 9):
        value = partial(lambda power, s: (s + 2) ** power, degree)
        assert laws.derivative(value, degree) == degree * 2 ** (degree - 1)
    assert laws.derivative(lambda s: s**3, 2) != 0
