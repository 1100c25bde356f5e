/* From an array of any strides to the bytes of a record: one pass, no intermediate copy. */
#ifndef RECD_COPY_H
#define RECD_COPY_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { MAX_DIMENSIONS = 64 }; /* numpy's own limit */

#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* From this size on a sample goes past the caches: nobody here looks at it again, so what the simulation has in them
 * stays there, and lines that the consumer has read need not be fetched from its core first. Measured beside a
 * consumer on another core, against memcpy: 64 KiB 0.7, 256 KiB 0.55, a frame of 640x480 0.6 of the time. */
enum { STREAM_BYTES = 1 << 16, STREAM_BLOCK_BYTES = 512 };

/* Such stores are in no order with others; end_stream puts them before all that follow. */
static inline void stream_block(uint8_t *to, const uint8_t *from, size_t size) {
#ifdef __SSE2__
    _mm_sfence(); /* nor with those before: intent_end must be seen first */
    size_t lead = -(uintptr_t)to & 63;
    memcpy(to, from, lead);
    for (to += lead, from += lead, size -= lead; size >= 64; size -= 64, to += 64, from += 64) {
        __m128i a = _mm_loadu_si128((const __m128i *)(const void *)from);
        __m128i b = _mm_loadu_si128((const __m128i *)(const void *)(from + 16));
        __m128i c = _mm_loadu_si128((const __m128i *)(const void *)(from + 32));
        __m128i d = _mm_loadu_si128((const __m128i *)(const void *)(from + 48));
        _mm_stream_si128((__m128i *)(void *)to, a);
        _mm_stream_si128((__m128i *)(void *)(to + 16), b);
        _mm_stream_si128((__m128i *)(void *)(to + 32), c);
        _mm_stream_si128((__m128i *)(void *)(to + 48), d);
    }
#endif
    memcpy(to, from, size);
}

static inline void end_stream(void) {
#ifdef __SSE2__
    _mm_sfence();
#endif
}

static void copy_contiguous(uint8_t *to, const uint8_t *from, size_t size) {
    if (size < STREAM_BYTES) {
        memcpy(to, from, size);
        return;
    }
    stream_block(to, from, size);
    end_stream();
}

/* n elements, `stride` bytes apart, to where they stand one behind the other */
static inline uint8_t *copy_line(uint8_t *to, const uint8_t *from, ptrdiff_t n, ptrdiff_t stride, size_t size,
                                 int stream) {
    if (stream && size >= STREAM_BLOCK_BYTES) {
        for (ptrdiff_t i = 0; i < n; i++, from += stride) stream_block(to + (size_t)i * size, from, size);
        return to + (size_t)n * size;
    }
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

/* An array that is not empty. */
static void copy_strided(uint8_t *to, const uint8_t *from, int nd, const ptrdiff_t *shape, const ptrdiff_t *strides,
                         size_t item_bytes, size_t total_bytes) {
    /* What stands together is copied together: fold the last dimensions into one block. */
    size_t block = item_bytes;
    while (nd > 0 && (strides[nd - 1] == (ptrdiff_t)block || shape[nd - 1] == 1)) block *= (size_t)shape[--nd];
    if (nd == 0) {
        copy_contiguous(to, from, block);
        return;
    }
    int stream = total_bytes >= STREAM_BYTES;
    ptrdiff_t at[MAX_DIMENSIONS] = {0}, n = shape[nd - 1], stride = strides[nd - 1];
    for (;;) {
        to = copy_line(to, from, n, stride, block, stream);
        int d = nd - 2;
        for (; d >= 0; d--) {
            from += strides[d];
            if (++at[d] < shape[d]) break;
            from -= strides[d] * shape[d];
            at[d] = 0;
        }
        if (d < 0) break;
    }
    if (stream) end_stream();
}

#endif
