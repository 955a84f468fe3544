/* A bilinear layer in plain C, its tensor and its gradient; main answers test vectors.
       y = w_out (a * b) + b_out + w_skip x,   a = w_left x + b_left,   b = w_right x + b_right
   cc -std=c11 -O2 -o bilinear bilinear.c && ./bilinear core.txt > results.txt   (-DREAL=float: f32) */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifndef REAL
#define REAL double
#endif
typedef REAL real;
enum { W_LEFT, W_RIGHT, W_OUT, B_LEFT, B_RIGHT, B_OUT, W_SKIP, X, DY, Y, TENSOR, ARRAYS };
static const char *const name[] = {"w_left", "w_right", "w_out", "b_left", "b_right", "b_out",
                                   "w_skip", "x", "dy", "y", "tensor"};
static const char *const shape[] = {"HD", "HD", "OH", "H", "H", "O", "OD", "ND", "NO", "NO", "OP"};
static long D, H, O, N, P; /* inputs, hidden units, outputs, examples, packed pairs of inputs */
static long *const size[] = {['D'] = &D, ['H'] = &H, ['O'] = &O, ['N'] = &N, ['P'] = &P};
static real *in[ARRAYS], *out[ARRAYS]; /* in: NULL where absent; out: starts from zeros */
/* [w_left, b_left] and [w_right, b_right] meet [x; 1]: the constant is i == D */
static real at(int w, int b, long h, long i) { return i < D ? in[w][h * D + i] : in[b] ? in[b][h] : 0; }
static real left(long h, long i) { return at(W_LEFT, B_LEFT, h, i); }
static real right(long h, long i) { return at(W_RIGHT, B_RIGHT, h, i); }
static real factor(real w(long, long), long h, const real *x) {
    real sum = w(h, D);
    for (long i = 0; i < D; i++) sum += w(h, i) * x[i];
    return sum;
}
static int linked(long o, long h) { return in[W_OUT] || o == h; } /* absent is the identity */
static real w_out(long o, long h) { return in[W_OUT] ? in[W_OUT][o * H + h] : 1; }

static void forward(const real *x, real *y) { /* of one example */
    for (long h = 0; h < H; h++) {
        real ab = factor(left, h, x) * factor(right, h, x);
        for (long o = 0; o < O; o++) if (linked(o, h)) y[o] += w_out(o, h) * ab;
    }
    for (long o = 0; in[B_OUT] && o < O; o++) y[o] += in[B_OUT][o];
    for (long o = 0; in[W_SKIP] && o < O; o++)
        for (long i = 0; i < D; i++) y[o] += in[W_SKIP][o * D + i] * x[i];
}

static real tensor(long o, long i, long j) { /* i >= j */
    real sum = 0;
    for (long h = 0; h < H; h++) if (linked(o, h))
        sum += w_out(o, h) * (left(h, i) * right(h, j) + left(h, j) * right(h, i)) / 2;
    if (in[W_SKIP] && i == D && j < D) sum += in[W_SKIP][o * D + j] / 2;
    return in[B_OUT] && j == D ? sum + in[B_OUT][o] : sum;
}

