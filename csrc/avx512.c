/* x86-64 with AVX-512: 32 registers of 64 bytes. */
#include "refbilinear.h"

#if defined(__x86_64__)
#include <fenv.h>
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

static int supported(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("fma");
}

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,fma")
#endif

#define REGISTERS 32
#define VECTOR_BYTES 64
#define FMA_F32(a, b, c) ((f32s)_mm512_fmadd_ps((__m512)(a), (__m512)(b), (__m512)(c)))
#define FMA_F64(a, b, c) ((f64s)_mm512_fmadd_pd((__m512d)(a), (__m512d)(b), (__m512d)(c)))
#define SET1_F32(s) ((f32s)_mm512_set1_ps(s))
#define SET1_F64(s) ((f64s)_mm512_set1_pd(s))
#include "registers.h"
#include "vectors.h"

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

const rb_variant rb_avx512 = {"avx512", supported, &functions_f32, &functions_f64};
#endif
