/* Every variant of the kernel against the formulas of naive.h, byte by byte.
 *
 *   check                  compare; at the first difference one line that names the case, and exit 1
 *   check --cases N        compare N of the drawn cases only, without the fixed ones
 *   check --hash VARIANT   the bytes of the results of the fixed cases, whose SHA-256 is committed
 *   check --variants       the names of the variants that this processor supports
 *
 * The fixed cases are c = 0 .. 63; test_bits.py makes them again with NumPy. Case c is of kind c % 4:
 * the tensor of a layer, a gradient (right = NULL), a quadratic form, a bilinear form. With
 *
 *   d_in = 1 + 29 c % 37    n = 1 + 53 c % 301    d_out = 1 + 11 c % 23
 *
 * and F = splitmix64(c), a layer has d_hidden = n, a w_out unless F & 1 (then d_out = n), b_left if
 * F & 2, b_right if F & 4, b_out if F & 8, w_skip if F & 16, and the constant if any of those four. A
 * gradient is of x (n, d_in) and dy (n, d_out); a form is over d_in coordinates, of n examples.
 * Array a is 0: w_left or x, 1: w_right or z, 2: w_out, dy or the packed tensor, 3: b_left,
 * 4: b_right, 5: b_out, 6: w_skip. Its element k, in C order, is exact in float and in double:
 *
 *   u = splitmix64(c 2^40 + a 2^32 + k),   ((u >> 40) - 2^23) 2^-(16 + (u >> 32) % 16)
 *
 * but if c / 4 % 4 == 3 and u % 16 == 0, it is the number (u >> 4) % 8 of: inf, -inf, nan, -0, the
 * smallest subnormal, its negative, the largest finite number, its negative. The output is, for each
 * c, the result in float, then in double. */
#define _DEFAULT_SOURCE
#include "naive.h"
#include "refbilinear.h"

#include <fenv.h>
#include <float.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

enum { FIXED_CASES = 64, CASES = 3000 };
enum kind { LAYER, GRADIENT, QUADRATIC, BILINEAR };
enum mood { PLAIN, SPECIAL, SMALL, EXTREME, ANY_BITS, MOODS };
enum strides { BY_ROW, BY_COLUMN, SPREAD, BACKWARD, REPEATED, STRIDES };
enum place { /* the inputs, in the order of the arrays above, and the two that are written */
    LEFT, RIGHT, OUT, BIAS_LEFT, BIAS_RIGHT, BIAS_OUT, SKIP, INPUTS,
    RESULT = INPUTS, SCRATCH, PACKED, PLACES
};

typedef struct problem {
    uint64_t c;
    enum kind kind;
    enum mood mood;
    enum strides strides;
    size_t d_in, n, d_out;
    unsigned flags; /* as F above */
} problem;

/* A problem in memory. The result has `numbers` numbers; a call does some units: blocks of a tensor,
 * examples of a form, which are `width` numbers each. */
typedef struct task {
    const naive_functions *type;
    rb_layer layer;
    rb_form form;
    enum kind kind;
    size_t numbers, units, width;
    char *result;
} task;

/* ---- the end, with the name of the case ---- */

static char where[256];

static void fail(const char *what)
{
    printf("check: %s: %s\n", where, what);
    fflush(stdout);
    _exit(1);
}

static void on_fault(int signal)
{
    (void)signal;
    fail("touched memory that is not its own");
}

/* ---- numbers ---- */

static uint64_t splitmix64(uint64_t seed)
{
    uint64_t u = seed + 0x9e3779b97f4a7c15;
    u = (u ^ (u >> 30)) * 0xbf58476d1ce4e5b9;
    u = (u ^ (u >> 27)) * 0x94d049bb133111eb;
    return u ^ (u >> 31);
}

static size_t draw(uint64_t *state, size_t below)
{
    return (size_t)(splitmix64((*state)++) >> 11) % below;
}

