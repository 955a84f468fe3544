# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""The compiled kernel as Python sees it: memoryviews in, the GIL released, a status out.

Shapes, dtypes and words are the business of `refbilinear.fast`, which is the only caller.
"""

cimport cython

cdef extern from "refbilinear.h" nogil:
    ctypedef enum rb_status:
        RB_DONE
        RB_STOPPED
    ctypedef struct rb_layer:
        size_t d_out, d_hidden, d_in
        const void *left
        const void *right
        const void *out
        ptrdiff_t out_row, out_column
        const void *packed
        int first, last
        int constant
        const void *bias_left
        const void *bias_right
        const void *bias_out
        const void *skip
    ctypedef struct rb_form:
        size_t d_out, d
        const void *tensor
    ctypedef struct rb_functions:
        size_t (*blocks)(const rb_layer *) noexcept nogil
        void (*pack)(const rb_layer *, void *) noexcept nogil
        rb_status (*tensor)(const rb_layer *, size_t, size_t, void *, void *, const int *) noexcept nogil
        size_t (*tensor_scratch)(const rb_layer *) noexcept nogil
        rb_status (*quadratic)(
            const rb_form *, size_t, const void *, void *, void *, const int *) noexcept nogil
        rb_status (*bilinear)(
            const rb_form *, size_t, const void *, const void *, void *, void *, const int *) noexcept nogil
        size_t (*form_scratch)(const rb_form *, size_t, size_t) noexcept nogil
        size_t (*tile)(size_t) noexcept nogil
    ctypedef struct rb_variant:
        const char *name
        int (*supported)() noexcept nogil
        const rb_functions *f32
        const rb_functions *f64
    const rb_variant *const rb_variants[]

ctypedef fused scalar:
    float
    double


def variants():
    """Return the names of the variants that this processor supports, with their places."""
    cdef size_t place = 0
    names = {}
    while rb_variants[place] != NULL:
        if rb_variants[place].supported():
            names[rb_variants[place].name.decode()] = place
        place += 1
    return names


cdef const rb_functions *functions(size_t variant, size_t itemsize) noexcept nogil:
    return rb_variants[variant].f32 if itemsize == 4 else rb_variants[variant].f64


cdef rb_layer sizes(size_t d_out, size_t d_hidden, size_t d_in) noexcept:
    return rb_layer(d_out, d_hidden, d_in, NULL, NULL, NULL, 0, 0, NULL, 1, 1, 0, NULL, NULL, NULL, NULL)


def blocks(size_t variant, size_t itemsize, size_t d_out, size_t d):
    """Return the number of blocks of a tensor over d coordinates, and the bytes of scratch."""
    cdef rb_layer layer = sizes(d_out, 0, d)
    f = functions(variant, itemsize)
    return f.blocks(&layer), f.tensor_scratch(&layer)


def pack(size_t variant, const scalar[:, :] out, scalar[::1] packed):
    """Lay w_out out as `tensor` reads it."""
    cdef rb_layer layer = sizes(out.shape[0], out.shape[1], 0)
    set_out(&layer, out)
    with nogil:
        functions(variant, sizeof(scalar)).pack(&layer, &packed[0])


def examples(size_t variant, size_t itemsize, size_t d_out):
    """Return how many examples are computed together."""
    return functions(variant, itemsize).tile(d_out)


def form_scratch(size_t variant, size_t itemsize, size_t d_out, size_t d, size_t n, size_t inputs):
    """Return the bytes of scratch for a form of n examples."""
    cdef rb_form form = rb_form(d_out, d, NULL)
    return functions(variant, itemsize).form_scratch(&form, n, inputs)


cdef const void *vector(const scalar[::1] array) noexcept:
    return NULL if array is None else <const void *>&array[0]


cdef const void *matrix(const scalar[:, ::1] array) noexcept:
    return NULL if array is None else <const void *>&array[0, 0]


cdef void set_out(rb_layer *layer, const scalar[:, :] out) noexcept:
    layer.out = <const void *>&out[0, 0]
    layer.out_row = out.strides[0] // <ptrdiff_t>sizeof(scalar)
    layer.out_column = out.strides[1] // <ptrdiff_t>sizeof(scalar)


def tensor(
    size_t variant,
    size_t first,
    size_t last,
    scalar[:, ::1] result,
    unsigned char[::1] scratch,
    const int[::1] stop,
    bint begins,
    bint ends,
    const scalar[::1] packed,
    const scalar[:, ::1] left,
    const scalar[:, ::1] right,
    const scalar[:, :] out,
    bint constant,
    const scalar[::1] bias_left,
    const scalar[::1] bias_right,
    const scalar[::1] bias_out,
    const scalar[:, ::1] skip,
):
    """Compute blocks [first, last) of the packed tensor of a layer, or of one part of its units."""
    cdef rb_layer layer = sizes(result.shape[0], left.shape[0], left.shape[1])
    cdef const rb_functions *f = functions(variant, sizeof(scalar))
    layer.left, layer.right = matrix(left), matrix(right)
    layer.first, layer.last, layer.constant = begins, ends, constant
    if out is not None:
        set_out(&layer, out)
        layer.packed = vector(packed)
    layer.bias_left, layer.bias_right = vector(bias_left), vector(bias_right)
    layer.bias_out, layer.skip = vector(bias_out), matrix(skip)
    with nogil:
        f.tensor(&layer, first, last, &result[0, 0], &scratch[0], &stop[0])


def form(
    size_t variant,
    scalar[:, ::1] result,
    unsigned char[::1] scratch,
    const int[::1] stop,
    const scalar[:, ::1] tensor,
    const scalar[:, ::1] x,
    const scalar[:, ::1] z,
):
    """Compute the quadratic form of the rows of x, or the bilinear form of those of x and z."""
    cdef rb_form form = rb_form(tensor.shape[0], x.shape[1], matrix(tensor))
    cdef const rb_functions *f = functions(variant, sizeof(scalar))
    cdef const void *xs = matrix(x)
    cdef const void *zs = matrix(z)
    cdef size_t n = x.shape[0]
    with nogil:
        if zs == NULL:
            f.quadratic(&form, n, xs, &result[0, 0], &scratch[0], &stop[0])
        else:
            f.bilinear(&form, n, xs, zs, &result[0, 0], &scratch[0], &stop[0])
