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
#ifndef RB_PAIRS
#define RB_PAIRS 24576 /* bytes of pairs, formed and used in the first-level cache */
#endif
#ifndef RB_FEW
#define RB_FEW 32 /* outputs below which it is half of that: forming then matters, and its input */
#endif
#ifndef RB_DEPTH
#define RB_DEPTH 256 /* hidden units of a pass, at most */
#endif
#ifndef RB_SUMS
#define RB_SUMS 393216 /* bytes of results that stay in cache while hidden units pass by */
#endif
#ifndef RB_ROWS
#define RB_ROWS 64 /* rows of a block, at most */
#endif
#ifndef RB_COLUMNS
#define RB_COLUMNS 384 /* columns of a block, at most, but for one strip */
#endif
#ifndef RB_CHUNK
#define RB_CHUNK 131072 /* bytes of tensor that stay in cache while examples pass by */
#endif

#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")
#define ROUND_UP(n, k) (((n) + (k) - 1) / (k) * (k))

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

INLINE size_t rb_parts(size_t n, size_t size) { return (n + size - 1) / size; }

INLINE size_t rb_least(size_t a, size_t b) { return a < b ? a : b; }

/* n, but at least `low`, and else at most `high` */
INLINE size_t rb_between(size_t low, size_t n, size_t high)
{
    size_t most = rb_least(n, high);
    return most > low ? most : low;
}

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

/* ---- the tensor: w_out @ pairs ----
 * The triangle is cut into blocks of rows and columns whose results stay in cache, and a block's
 * columns into strips as wide as a tile. For each pass of hidden units and each strip, the pairs of a
 * row are formed in the first-level cache and multiplied there with the weights of all outputs. */

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

INLINE void NAME(load_sums)(VEC *sums, int mr, int nv, const NAME(pass) *pass, const SCALAR *c,
                            size_t pitch)
{
    UNROLL for (int r = 0; r < mr; ++r)
        UNROLL for (int v = 0; v < nv; ++v)
            sums[r * nv + v] = pass->first ? SET1(0) : LOAD(c + (size_t)r * pitch + v * LANES);
}

INLINE void NAME(store_sums)(VEC *sums, int mr, int nv, const NAME(pass) *pass, SCALAR *c,
                             size_t pitch)
{
    if (pass->last)
        UNROLL for (int s = 0; s < mr * nv; ++s) sums[s] = NAME(result)(sums[s], pass->halve);
    UNROLL for (int r = 0; r < mr; ++r)
        UNROLL for (int v = 0; v < nv; ++v) STORE(c + (size_t)r * pitch + v * LANES, sums[r * nv + v]);
}

INLINE void NAME(tensor_tile)(int mr, int nv, const NAME(pass) *pass, const SCALAR *a,
                              const SCALAR *pairs, SCALAR *c, size_t pitch)
{
    VEC sums[ACCUMULATORS];
    NAME(load_sums)(sums, mr, nv, pass, c, pitch);
    NAME(chain)(sums, mr, nv, pass->depth, a, 1, (size_t)mr, pairs, (size_t)(nv * LANES));
    NAME(store_sums)(sums, mr, nv, pass, c, pitch);
}