static double plain(uint64_t u)
{
    return ldexp((double)((int64_t)(u >> 40) - (1 << 23)), -16 - (int)((u >> 32) % 16));
}

static double special(uint64_t u, size_t size)
{
    double least = size == 4 ? (double)FLT_TRUE_MIN : DBL_TRUE_MIN;
    double most = size == 4 ? (double)FLT_MAX : DBL_MAX;
    double of[] = {INFINITY, -INFINITY, NAN, -0.0, least, -least, most, -most};
    return of[(u >> 4) % 8];
}

/* near the square or cube root of the largest and smallest numbers: products fall on either side */
static double extreme(uint64_t u, size_t size)
{
    int range = (size == 4 ? 128 : 1024) / (u & 1 ? 2 : 3), about = (int)((u >> 2) % 8);
    return ldexp(plain(u | (uint64_t)1 << 62), u & 2 ? range - about : about - range);
}

static double number(uint64_t u, enum mood mood, size_t size)
{
    if (mood == SPECIAL && u % 16 == 0)
        return special(u, size);
    if (mood == SMALL) /* sums that cancel, zeros of both signs */
        return copysign((double)(u % 3), u & 64 ? 1 : -1);
    return mood == EXTREME ? extreme(u, size) : plain(u);
}

static void put(char *to, uint64_t u, enum mood mood, size_t size)
{
    double wide = number(u, mood, size);
    float narrow = size == 4 ? (float)wide : 0;
    if (mood == ANY_BITS)
        memcpy(to, &u, size);
    else
        memcpy(to, size == 4 ? (const void *)&narrow : &wide, size);
}

/* ---- memory: each array in an arena between two pages that nobody may touch ---- */

enum { ARENA = 1 << 23, FRINGE = 256 };

static char *arenas[PLACES];
static unsigned char expected[ARENA];

