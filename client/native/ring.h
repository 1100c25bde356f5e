/* The producer's and the consumer's end of a ring, in C11; knows nothing of Python.
 *
 * The bytes are described in recd_client/layout.py, the protocol is the one of recd_client/ring.py, step for
 * step; tests run both against each other. One producer, one consumer, one commit word (`head`). What the
 * order of stores rests on:
 *
 *   producer: intent_end, release fence, payload and header, next_seq, release store of head
 *   consumer: acquire load of head, reads, release store of free_pos
 *   producer: acquire load of free_pos, before it writes over what was read
 *
 * The bell needs a store-load fence on both sides for no wake-up ever to be missed. The consumer has it; in the
 * producer it would wait for the payload's stores at every sample, so there a missed one costs what the
 * consumer's bounded sleep takes, nothing else.
 */
#ifndef RECD_RING_H
#define RECD_RING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* --- layout.py, in C; recd_client.native compares every one of these at import ------------------------- */
enum {
    PAGE_BYTES = 4096,
    HEADER_BYTES = 64,
    ALIGN_BYTES = 64,
    DATA_OFFSET = 3 * PAGE_BYTES,
    CONTROL_RESERVE_BYTES = 4096,
    MAX_MARK_BYTES = 1024,
    LOSS_ENTRY_BYTES = 72,
    CLOSE_PREFIX_BYTES = 16,
    /* producer page */
    HEAD = PAGE_BYTES,
    INTENT_END = HEAD + 64,
    NEXT_SEQ = INTENT_END + 64,
    LOST = NEXT_SEQ + 64, /* count and bytes of each cause */
    BLOCKED_NS = LOST + 64,
    RUNG_TICKET = BLOCKED_NS + 64,
    PRODUCER_STATE = RUNG_TICKET + 64,
    SKIPPED = PRODUCER_STATE + 64,
    MARKS_LOST = SKIPPED + 8,
    /* consumer page */
    FREE_POS = 2 * PAGE_BYTES,
    SLEEP_TICKET = FREE_POS + 128,
};
enum { PAD = 0, DATA = 1, LOSS = 2, MARK = 4, CLOSE = 5 };
enum { FULL, TOO_LARGE, TIMEOUT, INTERRUPTED, CAUSES };
enum { PRODUCER_OPEN = 1, PRODUCER_CLOSED = 2 };
#define MAGIC_RECORD 0x44434552u

typedef struct {
    uint32_t crc, magic;
    uint64_t position, seq;
    uint32_t length;
    uint16_t type, flags;
    double t;
    int64_t step;
    uint64_t mono_ns, extra;
} record_header;
_Static_assert(sizeof(record_header) == HEADER_BYTES, "a header is 64 bytes without holes");

typedef struct {
    uint64_t cause, first_seq, last_seq, samples, payload_bytes;
    double t_first, t_last;
    uint64_t mono_first_ns, mono_last_ns;
} loss_entry;
_Static_assert(sizeof(loss_entry) == LOSS_ENTRY_BYTES, "a loss entry has no holes");

static inline uint64_t record_bytes(uint64_t payload_bytes) {
    return (HEADER_BYTES + payload_bytes + ALIGN_BYTES - 1) / ALIGN_BYTES * ALIGN_BYTES;
}

/* --- words: aligned 8-byte atomics in memory that another process has mapped, too ------------------------ */
static inline _Atomic(uint64_t) *ring_word(uint8_t *base, size_t offset) {
    return (_Atomic(uint64_t) *)(void *)(base + offset);
}
static inline uint64_t load(uint8_t *base, size_t offset) {
    return atomic_load_explicit(ring_word(base, offset), memory_order_relaxed);
}
static inline uint64_t load_acquire(uint8_t *base, size_t offset) {
    return atomic_load_explicit(ring_word(base, offset), memory_order_acquire);
}
static inline void store(uint8_t *base, size_t offset, uint64_t value) {
    atomic_store_explicit(ring_word(base, offset), value, memory_order_relaxed);
}
static inline void store_release(uint8_t *base, size_t offset, uint64_t value) {
    atomic_store_explicit(ring_word(base, offset), value, memory_order_release);
}

