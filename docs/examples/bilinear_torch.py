"""A bilinear layer in PyTorch, and what `refbilinear.oracle.verify` says of it.

y = w_out ((w_left x + b_left) ⊙ (w_right x + b_right)) + b_out + w_skip x
"""

import sys
import warnings

import torch
from torch import nn
from torch.nn import functional

from refbilinear.oracle import verify


class Bilinear(nn.Module):
    """A bilinear layer; whatever is None is absent, and absent output weights are the identity."""

    def __init__(self, d_in, d_hidden, d_out=None, *, left_bias, right_bias, bias, skip):
        super().__init__()
        self.left = nn.Linear(d_in, d_hidden, left_bias)
        self.right = nn.Linear(d_in, d_hidden, right_bias)
        self.out = nn.Identity() if d_out is None else nn.Linear(d_hidden, d_out, bias=False)
        d_out = d_hidden if d_out is None else d_out
        self.bias = nn.Parameter(torch.zeros(d_out)) if bias else None
        self.skip = nn.Linear(d_in, d_out, bias=False) if skip else None

    def forward(self, x):
        """Return the outputs (n, d_out) of examples (n, d_in)."""
        y = self.out(self.left(x) * self.right(x))
        if self.bias is not None:
            y = y + self.bias
        return y if self.skip is None else y + self.skip(x)

    def tensor(self):
        """Return the symmetric interaction tensor, (d_out, d, d), over [x; 1] if it is needed."""
        left, right, skip, bias = self.left, self.right, self.skip, self.bias
        constant = any(p is not None for p in (left.bias, right.bias, bias, skip))
        left, right = (augmented(p) if constant else p.weight for p in (left, right))
        if isinstance(self.out, nn.Identity):
            half = torch.einsum("hi,hj->hij", left, right)
        else:
            half = torch.einsum("oh,hi,hj->oij", self.out.weight, left, right)
        tensor = (half + half.mT) / 2
        if skip is not None:
            tensor[:, -1, :-1] += skip.weight / 2
            tensor[:, :-1, -1] += skip.weight / 2
        if bias is not None:
            tensor[:, -1, -1] += bias
        return tensor


def augmented(linear):
    """Return weight and bias of a linear map as one matrix, which meets [x; 1]."""
    bias = linear.weight.new_zeros(linear.out_features) if linear.bias is None else linear.bias
    return torch.cat([linear.weight, bias[:, None]], dim=1)


# ---- the names of the conventions, in and out

# Some vectors have a size 0, and torch warns of it.
warnings.filterwarnings("ignore", message="Initializing zero-element tensors")

NAMES = {
    "w_left": "left.weight", "w_right": "right.weight", "w_out": "out.weight",
    "b_left": "left.bias", "b_right": "right.bias", "b_out": "bias", "w_skip": "skip.weight",
}  # fmt: skip


def copied(array):
    """Return an array of NumPy as a tensor of its own: an optimizer works in place."""
    return torch.from_numpy(array.copy())


def module_of(layer):
    """Return a module that holds the arrays of a layer."""
    given = {name: w for name, w in layer._asdict().items() if w is not None}
    with torch.device("meta"):  # no memory and no initial weights
        module = Bilinear(
            *reversed(layer.w_left.shape), None if layer.w_out is None else len(layer.w_out),
            left_bias="b_left" in given, right_bias="b_right" in given,
            bias="b_out" in given, skip="w_skip" in given,
        )  # fmt: skip
    state = {NAMES[name]: copied(w) for name, w in given.items()}
    module.load_state_dict(state, assign=True)
    return module


def forward(layer, x):
    """Return the outputs of a layer."""
    return module_of(layer)(copied(x)).detach()


def tensor(layer):
    """Return the interaction tensor of a layer, whole."""
    return module_of(layer).tensor().detach()


def backward(layer, x, dy):
    """Return the gradients that autograd finds, by the names of the conventions."""
    module, x = module_of(layer), copied(x).requires_grad_()
    module(x).backward(copied(dy))
    found = dict(module.named_parameters())
    return {n: found[p].grad for n, p in NAMES.items() if p in found} | {"x": x.grad}


def loss_with_gradient(loss):
    """Return a loss as a function of arrays that returns its value and its gradient in y."""

    def run(y, target):
        y = copied(y).requires_grad_()
        value = loss(y, copied(target))
        value.backward()
        return value.detach(), y.grad

    return run


def squared_error(y, t):
    """Return the mean over examples, not over outputs as well."""
    return functional.mse_loss(y, t, reduction="sum") / len(y)


def adamw(theta, g, m, v, t, *, learning_rate, weight_decay, beta1, beta2, epsilon):
    """Return the step `t` of `torch.optim.AdamW` from a given state."""
    theta, g, m, v = (copied(array) for array in (theta, g, m, v))
    theta = nn.Parameter(theta)
    theta.grad = g
    optimizer = torch.optim.AdamW(
        [theta], learning_rate, (beta1, beta2), epsilon, weight_decay, foreach=False
    )
    optimizer.state[theta] = {"step": torch.tensor(t - 1.0), "exp_avg": m, "exp_avg_sq": v}
    optimizer.step()
    return theta.detach(), m, v


def spectrum(Q, k):
    """Return the k eigenpairs of largest magnitude; of equal ones the positive first."""
    Q = copied(Q)
    if not (Q.isfinite().all() and torch.equal(Q, Q.mT)):  # eigh reads one triangle, unchecked
        raise ValueError("Q must be symmetric and finite")
    values, vectors = torch.linalg.eigh(Q)
    order = torch.argsort(values, descending=True, stable=True)
    order = order[torch.argsort(values[order].abs(), descending=True, stable=True)]
    return values[order[:k]], vectors[:, order[:k]]


FUNCTIONS = {
    "forward": forward,
    "tensor": tensor,
    "backward": backward,
    "squared_error": loss_with_gradient(squared_error),
    "cross_entropy": loss_with_gradient(functional.cross_entropy),
    "adamw": adamw,
    "spectrum": spectrum,
}


def compiled():
    """Return `forward` under `torch.compile`, compiling absent parameters, sizes 0 and 1 apart.

    Beyond the limit it would run what is not compiled, and the report would be about that.
    """
    torch._dynamo.config.recompile_limit = 1000
    torch._dynamo.config.force_parameter_static_shapes = False
    run = torch.compile(lambda module, x: module(x), dynamic=True, fullgraph=True)
    return lambda layer, x: run(module_of(layer), copied(x)).detach()


def main():
    """Print what is right and wrong, and return the exit code: 0 if all is right."""
    if sys.argv[1:] == ["compiled"]:
        reports = [verify({"forward": compiled()}, claim="f32")]
    else:
        reports = [verify(FUNCTIONS, claim=claim) for claim in ("f32", "f64")]
    print(*reports, sep="\n\n")
    return max(report.exit_code for report in reports)


if __name__ == "__main__":
    sys.exit(main())
