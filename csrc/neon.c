/* AArch64, whose every processor has NEON with fma: 32 registers of 16 bytes. */
#include "refbilinear.h"

#if defined(__aarch64__)
#include <arm_neon.h>
#include <fenv.h>
#include <stdint.h>
#include <string.h>

static int supported(void) { return 1; }

#define REGISTERS 32
#define VECTOR_BYTES 16
#define FMA_F32(a, b, c) ((f32s)vfmaq_f32((float32x4_t)(c), (float32x4_t)(a), (float32x4_t)(b)))
#define FMA_F64(a, b, c) ((f64s)vfmaq_f64((float64x2_t)(c), (float64x2_t)(a), (float64x2_t)(b)))
#define SET1_F32(s) ((f32s)vdupq_n_f32(s))
#define SET1_F64(s) ((f64s)vdupq_n_f64(s))
#include "registers.h"
#include "vectors.h"

const rb_variant rb_neon = {"neon", supported, &functions_f32, &functions_f64};
#endif
