/* copy_strided against a loop that anybody can follow: `copy_check ROUNDS SEED`.
 *
 * Source and target are allocations of exactly the size that may be touched, so that AddressSanitizer and valgrind
 * see a byte too far on either side.
 */
#include <stdio.h>
#include <stdlib.h>

#include "copy.h"

static uint64_t state;

static ptrdiff_t chance(ptrdiff_t below) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (ptrdiff_t)((state >> 33) % (uint64_t)below);
}

/* The bytes in the order of the indices, the last one running fastest. */
static uint8_t *naive(uint8_t *to, const uint8_t *from, int nd, const ptrdiff_t *shape, const ptrdiff_t *strides,
                      size_t item) {
    if (nd == 0) {
        for (size_t i = 0; i < item; i++) *to++ = from[i];
        return to;
    }
    for (ptrdiff_t i = 0; i < shape[0]; i++) to = naive(to, from + i * strides[0], nd - 1, shape + 1, strides + 1, item);
    return to;
}

static int round_trip(void) {
    static const size_t items[] = {1, 1, 2, 3, 4, 8, 8, 16, 24};
    size_t item = items[chance(9)], size = item;
    int nd = (int)chance(6);
    ptrdiff_t shape[8], strides[8], extent = (ptrdiff_t)item, lowest = 0;
    for (int d = nd - 1; d >= 0; d--) {
        shape[d] = 1 + chance(chance(40) ? 6 : nd < 4 ? 150 : 20); /* some are streamed */
        size *= (size_t)shape[d];
        /* packed, or with a gap, or all at one place; forward or backward */
        strides[d] = chance(5) ? extent + (chance(3) ? 0 : chance(20)) : 0;
        extent = strides[d] ? strides[d] * (shape[d] - 1) + extent : extent;
        if (strides[d] && !chance(4)) {
            lowest -= strides[d] * (shape[d] - 1);
            strides[d] = -strides[d];
        }
    }
    for (int d = nd - 1; d > 0; d--) /* as a transposed array has them */
        if (!chance(3)) {
            int other = (int)chance(d + 1);
            ptrdiff_t s = shape[d], t = strides[d];
            shape[d] = shape[other], strides[d] = strides[other];
            shape[other] = s, strides[other] = t;
        }
    uint8_t *memory = malloc((size_t)extent), *expected = malloc(size), *got = malloc(size);
    if (!memory || !expected || !got) return 2;
    for (ptrdiff_t i = 0; i < extent; i++) memory[i] = (uint8_t)chance(256);
    naive(expected, memory - lowest, nd, shape, strides, item);
    copy_strided(got, memory - lowest, nd, shape, strides, item, size);
    int differs = memcmp(expected, got, size) != 0;
    free(memory), free(expected), free(got);
    return differs;
}

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    state = strtoull(argv[2], NULL, 10);
    for (long n = strtol(argv[1], NULL, 10); n > 0; n--) {
        uint64_t before = state;
        if (round_trip()) {
            fprintf(stderr, "differs, with the seed %llu\n", (unsigned long long)before);
            return 1;
        }
    }
    return 0;
}
