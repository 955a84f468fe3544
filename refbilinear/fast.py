"""The functions of `spec.tensor` that cost the most, from the compiled kernel.

Same names, same arguments and errors, and `threads`; float32 and float64 alone. What they return
is defined to the last bit by a formula (docs/conventions.md, *Same bits everywhere*): neither
processor, vector width, number of threads nor size of the batch can change it.

    REFBILINEAR_VARIANT     the variant to use, one of `variants()`; read at import
    REFBILINEAR_THREADS     the default of `threads`, else every usable core; read at import

Importing this module fails, with the reason, where there is no kernel; the specification serves.
"""

import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from refbilinear.spec.arrays import Array, require_count, rows
from refbilinear.spec.layer import BilinearLayer
from refbilinear.spec.packed import empty_packed
from refbilinear.spec.tensor import broadcast, enter_gradient, enter_tensor, enter_x
from refbilinear.threads import usable_cores, work

try:
    from refbilinear import _kernel
except ImportError as error:
    raise ImportError(
        "refbilinear.fast needs the compiled kernel, which this installation lacks or cannot load "
        f"({error}); reinstall with a C compiler and without REFBILINEAR_PURE, "
        "or use refbilinear.spec"
    ) from error

UNIT = 2**19
"""Bytes of examples that one thread packs at a time."""

SUMS = 8
"""Numbers beside its coordinates that an example needs: the sums of a group of outputs."""

OUTPUTS = 512
"""Outputs that are computed together."""

WEIGHTS = 2**20
"""Bytes of output weights that are laid out at once, for all threads."""

CALL = 2**22
"""Operations of one call of the compiled code, at least: enough to repay the call."""

SMALL = 2**25
"""Operations below which a call stays on its caller's thread."""


def variants() -> tuple[str, ...]:
    """Return the names of the variants that this processor supports, the fastest first.

    Examples
    --------
    >>> "scalar" in variants()
    True
    """
    return tuple(_PLACES)


def active() -> str:
    """Return the name of the variant in use.

    Examples
    --------
    >>> active() in variants()
    True
    """
    return _ACTIVE


def default_threads() -> int:
    """Return the number of threads where none is asked for."""
    return _THREADS or usable_cores()


def interaction_tensor(layer: BilinearLayer, *, threads: int | None = None) -> Array:
    """Return the packed symmetric interaction tensor of a layer, over `[x; 1]` where needed.

    `B[o,i,j] = Σ_h w_out[o,h] (w_left[h,i] w_right[h,j] + w_left[h,j] w_right[h,i]) / 2`

    Parameters
    ----------
    layer : BilinearLayer
        Of float32 or float64.
    threads : int, optional
        At most so many; every usable core by default.

    Returns
    -------
    (d_out, n_pairs) array

    Raises
    ------
    TypeError
        For a layer of exact rationals.
    MemoryError
        For a tensor that cannot be addressed or allocated.

    See Also
    --------
    refbilinear.spec.tensor.interaction_tensor : the specification, and the storage.

    Examples
    --------
    >>> interaction_tensor(BilinearLayer([[1, 0]], [[0, 1]]))
    array([[0. , 0.5, 0. ]])
    """
    _require_float("layer", layer.dtype)
    d = layer.d_in + layer.has_constant
    tensor = empty_packed(layer.d_out, d, layer.dtype)
    units = [_ready(a) for a in (layer.w_left, layer.w_right, layer.b_left, layer.b_right)]
    outputs = [_ready(a) for a in (layer.b_out, layer.w_skip)]
    _fill(tensor, units, _ready(layer.w_out), outputs, layer.has_constant, threads)
    return tensor


def tensor_gradient(x: ArrayLike, dy: ArrayLike, *, threads: int | None = None) -> Array:
    """Return `Σ_n dy[n,o] x[n,i] x[n,j]`, the gradient of `⟨dy, quadratic_form(B, x)⟩` in B.

    Parameters
    ----------
    x : (..., d) array_like
    dy : (..., d_out) array_like
        With the leading axes of x.
    threads : int, optional
        At most so many; every usable core by default.

    Returns
    -------
    (d_out, n_pairs) array
        See `refbilinear.spec.tensor.tensor_gradient`.

    Examples
    --------
    >>> tensor_gradient([[1, 2]], [[1]])
    array([[1., 2., 4.]])
    """
    x, dy = enter_gradient(x, dy)
    _require_float("x", x.dtype)
    gradient = empty_packed(dy.shape[1], x.shape[1], x.dtype)
    units = [_ready(x), None, None, None]
    _fill(gradient, units, _ready(dy).T, [None, None], False, threads)
    return gradient