/* --- CRC-32 as in zlib: eight bytes per step ("slicing by 8", Kounavis and Berry, 2008) ------------------ */
static uint32_t crc_table[8][256];

static void crc_prepare(void) {
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int bit = 0; bit < 8; bit++) c = c & 1 ? 0xEDB88320u ^ (c >> 1) : c >> 1;
        crc_table[0][i] = c;
    }
    for (int k = 1; k < 8; k++)
        for (uint32_t i = 0; i < 256; i++)
            crc_table[k][i] = (crc_table[k - 1][i] >> 8) ^ crc_table[0][crc_table[k - 1][i] & 0xFF];
}

/* Of a header without its first four bytes: 60, seven steps of eight and one of four. */
static inline uint32_t header_crc(const void *header) {
    const uint8_t *at = (const uint8_t *)header + 4;
    uint32_t crc = 0xFFFFFFFFu;
    for (int i = 0; i < 7; i++, at += 8) {
        uint64_t v;
        memcpy(&v, at, 8);
        v ^= crc;
        crc = crc_table[7][v & 0xFF] ^ crc_table[6][v >> 8 & 0xFF] ^ crc_table[5][v >> 16 & 0xFF] ^
              crc_table[4][v >> 24 & 0xFF] ^ crc_table[3][v >> 32 & 0xFF] ^ crc_table[2][v >> 40 & 0xFF] ^
              crc_table[1][v >> 48 & 0xFF] ^ crc_table[0][v >> 56];
    }
    uint32_t last;
    memcpy(&last, at, 4);
    crc ^= last;
    crc = crc_table[3][crc & 0xFF] ^ crc_table[2][crc >> 8 & 0xFF] ^ crc_table[1][crc >> 16 & 0xFF] ^
          crc_table[0][crc >> 24];
    return ~crc;
}

/* --- the producer ------------------------------------------------------------------------------------------ */
typedef struct {
    uint8_t *base; /* of the segment */
    uint64_t capacity, max_record;
    uint64_t head, next_seq, rung;
    uint64_t fast_end; /* a DATA record may end up to here without looking at anything else */
    uint64_t offset;   /* where the next record begins, in the segment */
    bool half_rung;
    bool bell_due; /* the caller is to ring the bell, and to clear this */
    unsigned pending;  /* bit per cause that lost something since the last LOSS record */
    loss_entry losses[CAUSES];
} producer;

static void producer_open(producer *p, uint8_t *base, uint64_t capacity, uint64_t max_record) {
    memset(p, 0, sizeof *p);
    p->base = base;
    p->capacity = capacity;
    p->max_record = max_record;
    p->head = load(base, HEAD);
    p->next_seq = load(base, NEXT_SEQ);
    p->rung = load(base, RUNG_TICKET);
    p->offset = DATA_OFFSET + p->head % capacity;
    store(base, PRODUCER_STATE, PRODUCER_OPEN);
}

static inline void ask_bell(producer *p) {
    p->rung = load(p->base, SLEEP_TICKET);
    store(p->base, RUNG_TICKET, p->rung);
    p->bell_due = true;
}

/* Wake the consumer if it has gone to sleep since it was last woken. */
static inline void wake(producer *p) {
    if (load(p->base, SLEEP_TICKET) != p->rung) ask_bell(p);
}

static inline void announce(producer *p, uint64_t end) {
    store(p->base, INTENT_END, end);
    atomic_thread_fence(memory_order_release); /* before any byte of the payload, for readers that tap */
}

static inline void put_header(producer *p, uint64_t offset, uint64_t length, unsigned type, double t, int64_t step,
                              uint64_t mono_ns) {
    record_header h = {0, MAGIC_RECORD, p->head, p->next_seq, (uint32_t)length, (uint16_t)type, 0, t, step, mono_ns, 0};
    h.crc = header_crc(&h);
    memcpy(p->base + offset, &h, sizeof h);
}

