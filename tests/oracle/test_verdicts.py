"""The verdict on one vector: each way to be wrong is seen, and nothing that is allowed is refused."""

from fractions import Fraction
from itertools import combinations
from math import inf, nan, nextafter

import numpy as np
import pytest

from refbilinear.oracle import exact, vectors
from refbilinear.oracle.answers import ANSWERS, eigenpairs, rebuilt
from refbilinear.oracle.mistakes import MISTAKES
from refbilinear.oracle.rationals import nearest_float, roundoff
from refbilinear.oracle.standards import Standard, questions, standards
from refbilinear.oracle.truncations import truncation_objections
from refbilinear.oracle.vectors import OPERATIONS
from refbilinear.oracle.verdicts import RETURNED, Deviation, Verdict, deviation, judge
from refbilinear.spec.packed import unpack

SUITE = vectors.load()
ASKED = {
    (claim, op): questions(SUITE, claim, [op]) for claim in ("f64", "f32") for op in OPERATIONS
}


def first(op, claim="f64", **having):
    """The first valid vector of an operation with more than one of each size."""
    return next(
        one
        for one in ASKED[claim, op]
        if one.vector.result == having.get("result", "valid")
        and having.get("tier", one.tier) == one.tier
        and having.get("flag", one.vector.flags[0]) in one.vector.flags
        and all(min(array.shape, default=2) > 1 for array in one.vector.expected.values())
        and all(np.isfinite(array).all() for array in one.vector.inputs.values())
    )


def right(question):
    return ANSWERS[question.op](question.vector.inputs)


def verdict(question, outputs, claim="f64", **convention):
    return judge(question, outputs, claim, convention)


def with_entry(array, index, number):
    changed = np.array(array)
    changed[index] = number
    return changed


# ---- before any number


@pytest.mark.parametrize("op", OPERATIONS)
def test_names_dtypes_and_shapes_come_first(op):
    question = first(op)
    outputs = right(question)
    name, array = next(iter(outputs.items()))
    assert verdict(question, outputs).status == "passed"
    less = {other: one for other, one in outputs.items() if other != name}
    for wrong in (less, {}, outputs | {"more": array}, outputs | {0: array}):
        assert verdict(question, wrong)[:2] == ("failed", "names")
    narrow = verdict(question, outputs | {name: array.astype(np.float32)})
    assert narrow[:3] == ("failed", "dtype", f"{name} must be float64; got float32")
    for shape in (
        array[..., None],
        array.ravel()[:1],
        np.float64(1) * np.ones((7, 11)),
        np.ones(()),
    ):
        if shape.shape != array.shape:
            found = verdict(question, outputs | {name: np.asarray(shape)})
            assert found.status == "failed"
            assert found.kind in ({"shape", "certificate"} if op in RETURNED else {"shape"})


@pytest.mark.parametrize("op", OPERATIONS)
@pytest.mark.parametrize("number", [nan, inf, -inf])
def test_what_is_not_finite_is_seen(op, number):
    question = first(op)
    outputs = right(question)
    for name, array in outputs.items():
        wrong = outputs | {name: with_entry(array, (0,) * array.ndim, number)}
        assert verdict(question, wrong)[:2] == (
            "failed",
            "value" if op not in {"spectrum", "truncate", "hosvd", "fold"} else "shape",
        )


def test_words_say_what_is_wrong():
    loss, fold, spectrum = first("squared_error"), first("fold"), first("spectrum")
    value, dy = right(loss).values()
    pair = "must return eigenvalues, eigenvectors; got "
    assert verdict(spectrum, {}).words == pair + "nothing"
    assert verdict(spectrum, {"eigenvalues": value, 0: dy}).words == pair + "eigenvalues, 0"
    words = verdict(loss, {"value": value, "dy": dy.T}).words
    assert words == f"dy must have shape {dy.shape}; got {dy.T.shape}"
    other = verdict(fold, {name: np.ones((2, 9)) for name in ("w_left", "w_right")}).words
    assert other.startswith("the tensor over [x; 1] of the layer must have shape")
    zeros = {name: np.zeros_like(array) for name, array in right(first("hosvd")).items()}
    found = verdict(first("hosvd"), zeros)
    assert (found.kind, bool(found.words)) == ("certificate", True)
    infinite = {name: np.full_like(array, inf) for name, array in right(fold).items()}
    assert "finite" in verdict(fold, infinite).words
    assert Verdict("passed") == ("passed", "", "", None, ())


