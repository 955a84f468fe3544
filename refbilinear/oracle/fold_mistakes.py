"""Mistakes in making one layer of embedding, gain, layer, residual and head."""

from refbilinear.oracle.answers import Inputs, Outputs, Run
from refbilinear.oracle.wrong import Wrong, after, each, partly, transposed, where_square, without


def residual_without_embedding(run: Run) -> Run:
    """Make `w_skip' = H (S E + I)`: the residual passes the head alone."""

    def answer(held: Inputs) -> Outputs:
        if "residual" not in held:
            return run(held)
        passed = without("w_embed", "w_skip")(run)(held)["w_skip"]
        skip = without("residual")(run)(held).get("w_skip", 0)
        return run(held) | {"w_skip": skip + passed}

    return answer


def head_twice(held: Inputs, out: Outputs) -> Outputs:
    """Make `w_skip' = H H (S + I) E`."""
    both = "w_head" in held and "w_skip" in out
    return {"w_skip": held["w_head"] @ out["w_skip"]} if both else {}


FOLD: dict[str, Wrong] = {
    "fold.w_out_forgotten": where_square("w_out", without("w_out")),
    "fold.bias_not_scaled": partly(without("left_scale"), "b_left"),
    "fold.transposed": after(lambda held, out: {"w_left": transposed(out["w_left"])}),
    "fold.norm_twice": each(lambda gain: gain * gain, "gain"),
    "fold.gain_on_one_half": partly(without("gain"), "w_right", "b_right"),
    "fold.embedding_in_left_only": where_square("w_embed", partly(without("w_embed"), "w_right")),
    "fold.head_before_bias": where_square("w_head", partly(without("w_head"), "b_out")),
    "fold.residual_without_embedding": where_square("w_embed", residual_without_embedding),
    "fold.head_twice_on_skip": where_square("w_head", after(head_twice)),
    "fold.half_left_out": without("left_scale"),
    "fold.decoder_bias": without("b_embed"),
}
