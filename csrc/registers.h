/* How many sums the registers of a target hold, and the shapes of tiles that follow: `mr` outputs by
 * `nv` vectors. A group has MOST_ROWS outputs, or at least half of that, or all there are. */
#if REGISTERS == 32
#define ACCUMULATORS 24
#define MOST_ROWS 8
#define SHAPES(S) \
    S(1, 12) S(2, 12) S(3, 8) S(4, 6) S(5, 4) S(6, 4) S(7, 3) S(8, 3) S(4, 3) S(5, 3) S(6, 3)
#else
#define ACCUMULATORS 12
#define MOST_ROWS 4
#define SHAPES(S) S(1, 12) S(2, 6) S(3, 4) S(4, 3) S(2, 3) S(3, 3)
#endif