/* One record that takes no number; there is room. A payload of NULL is padding of that size. */
static void put_control(producer *p, unsigned type, const void *payload, uint64_t length, double t, int64_t step,
                        uint64_t mono_ns) {
    uint64_t size = record_bytes(length);
    announce(p, p->head + size);
    if (payload) memcpy(p->base + p->offset + HEADER_BYTES, payload, length);
    put_header(p, p->offset, length, type, t, step, mono_ns);
    p->head += size;
    store_release(p->base, HEAD, p->head);
    p->offset = DATA_OFFSET + p->head % p->capacity;
    if (type == LOSS || type == CLOSE) p->pending = 0;
}

static uint64_t loss_payload(const producer *p, uint8_t *out) {
    uint64_t length = 0;
    for (unsigned cause = 0; cause < CAUSES; cause++)
        if (p->pending >> cause & 1) {
            memcpy(out + length, &p->losses[cause], sizeof(loss_entry));
            length += sizeof(loss_entry);
        }
    return length;
}

static void put_loss(producer *p) {
    uint8_t payload[CAUSES * LOSS_ENTRY_BYTES];
    uint64_t length = loss_payload(p, payload);
    const loss_entry *last = NULL;
    for (unsigned cause = 0; cause < CAUSES; cause++)
        if (p->pending >> cause & 1 && (!last || p->losses[cause].last_seq > last->last_seq)) last = &p->losses[cause];
    put_control(p, LOSS, payload, length, last->t_last, 0, last->mono_last_ns);
}

/* Bring the head to where a record of this size fits unbroken; false when full. The slow path of every
 * reservation: end of the lap, half full, a loss to tell, full. */
static bool make_room(producer *p, uint64_t size, uint64_t reserve) {
    uint64_t capacity = p->capacity, free_pos = load_acquire(p->base, FREE_POS);
    uint64_t loss = 0;
    if (reserve && p->pending)
        loss = record_bytes((uint64_t)__builtin_popcount(p->pending) * LOSS_ENTRY_BYTES);
    uint64_t need = loss + size, left = capacity - p->head % capacity, pad = need > left ? left : 0;
    p->offset = DATA_OFFSET + p->head % capacity; /* a sample that filled the lap left it at the lap's end */
    if (p->head + pad + need + reserve > free_pos + capacity) {
        wake(p);
        return false;
    }
    if (pad) put_control(p, PAD, NULL, left - HEADER_BYTES, 0.0, 0, 0);
    if (loss) put_loss(p);
    uint64_t in_lap = p->head % capacity, lap_end = p->head - in_lap + capacity, half = free_pos + capacity / 2;
    p->offset = DATA_OFFSET + in_lap;
    if (p->head + size <= half) {
        p->half_rung = false;
        p->fast_end = lap_end < half ? lap_end : half;
    } else {
        if (!p->half_rung) {
            p->half_rung = true;
            ask_bell(p);
        }
        uint64_t full = free_pos + capacity - CONTROL_RESERVE_BYTES;
        p->fast_end = lap_end < full ? lap_end : full;
    }
    return true;
}

/* Place of a DATA record (header included) in the segment, or -1 when full; followed by publish or resync. */
static inline int64_t reserve(producer *p, uint64_t size) {
    if (p->head + size > p->fast_end && !make_room(p, size, CONTROL_RESERVE_BYTES)) return -1;
    announce(p, p->head + size);
    return (int64_t)p->offset;
}

static inline void publish(producer *p, uint64_t size, uint64_t length, double t, int64_t step, uint64_t mono_ns) {
    put_header(p, p->offset, length, DATA, t, step, mono_ns);
    /* next_seq before head: a kill in between shows one attempt in flight, never a number twice */
    store_release(p->base, NEXT_SEQ, ++p->next_seq);
    p->head += size;
    store_release(p->base, HEAD, p->head);
    p->offset += size;
    wake(p);
}

