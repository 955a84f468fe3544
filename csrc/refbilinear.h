/* The compiled kernel of refbilinear: the symmetric interaction tensor, built and contracted.
 *
 * No Python, no allocation, no global state: pointers, counts, a status. One fma chain per result,
 * so the bits depend on no block size, vector width, thread or batch (docs/conventions.md).
 * Packed storage: entry (i, j), i >= j, stands at i(i + 1)/2 + j of a row of n_pairs numbers. */
#ifndef REFBILINEAR_H
#define REFBILINEAR_H

#include <stddef.h>

enum rb_status { RB_DONE = 0, RB_STOPPED = 1 };

/* A layer; numbers are float or double, as the function that takes it says. With `constant` the
 * tensor has one coordinate more than d_in, the constant, and the four pointers below it count;
 * each may be NULL. */
typedef struct rb_layer {
    size_t d_out, d_hidden, d_in;
    const void *left;  /* (d_hidden, d_in) */
    const void *right; /* likewise; NULL: the pair of i and j is left_i left_j, without the 1/2 */
    const void *out;   /* (d_out, d_hidden) by the strides below; NULL: the identity */
    ptrdiff_t out_row, out_column; /* strides of `out`, counted in numbers */
    const void *packed; /* `out` as pack() lays it out; unused where `out` is NULL */
    int first, last; /* of the parts of the hidden units that are summed one after the other */
    int constant;
    const void *bias_left, *bias_right; /* (d_hidden) */
    const void *bias_out;               /* (d_out) */
    const void *skip;                   /* (d_out, d_in) */
} rb_layer;

/* A packed tensor (d_out, n_pairs) over d coordinates. */
typedef struct rb_form {
    size_t d_out, d;
    const void *tensor;
} rb_form;

/* The functions for one number type. Scratch memory is the caller's, of any alignment. `stop`, where
 * not NULL, is read now and then: nonzero makes the function return RB_STOPPED. */
typedef struct rb_functions {
    /* How many blocks the tensor of a layer is computed in; depends on d_out and coordinates alone. */
    size_t (*blocks)(const rb_layer *layer);
    /* Lays `out` out for `packed`: d_out * d_hidden numbers, in an order that depends on no d_in. */
    void (*pack)(const rb_layer *layer, void *packed);
    /* Blocks [first, last) of the packed tensor (d_out, n_pairs) of a layer. */
    enum rb_status (*tensor)(const rb_layer *layer, size_t first, size_t last, void *tensor,
                             void *scratch, const int *stop);
    size_t (*tensor_scratch)(const rb_layer *layer);

    /* y (examples, d_out) = the form of x (examples, d). */
    enum rb_status (*quadratic)(const rb_form *form, size_t examples, const void *x, void *y,
                                void *scratch, const int *stop);
    /* y (examples, d_out) = the polar form of x and z (examples, d). */
    enum rb_status (*bilinear)(const rb_form *form, size_t examples, const void *x, const void *z,
                               void *y, void *scratch, const int *stop);
    /* Bytes for `inputs` arrays of that many examples: 1 for quadratic, 2 for bilinear. */
    size_t (*form_scratch)(const rb_form *form, size_t examples, size_t inputs);
    size_t (*tile)(size_t d_out); /* examples that are computed together: a good unit is a multiple */
} rb_functions;

typedef struct rb_variant {
    const char *name;
    int (*supported)(void); /* by this processor and its operating system */
    const rb_functions *f32, *f64; /* float, double */
} rb_variant;

/* All variants compiled for this architecture, the fastest first, then NULL. */
extern const rb_variant *const rb_variants[];

/* Whether (d_out, n_pairs(d)) numbers of `size` bytes can be addressed, with all index arithmetic. */
int rb_addressable(size_t d_out, size_t d, size_t size);

#endif
