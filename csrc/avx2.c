/* x86-64 with AVX2 and FMA: 16 registers of 32 bytes. */
#include "refbilinear.h"

#if defined(__x86_64__)
#include <fenv.h>
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

static int supported(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif

#define REGISTERS 16
#define VECTOR_BYTES 32
#define FMA_F32(a, b, c) ((f32s)_mm256_fmadd_ps((__m256)(a), (__m256)(b), (__m256)(c)))
#define FMA_F64(a, b, c) ((f64s)_mm256_fmadd_pd((__m256d)(a), (__m256d)(b), (__m256d)(c)))
#define SET1_F32(s) ((f32s)_mm256_set1_ps(s))
#define SET1_F64(s) ((f64s)_mm256_set1_pd(s))
#include "registers.h"
#include "vectors.h"

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

const rb_variant rb_avx2 = {"avx2", supported, &functions_f32, &functions_f64};
#endif