def quadratic_form(tensor: ArrayLike, x: ArrayLike, *, threads: int | None = None) -> Array:
    """Return `y[o] = xᵀ B[o] x = Σ_i x_i (B_ii x_i + 2 Σ_{j<i} B_ij x_j)`.

    Parameters
    ----------
    tensor : (d_out, n_pairs) array_like
    x : (..., d) array_like
        Of the tensor's own dimension; see `refbilinear.homogeneous`.
    threads : int, optional
        At most so many; every usable core by default.

    Returns
    -------
    (..., d_out) array

    Examples
    --------
    >>> quadratic_form([[0, 0.5, 0]], [3, 4])      # the form x₀x₁
    array([12.])
    """
    tensor, d = _enter_tensor(tensor)
    x = enter_x("x", x, tensor, d)
    flat = _ready(rows(x))
    y = _examples(tensor, d, len(flat), 1, lambda a, b: (flat[a:b], None), threads)
    return y.reshape(*x.shape[:-1], len(tensor))


def bilinear_form(
    tensor: ArrayLike, x: ArrayLike, z: ArrayLike, *, threads: int | None = None
) -> Array:
    """Return `xᵀ B[o] z`, the polar form, the same bits for `(x, z)` and `(z, x)`.

    Parameters
    ----------
    tensor : (d_out, n_pairs) array_like
    x, z : (..., d) array_like
        Of the tensor's own dimension; their leading axes are broadcast against each other.
    threads : int, optional
        At most so many; every usable core by default.

    Returns
    -------
    (..., d_out) array

    Examples
    --------
    >>> bilinear_form([[0, 0.5, 0]], [1, 0], [[0, 1], [1, 0]])
    array([[0.5],
           [0. ]])
    """
    tensor, d = _enter_tensor(tensor)
    x, z = enter_x("x", x, tensor, d), enter_x("z", z, tensor, d)
    batch = broadcast(x.shape[:-1], z.shape[:-1])
    x_rows, z_rows = _rows_of(x, batch), _rows_of(z, batch)
    n = np.broadcast_to(np.False_, batch).size
    y = _examples(tensor, d, n, 2, lambda a, b: (x_rows(a, b), z_rows(a, b)), threads)
    return y.reshape(*batch, len(tensor))


def _fill(
    tensor: Array,
    units: list[Any],
    out: Array | None,
    outputs: list[Any],
    constant: bool,
    threads: int | None,
) -> None:
    """Fill a packed tensor, some outputs and some hidden units at a time.

    `units` are left, right and their biases, a row for each hidden unit; `outputs` are the output's
    bias and skip, a row for each output.
    """
    d_hidden = len(units[0])
    threads = _threads(threads, 2 * tensor.size * (d_hidden if out is not None else 1))
    if not tensor.size:
        return
    for few, some in _parts(out, len(tensor), d_hidden):
        ends = some.start == 0, some.stop == d_hidden
        weights = None if out is None else out[few, some]
        arrays = [_cut(a, some) for a in units], weights, [_cut(a, few) for a in outputs]
        _fill_part(tensor[few], *arrays, constant, ends, threads)


def _parts(out: Array | None, d_out: int, d_hidden: int) -> Iterator[tuple[slice, slice]]:
    """Yield outputs and hidden units whose weights are laid out together; all, without weights."""
    if out is None:
        yield slice(0, d_out), slice(0, d_hidden)
        return
    for few in _slices(d_out, OUTPUTS):
        most = WEIGHTS // (out.itemsize * (few.stop - few.start))
        for some in _slices(d_hidden, max(1, most)):
            yield few, some


