"""The mistakes that an implementation can make, and the flags of the vectors that show them.

`MUTANTS` is the catalogue, by stable id: the number it has there and the mistake in words. `FLAGS`
says of every flag what the mistake is, what it does, and which mutants its vectors kill. Mutants
that only a run can show, not a vector (a race, an overwritten input), are in `BY_RUNNING`.
"""

from typing import NamedTuple

from refbilinear.oracle.vectors import Note


class Mutant(NamedTuple):
    """A mistake of the catalogue."""

    number: int
    words: str


def _numbered(first: int, prefix: str, mistakes: dict[str, str]) -> dict[str, Mutant]:
    pairs = enumerate(mistakes.items(), first)
    return {f"{prefix}.{name}": Mutant(number, words) for number, (name, words) in pairs}


MUTANTS = {
    **_numbered(1, "forward", {
        "biases_swapped": "the two biases swapped between the factors",
        "biases_after_product": "biases of the factors added after the product",
        "cross_terms_dropped": "cross terms of the biases dropped",
        "right_bias_dropped": "right bias dropped",
        "output_bias_dropped": "output bias dropped",
        "w_out_transposed": "output weights transposed",
        "w_left_transposed": "left weights transposed",
        "interleaved": "fused weight read interleaved instead of by halves",
        "halves_swapped": "halves of the fused weight swapped, with a gate on one side",
        "gate_left_on": "gate left on",
        "left_twice": "left weights used twice",
        "sum_for_product": "sum for product",
        "last_unit_skipped": "last hidden unit skipped",
        "hidden_loop_to_d_in": "loop over hidden units runs to d_in",
        "fortran_order": "flat buffer read in Fortran order",
        "float32_accumulation": "sums in float32",
        "coarse_operands": "operands rounded to TF32 or bfloat16",
        "first_row_broadcast": "first example used for the whole batch",
        "outputs_reversed": "outputs reversed",
        "simd_tail_dropped": "tail of a SIMD loop dropped",
        "input_overwritten": "input overwritten",
    }),
    **_numbered(22, "tensor", {
        "no_half": "the 1/2 of the symmetrisation missing",
        "not_symmetrised": "not symmetrised",
        "symmetrised_over_output": "symmetrised over the output and an input axis",
        "left_twice": "left weights used twice",
        "w_out_transposed": "output weights transposed",
        "diagonal_halved": "diagonal halved",
        "diagonal_doubled": "diagonal doubled",
        "one_triangle": "one triangle zero",
        "antisymmetric": "antisymmetric part taken",
        "output_axis_last": "output axis last",
        "linear_missing": "linear block missing",
        "linear_not_halved": "linear block not halved",
        "constant_missing": "constant of the two biases missing",
    }),
    **_numbered(35, "matrix", {
        "magnitude_of_u": "direction applied after a magnitude or an argmax",
    }),
    **_numbered(36, "fold", {
        "w_out_forgotten": "output weights forgotten when a head is folded in",
    }),
    **_numbered(37, "packed", {
        "not_doubled": "off-diagonal entries not counted twice",
        "diagonal_doubled_too": "diagonal entries counted twice too",
        "column_major": "packed by columns",
        "root_two": "off-diagonal entries scaled by the root of two",
        "wrong_triangle": "lower triangle written, upper read",
        "index_32_bit": "index in 32 bits",
    }),
    **_numbered(43, "spectrum", {
        "by_value": "sorted by value",
        "ascending": "sorted by ascending magnitude",
        "rows": "eigenvectors as rows",
        "values_permuted": "eigenvalues permuted, eigenvectors not",
        "singular_values": "singular values: the signs lost",
        "unnormalised": "eigenvectors not normalised",
        "float32_solver": "solved in float32",
        "duplicated_vector": "an eigenvector twice",
        "unsymmetrised": "one triangle read of a matrix that is not symmetric",
        "one_output": "spectrum of one output, not of the direction",
        "shifted": "eigenvalues shifted by 1e-9",
        "summed_over_outputs": "tensor summed over outputs before the direction",
        "top_k_per_sign": "first k taken of each sign",
    }),
    **_numbered(56, "truncate", {
        "wrong_end": "the small eigenvalues kept",
        "by_value": "the first by value kept, not by magnitude",
        "off_by_one": "one pair too many or too few",
        "magnitudes": "magnitudes used in the sum",
        "positive_only": "only positive eigenvalues kept",
        "tail_not_squared": "tail as the sum of eigenvalues, not of their squares",
    }),
    **_numbered(62, "hosvd", {
        "unsymmetrised": "factor of an unfolding that is not symmetrised",
        "mode_order": "modes in another order",
        "core_untransposed": "core contracted with U, not with its transpose",
        "rank_before_core": "rank cut before the core is computed",
        "padded": "factors padded to square",
    }),
    **_numbered(67, "loss", {
        "sum_for_mean": "sum for mean",
        "mean_over_all": "mean over examples and outputs",
        "mean_over_outputs": "mean over outputs",
        "factor_two_missing": "factor 2 missing in the gradient",
    }),
    **_numbered(71, "backward", {
        "one_term": "one term of the product rule in the gradient of x",
        "left_right_swapped": "gradients of left and right weights swapped",
        "left_for_right": "left factor used for the right",
        "bias_of_factor_missing": "factor without its bias",
        "sign": "sign of a gradient",
        "bias_missing": "gradient of a bias missing",
        "w_out_transposed": "gradient of the output weights transposed",
        "last_row_dropped": "last example dropped",
        "accumulated": "gradient accumulated over calls",
        "stale": "factors of an earlier call used",
    }),
    **_numbered(81, "adamw", {
        "coupled_decay": "decay added to the gradient",
        "no_correction": "no bias correction",
        "epsilon_inside": "epsilon inside the root",
        "epsilon_before": "epsilon before the correction",
        "decay_unscaled": "decay not scaled by the learning rate",
        "decay_after": "decay after the step",
        "t_off_by_one": "step number off by one",
        "second_moment_of_g": "second moment of g, not of its square",
        "decay_on_biases": "decay where none was asked for",
        "momentum_sign": "sign of the momentum",
    }),
    **_numbered(91, "cross_entropy", {
        "no_shift": "largest logit not subtracted",
        "shift_not_undone": "largest logit not put back after the logarithm",
        "labels_off_by_one": "labels off by one",
        "over_batch": "softmax over the batch",
        "base_two": "logarithm of base 2",
    }),
    **_numbered(96, "run", {
        "nan_swallowed": "NaN swallowed",
        "inf_cancels": "Inf - Inf taken for 0",
        "layout": "wrong for non-contiguous input",
        "empty": "wrong, or uninitialised, where a size is 0",
        "alignment": "wrong for misaligned or byte-swapped input",
        "race": "wrong when called by two threads",
    }),
    **_numbered(102, "fold", {
        "bias_not_scaled": "weight scaled, its bias not",
        "transposed": "folded weight transposed",
        "norm_twice": "gain folded twice",
        "gain_on_one_half": "gain folded into one factor only",
        "embedding_in_left_only": "embedding folded into the left weights only",
        "head_before_bias": "head folded before the output bias was added",
        "residual_without_embedding": "residual folded without the embedding",
        "head_twice_on_skip": "head applied to the skip path twice",
        "half_left_out": "the 1/2 of an annealed gate left out",
        "decoder_bias": "decoder bias of a dictionary forgotten",
    }),
}  # fmt: skip

