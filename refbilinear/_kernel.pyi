from array import array

from refbilinear.spec.arrays import Array

def variants() -> dict[str, int]: ...
def blocks(variant: int, itemsize: int, d_out: int, d: int) -> tuple[int, int]: ...
def pack(variant: int, out: Array, packed: Array) -> None: ...
def examples(variant: int, itemsize: int, d_out: int) -> int: ...
def form_scratch(variant: int, itemsize: int, d_out: int, d: int, n: int, inputs: int) -> int: ...
def tensor(
    variant: int,
    first: int,
    last: int,
    result: Array,
    scratch: Array,
    stop: array[int],
    begins: bool,
    ends: bool,
    packed: Array | None,
    left: Array,
    right: Array | None,
    out: Array | None,
    constant: bool,
    bias_left: Array | None,
    bias_right: Array | None,
    bias_out: Array | None,
    skip: Array | None,
) -> None: ...
def form(
    variant: int,
    result: Array,
    scratch: Array,
    stop: array[int],
    tensor: Array,
    x: Array,
    z: Array | None,
) -> None: ...