def _fill_part(
    tensor: Array,
    units: list[Any],
    out: Array | None,
    outputs: list[Any],
    constant: bool,
    ends: tuple[bool, bool],
    threads: int,
) -> None:
    """Add the products of some hidden units to a tensor: the first ones, the last ones."""
    place, (left, right, *biases) = _PLACES[_ACTIVE], units
    total, scratch = _kernel.blocks(place, tensor.itemsize, len(tensor), left.shape[1] + constant)
    packed = None
    if out is not None:
        packed = np.empty(max(1, out.size), tensor.dtype)
        _kernel.pack(place, out, packed)
    arrays = (packed, left, right, out, constant, *biases, *outputs)

    def block(first: int, last: int, memory: Array, stop: Any) -> None:
        _kernel.tensor(place, first, last, tensor, memory, stop, *ends, *arrays)

    operations = 2 * tensor.size * (len(left) if out is not None else 1)
    work(block, total, max(1, total * CALL // max(1, operations)), 1, scratch, threads)


def _slices(total: int, most: int) -> list[slice]:
    """Return slices of nearly equal size, at most `most`, that cover [0, total); at least one."""
    count = max(1, -(-total // most))
    return [slice(k * total // count, (k + 1) * total // count) for k in range(count)]


def _cut(array: Array | None, part: slice) -> Any:
    return None if array is None else array[part]


def _examples(
    tensor: Array,
    d: int,
    n: int,
    inputs: int,
    block_of: Callable[[int, int], tuple[Array, Array | None]],
    threads: int | None,
) -> Array:
    """Return the form of n examples (n, d_out), blocks of examples at a time."""
    place, d_out, size = _PLACES[_ACTIVE], len(tensor), tensor.itemsize
    tile = _kernel.examples(place, size, d_out)
    unit = tile * max(1, UNIT // (tile * size * (inputs * d + SUMS)))
    y = np.empty((n, d_out), tensor.dtype)

    def block(first: int, last: int, memory: Array, stop: Any) -> None:
        _kernel.form(place, y[first:last], memory, stop, tensor, *block_of(first, last))

    threads = _threads(threads, 2 * n * tensor.size * inputs)
    if y.size:
        unit = min(unit, -(-n // tile) * tile)
        scratch = _kernel.form_scratch(place, size, d_out, d, unit, inputs)
        work(block, n, unit, tile, scratch, threads)
    return y


def _threads(threads: int | None, operations: int) -> int:
    """Return how many threads to make: none for a small call."""
    threads = default_threads() if threads is None else require_count("threads", threads, 1)
    return 0 if operations < SMALL else threads


def _rows_of(array: Array, batch: tuple[int, ...]) -> Callable[[int, int], Array]:
    """Return the function that gives rows [first, last) of an array broadcast to a batch."""
    if array.shape[:-1] == batch:
        flat = _ready(rows(array))
        return lambda first, last: flat[first:last]
    whole = np.broadcast_to(array, (*batch, array.shape[-1]))
    return lambda first, last: whole[np.unravel_index(np.arange(first, last), batch)]


def _ready(array: Array | None) -> Any:
    """Return an array in C order and aligned, a copy only if it was not."""
    return None if array is None else np.require(array, requirements=["C", "A"])


def _enter_tensor(tensor: ArrayLike) -> tuple[Array, int]:
    array, d = enter_tensor(tensor)
    _require_float("tensor", array.dtype)
    return _ready(array), d


def _require_float(name: str, dtype: DTypeLike) -> None:
    if np.dtype(dtype).hasobject:
        raise TypeError(
            f"{name} must hold float32 or float64 for the compiled kernel; "
            "got object (exact rationals): refbilinear.spec is exact on them"
        )


def _chosen(name: str | None) -> str:
    """Return the variant that a name asks for, the fastest if there is no name."""
    if not _PLACES:
        raise ImportError(
            "refbilinear.fast needs a processor with an fma instruction, and this one has none; "
            "use refbilinear.spec"
        )
    if name and name not in _PLACES:
        raise ValueError(f"REFBILINEAR_VARIANT must be one of {', '.join(_PLACES)}; got {name!r}")
    return name or next(iter(_PLACES))


def _number(text: str | None) -> int | None:
    """Return the number of threads that a text asks for."""
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and int(text) >= 1):
        raise ValueError(f"REFBILINEAR_THREADS must be a number of at least 1; got {text!r}")
    return int(text)


_PLACES = _kernel.variants()
_ACTIVE = _chosen(os.environ.get("REFBILINEAR_VARIANT"))
_THREADS = _number(os.environ.get("REFBILINEAR_THREADS"))