# ---- numbers


@pytest.mark.parametrize("op", [op for op in OPERATIONS if op not in (*RETURNED, "truncate")])
def test_each_entry_counts(op):
    question = first(op, tier="exact") if op not in {"cross_entropy", "adamw"} else first(op)
    outputs = right(question)
    for name, array in outputs.items():
        for index in np.ndindex(array.shape):
            off = array[index] + max(1, abs(array[index])) / 1000
            found = verdict(question, outputs | {name: with_entry(array, index, off)})
            assert found[:3] == ("failed", "value", "")
            assert found.wrong == (name,)
            assert (found.worst.output, found.worst.place) == (name, index)
            assert (found.worst.different, found.worst.size) == (1, array.size)


def test_the_output_that_is_worst_off_is_told():
    question = first("squared_error")
    value, dy = right(question).values()
    for a, b, output in ((1, 5, "dy"), (5, 1, "value")):
        found = verdict(question, {"value": value + a, "dy": with_entry(dy, (0, 1), dy[0, 1] + b)})
        assert (found.worst.output, found.wrong) == (output, ("dy", "value"))
    assert verdict(question, {"value": value, "dy": dy}).worst.error == 0
    bounded = first("forward", tier="bounded")
    found = verdict(bounded, right(bounded))
    assert 0 < found.worst.ratio < 1
    assert found.wrong == ()


def test_a_dense_tensor_has_two_triangles():
    question = first("tensor")
    packed = right(question)["tensor"]
    dense = unpack(packed)
    for good in (packed, dense, dense.transpose(0, 2, 1)):
        assert verdict(question, {"tensor": good}).status == "passed"
    for keep in (np.tril, np.triu):
        assert verdict(question, {"tensor": keep(dense)}).kind == "value"
    one = with_entry(dense, (0, 0, 1), dense[0, 0, 1] + 1)
    assert verdict(question, {"tensor": one}).worst.place == (0, 0, 1)
    assert verdict(question, {"tensor": dense[:, :-1, :-1]}).kind == "shape"
    bounded = first("tensor", tier="bounded")
    dense = unpack(right(bounded)["tensor"])
    assert verdict(bounded, {"tensor": dense}).status == "passed"
    one = with_entry(dense, (0, 0, 1), dense[0, 0, 1] + 1)
    assert verdict(bounded, {"tensor": one}).worst.place == (0, 0, 1)


@pytest.mark.parametrize("claim", ["f64", "f32"])
@pytest.mark.parametrize(
    "op", ["forward", "tensor", "matrix", "form", "backward", "cross_entropy", "adamw"]
)
def test_bounded_numbers_up_to_what_is_allowed_and_one_ulp_beyond(op, claim):
    question = first(op, claim, tier="bounded")
    outputs = {name: array.copy() for name, array in question.vector.expected.items()}
    dtype = np.dtype({"f64": np.float64, "f32": np.float32}[claim])
    for name, (want, allowed) in standards(question, claim).items():
        at = (-1,) * want.ndim
        for side in (-1, 1):
            edge = want[at] + side * allowed[at]
            number = dtype.type(nearest_float(edge))
            inside = abs(Fraction(float(number)) - want[at]) <= allowed[at]
            other = np.nextafter(number, dtype.type(side * inf if inside else float(want[at])))
            beyond, within = (other, number) if inside else (number, other)
            assert (
                verdict(
                    question, outputs | {name: with_entry(outputs[name], at, within)}, claim
                ).status
                == "passed"
            )
            found = verdict(
                question, outputs | {name: with_entry(outputs[name], at, beyond)}, claim
            )
            assert found.kind == "value"
            assert found.worst.place == tuple(size - 1 for size in want.shape)
            assert found.worst.ratio >= 1


