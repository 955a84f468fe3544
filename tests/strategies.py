"""What the tests draw: numbers, layers, models and memory layouts.

Sizes of one drawing are pairwise distinct, so a transposed or swapped array does not fit; biases
are not zero and the two factors differ, so nothing that is dropped or swapped goes unseen. An array
is drawn as one piece (bytes or a seed): entries never repeat a fill value, and drawing is fast.
"""

from fractions import Fraction

import numpy as np
from hypothesis import strategies as st

from refbilinear import BilinearLayer, BilinearMLP

OPTIONAL = ("w_out", "b_left", "b_right", "b_out", "w_skip")
FLOATS = (np.float32, np.float64)

# Small integers and dyadics, none zero: the simplest first, to which an example shrinks.
NUMBERS = [
    sign * Fraction(numerator, denominator)
    for denominator in (1, 2, 4, 8)
    for numerator in range(1, 20)
    if numerator % 2 or denominator == 1
    for sign in (1, -1)
][:128]


def rational_array(codes, shape):
    """Return an array of Fractions from integers, each taken as an index of NUMBERS."""
    array = np.empty(len(codes), dtype=object)
    array[:] = [NUMBERS[code % len(NUMBERS)] for code in codes]
    return array.reshape(shape)


def random_array(rng, shape, dtype):
    """Return non-zero numbers of a dtype; floats span seven powers of two, far from underflow."""
    size = int(np.prod(shape))
    if np.dtype(dtype) == object:
        return rational_array(rng.integers(0, len(NUMBERS), size).tolist(), shape)
    values = rng.uniform(0.5, 1, shape) * rng.choice([-1, 1], shape)
    return np.ldexp(values, rng.integers(-3, 4, shape)).astype(dtype)


def arrays(shape, dtype=object):
    """Draw an array of a shape."""
    if np.dtype(dtype) == object:
        size = int(np.prod(shape))
        data = st.binary(min_size=size, max_size=size)
        return data.map(lambda codes: rational_array(codes, shape))
    seeds = st.integers(0, 2**32 - 1)
    return seeds.map(lambda seed: random_array(np.random.default_rng(seed), shape, dtype))


def integer_arrays(shape, largest=5):
    """Draw small integers in object form, whose float arithmetic is exact in any order."""
    size = int(np.prod(shape))
    data = st.binary(min_size=size, max_size=size)
    return data.map(
        lambda codes: (np.frombuffer(codes, np.uint8) % (2 * largest + 1) - float(largest)).reshape(
            shape
        )
    )


def distinct_sizes(count, largest=6):
    """Draw pairwise distinct sizes from 1."""
    return st.permutations(range(1, largest + 1)).map(lambda sizes: tuple(sizes[:count]))


def layer_shapes(names, d_in, d_hidden, d_out):
    """Return the shape of each parameter of a layer that has the named optional ones."""
    d_out = d_out if "w_out" in names else d_hidden
    shapes = {
        "w_left": (d_hidden, d_in),
        "w_right": (d_hidden, d_in),
        "w_out": (d_out, d_hidden),
        "b_left": (d_hidden,),
        "b_right": (d_hidden,),
        "b_out": (d_out,),
        "w_skip": (d_out, d_in),
    }
    return {name: shapes[name] for name in ("w_left", "w_right", *names)}


def random_layer(rng, names=OPTIONAL, sizes=(3, 5, 2), dtype=object):
    """Return a layer of the given sizes (d_in, d_hidden, d_out) with the named parameters."""
    shapes = layer_shapes(names, *sizes)
    return BilinearLayer(**{name: random_array(rng, s, dtype) for name, s in shapes.items()})


def optional_names():
    """Draw which optional parameters a layer has, all combinations alike."""
    return st.tuples(*[st.booleans()] * len(OPTIONAL)).map(
        lambda has: tuple(name for name, there in zip(OPTIONAL, has, strict=True) if there)
    )


@st.composite
def layers(draw, dtype=object, sizes=None, names=None, largest=5):
    """Draw a layer; sizes are (d_in, d_hidden, d_out)."""
    sizes = draw(distinct_sizes(3, largest)) if sizes is None else sizes
    names = draw(optional_names()) if names is None else names
    shapes = layer_shapes(names, *sizes)
    values = {name: draw(arrays(shape, dtype)) for name, shape in shapes.items()}
    if (values["w_left"] == values["w_right"]).all():
        values["w_right"] = values["w_right"] * 2
    return BilinearLayer(**values)


@st.composite
def layers_with_x(draw, dtype=object, names=None, largest=5):
    """Draw a layer and a batch of inputs, all sizes distinct."""
    *sizes, n = draw(distinct_sizes(4, largest))
    layer = draw(layers(dtype, sizes, names))
    return layer, draw(arrays((n, layer.d_in), dtype))


@st.composite
def layers_with_batch(draw, dtype=object, names=None, largest=5):
    """Draw a layer, a batch of inputs, and a gradient in its outputs."""
    layer, x = draw(layers_with_x(dtype, names, largest))
    return layer, x, draw(arrays((len(x), layer.d_out), dtype))


@st.composite
def models(draw, dtype=object, depth=None, largest=5):
    """Draw a model: depth 1 to 3, with or without embedding, head and residual."""
    depth = draw(st.integers(1, 3)) if depth is None else depth
    residual, embed, head = draw(st.booleans()), draw(st.booleans()), draw(st.booleans())
    d_in, width, d_hidden, d_out = draw(distinct_sizes(4, largest))
    w_embed = draw(arrays((width, d_in), dtype)) if embed else None
    stack = []
    for _ in range(depth):
        names = draw(optional_names())
        square = residual and "w_out" not in names
        sizes = (width, width if square else d_hidden, width if residual else d_out)
        stack.append(draw(layers(dtype, sizes, names)))
        width = stack[-1].d_out
    w_head = draw(arrays((draw(st.integers(1, largest)), width), dtype)) if head else None
    return BilinearMLP(w_embed, stack, w_head, residual)


@st.composite
def models_with_batch(draw, dtype=object, depth=None, largest=5):
    """Draw a model, a batch of inputs, and a gradient in its outputs."""
    model = draw(models(dtype, depth, largest))
    n = draw(st.integers(1, 3))
    return model, draw(arrays((n, model.d_in), dtype)), draw(arrays((n, model.d_out), dtype))


def _strided(array):
    wide = np.zeros([2 * size for size in array.shape], array.dtype)
    view = wide[tuple(slice(None, None, 2) for _ in array.shape)]
    view[...] = array
    return view


def _reversed(array):
    flipped = tuple(slice(None, None, -1) for _ in array.shape)
    return array[flipped].copy()[flipped]


def _read_only(array):
    copy = array.copy()
    copy.flags.writeable = False
    return copy


def _unaligned(array):
    buffer = np.zeros(array.nbytes + 1, np.uint8)
    view = buffer[1:].view(array.dtype).reshape(array.shape)
    view[...] = array
    return view


def _broadcast(array):
    return np.broadcast_to(array[:1], array.shape)


LAYOUTS = {
    "C": np.ascontiguousarray,
    "F": np.asfortranarray,
    "strided": _strided,
    "reversed": _reversed,
    "read-only": _read_only,
    "byte-swapped": lambda array: array.astype(array.dtype.newbyteorder()),
    "unaligned": _unaligned,
    "broadcast": _broadcast,
}


def plain(array):
    """Return the C-ordered copy of an array, in the machine's byte order."""
    return np.array(array, array.dtype.newbyteorder("="), order="C")
