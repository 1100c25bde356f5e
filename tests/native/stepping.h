/* Compiled in front of _ring.c (gcc -include): `on_store` is called before each store to a ring, and within each copy
 * before every 64 bytes of it, in the order of the program. What is in memory then is what a SIGKILL would leave.
 */
#define _GNU_SOURCE 1 /* as Python.h has it */
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

void (*on_store)(void);

static inline void step(void) {
    if (on_store) on_store();
}

static inline void *stepping_copy(void *to, const void *from, size_t n) {
    for (size_t at = 0; at < n; at += 64) {
        step();
        memcpy((uint8_t *)to + at, (const uint8_t *)from + at, n - at < 64 ? n - at : 64);
    }
    return to;
}

#undef atomic_store_explicit
#define atomic_store_explicit(at, value, order) (step(), __atomic_store_n(at, value, order))
#define memcpy(to, from, n) stepping_copy(to, from, n)
#define memmove(to, from, n) stepping_copy(to, from, n)
