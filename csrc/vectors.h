/* The two instances of kernel.h on vectors of VECTOR_BYTES bytes. The target defines FMA_F32,
 * FMA_F64 (a b + c), SET1_F32 and SET1_F64; the rest is the compilers' vector arithmetic. */
typedef float f32s __attribute__((vector_size(VECTOR_BYTES)));
typedef double f64s __attribute__((vector_size(VECTOR_BYTES)));
typedef int32_t mask32 __attribute__((vector_size(VECTOR_BYTES)));
typedef int64_t mask64 __attribute__((vector_size(VECTOR_BYTES)));
typedef float unaligned_f32s __attribute__((vector_size(VECTOR_BYTES), aligned(4), may_alias));
typedef double unaligned_f64s __attribute__((vector_size(VECTOR_BYTES), aligned(8), may_alias));

static inline __attribute__((always_inline)) f32s quiet_f32(f32s v)
{
    mask32 nan = v != v, quiet = (mask32){0} + 0x7fc00000;
    return (f32s)(((mask32)(v + (f32s){0}) & ~nan) | (quiet & nan));
}

static inline __attribute__((always_inline)) f64s quiet_f64(f64s v)
{
    mask64 nan = v != v, quiet = (mask64){0} + 0x7ff8000000000000;
    return (f64s)(((mask64)(v + (f64s){0}) & ~nan) | (quiet & nan));
}

#define QUIET_NAN __builtin_nanf("")
#define SCALAR float
#define VEC f32s
#define LANES (VECTOR_BYTES / 4)
#define FMA(a, b, c) FMA_F32(a, b, c)
#define SET1(s) SET1_F32(s)
#define LOAD(p) ((f32s) * (const unaligned_f32s *)(p))
#define STORE(p, v) (*(unaligned_f32s *)(p) = (unaligned_f32s)(v))
#define CANONICAL(v) quiet_f32(v)
#define NAME(f) f##_f32
#include "kernel.h"
#undef QUIET_NAN
#undef SCALAR
#undef VEC
#undef LANES
#undef FMA
#undef SET1
#undef LOAD
#undef STORE
#undef CANONICAL
#undef NAME

#define QUIET_NAN __builtin_nan("")
#define SCALAR double
#define VEC f64s
#define LANES (VECTOR_BYTES / 8)
#define FMA(a, b, c) FMA_F64(a, b, c)
#define SET1(s) SET1_F64(s)
#define LOAD(p) ((f64s) * (const unaligned_f64s *)(p))
#define STORE(p, v) (*(unaligned_f64s *)(p) = (unaligned_f64s)(v))
#define CANONICAL(v) quiet_f64(v)
#define NAME(f) f##_f64
#include "kernel.h"
