/* The loops, written once; included for each number type of each target.
 *
 * SCALAR       float or double                   LANES      numbers in a vector
 * VEC          a vector of them                  FMA(a,b,c) a b + c, rounded once, in each lane
 * LOAD, STORE  unaligned                         SET1(s)    s in each lane
 * CANONICAL(v) v + 0, and every NaN the one quiet NaN
 * ACCUMULATORS vectors of sums that the registers hold; NAME(f) the function's name here
 *
 * Lanes run along packed columns (tensor) or along examples (forms), never along a sum. */

#include <fenv.h>
#include <stdint.h>
#include <string.h>

#ifndef KERNEL_H
#define KERNEL_H

/* Block sizes; they change speed, never bits. The tests compile others. */
#ifndef RB_DEPTH
#define RB_DEPTH 128 /* hidden units summed in one pass, at most */
#endif
#ifndef RB_FEW
#define RB_FEW 32 /* outputs below which forming the pairs matters: the weights then stay in cache */
#endif
#ifndef RB_WEIGHTS
#define RB_WEIGHTS 262144 /* bytes of a pass's weights, for few outputs */
#endif
#ifndef RB_SUMS
#define RB_SUMS 262144 /* bytes of results that a call goes over again for every pass */
#endif
#ifndef RB_PANEL
#define RB_PANEL 24 /* vectors of columns in a panel of pairs; a multiple of 24 */
#endif
#ifndef RB_OUTPUTS
#define RB_OUTPUTS 512 /* outputs whose weights are packed at once */
#endif
#ifndef RB_CHUNK
#define RB_CHUNK 131072 /* bytes of tensor that stay in cache while examples pass by */
#endif

#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")
#define ROUND_UP(n, k) (((n) + (k) - 1) / (k) * (k))

/* The vectors in a row of a tile, for `mr` outputs at a time: 12 sums on 16 registers. */
#define VECTORS_OF(mr) \
    (ACCUMULATORS / (mr) >= 12  ? 12 \
     : ACCUMULATORS / (mr) >= 8 ? 8  \
     : ACCUMULATORS / (mr) >= 6 ? 6  \
     : ACCUMULATORS / (mr) >= 4 ? 4  \
                                : 3)

#if defined(__clang__)
#undef UNROLL
#define UNROLL _Pragma("unroll")
#endif

typedef struct rb_rows { /* d_out outputs in `count` groups of nearly equal size, at most `most` */
    size_t count, small, larger; /* the first `larger` groups have small + 1 */
} rb_rows;

INLINE rb_rows rb_rows_of(size_t outputs, size_t most)
{
    size_t count = (outputs + most - 1) / most;
    rb_rows rows = {count, 0, 0};
    if (count) {
        rows.small = outputs / count;
        rows.larger = outputs % count;
    }
    return rows;
}

INLINE size_t rb_rows_start(rb_rows rows, size_t group)
{
    return group * rows.small + (group < rows.larger ? group : rows.larger);
}

INLINE size_t rb_pairs(size_t d) { return d % 2 ? (d + 1) / 2 * d : d / 2 * (d + 1); }

/* The row i of packed column p: the last i with i(i + 1)/2 <= p. */
INLINE size_t rb_row_of(size_t p, size_t d)
{
    size_t low = 0, high = d; /* row `low` starts at or before p, row `high` after it */
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (rb_pairs(middle) <= p)
            low = middle;
        else
            high = middle;
    }
    return low;
}

INLINE size_t rb_least(size_t a, size_t b) { return a < b ? a : b; }

INLINE int rb_stopped(const int *stop)
{
    return stop && __atomic_load_n(stop, __ATOMIC_RELAXED);
}

INLINE void *rb_aligned(void *p)
{
    return (char *)p + (64 - (uintptr_t)p % 64) % 64;
}
#endif

/* sums[r][v] += a_r b_v over `depth` steps, each sum one chain of fma */
INLINE void NAME(chain)(VEC *sums, int mr, int nv, size_t depth, const SCALAR *a, size_t row,
                        size_t step, const SCALAR *b, size_t stride)
{
    for (size_t h = 0; h < depth; ++h, a += step, b += stride) {
        VEC bs[12];
        UNROLL for (int v = 0; v < nv; ++v) bs[v] = LOAD(b + v * LANES);
        UNROLL for (int r = 0; r < mr; ++r)
        {
            VEC ar = SET1(a[(size_t)r * row]);
            UNROLL for (int v = 0; v < nv; ++v) sums[r * nv + v] = FMA(ar, bs[v], sums[r * nv + v]);
        }
    }
}