static void backward(const real *x, const real *dy, real *dx) { /* adds one example's gradient */
    for (long h = 0; h < H; h++) {
        real a = factor(left, h, x), b = factor(right, h, x), s = 0; /* s: w_out transposed, dy */
        for (long o = 0; o < O; o++) if (linked(o, h))
            s += w_out(o, h) * dy[o], out[W_OUT][o * H + h] += dy[o] * (a * b);
        out[B_LEFT][h] += s * b, out[B_RIGHT][h] += s * a;
        for (long i = 0; i < D; i++) {
            out[W_LEFT][h * D + i] += s * b * x[i], out[W_RIGHT][h * D + i] += s * a * x[i];
            dx[i] += left(h, i) * (s * b) + right(h, i) * (s * a);
        }
    }
    for (long o = 0; o < O; o++) {
        out[B_OUT][o] += dy[o];
        for (long i = 0; i < D; i++) out[W_SKIP][o * D + i] += dy[o] * x[i];
        for (long i = 0; in[W_SKIP] && i < D; i++) dx[i] += in[W_SKIP][o * D + i] * dy[o];
    }
}
/* ---- test vectors, a line an array:  tcId name dtype ndim sizes... values... */
static void fail(const char *why) { fprintf(stderr, "bilinear: %s\n", why), exit(2); }
static long count(const char *c) { return *c ? *size[(int)*c] * count(c + 1) : 1; }
static real *checked(real *v) { return v ? v : (fail("out of memory"), v); }
static real *zeros(const char *c) { return checked(calloc((size_t)count(c) + 1, sizeof(real))); }
static double number(void) { /* the next one of the line */
    double v = 0;
    return getchar() == ' ' && scanf("%lf", &v) == 1 ? v : (fail("malformed line"), v);
}
static real *array(const char *letters) { /* a letter is one size throughout a test */
    if (number() != (double)strlen(letters)) fail("wrong number of axes");
    for (const char *c = letters; *c; c++) {
        double n = number(), known = (double)*size[(int)*c];
        if (!(n >= 0 && n <= 1e6) || (known >= 0 && known != n)) fail("wrong size");
        *size[(int)*c] = (long)n;
    }
    real *v = zeros(letters);
    for (long i = 0; i < count(letters); i++) v[i] = (real)number();
    return ungetc(getchar(), stdin) == '\n' ? v : (fail("malformed line"), v);
}
static void answer(long id, char op) { /* forward, tensor or backward, its inputs read */
    long d = D + (in[B_LEFT] || in[B_RIGHT] || in[B_OUT] || in[W_SKIP]);
    int first = op == 'f' ? Y : op == 't' ? TENSOR : W_LEFT, last = op == 'b' ? X : first;
    O = O < 0 ? H : O, P = d * (d + 1) / 2;
    if (!in[W_LEFT] || !in[W_RIGHT] || (op != 't' && !in[X]) || (op == 'b' && !in[DY])) fail("no input");
    if (!in[W_OUT] && O != H) fail("wrong size");
    for (int k = first; k <= last; k++) out[k] = zeros(shape[k]);
    for (long n = 0; op == 'f' && n < N; n++) forward(in[X] + n * D, out[Y] + n * O);
    for (long n = 0; op == 'b' && n < N; n++) backward(in[X] + n * D, in[DY] + n * O, out[X] + n * D);
    for (long o = 0, p = 0; op == 't' && o < O; o++)
        for (long i = 0; i < d; i++) for (long j = 0; j <= i; j++) out[TENSOR][p++] = tensor(o, i, j);
    for (int k = first; k <= last; free(out[k++])) if (k >= Y || in[k]) {
        printf("%ld %s f%zu %zu", id, name[k], 8 * sizeof(real), strlen(shape[k]));
        for (const char *c = shape[k]; *c; c++) printf(" %ld", *size[(int)*c]);
        for (const real *v = out[k]; v < out[k] + count(shape[k]); v++) printf(" %a", isnan(*v) ? NAN : *v);
        printf("\n");
    }
}
int main(int argc, char **argv) {
    char op[64] = "", what[64] = "", dtype[8];
    if (argc > 1 && !freopen(argv[1], "r", stdin)) fail(argv[1]);
    for (long c, id, test = 0, found = 0; found != EOF; *what = 0) {
        found = scanf("%ld%*1[ ]%63[^ \n]%*1[ ]%7[^ \n]", &id, what, dtype);
        if (found == EOF || !strcmp(what, "op")) {
            if (!strcmp(op, "forward") || !strcmp(op, "tensor") || !strcmp(op, "backward"))
                answer(test, *op);
            for (int k = 0; k < ARRAYS; k++) free(in[k]), in[k] = NULL;
            D = H = O = N = -1, test = id;
            if (found != EOF && scanf(" 0 %63s", op) != 1) fail("malformed line");
        } else if (found != 3 && getchar() != '#') fail("malformed line");
        for (int k = W_LEFT; k <= DY; k++)
            if (!strncmp(what, "inputs.", 7) && !strcmp(what + 7, name[k])) in[k] = array(shape[k]);
        while (found != EOF && (c = getchar()) != '\n') if (c == EOF) fail("line without an end");
    }
}