@pytest.mark.parametrize(
    ("got", "want", "allowed", "different", "ratio"),
    [
        (3.0, 3, None, 0, 0), (-0.0, 0.0, None, 0, 0), (nan, nan, None, 0, 0), (inf, inf, None, 0, 0),
        (nan, 3, None, 1, inf), (3.0, nan, None, 1, inf), (inf, -inf, None, 1, inf),
        (inf, nan, None, 1, inf), (-inf, 3, None, 1, inf), (1.7e308, -1.7e308, None, 1, inf),
        (3.5, 3, Fraction(1, 2), 0, 1), (nextafter(3.5, 4), 3, Fraction(1, 2), 1, 1),
        (2.5, 3, Fraction(1, 2), 0, 1), (nextafter(2.5, 2), 3, Fraction(1, 2), 1, 1),
        (nan, 3, Fraction(1, 2), 1, inf), (inf, 3, Fraction(10**400), 1, inf),
        (nan, 3, inf, 0, 0), (-1.7e308, Fraction(10**400), inf, 0, 0), (3.0, nan, inf, 1, inf),
        (inf, inf, inf, 0, 0), (-inf, inf, inf, 1, inf),
    ],
)  # fmt: skip
def test_one_entry(got, want, allowed, different, ratio):
    exactly = np.array([want, 1], dtype=object if isinstance(want, int | Fraction) else None)
    limits = None if allowed is None else np.array([allowed, Fraction(0)], dtype=object)
    if allowed is None:
        exactly = exactly.astype(np.float64)
    found = deviation("y", np.array([got, 1.0]), Standard(exactly, limits))
    assert found.different == different
    assert found.ratio == pytest.approx(ratio)
    if different:
        assert found.place == (0,)


def test_the_worst_is_a_wrong_one():
    """An entry within a wide bound may be further off than one beyond a narrow bound."""
    limits = np.array([Fraction(100), Fraction(1)], dtype=object)
    found = deviation("y", np.array([99.0, 1.5]), Standard(np.array([0, 0], object), limits))
    assert (found.place, found.different) == ((1,), 1)
    assert found.ratio == 1.5
    limits[1] = Fraction(0)
    found = deviation("y", np.array([99.0, 0.5]), Standard(np.array([0, 0], object), limits))
    assert (found.place, found.ratio) == ((1,), inf)
    limits[1] = Fraction(2)
    found = deviation("y", np.array([201.0, 10.0]), Standard(np.array([0, 0], object), limits))
    assert (found.place, found.different, found.ratio) == ((1,), 2, 5)
    assert Deviation("y", (), 0.0, 0.0, 0.0, 0.0, 0, 0).ratio == 0


def test_of_what_is_equal_or_empty_nothing_is_worst():
    two, none = np.array([3.0, nan]), np.zeros((0, 3))
    assert deviation("y", two, Standard(two, None)) == ("y", (), 0.0, 0.0, 0.0, 0.0, 0, 2)
    for allowed in (None, none):
        found = deviation("y", none, Standard(none.astype(object), allowed))
        assert found == ("y", (), 0.0, 0.0, 0.0, 0.0, 0, 0)


@pytest.mark.parametrize("op", ["forward", "backward", "tensor"])
def test_nan_and_infinities_that_are_due_must_be_there(op):
    asked = [
        one
        for one in ASKED["f32", op] + ASKED["f64", op]
        if any(not np.isfinite(array).all() for array in one.vector.expected.values())
        and one.vector.result == "valid"
    ]
    for question in asked:
        with np.errstate(all="ignore"):
            outputs = right(question)
        assert verdict(question, outputs, question.dtype).status == "passed"
        for name, want in question.vector.expected.items():
            for index in map(tuple, np.argwhere(~np.isfinite(want))):
                for number in {0.0, inf, -inf, nan} - {float(want[index])}:
                    if not (np.isnan(number) and np.isnan(want[index])):
                        wrong = outputs | {name: with_entry(outputs[name], index, number)}
                        assert verdict(question, wrong, question.dtype).kind == "value"
    assert asked or op != "forward"


