/* What was compiled for this architecture; a processor supports some of it, or nothing. */
#include "refbilinear.h"

#include <stdint.h>

#if defined(__x86_64__)
extern const rb_variant rb_avx512, rb_avx2, rb_scalar;
const rb_variant *const rb_variants[] = {&rb_avx512, &rb_avx2, &rb_scalar, NULL};
#elif defined(__aarch64__)
extern const rb_variant rb_neon, rb_scalar;
const rb_variant *const rb_variants[] = {&rb_neon, &rb_scalar, NULL};
#elif defined(__FP_FAST_FMA) && defined(__FP_FAST_FMAF)
extern const rb_variant rb_scalar;
const rb_variant *const rb_variants[] = {&rb_scalar, NULL};
#else
const rb_variant *const rb_variants[] = {NULL};
#endif

int rb_addressable(size_t d_out, size_t d, size_t size)
{
    size_t pairs, numbers, bytes;
    if (d == SIZE_MAX)
        return 0;
    /* the even factor is halved first */
    return !__builtin_mul_overflow(d % 2 ? d : d / 2, d % 2 ? (d + 1) / 2 : d + 1, &pairs) &&
           !__builtin_mul_overflow(pairs, d_out, &numbers) &&
           !__builtin_mul_overflow(numbers, size, &bytes) && bytes <= PTRDIFF_MAX &&
           pairs <= PTRDIFF_MAX;
}