/* What the words say is what happened: gives a reservation back, too. */
static void resync(producer *p) {
    p->head = load(p->base, HEAD);
    store(p->base, INTENT_END, p->head);
    p->next_seq = load(p->base, NEXT_SEQ);
    p->fast_end = 0; /* the next reservation finds its place anew */
}

static void lose(producer *p, unsigned cause, uint64_t payload_bytes, double t, uint64_t mono_ns) {
    loss_entry *l = &p->losses[cause];
    if (!(p->pending >> cause & 1)) {
        *l = (loss_entry){cause, p->next_seq, 0, 0, 0, t, t, mono_ns, mono_ns};
        p->pending |= 1u << cause;
    }
    l->last_seq = p->next_seq;
    l->samples++;
    l->payload_bytes += payload_bytes;
    l->t_last = t;
    l->mono_last_ns = mono_ns;
    p->fast_end = 0; /* the next record must be preceded by the LOSS */
    size_t count = LOST + 16 * (size_t)cause;
    store(p->base, INTENT_END, p->head);
    store(p->base, NEXT_SEQ, ++p->next_seq);
    store(p->base, count, load(p->base, count) + 1);
    store(p->base, count + 8, load(p->base, count + 8) + payload_bytes);
}

/* Make the ring whole after a write that began at `seq` and did not end; false: it is lost, and counted now. */
static bool recover(producer *p, uint64_t seq, uint64_t payload_bytes, double t, uint64_t mono_ns) {
    uint8_t *base = p->base;
    bool done = load(base, NEXT_SEQ) != seq && load(base, HEAD) == load(base, INTENT_END);
    if (!done) store(base, NEXT_SEQ, seq); /* a number whose record was not committed is given again */
    resync(p);
    if (!done) lose(p, INTERRUPTED, payload_bytes, t, mono_ns);
    return done;
}

/* An event; false (and counted) when even the reserve is full, but for the close. */
static bool mark(producer *p, const void *payload, uint64_t length, double t, int64_t step, uint64_t mono_ns) {
    if (!make_room(p, record_bytes(length), record_bytes(MAX_MARK_BYTES))) {
        store(p->base, MARKS_LOST, load(p->base, MARKS_LOST) + 1);
        return false;
    }
    put_control(p, MARK, payload, length, t, step, mono_ns);
    wake(p);
    return true;
}

static void producer_close(producer *p, double t, int64_t step, uint64_t mono_ns) {
    uint8_t payload[CLOSE_PREFIX_BYTES + CAUSES * LOSS_ENTRY_BYTES];
    uint64_t prefix[2] = {p->next_seq, load(p->base, MARKS_LOST)};
    memcpy(payload, prefix, sizeof prefix);
    uint64_t length = sizeof prefix + loss_payload(p, payload + sizeof prefix);
    if (make_room(p, record_bytes(length), 0)) put_control(p, CLOSE, payload, length, t, step, mono_ns);
    store_release(p->base, PRODUCER_STATE, PRODUCER_CLOSED);
    ask_bell(p);
}

/* --- the consumer ------------------------------------------------------------------------------------------ */

/* How many DATA headers, one behind the other, are what must stand there; the first seq is taken from the first. */
static size_t prove_run(const uint8_t *region, size_t most, uint64_t stride, uint64_t position, uint64_t length,
                        bool checksums, uint64_t *first_seq) {
    for (size_t n = 0; n < most; n++) {
        record_header h;
        memcpy(&h, region + n * stride, sizeof h);
        if (n == 0) *first_seq = h.seq;
        if (h.type != DATA || h.magic != MAGIC_RECORD || h.position != position + n * stride ||
            h.seq != *first_seq + n || h.length != length || (checksums && h.crc != header_crc(&h)))
            return n;
    }
    return most;
}

#endif