BY_RUNNING = {
    "forward.input_overwritten": "inputs are hashed before and after a call",
    "packed.index_32_bit": "shows above 2**31 entries",
    "run.layout": "each call is repeated with other memory layouts",
    "run.alignment": "each call is repeated with other memory layouts",
    "run.race": "calls from two threads",
}


def _note(bug_type: str, description: str, effect: str, *kills: str) -> Note:
    return Note(bug_type, description, effect, kills)


FLAGS = {
    # ---- what a vector is
    "RandomIntegers": _note(
        "WRONG_POLYNOMIAL", "every entry drawn uniformly from the same integers, zero among them",
        "another polynomial agrees with probability at most degree / number of integers",
    ),
    "OptionalParameters": _note(
        "MISSING_CASE", "one of the ways in which optional parameters can be absent",
        "an absent parameter taken for zeros of the wrong shape, or for the one beside it",
    ),
    "UnitSize": _note("BROADCAST", "one size is 1", "broadcast where a sum or an outer product is"),
    "EmptySize": _note(
        "EDGE_CASE", "one size is 0", "uninitialised numbers, or a crash, where a sum is empty",
        "run.empty",
    ),
    "Ternary": _note(
        "PRECISION", "entries -1, 0, 1: every operand on the way is an integer of at most 256",
        "exact in bfloat16 and TF32 too, so a difference is no rounding",
    ),
    "RealNumbers": _note(
        "PRECISION", "floats with full mantissas, judged by a derived bound",
        "errors beyond what rounding can explain", "forward.coarse_operands",
    ),
    "LogicGate": _note(
        "FORMULA", "AND, XOR and XNOR of two bits are bilinear layers", "another truth table"
    ),
    # ---- forward
    "SwappedBiases": _note(
        "SWAPPED", "b_left is added to the left factor, b_right to the right",
        "wrong unless both are equal", "forward.biases_swapped",
    ),
    "BiasBeforeProduct": _note(
        "ORDER", "biases are added before the product, so each meets the other factor",
        "cross terms missing", "forward.biases_after_product", "forward.cross_terms_dropped",
    ),
    "RightBias": _note(
        "MISSING_TERM", "a right bias without a left one", "right bias dropped",
        "forward.right_bias_dropped",
    ),
    "OutputBias": _note(
        "MISSING_TERM", "an output bias", "a constant missing", "forward.output_bias_dropped"
    ),
    "SkipPath": _note("MISSING_TERM", "a linear path beside the product", "linear part missing"),
    "Transposed": _note(
        "TRANSPOSED", "weights are (d_hidden, d_in) and (d_out, d_hidden), in C order, not square",
        "numbers in other places", "forward.w_out_transposed", "forward.w_left_transposed",
        "forward.fortran_order", "tensor.w_out_transposed",
    ),
    "FusedLayout": _note(
        "LAYOUT", "in a fused weight the left rows come first, then the right",
        "factors mixed", "forward.interleaved",
    ),
    "NegativeFactors": _note(
        "NONLINEARITY", "factors of both signs", "negative factors cut off by a gate",
        "forward.gate_left_on", "forward.halves_swapped",
    ),
    "DistinctFactors": _note(
        "WRONG_OPERAND", "left and right weights differ, without biases",
        "squares, or sums, for products", "forward.left_twice", "forward.sum_for_product",
    ),
    "HiddenLoop": _note(
        "LOOP_BOUND", "more hidden units than inputs, none without effect",
        "last units left out", "forward.last_unit_skipped", "forward.hidden_loop_to_d_in",
    ),
    "BatchRows": _note(
        "BROADCAST", "several examples, all different", "one example's output everywhere",
        "forward.first_row_broadcast",
    ),
    "OutputOrder": _note(
        "ORDER", "several outputs, all different", "outputs in another order",
        "forward.outputs_reversed",
    ),
    "SimdTail": _note(
        "LOOP_BOUND", "sizes just below and above multiples of 8",
        "last units of a vector loop left out", "forward.simd_tail_dropped",
    ),
    "SinglePrecision": _note(
        "PRECISION", "an odd result just above 2^24", "off by one where sums are float32",
        "forward.float32_accumulation",
    ),
    "CoarseOperand": _note(
        "PRECISION", "an odd operand just above 2^11 (TF32, float16) or 2^8 (bfloat16)",
        "operand rounded", "forward.coarse_operands",
    ),
    # ---- numbers that are no integers
    "NotANumber": _note(
        "IEEE", "a NaN reaches every output of its own example and no other",
        "NaN swallowed, or spread over the batch", "run.nan_swallowed",
    ),
    "ZeroTimesNotANumber": _note(
        "IEEE", "0 times NaN or Inf is NaN", "zeros skipped", "run.nan_swallowed"
    ),
    "Infinity": _note(
        "IEEE", "Inf with its sign; Inf - Inf is NaN", "0 or a finite number", "run.inf_cancels"
    ),
    "SignedZero": _note(
        "IEEE", "the exact result is -0 in IEEE arithmetic", "+0 where a sum starts from +0"
    ),
    "Overflow": _note(
        "IEEE", "an intermediate exceeds the largest number", "Inf or NaN, or the exact result"
    ),
    "Underflow": _note(
        "IEEE", "an intermediate is below the smallest number", "0, or the exact result"
    ),
    # ---- tensor, matrix, form
    "SymHalf": _note(
        "MISSING_FACTOR", "an entry is the mean of two products", "the tensor doubled",
        "tensor.no_half",
    ),
    "Symmetrised": _note(
        "SYMMETRY", "the tensor is symmetric in its two input axes", "one product instead of two",
        "tensor.not_symmetrised", "tensor.antisymmetric", "tensor.symmetrised_over_output",
        "tensor.left_twice",
    ),
    "Diagonal": _note(
        "MISSING_FACTOR", "on the diagonal both products are equal", "diagonal halved or doubled",
        "tensor.diagonal_halved", "tensor.diagonal_doubled",
    ),
    "BothTriangles": _note(
        "SYMMETRY", "a whole matrix, both triangles", "a triangle zero or mirrored",
        "tensor.one_triangle", "packed.wrong_triangle",
    ),
    "OutputAxis": _note(
        "TRANSPOSED", "the output axis comes first", "numbers in other places",
        "tensor.output_axis_last",
    ),
    "LinearBlock": _note(
        "MISSING_FACTOR", "linear coefficients stand beside the constant, as half of themselves",
        "linear part missing, or doubled", "tensor.linear_missing", "tensor.linear_not_halved",
    ),
    "ConstantCorner": _note(
        "MISSING_TERM", "the corner holds w_out (b_left * b_right) + b_out, whole",
        "constant missing", "tensor.constant_missing",
    ),
    "NegativeDirection": _note(
        "SIGN", "a direction with negative entries", "their sign lost", "matrix.magnitude_of_u"
    ),
    "SeveralOutputs": _note(
        "WRONG_OPERAND", "a direction that mixes outputs", "one output, or their plain sum",
        "spectrum.one_output", "spectrum.summed_over_outputs",
    ),
    "PackedOrder": _note(
        "LAYOUT", "the lower triangle by rows, unscaled", "numbers in other places, or scaled",
        "packed.column_major", "packed.root_two",
    ),
    "OffDiagonalTwice": _note(
        "MISSING_FACTOR", "a packed number off the diagonal stands for two entries",
        "products counted once, or squares twice", "packed.not_doubled",
        "packed.diagonal_doubled_too",
    ),
    # ---- backward and losses
    "ProductRule": _note(
        "MISSING_TERM", "each factor's gradient holds the other factor",
        "a term missing, or the wrong factor", "backward.one_term", "backward.left_right_swapped",
        "backward.left_for_right",
    ),
    "BiasInFactor": _note(
        "MISSING_TERM", "the factor in a gradient includes its bias", "bias left out",
        "backward.bias_of_factor_missing",
    ),
    "GradientSign": _note("SIGN", "gradients of both signs", "sign reversed", "backward.sign"),
    "BiasGradient": _note(
        "MISSING_TERM", "every bias has a gradient", "zero or none", "backward.bias_missing"
    ),
    "OutputGradient": _note(
        "TRANSPOSED", "the gradient of w_out is (d_out, d_hidden)", "numbers in other places",
        "backward.w_out_transposed",
    ),
    "LastRow": _note(
        "LOOP_BOUND", "the last example counts", "its part missing", "backward.last_row_dropped"
    ),
    "RepeatedCall": _note(
        "STATE", "the sizes of the vector before, other numbers",
        "numbers of the call before", "backward.accumulated", "backward.stale",
    ),
    "MeanOverExamples": _note(
        "REDUCTION", "the mean is over examples, not over outputs", "scaled by a size",
        "loss.sum_for_mean", "loss.mean_over_all", "loss.mean_over_outputs",
    ),
    "FactorTwo": _note(
        "MISSING_FACTOR", "the gradient of a square", "half the gradient",
        "loss.factor_two_missing",
    ),
    "LargeLogits": _note(
        "OVERFLOW", "logits whose exponentials overflow", "Inf or NaN, or a shifted value",
        "cross_entropy.no_shift", "cross_entropy.shift_not_undone",
    ),
    "Labels": _note(
        "OFF_BY_ONE", "labels from 0, the last class among them", "another class",
        "cross_entropy.labels_off_by_one",
    ),
    "SoftmaxAxis": _note(
        "WRONG_AXIS", "softmax over classes", "shares of examples", "cross_entropy.over_batch"
    ),
    "NaturalLog": _note(
        "MISSING_FACTOR", "natural logarithm", "scaled by 1.44", "cross_entropy.base_two"
    ),
    # ---- optimiser
    "DecoupledDecay": _note(
        "ORDER", "the decay acts on the parameter before the step, scaled by the learning rate",
        "decay scaled by the moments, unscaled, or on the new parameter", "adamw.coupled_decay",
        "adamw.decay_unscaled", "adamw.decay_after",
    ),
    "BiasCorrection": _note(
        "MISSING_FACTOR", "moments are divided by 1 - beta^t, t from 1", "step too small or large",
        "adamw.no_correction", "adamw.t_off_by_one",
    ),
    "SmallGradient": _note(
        "ORDER", "gradients near epsilon, which is added after root and correction",
        "another step where the gradient is small", "adamw.epsilon_inside", "adamw.epsilon_before",
    ),
    "SecondMoment": _note(
        "MISSING_TERM", "the second moment is of the square", "wrong sign and size",
        "adamw.second_moment_of_g",
    ),
    "NoDecay": _note(
        "WRONG_OPERAND", "a vector of parameters with weight_decay 0, as biases have",
        "decayed all the same", "adamw.decay_on_biases",
    ),
    "Momentum": _note(
        "SIGN", "a first moment against the gradient", "step in its direction",
        "adamw.momentum_sign",
    ),
    # ---- spectra
    "ByMagnitude": _note(
        "ORDER", "pairs by descending magnitude, the positive one first on a tie",
        "another order", "spectrum.by_value", "spectrum.ascending",
    ),
    "ColumnVectors": _note(
        "TRANSPOSED", "eigenvector k is column k", "no eigenvectors", "spectrum.rows",
        "spectrum.values_permuted",
    ),
    "NegativeEigenvalues": _note(
        "SIGN", "negative eigenvalues lead", "signs lost, or too many pairs",
        "spectrum.singular_values", "spectrum.top_k_per_sign",
    ),
    "UnitVectors": _note(
        "NORMALISATION", "eigenvectors are orthonormal", "scaled, or one twice",
        "spectrum.unnormalised", "spectrum.duplicated_vector",
    ),
    "TinyGap": _note(
        "PRECISION", "eigenvalues that differ by little", "moved by more than rounding",
        "spectrum.float32_solver", "spectrum.shifted",
    ),
    "Multiplicity": _note(
        "DEGENERATE", "equal eigenvalues: only the projector of each cluster is determined",
        "single vectors compared",
    ),
    "SignTie": _note(
        "DEGENERATE", "an eigenvalue and its negative", "one of the two dropped or counted twice"
    ),
    "Asymmetric": _note(
        "INVALID", "a matrix that is not symmetric, or not finite, is refused",
        "one triangle read in silence", "spectrum.unsymmetrised",
    ),
    "LargestKept": _note(
        "ORDER", "the k of largest magnitude are kept", "others kept", "truncate.wrong_end",
        "truncate.by_value", "truncate.off_by_one",
    ),
    "SignsKept": _note(
        "SIGN", "negative eigenvalues among those kept", "their sign or they themselves lost",
        "truncate.magnitudes", "truncate.positive_only",
    ),
    "TailOfSquares": _note(
        "MISSING_TERM", "tail is the sum of the squares left out",
        "sum of eigenvalues", "truncate.tail_not_squared",
    ),
    "TiedTruncation": _note(
        "DEGENERATE", "eigenvalue k and k + 1 have one magnitude",
        "only the distance to Q is determined, not the matrix",
    ),
    "SymmetricModes": _note(
        "SYMMETRY", "both input modes have one subspace",
        "two factors for one, or modes mixed", "hosvd.unsymmetrised", "hosvd.mode_order",
    ),
    "CoreRotation": _note(
        "TRANSPOSED", "the core is the tensor times the transposed factors",
        "no reconstruction", "hosvd.core_untransposed",
    ),
    "FullRank": _note(
        "ORDER", "no singular value is zero", "part of the tensor lost", "hosvd.rank_before_core"
    ),
    "ThinFactors": _note(
        "LAYOUT", "more outputs than the tensor's rank", "columns without meaning", "hosvd.padded"
    ),
    # ---- folding
    "HeadFold": _note(
        "MISSING_TERM", "the head acts on output weights, output bias and skip path, once",
        "a part without it, or with it twice", "fold.w_out_forgotten", "fold.head_before_bias",
        "fold.head_twice_on_skip",
    ),
    "EmbeddingFold": _note(
        "MISSING_TERM", "the embedding acts on both factors and on the skip path",
        "a part without it, or transposed", "fold.transposed", "fold.embedding_in_left_only",
    ),
    "ResidualFold": _note(
        "MISSING_TERM", "the residual passes embedding and head", "one of them left out",
        "fold.residual_without_embedding",
    ),
    "GainFold": _note(
        "MISSING_FACTOR", "a gain before the layer acts once on both factors",
        "on one, or twice", "fold.norm_twice", "fold.gain_on_one_half",
    ),
    "ScaleFold": _note(
        "MISSING_FACTOR", "a factor scaled by 1/2, its bias with it", "bias or all unscaled",
        "fold.bias_not_scaled", "fold.half_left_out",
    ),
    "DecoderBias": _note(
        "MISSING_TERM", "the embedding has a bias, as the decoder of a dictionary has",
        "constant and linear part wrong", "fold.decoder_bias",
    ),
}  # fmt: skip

# Ids that were used and are no more, each with the reason: an expected value is never edited.
WITHDRAWN: dict[int, str] = {}