/* ---- the tensor: w_out @ pairs, the pairs formed panel by panel ---- */

#define PANEL (RB_PANEL * LANES)   /* columns */
#define STRIDE (PANEL + 64 / (int)sizeof(SCALAR)) /* an odd number of cache lines: all sets serve */

/* What a pass does: the first starts from +0, the last halves and stores the canonical number. */
typedef struct NAME(pass) {
    size_t depth;
    int first, last, halve;
} NAME(pass);

INLINE VEC NAME(result)(VEC sum, int halve)
{
    VEC half = SET1((SCALAR)0.5);
    return CANONICAL(halve ? sum * half : sum);
}

INLINE void NAME(tensor_tile)(int mr, int nv, NAME(pass) pass, const SCALAR *a, const SCALAR *panel,
                              SCALAR *c, size_t pitch)
{
    VEC sums[ACCUMULATORS];
    UNROLL for (int r = 0; r < mr; ++r)
        UNROLL for (int v = 0; v < nv; ++v)
            sums[r * nv + v] = pass.first ? SET1(0) : LOAD(c + (size_t)r * pitch + v * LANES);
    NAME(chain)(sums, mr, nv, pass.depth, a, 1, (size_t)mr, panel, STRIDE);
    if (pass.last)
        UNROLL for (int s = 0; s < mr * nv; ++s) sums[s] = NAME(result)(sums[s], pass.halve);
    UNROLL for (int r = 0; r < mr; ++r)
        UNROLL for (int v = 0; v < nv; ++v) STORE(c + (size_t)r * pitch + v * LANES, sums[r * nv + v]);
}

/* rows [i0, i1) of the triangle, for one tile of examples: y = fma(x_i, fma(B_ii, x_i, 2 row), y) */
INLINE void NAME(quadratic_tile)(int mr, int nv, size_t i0, size_t i1, const SCALAR *b, size_t pitch,
                                 const SCALAR *x, SCALAR *y)
{
    size_t width = (size_t)(nv * LANES);
    for (size_t i = i0; i < i1; ++i) {
        const SCALAR *row = b + rb_pairs(i);
        VEC sums[ACCUMULATORS];
        UNROLL for (int s = 0; s < mr * nv; ++s) sums[s] = SET1(0);
        NAME(chain)(sums, mr, nv, i, row, pitch, 1, x, width);
        UNROLL for (int r = 0; r < mr; ++r)
        {
            VEC diagonal = SET1(row[(size_t)r * pitch + i]);
            UNROLL for (int v = 0; v < nv; ++v)
            {
                VEC xi = LOAD(x + i * width + (size_t)v * LANES), s = sums[r * nv + v];
                SCALAR *to = y + (r * nv + v) * LANES;
                STORE(to, FMA(xi, FMA(diagonal, xi, s + s), LOAD(to)));
            }
        }
    }
}

/* likewise: y = y + fma(B_ii, x_i z_i, x_i row_z + z_i row_x) */
INLINE void NAME(bilinear_tile)(int mr, int nv, size_t i0, size_t i1, const SCALAR *b, size_t pitch,
                                const SCALAR *x, const SCALAR *z, SCALAR *y)
{
    size_t width = (size_t)(nv * LANES);
    for (size_t i = i0; i < i1; ++i) {
        const SCALAR *row = b + rb_pairs(i);
        VEC of_x[ACCUMULATORS], of_z[ACCUMULATORS];
        UNROLL for (int s = 0; s < mr * nv; ++s) of_x[s] = of_z[s] = SET1(0);
        NAME(chain)(of_x, mr, nv, i, row, pitch, 1, x, width);
        NAME(chain)(of_z, mr, nv, i, row, pitch, 1, z, width);
        UNROLL for (int r = 0; r < mr; ++r)
        {
            VEC diagonal = SET1(row[(size_t)r * pitch + i]);
            UNROLL for (int v = 0; v < nv; ++v)
            {
                VEC xi = LOAD(x + i * width + (size_t)v * LANES), zi = LOAD(z + i * width + (size_t)v * LANES);
                VEC cross = xi * of_z[r * nv + v] + zi * of_x[r * nv + v];
                SCALAR *to = y + (r * nv + v) * LANES;
                STORE(to, LOAD(to) + FMA(diagonal, xi * zi, cross));
            }
        }
    }
}