/* The same where `mr` outputs are all: the pairs l right + left r stay in registers. */
INLINE void NAME(fused_tile)(int mr, int nv, const NAME(pass) *pass, const SCALAR *a,
                             const SCALAR *l, const SCALAR *r, const SCALAR *left,
                             const SCALAR *right, SCALAR *c, size_t pitch)
{
    VEC sums[ACCUMULATORS];
    NAME(load_sums)(sums, mr, nv, pass, c, pitch);
    for (size_t k = 0; k < pass->depth; ++k, a += mr, left += nv * LANES, right += nv * LANES) {
        VEC lk = SET1(l[k]), rk = SET1(r[k]);
        UNROLL for (int v = 0; v < nv; ++v)
        {
            VEC pair = lk * LOAD(right + v * LANES) + LOAD(left + v * LANES) * rk;
            UNROLL for (int o = 0; o < mr; ++o)
                sums[o * nv + v] = FMA(SET1(a[o]), pair, sums[o * nv + v]);
        }
    }
    NAME(store_sums)(sums, mr, nv, pass, c, pitch);
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
    static void NAME(tensor_##mr##_##nv)(const NAME(pass) *pass, const SCALAR *a, const SCALAR *pairs, \
                                         SCALAR *c, size_t pitch) \
    { \
        NAME(tensor_tile)(mr, nv, pass, a, pairs, c, pitch); \
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

#define SHAPE(mr, nv) \
    static void NAME(fused_##mr##_##nv)(const NAME(pass) *pass, const SCALAR *a, const SCALAR *l, \
                                        const SCALAR *r, const SCALAR *left, const SCALAR *right, \
                                        SCALAR *c, size_t pitch) \
    { \
        NAME(fused_tile)(mr, nv, pass, a, l, r, left, right, c, pitch); \
    }
FUSED(SHAPE)
#undef SHAPE

typedef void (*NAME(tensor_shape))(const NAME(pass) *, const SCALAR *, const SCALAR *, SCALAR *, size_t);
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

typedef void (*NAME(fused_shape))(const NAME(pass) *, const SCALAR *, const SCALAR *, const SCALAR *,
                                  const SCALAR *, const SCALAR *, SCALAR *, size_t);

static NAME(fused_shape) NAME(fused_shape_of)(size_t mr, size_t nv)
{
#define SHAPE(m, n) \
    if (mr == m && nv == n) \
        return NAME(fused_##m##_##n);
    FUSED(SHAPE)
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

/* How a layer is cut up. The triangle is cut into bands of rows, as high as one strip of columns is
 * wide or as some are; where a strip meets the diagonal is a triangle, whose rows are folded: one
 * long row and one short row fill a tile together. */
typedef struct NAME(plan) {
    size_t d, pitch;                  /* coordinates; numbers in a row of the tensor */
    size_t nv, width, depth;          /* vectors and columns of a strip, hidden units of a pass */
    size_t height;                    /* of a band, in strips */
    size_t rows, strips;              /* of a block, at most */
    rb_rows groups;                   /* of outputs */
    NAME(tensor_shape) larger, small; /* the tiles of groups of small + 1 and of small outputs */
    NAME(fused_shape) fused;          /* the tile of a single group, if its pairs need no memory */
} NAME(plan);

static NAME(plan) NAME(plan_of)(const rb_layer *layer)
{
    NAME(plan) plan = {.d = layer->d_in + (size_t)layer->constant, .nv = NAME(vectors)(layer->d_out)};
    size_t results = RB_SUMS / sizeof(SCALAR) / (layer->d_out + 1);
    size_t pairs = RB_PAIRS / sizeof(SCALAR) / (layer->d_out < RB_FEW ? 2 : 1);
    plan.pitch = rb_pairs(plan.d);
    plan.width = plan.nv * LANES;
    plan.depth = rb_between(1, pairs / plan.width, RB_DEPTH);
    plan.height = results / plan.width > plan.width ? rb_between(1, RB_ROWS / plan.width, RB_ROWS) : 1;
    plan.rows = rb_between(1, results / plan.width, plan.height * plan.width);
    plan.strips = rb_between(1, results / plan.rows / plan.width, RB_COLUMNS / plan.width);
    plan.groups = rb_rows_of(layer->d_out, MOST_ROWS);
    plan.larger = NAME(tensor_shape_of)(plan.groups.small + 1, plan.nv);
    plan.small = NAME(tensor_shape_of)(plan.groups.small, plan.nv);
    plan.fused = layer->out && layer->right ? NAME(fused_shape_of)(layer->d_out, plan.nv) : NULL;
    return plan;
}

/* `out` as the tiles read it: pass by pass, in each a group of outputs after the other */
static void NAME(pack)(const rb_layer *layer, void *packed)
{
    NAME(plan) plan = NAME(plan_of)(layer);
    const SCALAR *out = layer->out;
    SCALAR *to = packed;
    for (size_t h = 0; h < layer->d_hidden; h += plan.depth)
        for (size_t group = 0; group < plan.groups.count; ++group)
            for (size_t k = h; k < rb_least(h + plan.depth, layer->d_hidden); ++k)
                for (size_t o = rb_rows_start(plan.groups, group);
                     o < rb_rows_start(plan.groups, group + 1); ++o)
                    *to++ = out[(ptrdiff_t)o * layer->out_row + (ptrdiff_t)k * layer->out_column];
}

/* ---- factors: left and right, with their biases as one column more ---- */

/* columns [j, j + width) of units [h, h + depth); zeros beyond the last column */
static void NAME(pack_strip)(const void *w, const void *bias, size_t d_in, size_t h, size_t depth,
                             size_t j, size_t width, SCALAR *to)
{
    const SCALAR *from = (const SCALAR *)w + h * d_in + j;
    size_t valid = rb_least(d_in - j, width);
    for (size_t k = h; k < h + depth; ++k, from += d_in, to += width) {
        if (valid == width) {
            for (size_t c = 0; c < width; c += LANES) STORE(to + c, LOAD(from + c));
            continue;
        }
        memset(to, 0, width * sizeof(SCALAR));
        memcpy(to, from, valid * sizeof(SCALAR));
        if (bias)
            to[valid] = ((const SCALAR *)bias)[k];
    }
}

/* columns [i, end), transposed: each one's units lie together */
static void NAME(pack_rows)(const void *w, const void *bias, size_t d_in, size_t h, size_t depth,
                            size_t i, size_t end, SCALAR *to)
{
    const SCALAR *from = (const SCALAR *)w + h * d_in;
    for (size_t k0 = 0; k0 < depth; k0 += 8) /* a few units at a time: they lie far apart */
        for (size_t r = i; r < rb_least(end, d_in); ++r)
            for (size_t k = k0; k < rb_least(k0 + 8, depth); ++k)
                to[(r - i) * depth + k] = from[k * d_in + r];
    for (size_t k = 0; k < depth && end > d_in; ++k)
        to[(d_in - i) * depth + k] = bias ? ((const SCALAR *)bias)[h + k] : 0;
}

/* ---- pairs: of a row, whose factors are l and r, and of a strip ---- */

INLINE void NAME(form_pairs)(int nv, size_t depth, const SCALAR *l, const SCALAR *r,
                             const SCALAR *left, const SCALAR *right, SCALAR *pairs)
{
    for (size_t k = 0; k < depth; ++k, left += nv * LANES, right += nv * LANES, pairs += nv * LANES) {
        VEC lk = SET1(l[k]), rk = SET1(r[k]);
        UNROLL for (int v = 0; v < nv; ++v)
            STORE(pairs + v * LANES, lk * LOAD(right + v * LANES) + LOAD(left + v * LANES) * rk);
    }
}

INLINE void NAME(form_squares)(int nv, size_t depth, const SCALAR *l, const SCALAR *left,
                               SCALAR *pairs)
{
    for (size_t k = 0; k < depth; ++k, left += nv * LANES, pairs += nv * LANES) {
        VEC lk = SET1(l[k]);
        UNROLL for (int v = 0; v < nv; ++v) STORE(pairs + v * LANES, lk * LOAD(left + v * LANES));
    }
}

/* left_i right_j + left_j right_i; without right, left_i left_j */
static void NAME(form)(size_t nv, size_t depth, const SCALAR *l, const SCALAR *r, const SCALAR *left,
                       const SCALAR *right, SCALAR *pairs)
{
#define WIDTH(n) \
    if (nv == n && right) \
        NAME(form_pairs)(n, depth, l, r, left, right, pairs); \
    if (nv == n && !right) \
        NAME(form_squares)(n, depth, l, left, pairs);
    WIDTHS(WIDTH)
#undef WIDTH
}

/* Scratch memory, in pieces of whole passes. */
typedef struct NAME(memory) {
    SCALAR *pairs, *more, *left, *right, *l, *r;
} NAME(memory);

/* ---- results: a tile of pairs goes to one row of the matrices, or folded to two ---- */

typedef struct NAME(place) {
    SCALAR *row, *folded; /* of the first output; the next ones a pitch away each */
    size_t valid, rest;   /* columns that go to `row`, and after them to `folded` */
} NAME(place);

static void NAME(copy_in)(const NAME(place) *place, size_t at, SCALAR *tile)
{
    memcpy(tile, place->row + at, place->valid * sizeof(SCALAR));
    memcpy(tile + place->valid, place->folded + at, place->rest * sizeof(SCALAR));
}

static void NAME(copy_out)(const NAME(place) *place, size_t at, const SCALAR *tile)
{
    memcpy(place->row + at, tile, place->valid * sizeof(SCALAR));
    memcpy(place->folded + at, tile + place->valid, place->rest * sizeof(SCALAR));
}

/* the pairs times the weights of every group of outputs */
static void NAME(multiply)(const NAME(plan) *plan, const NAME(pass) *pass, const SCALAR *packed,
                           const SCALAR *pairs, SCALAR *c)
{
    for (size_t group = 0; group < plan->groups.count; ++group) {
        int larger = group < plan->groups.larger;
        size_t mr = plan->groups.small + (size_t)larger;
        size_t ahead = group + 1 < plan->groups.count ? mr + plan->groups.small : mr;
        for (size_t r = mr; r < ahead; ++r) { /* the next group's sums, while this one works */
            __builtin_prefetch(c + r * plan->pitch, 1);
            __builtin_prefetch(c + r * plan->pitch + plan->width - 1, 1);
        }
        (larger ? plan->larger : plan->small)(pass, packed, pairs, c, plan->pitch);
        packed += mr * pass->depth;
        c += mr * plan->pitch;
    }
}

/* likewise where the tile is not one piece of the tensor, by way of a buffer */
static void NAME(multiply_pieces)(const NAME(plan) *plan, const NAME(pass) *pass,
                                  const SCALAR *packed, const SCALAR *pairs,
                                  const NAME(place) *place)
{
    SCALAR tile[ACCUMULATORS * LANES];
    size_t at = 0;
    memset(tile, 0, sizeof tile);
    for (size_t group = 0; group < plan->groups.count; ++group) {
        int larger = group < plan->groups.larger;
        size_t mr = plan->groups.small + (size_t)larger;
        for (size_t r = 0; r < mr && !pass->first; ++r)
            NAME(copy_in)(place, at + r * plan->pitch, tile + r * plan->width);
        (larger ? plan->larger : plan->small)(pass, packed, pairs, tile, plan->width);
        for (size_t r = 0; r < mr; ++r, at += plan->pitch)
            NAME(copy_out)(place, at, tile + r * plan->width);
        packed += mr * pass->depth;
    }
}

/* likewise for `valid` columns of one row, where the pairs stay in registers */
static void NAME(fuse_piece)(const NAME(plan) *plan, const NAME(pass) *pass, const SCALAR *packed,
                             const SCALAR *l, const SCALAR *r, const NAME(memory) *m, SCALAR *c,
                             size_t valid)
{
    SCALAR tile[ACCUMULATORS * LANES];
    NAME(place) place = {c, c, valid, 0};
    memset(tile, 0, sizeof tile);
    for (size_t o = 0; o < plan->groups.small && !pass->first; ++o)
        NAME(copy_in)(&place, o * plan->pitch, tile + o * plan->width);
    plan->fused(pass, packed, l, r, m->left, m->right, tile, plan->width);
    for (size_t o = 0; o < plan->groups.small; ++o)
        NAME(copy_out)(&place, o * plan->pitch, tile + o * plan->width);
}

/* out = identity: B[o] is the pair of unit o, halved */
static void NAME(store_pairs)(const NAME(plan) *plan, const NAME(pass) *pass, SCALAR *pairs,
                              const NAME(place) *place)
{
    for (size_t k = 0; k < pass->depth; ++k, pairs += plan->width) {
        for (size_t c = 0; c < plan->width; c += LANES)
            STORE(pairs + c, NAME(result)(LOAD(pairs + c), pass->halve));
        NAME(copy_out)(place, k * plan->pitch, pairs);
    }
}

INLINE SCALAR NAME(canonical)(SCALAR v) { return v == v ? v + 0 : QUIET_NAN; }

/* the linear entries and the corner: B + skip/2, B + bias_out; of columns [j, end) of row d_in */
static void NAME(add_affine)(const rb_layer *layer, size_t pitch, size_t j, size_t end,
                             SCALAR *tensor)
{
    const SCALAR *skip = layer->skip, *bias = layer->bias_out;
    size_t d_in = layer->d_in;
    SCALAR *row = tensor + rb_pairs(d_in);
    for (size_t o = 0; o < layer->d_out; ++o, row += pitch) {
        for (size_t c = j; skip && c < rb_least(end, d_in); ++c)
            row[c] = NAME(canonical)(row[c] + skip[o * d_in + c] / 2);
        if (bias && end == d_in + 1)
            row[d_in] = NAME(canonical)(row[d_in] + bias[o]);
    }
}

/* ---- blocks: some tiles of each of some strips of one band ---- */

typedef struct NAME(block) {
    size_t start, rows;   /* the rows whose factors it needs */
    size_t strip, strips; /* [strip, strips); a block on the diagonal has that strip alone */
    size_t tile, tiles;   /* [tile, tiles): a row each, but for the first, which are folded */
    size_t folded, size;  /* how many those are, and rows of their triangle, from `start` on */
    int closes;           /* holds the last row of its band */
} NAME(block);

/* The pieces start at different distances from a 4096-byte boundary: a processor takes a load for
 * dependent on a store with the same distance. */
static NAME(memory) NAME(memory_of)(const NAME(plan) *plan, SCALAR *scratch)
{
    size_t piece = plan->depth * plan->width * plan->height + 64 / sizeof(SCALAR) * 9;
    NAME(memory) m = {scratch, scratch + piece, scratch + 2 * piece, scratch + 3 * piece,
                      scratch + 4 * piece, scratch + 5 * piece};
    return m;
}

static size_t NAME(tensor_scratch)(const rb_layer *layer)
{
    NAME(plan) plan = NAME(plan_of)(layer);
    size_t piece = plan.depth * plan.width * plan.height + 64 / sizeof(SCALAR) * 9;
    return 64 + 6 * sizeof(SCALAR) * piece;
}

/* the tile t of a triangle: row `high` as far as it goes, and row `low` in what is left */
static void NAME(folded_tile)(const NAME(plan) *plan, const NAME(pass) *pass, const NAME(block) *b,
                              size_t t, const NAME(memory) *m, const SCALAR *packed, int identity,
                              SCALAR *tensor)
{
    size_t depth = pass->depth, width = plan->width, j = b->start, high = b->size - 1 - t;
    int fold = b->size == width && t > 0 && t - 1 < high;
    size_t low = fold ? t - 1 : high;
    NAME(place) place = {tensor + rb_pairs(j + high) + j, tensor + rb_pairs(j + low) + j, high + 1,
                         fold ? low + 1 : 0};
    if (plan->fused) {
        for (size_t n = 0; n < 1 + (size_t)fold; ++n) {
            size_t i = n ? low : high, at = i * depth;
            SCALAR *c = n ? place.folded : place.row;
            NAME(fuse_piece)(plan, pass, packed, m->l + at, m->r + at, m, c, i + 1);
        }
        return;
    }
    NAME(form)(plan->nv, depth, m->l + high * depth, m->r + high * depth, m->left, m->right, m->pairs);
    if (fold) {
        NAME(form)(plan->nv, depth, m->l + low * depth, m->r + low * depth, m->left, m->right, m->more);
        for (size_t k = 0; k < depth; ++k)
            memcpy(m->pairs + k * width + high + 1, m->more + k * width, (low + 1) * sizeof(SCALAR));
    }
    if (identity)
        NAME(store_pairs)(plan, pass, m->pairs, &place);
    else
        NAME(multiply_pieces)(plan, pass, packed, m->pairs, &place);
}

/* the tile of a row and of the strip at column j, wholly below the diagonal */
static void NAME(whole_tile)(const NAME(plan) *plan, const NAME(pass) *pass, size_t row, size_t j,
                             const SCALAR *l, const SCALAR *r, const NAME(memory) *m,
                             const SCALAR *packed, int identity, SCALAR *tensor)
{
    SCALAR *c = tensor + rb_pairs(row) + j;
    NAME(place) place = {c, c, plan->width, 0};
    if (plan->fused) {
        plan->fused(pass, packed, l, r, m->left, m->right, c, plan->pitch);
        return;
    }
    NAME(form)(plan->nv, pass->depth, l, r, m->left, m->right, m->pairs);
    if (identity)
        NAME(store_pairs)(plan, pass, m->pairs, &place);
    else
        NAME(multiply)(plan, pass, packed, m->pairs, c);
}

/* one pass over hidden units [h, h + depth) */
static void NAME(pass_block)(const rb_layer *layer, const NAME(plan) *plan, const NAME(pass) *pass,
                             const NAME(block) *b, size_t h, SCALAR *tensor, NAME(memory) m)
{
    size_t depth = pass->depth, width = plan->width, d_in = layer->d_in, end = b->start + b->rows;
    const SCALAR *packed = layer->out ? (const SCALAR *)layer->packed + h * layer->d_out : NULL;
    SCALAR *result = layer->out ? tensor : tensor + h * plan->pitch;
    NAME(pack_rows)(layer->left, layer->bias_left, d_in, h, depth, b->start, end, m.l);
    if (layer->right)
        NAME(pack_rows)(layer->right, layer->bias_right, d_in, h, depth, b->start, end, m.r);
    else
        m.right = NULL;
    for (size_t strip = b->strip; strip < b->strips; ++strip) {
        size_t j = strip * width;
        NAME(pack_strip)(layer->left, layer->bias_left, d_in, h, depth, j, width, m.left);
        if (m.right)
            NAME(pack_strip)(layer->right, layer->bias_right, d_in, h, depth, j, width, m.right);
        for (size_t t = b->tile; t < b->tiles; ++t) {
            size_t row = b->folded ? width + t - b->folded : t - b->tile, at = row * depth;
            if (t < b->folded)
                NAME(folded_tile)(plan, pass, b, t, &m, packed, !layer->out, result);
            else
                NAME(whole_tile)(plan, pass, b->start + row, j, m.l + at, m.r + at, &m, packed,
                                 !layer->out, result);
        }
    }
}

static int NAME(all_passes)(const rb_layer *layer, const NAME(plan) *plan, const NAME(block) *b,
                            SCALAR *tensor, SCALAR *scratch, const int *stop)
{
    size_t hidden = layer->d_hidden, h = 0;
    do { /* once at least: no hidden unit still stores +0 */
        size_t depth = rb_least(hidden - h, plan->depth), end = h + depth;
        NAME(pass) pass = {depth, layer->first && h == 0, layer->last && end == hidden,
                           layer->right != NULL};
        if (rb_stopped(stop))
            return 0;
        NAME(pass_block)(layer, plan, &pass, b, h, tensor, NAME(memory_of)(plan, scratch));
        h = end;
    } while (h < hidden);
    return 1;
}

/* The blocks are counted from the last band up, so that the large ones come first; in a band, those
 * on the diagonal last. */


INLINE size_t NAME(band_start)(const NAME(plan) *plan, size_t band)
{
    return rb_least(band * plan->height * plan->width, plan->d);
}

/* the block on the diagonal that has all tiles of strip s of a band */
static NAME(block) NAME(whole_diagonal)(const NAME(plan) *plan, size_t band, size_t s)
{
    size_t strip = band * plan->height + s, start = strip * plan->width;
    size_t rows = NAME(band_start)(plan, band + 1) - start, size = rb_least(rows, plan->width);
    size_t folded = size == plan->width ? size / 2 + 1 : size;
    NAME(block) b = {start, rows, strip, strip + 1, 0, folded + rows - size, folded, size, 1};
    return b;
}

static size_t NAME(strips_of_band)(const NAME(plan) *plan, size_t band)
{
    return rb_parts(NAME(band_start)(plan, band + 1) - NAME(band_start)(plan, band), plan->width);
}

/* the blocks that do not touch the diagonal: so many down, so many across */
static size_t NAME(blocks_down)(const NAME(plan) *plan, size_t band)
{
    return rb_parts(NAME(band_start)(plan, band + 1) - NAME(band_start)(plan, band), plan->rows);
}

static size_t NAME(blocks_across)(const NAME(plan) *plan, size_t band)
{
    return rb_parts(band * plan->height, plan->strips);
}

static size_t NAME(blocks_of_band)(const NAME(plan) *plan, size_t band)
{
    size_t count = NAME(blocks_down)(plan, band) * NAME(blocks_across)(plan, band);
    for (size_t s = 0; s < NAME(strips_of_band)(plan, band); ++s)
        count += rb_parts(NAME(whole_diagonal)(plan, band, s).tiles, plan->rows);
    return count;
}

/* block n of those that do not touch the diagonal */
static NAME(block) NAME(block_below)(const NAME(plan) *plan, size_t band, size_t n)
{
    size_t across = NAME(blocks_across)(plan, band), strip = n % across * plan->strips;
    size_t first = NAME(band_start)(plan, band), end = NAME(band_start)(plan, band + 1);
    size_t start = first + n / across * plan->rows, rows = rb_least(end - start, plan->rows);
    size_t strips = rb_least(strip + plan->strips, band * plan->height);
    NAME(block) b = {start, rows, strip, strips, 0, rows, 0, 0, start + rows == end};
    return b;
}

/* block n of those on the diagonal */
static NAME(block) NAME(block_on_diagonal)(const NAME(plan) *plan, size_t band, size_t n)
{
    NAME(block) b = NAME(whole_diagonal)(plan, band, 0);
    for (size_t s = 0, count; n >= (count = rb_parts(b.tiles, plan->rows)); n -= count)
        b = NAME(whole_diagonal)(plan, band, ++s);
    /* the last row stands in the last tile, or folded in the first */
    size_t last = b.rows > b.size ? b.tiles - 1 : 0;
    b.tile = n * plan->rows;
    b.tiles = rb_least(b.tile + plan->rows, b.tiles);
    b.closes = b.tile <= last && last < b.tiles;
    return b;
}

static NAME(block) NAME(block_of)(const NAME(plan) *plan, size_t band, size_t n)
{
    size_t below = NAME(blocks_down)(plan, band) * NAME(blocks_across)(plan, band);
    return n < below ? NAME(block_below)(plan, band, n)
                     : NAME(block_on_diagonal)(plan, band, n - below);
}

static size_t NAME(bands)(const NAME(plan) *plan)
{
    return rb_parts(plan->d, plan->height * plan->width);
}

static size_t NAME(blocks)(const rb_layer *layer)
{
    NAME(plan) plan = NAME(plan_of)(layer);
    size_t count = 0;
    for (size_t band = 0; band < NAME(bands)(&plan); ++band)
        count += NAME(blocks_of_band)(&plan, band);
    return count;
}

static int NAME(compute_block)(const rb_layer *layer, const NAME(plan) *plan, const NAME(block) *b,
                               SCALAR *tensor, SCALAR *scratch, const int *stop)
{
    if (!NAME(all_passes)(layer, plan, b, tensor, scratch, stop))
        return 0;
    if (layer->last && layer->constant && b->closes && b->start + b->rows == plan->d)
        NAME(add_affine)(layer, plan->pitch, b->strip * plan->width,
                         rb_least(b->strips * plan->width, plan->d), tensor);
    return 1;
}

static int NAME(compute_blocks)(const rb_layer *layer, size_t first, size_t last, SCALAR *tensor,
                                SCALAR *scratch, const int *stop)
{
    NAME(plan) plan = NAME(plan_of)(layer);
    size_t before = 0;
    for (size_t band = NAME(bands)(&plan); band-- > 0 && before < last;) {
        size_t count = NAME(blocks_of_band)(&plan, band);
        for (size_t n = first > before ? first - before : 0; n < rb_least(count, last - before); ++n) {
            NAME(block) b = NAME(block_of)(&plan, band, n);
            if (!NAME(compute_block)(layer, &plan, &b, tensor, scratch, stop))
                return 0;
        }
        before += count;
    }
    return 1;
}

static enum rb_status NAME(tensor)(const rb_layer *layer, size_t first, size_t last, void *tensor,
                                   void *scratch, const int *stop)
{
    fenv_t callers;
    fegetenv(&callers);
    fesetenv(FE_DFL_ENV); /* round to nearest, subnormals kept, whatever the caller's thread does */
    int done = NAME(compute_blocks)(layer, first, last, tensor, rb_aligned(scratch), stop);
    fesetenv(&callers);
    return done ? RB_DONE : RB_STOPPED;
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
    NAME(blocks), NAME(pack), NAME(tensor), NAME(tensor_scratch),
    NAME(quadratic), NAME(bilinear), NAME(form_scratch), NAME(tile),
};

