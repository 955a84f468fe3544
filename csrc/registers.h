/* How many sums the registers of a target hold, and the shapes of tiles that follow: `mr` outputs by
 * `nv` vectors. A group has MOST_ROWS outputs, or at least half of that, or all there are; the
 * largest group has VECTORS_OF(mr) vectors in a row of its tiles, and so have the others. FUSED are
 * the shapes whose registers hold the factors of a pair as well. */
#if REGISTERS == 32
#define ACCUMULATORS 24
#define MOST_ROWS 8
#define FUSED(S) S(1, 12) S(2, 12) S(3, 8) S(4, 6)
#define SHAPES(S) FUSED(S) S(5, 4) S(6, 4) S(7, 3) S(8, 3) S(4, 3) S(5, 3) S(6, 3)
#define WIDTHS(W) W(3) W(4) W(6) W(8) W(12)
#define VECTORS_OF(mr) \
    ((mr) <= 2 ? 12 : (mr) == 3 ? 8 : (mr) == 4 ? 6 : (mr) <= 6 ? 4 : 3)
#else
#define ACCUMULATORS 12
#define MOST_ROWS 4
#define FUSED(S) S(1, 8) S(2, 4) S(3, 3)
#define SHAPES(S) FUSED(S) S(4, 3) S(2, 3)
#define WIDTHS(W) W(3) W(4) W(8)
#define VECTORS_OF(mr) ((mr) == 1 ? 8 : (mr) == 2 ? 4 : 3)
#endif