/* One function a shape: `mr` outputs by `nv` vectors. */
#define SHAPE(mr, nv) \
    static void NAME(tensor_##mr##_##nv)(NAME(pass) pass, const SCALAR *a, const SCALAR *panel, \
                                         SCALAR *c, size_t pitch) \
    { \
        NAME(tensor_tile)(mr, nv, pass, a, panel, c, pitch); \
    } \
    static void NAME(form_##mr##_##nv)(size_t i0, size_t i1, const SCALAR *b, size_t pitch, \
                                       const SCALAR *x, const SCALAR *z, SCALAR *y) \
    { \
        if (z) \
            NAME(bilinear_tile)(mr, nv, i0, i1, b, pitch, x, z, y); \
        else \
            NAME(quadratic_tile)(mr, nv, i0, i1, b, pitch, x, y); \
    }
SHAPES(SHAPE)
#undef SHAPE

typedef void (*NAME(tensor_shape))(NAME(pass), const SCALAR *, const SCALAR *, SCALAR *, size_t);
typedef void (*NAME(form_shape))(size_t, size_t, const SCALAR *, size_t, const SCALAR *,
                                 const SCALAR *, SCALAR *);

static NAME(tensor_shape) NAME(tensor_shape_of)(size_t mr, size_t nv)
{
#define SHAPE(m, n) \
    if (mr == m && nv == n) \
        return NAME(tensor_##m##_##n);
    SHAPES(SHAPE)
#undef SHAPE
    return NULL;
}

static NAME(form_shape) NAME(form_shape_of)(size_t mr, size_t nv)
{
#define SHAPE(m, n) \
    if (mr == m && nv == n) \
        return NAME(form_##m##_##n);
    SHAPES(SHAPE)
#undef SHAPE
    return NULL;
}

/* The vectors in a row of every tile, chosen by the largest group of outputs. */
static size_t NAME(vectors)(size_t outputs)
{
    size_t mr = rb_least(outputs, MOST_ROWS);
    return (size_t)(mr ? VECTORS_OF(mr) : 1);
}

/* pairs of row i and columns [j, end), for one hidden unit; may write LANES - 1 numbers too many */
INLINE void NAME(form_run)(const SCALAR *left, const SCALAR *right, size_t d_in, SCALAR l, SCALAR r,
                           size_t j, size_t end, SCALAR *to)
{
    VEC ls = SET1(l), rs = SET1(r);
    for (; j < end && j + LANES <= d_in; j += LANES, to += LANES)
        STORE(to, right ? ls * LOAD(right + j) + LOAD(left + j) * rs : ls * LOAD(left + j));
    for (; j < end; ++j)
        *to++ = right ? l * right[j] + left[j] * r : l * left[j];
}

/* pairs of columns [p, p + count) and hidden unit h */
static void NAME(form_unit)(const rb_layer *layer, size_t h, size_t i, size_t j, size_t count,
                            SCALAR *to)
{
    size_t d_in = layer->d_in;
    const SCALAR *left = (const SCALAR *)layer->left + h * d_in;
    const SCALAR *right = layer->right ? (const SCALAR *)layer->right + h * d_in : NULL;
    for (; count; ++i, j = 0) {
        size_t run = rb_least(i + 1 - j, count);
        if (i < d_in) {
            NAME(form_run)(left, right, d_in, left[i], right ? right[i] : 0, j, j + run, to);
        } else { /* the constant coordinate */
            SCALAR l = layer->bias_left ? ((const SCALAR *)layer->bias_left)[h] : 0;
            SCALAR r = layer->bias_right ? ((const SCALAR *)layer->bias_right)[h] : 0;
            NAME(form_run)(left, right, d_in, l, r, j, rb_least(j + run, d_in), to);
            if (j + run > d_in)
                to[run - 1] = l * r + l * r;
        }
        to += run;
        count -= run;
    }
}

static void NAME(form_panel)(const rb_layer *layer, size_t h, size_t depth, size_t p, size_t count,
                             SCALAR *panel)
{
    size_t d = layer->d_in + (size_t)layer->constant;
    size_t i = rb_row_of(p, d), j = p - rb_pairs(i);
    for (size_t k = 0; k < depth; ++k)
        NAME(form_unit)(layer, h + k, i, j, count, panel + k * STRIDE);
}

/* weights of outputs [o, o + count) and hidden units [h, h + depth), a group after the other */
static void NAME(pack_out)(const rb_layer *layer, size_t o, rb_rows rows, size_t h, size_t depth,
                           SCALAR *packed)
{
    const SCALAR *out = layer->out;
    for (size_t group = 0; group < rows.count; ++group) {
        size_t start = rb_rows_start(rows, group), mr = rb_rows_start(rows, group + 1) - start;
        const SCALAR *from = out + (ptrdiff_t)(o + start) * layer->out_row +
                             (ptrdiff_t)h * layer->out_column;
        SCALAR *to = packed + start * depth;
        for (size_t k = 0; k < depth; ++k, from += layer->out_column)
            for (size_t r = 0; r < mr; ++r)
                *to++ = from[(ptrdiff_t)r * layer->out_row];
    }
}

/* a tile that sticks out beyond the `valid` columns is computed in a buffer of its own */
static void NAME(edge_tile)(NAME(tensor_shape) shape, size_t mr, size_t nv, NAME(pass) pass,
                            const SCALAR *a, const SCALAR *panel, SCALAR *c, size_t pitch,
                            size_t valid)
{
    SCALAR edge[ACCUMULATORS * LANES];
    size_t width = nv * LANES;
    memset(edge, 0, sizeof edge);
    for (size_t r = 0; r < mr && !pass.first; ++r)
        memcpy(edge + r * width, c + r * pitch, valid * sizeof(SCALAR));
    shape(pass, a, panel, edge, width);
    for (size_t r = 0; r < mr; ++r)
        memcpy(c + r * pitch, edge + r * width, valid * sizeof(SCALAR));
}

/* one panel of pairs times the packed weights: every group of outputs, a tile of columns at a time */
static void NAME(multiply)(NAME(pass) pass, rb_rows rows, size_t nv, const SCALAR *packed,
                           const SCALAR *panel, size_t columns, SCALAR *c, size_t pitch)
{
    NAME(tensor_shape) larger = NAME(tensor_shape_of)(rows.small + 1, nv);
    NAME(tensor_shape) small = NAME(tensor_shape_of)(rows.small, nv);
    size_t width = nv * LANES;
    for (size_t t = 0; t < columns; t += width) {
        size_t valid = rb_least(columns - t, width);
        for (size_t group = 0; group < rows.count; ++group) {
            size_t start = rb_rows_start(rows, group);
            size_t mr = rows.small + (group < rows.larger);
            NAME(tensor_shape) shape = group < rows.larger ? larger : small;
            const SCALAR *a = packed + start * pass.depth;
            SCALAR *to = c + start * pitch + t;
            if (valid < width) {
                NAME(edge_tile)(shape, mr, nv, pass, a, panel + t, to, pitch, valid);
                continue;
            }
            if (!pass.first && group + 1 < rows.count)
                for (size_t r = 0; r < MOST_ROWS; ++r) /* the next group's sums, while this one works */
                    __builtin_prefetch(to + (mr + rb_least(r, mr - 1)) * pitch, 1);
            shape(pass, a, panel + t, to, pitch);
        }
    }
}

/* hidden units in a pass */
static size_t NAME(depth)(const rb_layer *layer)
{
    size_t fits = RB_WEIGHTS / (2 * sizeof(SCALAR)) / (layer->d_in + 1);
    if (layer->d_out >= RB_FEW || fits >= RB_DEPTH)
        return RB_DEPTH;
    return fits > RB_DEPTH / 8 ? fits : RB_DEPTH / 8 + 1;
}

static size_t NAME(columns)(size_t d_out)
{
    size_t fits = RB_SUMS / sizeof(SCALAR) / (d_out + 1) / PANEL;
    return PANEL * (fits > 8 ? fits : 8);
}

/* out = identity: B[o] is the pair of unit o, halved */
static int NAME(store_pairs)(const rb_layer *layer, size_t first, size_t last, SCALAR *tensor,
                             size_t pitch, SCALAR *panel, const int *stop)
{
    for (size_t p = first; p < last; p += PANEL) {
        size_t count = rb_least(last - p, PANEL);
        if (rb_stopped(stop))
            return 0;
        for (size_t o = 0; o < layer->d_out; ++o) {
            NAME(form_panel)(layer, o, 1, p, count, panel);
            for (size_t c = count; c % LANES; ++c)
                panel[c] = 0;
            for (size_t c = 0; c < count; c += LANES)
                STORE(panel + c, NAME(result)(LOAD(panel + c), layer->right != NULL));
            memcpy(tensor + o * pitch + p, panel, count * sizeof(SCALAR));
        }
    }
    return 1;
}

static int NAME(store_products)(const rb_layer *layer, size_t first, size_t last, SCALAR *tensor,
                                size_t pitch, SCALAR *panel, SCALAR *packed, const int *stop)
{
    size_t nv = NAME(vectors)(layer->d_out), hidden = layer->d_hidden, most = NAME(depth)(layer);
    rb_rows blocks = rb_rows_of(layer->d_out, RB_OUTPUTS);
    for (size_t block = 0; block < blocks.count; ++block) {
        size_t o = rb_rows_start(blocks, block), h = 0;
        rb_rows rows = rb_rows_of(rb_rows_start(blocks, block + 1) - o, MOST_ROWS);
        do { /* once at least: no hidden unit still stores +0 */
            size_t depth = rb_least(hidden - h, most);
            NAME(pass) pass = {depth, h == 0, h + depth == hidden, layer->right != NULL};
            NAME(pack_out)(layer, o, rows, h, depth, packed);
            for (size_t p = first; p < last; p += PANEL) {
                size_t count = rb_least(last - p, PANEL);
                if (rb_stopped(stop))
                    return 0;
                NAME(form_panel)(layer, h, depth, p, count, panel);
                NAME(multiply)(pass, rows, nv, packed, panel, count, tensor + o * pitch + p, pitch);
            }
            h += depth;
        } while (h < hidden);
    }
    return 1;
}

INLINE SCALAR NAME(canonical)(SCALAR v)
{
    return v == v ? v + 0 : QUIET_NAN;
}

/* the linear entries and the corner: B + skip/2, B + bias_out */
static void NAME(add_affine)(const rb_layer *layer, size_t first, size_t last, SCALAR *tensor,
                             size_t pitch)
{
    const SCALAR *skip = layer->skip, *bias = layer->bias_out;
    size_t start = rb_pairs(layer->d_in), corner = start + layer->d_in;
    for (size_t o = 0; o < layer->d_out; ++o) {
        SCALAR *row = tensor + o * pitch;
        for (size_t p = first > start ? first : start; skip && p < rb_least(last, corner); ++p)
            row[p] = NAME(canonical)(row[p] + skip[o * layer->d_in + p - start] / 2);
        if (bias && first <= corner && corner < last)
            row[corner] = NAME(canonical)(row[corner] + bias[o]);
    }
}

static enum rb_status NAME(tensor)(const rb_layer *layer, size_t first, size_t last, void *tensor,
                                   void *scratch, const int *stop)
{
    fenv_t callers;
    fegetenv(&callers);
    fesetenv(FE_DFL_ENV); /* round to nearest, subnormals kept, whatever the caller's thread does */
    size_t pitch = rb_pairs(layer->d_in + (size_t)layer->constant);
    SCALAR *panel = rb_aligned(scratch), *packed = panel + RB_DEPTH * STRIDE;
    int done = layer->out
                   ? NAME(store_products)(layer, first, last, tensor, pitch, panel, packed, stop)
                   : NAME(store_pairs)(layer, first, last, tensor, pitch, panel, stop);
    if (done && layer->constant)
        NAME(add_affine)(layer, first, last, tensor, pitch);
    fesetenv(&callers);
    return done ? RB_DONE : RB_STOPPED;
}

static size_t NAME(tensor_scratch)(size_t d_out)
{
    return 64 + sizeof(SCALAR) * RB_DEPTH * (STRIDE + rb_least(d_out, RB_OUTPUTS));
}

/* ---- the forms: a triangle of small products, lanes along examples ---- */

static size_t NAME(tile)(size_t d_out) { return NAME(vectors)(d_out) * LANES; }

static size_t NAME(form_scratch)(const rb_form *form, size_t examples, size_t inputs)
{
    size_t padded = ROUND_UP(examples, NAME(tile)(form->d_out));
    return 64 + sizeof(SCALAR) * padded * (inputs * form->d + MOST_ROWS);
}

/* x (examples, d) as tiles [d][width], the last one padded with zeros */
static SCALAR *NAME(pack_examples)(const SCALAR *x, size_t examples, size_t d, size_t width,
                                   SCALAR *packed)
{
    for (size_t n = 0; n < examples; n += width, packed += d * width)
        for (size_t lane = 0; lane < width; ++lane)
            for (size_t i = 0; i < d; ++i)
                packed[i * width + lane] = n + lane < examples ? x[(n + lane) * d + i] : 0;
    return packed;
}

/* the sums [tile][mr][width] into y (examples, d_out), at output o */
static void NAME(store_form)(const SCALAR *sums, size_t mr, size_t width, size_t examples,
                             size_t d_out, SCALAR *y)
{
    for (size_t n = 0; n < examples; ++n)
        for (size_t r = 0; r < mr; ++r)
            y[n * d_out + r] =
                NAME(canonical)(sums[(n / width * mr + r) * width + n % width]);
}

/* the end of the rows from i on whose entries, of mr outputs, fill a chunk of the cache */
static size_t NAME(chunk_end)(size_t i, size_t d, size_t mr)
{
    size_t numbers = RB_CHUNK / sizeof(SCALAR) / mr, end = i + 1;
    while (end < d && rb_pairs(end + 1) - rb_pairs(i) <= numbers)
        ++end;
    return end;
}

static int NAME(contract)(const rb_form *form, size_t examples, const SCALAR *x, const SCALAR *z,
                          SCALAR *y, SCALAR *sums, const int *stop)
{
    size_t d = form->d, pitch = rb_pairs(d), nv = NAME(vectors)(form->d_out), width = nv * LANES;
    size_t tiles = (examples + width - 1) / width;
    rb_rows rows = rb_rows_of(form->d_out, MOST_ROWS);
    for (size_t group = 0; group < rows.count; ++group) {
        size_t o = rb_rows_start(rows, group), mr = rb_rows_start(rows, group + 1) - o;
        NAME(form_shape) shape = NAME(form_shape_of)(mr, nv);
        const SCALAR *b = (const SCALAR *)form->tensor + o * pitch;
        memset(sums, 0, tiles * mr * width * sizeof(SCALAR));
        for (size_t i = 0, end; i < d; i = end) {
            end = NAME(chunk_end)(i, d, mr);
            if (rb_stopped(stop))
                return 0;
            for (size_t t = 0; t < tiles; ++t)
                shape(i, end, b, pitch, x + t * d * width, z ? z + t * d * width : NULL,
                      sums + t * mr * width);
        }
        NAME(store_form)(sums, mr, width, examples, form->d_out, y + o);
    }
    return 1;
}

static enum rb_status NAME(bilinear)(const rb_form *form, size_t examples, const void *x,
                                     const void *z, void *y, void *scratch, const int *stop)
{
    fenv_t callers;
    fegetenv(&callers);
    fesetenv(FE_DFL_ENV);
    size_t width = NAME(tile)(form->d_out);
    SCALAR *packed = rb_aligned(scratch), *second = NULL;
    SCALAR *sums = NAME(pack_examples)(x, examples, form->d, width, packed);
    if (z) {
        second = sums;
        sums = NAME(pack_examples)(z, examples, form->d, width, second);
    }
    int done = NAME(contract)(form, examples, packed, second, y, sums, stop);
    fesetenv(&callers);
    return done ? RB_DONE : RB_STOPPED;
}

static enum rb_status NAME(quadratic)(const rb_form *form, size_t examples, const void *x, void *y,
                                      void *scratch, const int *stop)
{
    return NAME(bilinear)(form, examples, x, NULL, y, scratch, stop);
}

static const rb_functions NAME(functions) = {
    NAME(tensor),   NAME(tensor_scratch), NAME(columns), PANEL,
    NAME(quadratic), NAME(bilinear), NAME(form_scratch), NAME(tile),
};

#undef PANEL
#undef STRIDE