static void make_arenas(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    for (int p = 0; p < PLACES; ++p) {
        char *all = mmap(NULL, ARENA + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (all == MAP_FAILED || mprotect(all + page, ARENA, PROT_READ | PROT_WRITE))
            fail("no memory");
        arenas[p] = all + page;
    }
    signal(SIGSEGV, on_fault);
    signal(SIGBUS, on_fault);
}

static void protect_inputs(int protection)
{
    for (int p = 0; p < INPUTS; ++p)
        mprotect(arenas[p], ARENA, protection);
}

/* room for `bytes` against the page after the arena, or before it, but for `shift` bytes */
static char *place(enum place p, size_t bytes, int at_end, size_t shift)
{
    if (bytes + shift > ARENA)
        fail("does not fit in its arena");
    return at_end ? arenas[p] + ARENA - shift - bytes : arenas[p] + shift;
}

/* the bytes about an array, which a call must leave alone: set before it, compared after it */
static void fringe(enum place p, char *start, size_t bytes, int compare)
{
    char *end = start + bytes, *arena = arenas[p], *limit = arena + ARENA;
    char *from = start - arena > FRINGE ? start - FRINGE : arena;
    char *to = limit - end > FRINGE ? end + FRINGE : limit;
    for (char *at = from == start ? end : from; at < to; at = at + 1 == start ? end : at + 1) {
        if (compare && *at != 0x5a)
            fail("wrote beyond an array");
        *at = 0x5a;
    }
}

static char *fill(const problem *q, enum place p, size_t count, size_t size, int at_end)
{
    char *to = place(p, count * size, at_end, 0);
    uint64_t seed = (q->c << 40) + ((uint64_t)p << 32);
    for (size_t k = 0; k < count; ++k)
        put(to + k * size, splitmix64(seed + k), q->mood, size);
    return to;
}

/* ---- problems ---- */

static problem fixed_problem(uint64_t c)
{
    problem q = {c, (enum kind)(c % 4), c / 4 % 4 == 3 ? SPECIAL : PLAIN, BY_ROW, 0, 0, 0, 0};
    q.d_in = 1 + 29 * c % 37;
    q.n = 1 + 53 * c % 301;
    q.d_out = 1 + 11 * c % 23;
    q.flags = (unsigned)(splitmix64(c) & 31);
    q.strides = q.kind == GRADIENT ? BY_COLUMN : BY_ROW; /* dy is (n, d_out) */
    return q;
}

/* now and then a size that crosses tiles, panels and passes, mostly a small one, or none */
static size_t draw_size(uint64_t *state, size_t small, size_t large)
{
    return draw(state, draw(state, 6) ? small : large);
}

static problem random_problem(uint64_t c)
{
    uint64_t state = splitmix64(~c);
    problem q = {.c = c};
    q.kind = (enum kind)draw(&state, 4);
    q.mood = (enum mood)draw(&state, MOODS);
    q.strides = (enum strides)draw(&state, STRIDES);
    q.d_in = draw_size(&state, 14, 72);
    q.n = draw_size(&state, 14, draw(&state, 8) ? 40 : 300);
    q.d_out = draw_size(&state, 14, 42);
    q.flags = (unsigned)draw(&state, 32);
    return q;
}

/* `out` of (d_out, n) with the strides of the problem */
static void lay_out(const problem *q, task *t, int at_end)
{
    ptrdiff_t n = (ptrdiff_t)q->n, m = (ptrdiff_t)t->layer.d_out;
    ptrdiff_t by[STRIDES][2] = {{n, 1}, {1, m}, {2 * n + 1, 2}, {-n, -1}, {0, 1}};
    ptrdiff_t row = by[q->strides][0], column = by[q->strides][1];
    ptrdiff_t reach = n && m ? (m - 1) * row + (n - 1) * column : 0;
    size_t count = n && m ? (size_t)(reach < 0 ? -reach : reach) + 1 : 0;
    char *start = fill(q, OUT, count, t->type->size, at_end);
    t->layer.out = start - (reach < 0 ? reach : 0) * (ptrdiff_t)t->type->size;
    t->layer.out_row = row;
    t->layer.out_column = column;
}

static void make_layer(const problem *q, task *t, int at_end)
{
    size_t size = t->type->size, n = q->n;
    int identity = q->kind == LAYER && q->flags & 1;
    size_t m = identity ? n : q->d_out;
    rb_layer *layer = &t->layer;
    layer->d_out = m;
    layer->d_hidden = n;
    layer->d_in = q->d_in;
    layer->left = fill(q, LEFT, n * q->d_in, size, at_end);
    if (!identity)
        lay_out(q, t, at_end);
    if (q->kind == GRADIENT) /* without right; such a layer never has a constant */
        return;
    layer->right = fill(q, RIGHT, n * q->d_in, size, at_end);
    layer->constant = (q->flags & 30) != 0;
    layer->bias_left = q->flags & 2 ? fill(q, BIAS_LEFT, n, size, at_end) : NULL;
    layer->bias_right = q->flags & 4 ? fill(q, BIAS_RIGHT, n, size, at_end) : NULL;
    layer->bias_out = q->flags & 8 ? fill(q, BIAS_OUT, m, size, at_end) : NULL;
    layer->skip = q->flags & 16 ? fill(q, SKIP, m * q->d_in, size, at_end) : NULL;
}

static task make_task(const problem *q, const naive_functions *type, int at_end)
{
    task t = {.type = type, .kind = q->kind};
    if (q->kind <= GRADIENT) {
        make_layer(q, &t, at_end);
        t.numbers = t.layer.d_out * naive_pairs(q->d_in + (size_t)t.layer.constant);
    } else {
        size_t numbers = q->d_out * naive_pairs(q->d_in);
        t.form = (rb_form){q->d_out, q->d_in, fill(q, OUT, numbers, type->size, at_end)};
        t.layer.left = fill(q, LEFT, q->n * q->d_in, type->size, at_end);
        t.layer.right = fill(q, RIGHT, q->n * q->d_in, type->size, at_end);
        t.units = q->n;
        t.width = q->d_out;
        t.numbers = t.units * t.width;
    }
    t.result = place(RESULT, t.numbers * type->size, at_end, 0);
    return t;
}

static size_t bytes_of(const task *t) { return t->numbers * t->type->size; }

static void solve_naively(const task *t, void *to)
{
    if (t->kind <= GRADIENT)
        t->type->tensor(&t->layer, to);
    else if (t->kind == QUADRATIC)
        t->type->quadratic(&t->form, t->units, t->layer.left, to);
    else
        t->type->bilinear(&t->form, t->units, t->layer.left, t->layer.right, to);
}

/* ---- calls ---- */

static const rb_functions *functions_of(const rb_variant *variant, const naive_functions *type)
{
    return type->size == 4 ? variant->f32 : variant->f64;
}

static size_t scratch_bytes(const task *t, const rb_functions *f, size_t units)
{
    if (t->kind <= GRADIENT)
        return f->tensor_scratch(&t->layer);
    return f->form_scratch(&t->form, units, t->kind == QUADRATIC ? 1 : 2);
}

/* Blocks [first, last) of a tensor, from the hidden units at once or from two parts of them. */
static enum rb_status perform_tensor(const task *t, const rb_functions *f, size_t first, size_t last,
                                     size_t part, void *scratch, const int *stop)
{
    size_t size = t->type->size, hidden = t->layer.d_hidden, skipped = part * t->layer.d_in * size;
    rb_layer begin = t->layer, end = t->layer;
    begin.first = end.last = 1;
    begin.last = !part;
    if (part) {
        begin.d_hidden = part;
        end.d_hidden = hidden - part;
        end.left = (const char *)end.left + skipped;
        end.right = end.right ? (const char *)end.right + skipped : NULL;
        end.out = (const char *)end.out + (ptrdiff_t)part * end.out_column * (ptrdiff_t)size;
        end.bias_left = end.bias_left ? (const char *)end.bias_left + part * size : NULL;
        end.bias_right = end.bias_right ? (const char *)end.bias_right + part * size : NULL;
    }
    begin.packed = end.packed = arenas[PACKED];
    if (begin.out)
        f->pack(&begin, arenas[PACKED]);
    enum rb_status status = f->tensor(&begin, first, last, t->result, scratch, stop);
    if (!part || status != RB_DONE)
        return status;
    f->pack(&end, arenas[PACKED]);
    return f->tensor(&end, first, last, t->result, scratch, stop);
}

/* units [first, last) of the result; of a tensor, from `part` hidden units and then the others */
static enum rb_status perform(const task *t, const rb_functions *f, size_t first, size_t last,
                              size_t part, void *scratch, const int *stop)
{
    size_t size = t->type->size, skipped = first * t->form.d * size;
    const char *x = (const char *)t->layer.left + skipped;
    char *y = t->result + first * t->width * size;
    if (t->kind <= GRADIENT)
        return perform_tensor(t, f, first, last, part, scratch, stop);
    if (t->kind == QUADRATIC)
        return f->quadratic(&t->form, last - first, x, y, scratch, stop);
    const char *z = (const char *)t->layer.right + skipped;
    return f->bilinear(&t->form, last - first, x, z, y, scratch, stop);
}

/* The caller's floating-point environment: usual, rounding upward, subnormals flushed to zero. */
enum { USUAL, UPWARD, FLUSHED, ENVIRONMENTS };

static unsigned long control(void)
{
#if defined(__x86_64__)
    return _mm_getcsr();
#elif defined(__aarch64__)
    unsigned long fpcr;
    __asm__ volatile("mrs %0, fpcr" : "=r"(fpcr));
    return fpcr;
#else
    return (unsigned long)fegetround();
#endif
}

static void flush_to_zero(void)
{
#if defined(__x86_64__)
    _mm_setcsr(_mm_getcsr() | 0x8040);
#elif defined(__aarch64__)
    __asm__ volatile("msr fpcr, %0" : : "r"(control() | 1ul << 24));
#endif
}

static void enter_environment(uint64_t which)
{
    if (which == UPWARD)
        fesetround(FE_UPWARD);
    if (which == FLUSHED)
        flush_to_zero();
}

/* One call in one of the environments, in scratch memory of exactly the size that was asked for. */
static enum rb_status call(const problem *q, const task *t, const rb_functions *f, size_t first,
                           size_t last, size_t part, int at_end, const int *stop)
{
    size_t bytes = scratch_bytes(t, f, last - first);
    char *scratch = place(SCRATCH, bytes, at_end, (q->c % 64) * (q->c % 2 ? t->type->size : 1));
    memset(scratch, 0xff, bytes); /* NaNs: what is not written must not be used */
    fringe(SCRATCH, scratch, bytes, 0);
    enter_environment(q->c % ENVIRONMENTS);
    unsigned long before = control();
    enum rb_status status = perform(t, f, first, last, part, scratch, stop);
    unsigned long after = control();
    fesetenv(FE_DFL_ENV);
    if (before != after)
        fail("left another floating-point environment");
    fringe(SCRATCH, scratch, bytes, 1);
    return status;
}

/* ---- comparisons ---- */

/* All units in one call, or in several, some of them for nothing. A form's result then holds what is
 * done, and nothing else; which numbers a block of a tensor holds is the kernel's own business. */
static void compare(const problem *q, const task *t, const rb_functions *f, int at_end, int split)
{
    static char image[ARENA];
    static const int go = 0;
    uint64_t state = splitmix64(q->c);
    size_t bytes = bytes_of(t), first = 0, last, unit = t->width * t->type->size;
    size_t units = t->kind <= GRADIENT ? f->blocks(&t->layer) : t->units;
    size_t part = split && t->layer.out && t->layer.d_hidden ? draw(&state, t->layer.d_hidden) : 0;
    memset(image, 0x5a, bytes);
    memset(t->result, 0x5a, bytes);
    fringe(RESULT, t->result, bytes, 0);
    do {
        last = split ? first + draw(&state, units - first + 1) : units;
        if (call(q, t, f, first, last, part, at_end, split ? &go : NULL) != RB_DONE)
            fail("stopped of its own accord");
        if (t->kind > GRADIENT && bytes)
            memcpy(image + first * unit, expected + first * unit, (last - first) * unit);
        if (t->kind > GRADIENT && memcmp(image, t->result, bytes))
            fail("other bytes than the formulas give");
        first = last;
    } while (first < units);
    if (memcmp(expected, t->result, bytes))
        fail("other bytes than the formulas give");
    fringe(RESULT, t->result, bytes, 1);
}

static void compare_stopped(const problem *q, const task *t, const rb_functions *f)
{
    static const int stop = 1;
    size_t units = t->kind <= GRADIENT ? f->blocks(&t->layer) : t->units;
    if (bytes_of(t) && q->d_in && call(q, t, f, 0, units, 0, 0, &stop) != RB_STOPPED)
        fail("did not stop");
}

static void compare_variants(const problem *q, const naive_functions *type, int at_end)
{
    protect_inputs(PROT_READ | PROT_WRITE);
    task t = make_task(q, type, at_end);
    protect_inputs(PROT_READ);
    solve_naively(&t, expected);
    for (const rb_variant *const *v = rb_variants; *v; ++v) {
        const rb_functions *f = functions_of(*v, type);
        if (!(*v)->supported())
            continue;
        snprintf(where, sizeof where,
                 "case %llu, %s %s, kind %d, d_in %zu, n %zu, d_out %zu, flags %u, mood %d, strides %d",
                 (unsigned long long)q->c, (*v)->name, type->name, (int)q->kind, q->d_in, q->n,
                 q->d_out, q->flags, (int)q->mood, (int)q->strides);
        compare(q, &t, f, at_end, 0);
        compare(q, &t, f, at_end, 1);
        compare_stopped(q, &t, f);
    }
}

static void check_cases(uint64_t first, uint64_t last)
{
    for (uint64_t c = first; c < last; ++c) {
        problem q = c < FIXED_CASES ? fixed_problem(c) : random_problem(c);
        for (int at_end = 0; at_end < 2; ++at_end)
            for (int type = 0; type < 2; ++type)
                compare_variants(&q, &naive_types[type], at_end);
    }
}

/* ---- rb_addressable, against integers that are wide enough ---- */

__extension__ typedef unsigned __int128 wide;

static int addressable(size_t d_out, size_t d, size_t size)
{
    wide pairs = (wide)d * ((wide)d + 1) / 2;
    if (pairs > PTRDIFF_MAX)
        return 0;
    wide numbers = pairs * d_out;
    return numbers <= PTRDIFF_MAX && numbers * size <= PTRDIFF_MAX;
}

static void check_addressable(void)
{
    static const size_t edges[] = {0, 1, 2, 3, 7, (size_t)1 << 16, (size_t)1 << 28, (size_t)1 << 31,
                                   (size_t)1 << 32, 1518500249, 2147483647, 3037000499, 4294967295,
                                   6074000999, (size_t)1 << 59, (size_t)1 << 60, (size_t)1 << 61,
                                   PTRDIFF_MAX, SIZE_MAX};
    enum { EDGES = sizeof edges / sizeof *edges };
    for (size_t i = 0; i < EDGES * EDGES * 25; ++i) {
        size_t d_out = edges[i % EDGES] + i / EDGES / EDGES % 5 - 2;
        size_t d = edges[i / EDGES % EDGES] + i / EDGES / EDGES / 5 - 2;
        for (size_t size = 4; size <= 8; size += 4)
            if (rb_addressable(d_out, d, size) != addressable(d_out, d, size)) {
                snprintf(where, sizeof where, "rb_addressable(%zu, %zu, %zu)", d_out, d, size);
                fail("wrong");
            }
    }
}

/* ---- the fixed cases, for a hash ---- */

static void write_result(const task *t, const rb_variant *variant)
{
    const rb_functions *f = functions_of(variant, t->type);
    char *scratch = place(SCRATCH, scratch_bytes(t, f, t->units), 0, 0);
    perform(t, f, 0, t->kind <= GRADIENT ? f->blocks(&t->layer) : t->units, 0, scratch, NULL);
    if (fwrite(t->result, 1, bytes_of(t), stdout) != bytes_of(t))
        exit(1);
}

static int write_fixed_cases(const char *name)
{
    for (const rb_variant *const *v = rb_variants; *v; ++v) {
        if (strcmp((*v)->name, name) || !(*v)->supported())
            continue;
        for (uint64_t c = 0; c < FIXED_CASES; ++c)
            for (int type = 0; type < 2; ++type) {
                problem q = fixed_problem(c);
                task t = make_task(&q, &naive_types[type], 1);
                write_result(&t, *v);
            }
        return 0;
    }
    return 1;
}

static void list_variants(void)
{
    for (const rb_variant *const *v = rb_variants; *v; ++v)
        if ((*v)->supported())
            puts((*v)->name);
}

int main(int argc, char **argv)
{
    make_arenas();
    if (argc == 2 && !strcmp(argv[1], "--variants")) {
        list_variants();
        return 0;
    }
    if (argc == 3 && !strcmp(argv[1], "--hash"))
        return write_fixed_cases(argv[2]);
    int counted = argc == 3 && !strcmp(argv[1], "--cases");
    if (argc != 1 && !counted) {
        fputs("usage: check [--cases N | --hash VARIANT | --variants]\n", stderr);
        return 2;
    }
    check_addressable();
    if (counted)
        check_cases(FIXED_CASES, FIXED_CASES + strtoull(argv[2], NULL, 10));
    else
        check_cases(0, CASES);
    return 0;
}
