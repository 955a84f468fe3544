/* One number at a time, on any processor with an fma instruction. */
#include "refbilinear.h"

#if defined(__x86_64__) || defined(__aarch64__) || (defined(__FP_FAST_FMA) && defined(__FP_FAST_FMAF))
#include <fenv.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
static int supported(void) { return __builtin_cpu_supports("fma"); }
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("fma")
#endif
#else
static int supported(void) { return 1; }
#endif

#define REGISTERS 16
#define LANES 1
#define SET1(s) (s)
#define LOAD(p) (*(p))
#define STORE(p, v) (*(p) = (v))
#define CANONICAL(v) ((v) == (v) ? (v) + 0 : QUIET_NAN)
#include "registers.h"

#define QUIET_NAN __builtin_nanf("")
#define SCALAR float
#define VEC float
#define FMA(a, b, c) __builtin_fmaf(a, b, c)
#define NAME(f) f##_f32
#include "kernel.h"
#undef QUIET_NAN
#undef SCALAR
#undef VEC
#undef FMA
#undef NAME

#define QUIET_NAN __builtin_nan("")
#define SCALAR double
#define VEC double
#define FMA(a, b, c) __builtin_fma(a, b, c)
#define NAME(f) f##_f64
#include "kernel.h"

#if defined(__x86_64__) && defined(__clang__)
#pragma clang attribute pop
#elif defined(__x86_64__)
#pragma GCC pop_options
#endif

const rb_variant rb_scalar = {"scalar", supported, &functions_f32, &functions_f64};
#endif
