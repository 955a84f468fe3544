/* A libFuzzer target: bytes become sizes, flags and raw bits of numbers; every variant must give the
 * bytes that the formulas of naive.h give. Arrays have their exact sizes on the heap, for the
 * sanitizer; build with small blocks, so that small sizes cross them:
 *
 *   clang -std=c11 -O2 -ffp-contract=off -fsanitize=fuzzer,address,undefined -DRB_DEPTH=3 \
 *       -DRB_SUMS=4096 -DRB_ROWS=9 -DRB_CHUNK=64 -Icsrc tests/csrc/fuzz.c csrc/[a-z]*.c -lm */
#include "naive.h"
#include "refbilinear.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_D = 16, MOST_N = 8, MOST_OUT = 8 };

typedef struct bytes {
    const uint8_t *data;
    size_t left;
} bytes;

static size_t take(bytes *from, size_t below)
{
    if (!from->left)
        return 0;
    --from->left;
    return *from->data++ % below;
}

/* an array of `count` numbers of any bits; where the bytes end, zeros */
static void *take_array(bytes *from, size_t count, size_t size)
{
    char *array = calloc(1, count * size);
    size_t given = count * size < from->left ? count * size : from->left;
    if (!array)
        abort();
    memcpy(array, from->data, given);
    from->data += given;
    from->left -= given;
    return array;
}

typedef struct task {
    const naive_functions *type;
    rb_layer layer;
    rb_form form;
    size_t n; /* examples */
} task;

static void take_layer(bytes *from, task *t, size_t flags)
{
    size_t size = t->type->size, m = t->layer.d_out = flags & 2 ? take(from, MOST_OUT) : t->n;
    rb_layer *layer = &t->layer;
    size_t d = layer->d_in, n = layer->d_hidden = t->n;
    layer->left = take_array(from, n * d, size);
    if (flags & 2)
        layer->out = take_array(from, n * m, size);
    layer->out_row = flags & 4 ? (ptrdiff_t)n : 1;
    layer->out_column = flags & 4 ? 1 : (ptrdiff_t)m;
    if (!(flags & 8))
        return;
    layer->right = take_array(from, n * d, size);
    layer->constant = flags & 240 ? 1 : 0;
    layer->bias_left = flags & 16 ? take_array(from, n, size) : NULL;
    layer->bias_right = flags & 32 ? take_array(from, n, size) : NULL;
    layer->bias_out = flags & 64 ? take_array(from, m, size) : NULL;
    layer->skip = flags & 128 ? take_array(from, m * d, size) : NULL;
}

static void take_form(bytes *from, task *t)
{
    size_t size = t->type->size, d = t->layer.d_in, m = take(from, MOST_OUT);
    t->layer.left = take_array(from, t->n * d, size);
    t->layer.right = take_array(from, t->n * d, size);
    t->form = (rb_form){m, d, take_array(from, m * naive_pairs(d), size)};
}

static void release(const task *t)
{
    const void *arrays[] = {t->layer.left,       t->layer.right,    t->layer.out,  t->layer.bias_left,
                            t->layer.bias_right, t->layer.bias_out, t->layer.skip, t->form.tensor};
    for (size_t k = 0; k < sizeof arrays / sizeof *arrays; ++k)
        free((void *)(uintptr_t)arrays[k]);
}

static void solve_naively(const task *t, int polar, void *y)
{
    if (!t->form.tensor)
        t->type->tensor(&t->layer, y);
    else if (polar)
        t->type->bilinear(&t->form, t->n, t->layer.left, t->layer.right, y);
    else
        t->type->quadratic(&t->form, t->n, t->layer.left, y);
}

/* in two calls, cut anywhere */
static void solve_tensor(const task *t, const rb_functions *f, size_t cut, void *y, void *scratch)
{
    rb_layer layer = t->layer;
    size_t blocks = f->blocks(&layer);
    void *packed = malloc(layer.d_out * layer.d_hidden * t->type->size + 1);
    if (!packed)
        abort();
    layer.first = layer.last = 1;
    layer.packed = packed;
    if (layer.out)
        f->pack(&layer, packed);
    f->tensor(&layer, 0, cut % (blocks + 1), y, scratch, NULL);
    f->tensor(&layer, cut % (blocks + 1), blocks, y, scratch, NULL);
    free(packed);
}

static void solve(const task *t, const rb_functions *f, int polar, size_t cut, void *y)
{
    char *scratch = malloc(t->form.tensor ? f->form_scratch(&t->form, t->n, polar ? 2 : 1)
                                          : f->tensor_scratch(&t->layer));
    if (!scratch)
        abort();
    if (!t->form.tensor)
        solve_tensor(t, f, cut, y, scratch);
    else if (polar)
        f->bilinear(&t->form, t->n, t->layer.left, t->layer.right, y, scratch, NULL);
    else
        f->quadratic(&t->form, t->n, t->layer.left, y, scratch, NULL);
    free(scratch);
}

static void compare(const task *t, int polar, size_t cut, size_t numbers)
{
    size_t size = t->type->size;
    char *wanted = malloc(numbers * size), *got = malloc(numbers * size);
    if (!wanted || !got)
        abort();
    solve_naively(t, polar, wanted);
    for (const rb_variant *const *v = rb_variants; *v; ++v) {
        if (!(*v)->supported())
            continue;
        memset(got, 0x5a, numbers * size);
        solve(t, size == 4 ? (*v)->f32 : (*v)->f64, polar, cut, got);
        if (memcmp(wanted, got, numbers * size))
            abort();
    }
    free(wanted);
    free(got);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    bytes from = {data, size};
    size_t flags = take(&from, 256), more = take(&from, 256);
    task t = {.type = &naive_types[more & 1], .layer.d_in = take(&from, MOST_D)};
    t.n = take(&from, MOST_N);
    size_t cut = take(&from, 256);
    if (flags & 1) {
        take_form(&from, &t);
        compare(&t, more & 2 ? 1 : 0, 0, t.n * t.form.d_out);
    } else {
        take_layer(&from, &t, flags);
        compare(&t, 0, cut, naive_pairs(t.layer.d_in + (size_t)t.layer.constant) * t.layer.d_out);
    }
    release(&t);
    return 0;
}
