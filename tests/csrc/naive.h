/* The formulas of docs/conventions.md as plain loops, for both number types: what every variant of
 * the kernel must give, bit for bit. Compiled with -ffp-contract=off, so that each operation below
 * rounds once; fma is libm's, not the compiler's. */
#ifndef NAIVE_H
#define NAIVE_H

#include "refbilinear.h"

#include <math.h>
#include <stdint.h>

/* The functions for one number type, as in rb_functions, without anything that is for speed. */
typedef struct naive_functions {
    const char *name;
    size_t size;
    void (*tensor)(const rb_layer *layer, void *tensor);
    void (*quadratic)(const rb_form *form, size_t examples, const void *x, void *y);
    void (*bilinear)(const rb_form *form, size_t examples, const void *x, const void *z, void *y);
} naive_functions;

static inline size_t naive_pairs(size_t d) { return d * (d + 1) / 2; }

#define REAL float
#define NAIVE(f) naive_##f##_f32
#define NAIVE_FMA fmaf
#include "naive.h"
#undef REAL
#undef NAIVE
#undef NAIVE_FMA

#define REAL double
#define NAIVE(f) naive_##f##_f64
#define NAIVE_FMA fma
#include "naive.h"
#undef REAL
#undef NAIVE
#undef NAIVE_FMA

static const naive_functions naive_types[] = {
    {"f32", sizeof(float), naive_tensor_f32, naive_quadratic_f32, naive_bilinear_f32},
    {"f64", sizeof(double), naive_tensor_f64, naive_quadratic_f64, naive_bilinear_f64},
};

#elif defined(REAL)

static REAL NAIVE(canonical)(REAL v) { return v == v ? v + 0 : (REAL)NAN; }

/* coordinate i of hidden unit h; the last one is the bias where the layer has a constant */
static REAL NAIVE(weight)(const rb_layer *layer, const void *weights, const void *bias, size_t h,
                          size_t i)
{
    if (i < layer->d_in)
        return ((const REAL *)weights)[h * layer->d_in + i];
    return bias ? ((const REAL *)bias)[h] : 0;
}

static REAL NAIVE(pair)(const rb_layer *layer, size_t h, size_t i, size_t j)
{
    REAL li = NAIVE(weight)(layer, layer->left, layer->bias_left, h, i);
    REAL lj = NAIVE(weight)(layer, layer->left, layer->bias_left, h, j);
    if (!layer->right)
        return li * lj;
    REAL ri = NAIVE(weight)(layer, layer->right, layer->bias_right, h, i);
    REAL rj = NAIVE(weight)(layer, layer->right, layer->bias_right, h, j);
    return li * rj + lj * ri;
}

static REAL NAIVE(product)(const rb_layer *layer, size_t o, size_t i, size_t j)
{
    if (!layer->out)
        return NAIVE(pair)(layer, o, i, j);
    REAL sum = 0;
    for (size_t h = 0; h < layer->d_hidden; ++h) {
        ptrdiff_t at = (ptrdiff_t)o * layer->out_row + (ptrdiff_t)h * layer->out_column;
        sum = NAIVE_FMA(((const REAL *)layer->out)[at], NAIVE(pair)(layer, h, i, j), sum);
    }
    return sum;
}

static REAL NAIVE(entry)(const rb_layer *layer, size_t o, size_t i, size_t j)
{
    const REAL *skip = layer->skip, *bias = layer->bias_out;
    REAL b = NAIVE(product)(layer, o, i, j);
    if (layer->right)
        b /= 2;
    if (i == layer->d_in && j < layer->d_in && skip)
        b += skip[o * layer->d_in + j] / 2;
    if (i == layer->d_in && j == layer->d_in && bias)
        b += bias[o];
    return NAIVE(canonical)(b);
}

static void NAIVE(tensor)(const rb_layer *layer, void *tensor)
{
    REAL *to = tensor;
    size_t d = layer->d_in + (size_t)layer->constant;
    for (size_t o = 0; o < layer->d_out; ++o)
        for (size_t i = 0; i < d; ++i)
            for (size_t j = 0; j <= i; ++j)
                *to++ = NAIVE(entry)(layer, o, i, j);
}

/* sum over j < i of row_j x_j */
static REAL NAIVE(chain)(const REAL *row, const REAL *x, size_t i)
{
    REAL sum = 0;
    for (size_t j = 0; j < i; ++j)
        sum = NAIVE_FMA(row[j], x[j], sum);
    return sum;
}

static REAL NAIVE(square)(const REAL *b, const REAL *x, size_t d)
{
    REAL y = 0;
    for (size_t i = 0; i < d; b += ++i)
        y = NAIVE_FMA(x[i], NAIVE_FMA(b[i], x[i], 2 * NAIVE(chain)(b, x, i)), y);
    return NAIVE(canonical)(y);
}

static REAL NAIVE(polar)(const REAL *b, const REAL *x, const REAL *z, size_t d)
{
    REAL y = 0;
    for (size_t i = 0; i < d; b += ++i) {
        REAL cross = x[i] * NAIVE(chain)(b, z, i) + z[i] * NAIVE(chain)(b, x, i);
        y += NAIVE_FMA(b[i], x[i] * z[i], cross);
    }
    return NAIVE(canonical)(y);
}

static void NAIVE(quadratic)(const rb_form *form, size_t examples, const void *x, void *y)
{
    for (size_t n = 0; n < examples; ++n)
        for (size_t o = 0; o < form->d_out; ++o)
            ((REAL *)y)[n * form->d_out + o] =
                NAIVE(square)((const REAL *)form->tensor + o * naive_pairs(form->d),
                              (const REAL *)x + n * form->d, form->d);
}

static void NAIVE(bilinear)(const rb_form *form, size_t examples, const void *x, const void *z,
                            void *y)
{
    for (size_t n = 0; n < examples; ++n)
        for (size_t o = 0; o < form->d_out; ++o)
            ((REAL *)y)[n * form->d_out + o] =
                NAIVE(polar)((const REAL *)form->tensor + o * naive_pairs(form->d),
                             (const REAL *)x + n * form->d, (const REAL *)z + n * form->d, form->d);
}

#endif