ACCEPTABLE = [
    one
    for claim in ("f32", "f64")
    for one in ASKED[claim, "forward"]
    if one.vector.result == "acceptable"
]


@pytest.mark.parametrize("question", ACCEPTABLE, ids=[one.vector.tc_id for one in ACCEPTABLE])
def test_where_ieee_arithmetic_decides(question):
    want = question.vector.expected["y"]
    (flag,) = question.vector.flags
    cases = {
        "Overflow": {inf: "acceptable", nan: "acceptable", 0.0: "failed", 1.0: "failed"},
        "Underflow": {0.0: "acceptable", inf: "failed", nan: "failed", 1.0: "failed"},
        "SignedZero": {-0.0: "acceptable", 1.0: "failed", nan: "failed", inf: "failed"},
    }[flag]  # fmt: skip
    assert verdict(question, {"y": want}, question.dtype).status == "passed"
    for number, status in cases.items():
        got = np.full_like(want, number)
        found = verdict(question, {"y": got}, question.dtype)
        if not (got == want).all() or flag == "SignedZero":
            assert found.status == status, number
            assert found.words == (flag if status == "acceptable" else "")


# ---- folded layers, pairs, factors


def test_a_folded_layer_of_another_shape_is_a_verdict():
    question = first("fold")
    outputs = right(question)
    swapped = outputs | {"w_left": outputs["w_right"], "w_right": outputs["w_left"]}
    swapped |= {"b_left": outputs["b_right"], "b_right": outputs["b_left"]}
    assert verdict(question, swapped).status == "passed"
    more = {name: np.concatenate([outputs[name]] * 2) for name in ("w_left", "w_right")}
    assert verdict(question, outputs | more).kind == "shape"
    for size in (2, 9):
        other = {name: np.ones((size, size)) for name in ("w_left", "w_right")}
        assert verdict(question, other).kind == "shape"
    without = {name: outputs[name] for name in ("w_left", "w_right", "w_out")}
    assert verdict(question, without).kind == "value"


@pytest.mark.parametrize("claim", ["f64", "f32"])
@pytest.mark.parametrize("order", ["ascending", "descending"])
def test_spectra_stand_in_the_declared_order(order, claim):
    asked = [
        one
        for one in ASKED[claim, "spectrum"]
        if one.vector.result == "valid" and one.vector.inputs["k"] == len(one.vector.inputs["Q"])
    ]
    refused = 0
    for question in asked:
        values, columns = np.linalg.eigh(question.vector.inputs["Q"])
        step = 1 if order == "ascending" else -1
        got = {"eigenvalues": values[::step], "eigenvectors": columns[:, ::step]}
        assert verdict(question, got, claim, order=order).status == "passed"
        refused += verdict(question, got, claim).status == "failed"
        less = {"eigenvalues": values[1:], "eigenvectors": columns[:, 1:]}
        if len(values):
            assert verdict(question, less, claim, order=order).kind == "certificate"
    assert refused > len(asked) / 2


def test_factors_have_a_column_for_each_singular_value():
    for question in ASKED["f64", "hosvd"]:
        outputs, known = right(question), question.vector.expected
        assert verdict(question, outputs).status == "passed"
        whole = unpack(question.vector.inputs["tensor"])
        for columns in (np.count_nonzero(known["squares_in"]), len(whole[0])):
            u_in = outputs["u_in"][:, :columns]
            core = np.einsum("oij,oa,ib,jc->abc", whole, outputs["u_out"], u_in, u_in)
            assert verdict(question, outputs | {"u_in": u_in, "core": core}).status == "passed"
        zero = np.zeros((len(whole), 1))
        padded = {
            "u_out": np.concatenate([outputs["u_out"], zero], axis=1),
            "core": np.concatenate([outputs["core"], np.zeros_like(outputs["core"][:1])]),
        }
        for wrong in (padded, {"u_out": outputs["u_out"][:, :-1], "core": outputs["core"][:-1]}):
            assert "u_out must have a column" in verdict(question, outputs | wrong).words


