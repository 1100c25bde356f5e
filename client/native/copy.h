/* From an array of any strides to the bytes of a record: one pass, no intermediate copy. */
#ifndef RECD_COPY_H
#define RECD_COPY_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { MAX_DIMENSIONS = 64 }; /* numpy's own limit */

/* n elements, `stride` bytes apart, to where they stand one behind the other */
static inline uint8_t *copy_line(uint8_t *to, const uint8_t *from, ptrdiff_t n, ptrdiff_t stride, size_t size) {
    switch (size) {
    case 1:
        for (ptrdiff_t i = 0; i < n; i++, from += stride) to[i] = *from;
        break;
    case 3: /* colours out of pixels with an alpha channel */
        for (ptrdiff_t i = 0; i < n; i++, from += stride) {
            to[3 * i] = from[0];
            to[3 * i + 1] = from[1];
            to[3 * i + 2] = from[2];
        }
        break;
    case 4:
        for (ptrdiff_t i = 0; i < n; i++, from += stride) memcpy(to + 4 * i, from, 4);
        break;
    case 8:
        for (ptrdiff_t i = 0; i < n; i++, from += stride) memcpy(to + 8 * i, from, 8);
        break;
    default:
        for (ptrdiff_t i = 0; i < n; i++, from += stride) memcpy(to + (size_t)i * size, from, size);
    }
    return to + (size_t)n * size;
}

static void copy_strided(uint8_t *to, const uint8_t *from, int nd, const ptrdiff_t *shape, const ptrdiff_t *strides,
                         size_t item_bytes) {
    /* What stands together is copied together: fold the last dimensions into one block. */
    size_t block = item_bytes;
    while (nd > 0 && (strides[nd - 1] == (ptrdiff_t)block || shape[nd - 1] == 1)) block *= (size_t)shape[--nd];
    if (nd == 0) {
        memcpy(to, from, block);
        return;
    }
    ptrdiff_t at[MAX_DIMENSIONS] = {0}, n = shape[nd - 1], stride = strides[nd - 1];
    for (;;) {
        to = copy_line(to, from, n, stride, block);
        int d = nd - 2;
        for (; d >= 0; d--) {
            from += strides[d];
            if (++at[d] < shape[d]) break;
            from -= strides[d] * shape[d];
            at[d] = 0;
        }
        if (d < 0) return;
    }
}

#endif
