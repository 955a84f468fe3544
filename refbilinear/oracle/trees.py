"""One change to all arrays of whatever a function of the specification takes or gives."""

from collections.abc import Callable
from typing import Any

from refbilinear.spec.layer import BilinearLayer
from refbilinear.spec.mlp import BilinearMLP, parameters, with_parameters


def map_arrays(change: Callable[[Any], Any], value: Any) -> Any:
    """Return layers, models and tuples with every array changed; None stays None.

    Examples
    --------
    >>> layer = map_arrays(lambda w: -w, BilinearLayer([[1]], [[2]]))
    >>> map_arrays(lambda w: w.tolist(), (layer.w_left, None))
    ([[-1.0]], None)
    """
    if isinstance(value, BilinearLayer):
        return BilinearLayer(**{name: change(w) for name, w in parameters(value).items()})
    if isinstance(value, BilinearMLP):
        values = {name: change(w) for name, w in parameters(value).items()}
        return with_parameters(value, values)
    if isinstance(value, tuple):
        parts = [map_arrays(change, part) for part in value]
        return type(value)._make(parts) if hasattr(value, "_make") else tuple(parts)
    return None if value is None else change(value)
