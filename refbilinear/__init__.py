"""refbilinear: the reference of bilinear layers, `y = w_out((w_left x) ⊙ (w_right x))`.

The names below are the specification, in the order the data flow. `refbilinear.fast` (the compiled
kernel), `refbilinear.oracle`, `refbilinear.analysis` and `refbilinear.study` load on first use.
"""

from importlib import import_module
from types import ModuleType

from refbilinear.spec.layer import (
    BilinearLayer,
    Gradients,
    Projections,
    backward,
    forward,
    project,
)
from refbilinear.spec.loss import Loss, accuracy, cross_entropy, squared_error
from refbilinear.spec.mlp import (
    Activations,
    BilinearMLP,
    MLPGradients,
    fold,
    mlp_activations,
    mlp_backward,
    mlp_forward,
    parameters,
    with_parameters,
)
from refbilinear.spec.optim import AdamWState, adamw, cosine_schedule, init_mlp
from refbilinear.spec.packed import (
    dimension,
    n_pairs,
    pack,
    pair_index,
    pair_indices,
    symmetric_part,
    unpack,
)
from refbilinear.spec.tensor import (
    QuadraticForm,
    bilinear_form,
    form_value,
    homogeneous,
    homogeneous_matrix,
    interaction_matrix,
    interaction_tensor,
    output_form,
    quadratic_form,
    tensor_gradient,
)
from refbilinear.spec.train import Epoch, train

__version__ = "0.1.0"

__all__ = [
    "Activations",
    "AdamWState",
    "BilinearLayer",
    "BilinearMLP",
    "Epoch",
    "Gradients",
    "Loss",
    "MLPGradients",
    "Projections",
    "QuadraticForm",
    "accuracy",
    "adamw",
    "backward",
    "bilinear_form",
    "cosine_schedule",
    "cross_entropy",
    "dimension",
    "fold",
    "form_value",
    "forward",
    "homogeneous",
    "homogeneous_matrix",
    "init_mlp",
    "interaction_matrix",
    "interaction_tensor",
    "mlp_activations",
    "mlp_backward",
    "mlp_forward",
    "n_pairs",
    "output_form",
    "pack",
    "pair_index",
    "pair_indices",
    "parameters",
    "project",
    "quadratic_form",
    "squared_error",
    "symmetric_part",
    "tensor_gradient",
    "train",
    "unpack",
    "with_parameters",
]

_ROOMS = ("analysis", "fast", "oracle", "study")


def __getattr__(name: str) -> ModuleType:
    """Import a room of the package on its first use (PEP 562)."""
    if name in _ROOMS:
        return import_module(f"refbilinear.{name}")
    raise AttributeError(f"module 'refbilinear' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_ROOMS])