# ---- truncations


def diagonal(values):
    return np.diag(np.array(values, dtype=np.float64))


def objections(matrix, tail, values, k, kept):
    """Of a diagonal form, whose k leading eigenvalues stand at some places."""
    form = diagonal(values)
    nearest = exact.fractions(diagonal([v if i in kept else 0 for i, v in enumerate(values)]))
    squares = sum((Fraction(v) ** 2 for i, v in enumerate(values) if i not in kept), Fraction(0))
    dtype = matrix.dtype
    return truncation_objections(
        matrix, np.asarray(tail, dtype), form.astype(dtype), k, nearest, squares
    )


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(
    ("values", "kept", "tail"),
    [([5, -4, 3, 1], (0, 1), 10), ([5, -4, 3], (), 50), ([5, -4, 3], (0, 1, 2), 0), ([2], (), 4)],
)
def test_a_matrix_is_refused_just_beyond_what_pairs_can_leave(values, kept, tail, dtype):
    """The formula once more, in floats: off at an entry by a little less and a little more."""
    n, k, u = len(values), len(kept), float(roundoff(dtype))
    size, top = np.linalg.norm(values), np.abs(values).max()
    r, s = 10 * n * 2 * u * size, 1000 * n * 2 * u
    w = r / np.sqrt(1 - s)
    magnitudes = sorted(map(abs, values), reverse=True)
    gap = magnitudes[k - 1] - magnitudes[k] if 0 < k < n else inf
    e = (k + 3) * u / (1 - (k + 3) * u) * k * (top + w) * (1 + s)
    most = top * (np.sqrt(2) * r / ((gap - w) * np.sqrt(1 - s)) + s) + r * np.sqrt(1 + s) + e
    right_one = diagonal([v if i in kept else 0 for i, v in enumerate(values)]).astype(dtype)
    assert objections(right_one, tail, values, k, kept) == []
    for off, refused in ((0.99, False), (1.01, True)):
        wrong = right_one.copy()
        wrong[-1, -1] += dtype(off * most)
        found = objections(wrong, tail, values, k, kept)
        assert any("matrix − Q_k" in words for words in found) == refused
    assert "tail is" in objections(right_one, tail + 1, values, k, kept)[-1]


def test_of_tied_pairs_any_may_be_kept_but_pairs_they_must_be():
    values, kept = [3, -3, 1], (0,)
    x = np.array([[3.0, 4, 0]]).T / 5
    for matrix in (diagonal([3, 0, 0]), diagonal([0, -3, 0])):
        assert objections(matrix, 10, values, 1, kept) == []
    assert objections(3 * x @ x.T, 10, [3, 3, 1], 1, kept) == []  # of equal ones any mixture
    assert any("matrix (Q − matrix)" in one for one in objections(3 * x @ x.T, 10, values, 1, kept))
    for matrix in (
        diagonal([3, -3, 0]),
        diagonal([0, 0, 1]),
        diagonal([0, 0, 0]),
        diagonal([3, 0, 1]),
    ):
        assert any("− √tail" in one for one in objections(matrix, 10, values, 1, kept))
    scaled = diagonal(values) * (1 - np.sqrt(10 / 19))  # as far from Q as a truncation
    assert objections(scaled, 10, values, 1, kept)[0].startswith("‖matrix (Q − matrix)‖_F")


def test_a_tied_truncation_is_as_far_from_the_form_as_it_must_be():
    values, u = [3, -3, 1], 2.0**-53
    r, s = 10 * 3 * 2 * u * np.sqrt(19), 1000 * 3 * 2 * u
    most = 2 * (r + 2 * s * np.sqrt(19)) + 4 * u * 3
    for off, refused in ((0.99, False), (1.01, True)):
        matrix = diagonal([3, 0, off * most * np.sqrt(10)])
        found = objections(matrix, 10, values, 1, (0,))
        assert any("− √tail" in words for words in found) == refused


def test_the_vectors_with_ties_have_one_tail_for_one_rank():
    """So what is a sum of pairs, and as far from Q as it must be, has rank k."""
    for question in ASKED["f64", "truncate"]:
        if "TiedTruncation" in question.vector.flags:
            q, k = question.vector.inputs["Q"], int(question.vector.inputs["k"])
            squares = [round(value) ** 2 for value in np.linalg.eigvalsh(q)]
            tail = round(question.vector.expected["tail"].item())
            ranks = {
                len(q) - size
                for size in range(len(q) + 1)
                for left in combinations(squares, size)
                if sum(left) == tail
            }
            assert ranks == {k}


def random_form(rng, dtype):
    n = int(rng.integers(1, 9))
    whole = rng.standard_normal((n, n))
    return ((whole + whole.T) * 2.0 ** rng.integers(-6, 7)).astype(dtype)


def leading(form, k, pairs):
    """What is exact for float pairs: up to far less than is accepted."""
    values, columns = pairs(form.astype(np.float64))
    order = np.argsort(-abs(values))
    values, columns = values[order], columns[:, order]
    nearest = exact.fractions((columns[:, :k] * values[:k]) @ columns[:, :k].T)
    return nearest, sum((Fraction(v) ** 2 for v in values[k:].tolist()), Fraction(0))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_honest_truncations_pass_and_mistakes_do_not(dtype):
    linalg = pytest.importorskip("scipy.linalg")
    rng = np.random.default_rng(1)
    refused = dict.fromkeys(MISTAKES["truncate"], 0)
    for _ in range(60):
        form = random_form(rng, dtype)
        k = int(rng.integers(0, len(form) + 1))
        known = leading(form, k, np.linalg.eigh)
        for solver in (np.linalg.eigh, linalg.eigh, lambda q: linalg.eigh(q, driver="ev")):
            values, columns = solver(form)
            order = np.argsort(-abs(values))
            values, columns = values[order], columns[:, order]
            tail = (values[k:] ** 2).sum()
            for matrix in (
                rebuilt(values[:k], columns[:, :k]),
                columns[:, :k] @ np.diag(values[:k]) @ columns[:, :k].T,
                form - (columns[:, k:] * values[k:]) @ columns[:, k:].T,
            ):
                assert truncation_objections(matrix, tail, form, k, *known) == []
        u, sizes, vt = np.linalg.svd(form)
        by_svd = ((u[:, :k] * sizes[:k]) @ vt[:k]).astype(dtype)
        assert truncation_objections(by_svd, (sizes[k:] ** 2).sum(), form, k, *known) == []
        for name, wrong in MISTAKES["truncate"].items():
            held = {"Q": form, "k": np.array(k)}
            try:
                got = wrong(ANSWERS["truncate"])(held)
            except NotImplementedError:
                continue
            honest = ANSWERS["truncate"](held)
            same = all(np.allclose(got[n], honest[n], 1e-4, 1e-4 * abs(form).max()) for n in honest)
            found = truncation_objections(got["matrix"], np.asarray(got["tail"]), form, k, *known)
            assert bool(found) != same, (name, k)
            refused[name] += bool(found)
    assert min(refused.values()) >= 20, refused


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_specification_s_pairs_are_of_the_form(dtype):
    form = random_form(np.random.default_rng(2), dtype)
    values, columns = eigenpairs(form)
    assert columns.dtype == dtype
    assert (abs(values[:-1]) >= abs(values[1:])).all()
