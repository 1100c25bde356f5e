/* A producer and a consumer at full speed, as two threads (for ThreadSanitizer) or two processes.
 *
 *   ring_stress threads|processes CAPACITY ATTEMPTS FIXED_BYTES|-1 drop|wait SEED
 *
 * Whatever arrives is checked byte by byte; what is lost must be told, once and in its place.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ring.h"

static uint8_t *base;
static uint64_t capacity, attempts, seed;
static long fixed_bytes;
static bool drops;
static pid_t child; /* the producer, where it is a process */

#define CHECK(what) \
    do { \
        if (!(what)) { \
            fprintf(stderr, "line %d: not so: %s\n", __LINE__, #what); \
            _exit(1); \
        } \
    } while (0)

/* Chance that both sides know: of a sample's number alone. */
static uint64_t chance(uint64_t number) {
    uint64_t x = (number + seed) * 0x9E3779B97F4A7C15u;
    x = (x ^ x >> 29) * 0xBF58476D1CE4E5B9u;
    return x ^ x >> 32;
}

static uint64_t length_of(uint64_t seq) {
    return fixed_bytes >= 0 ? (uint64_t)fixed_bytes : chance(seq) % (chance(seq + 1) % 16 ? 200 : capacity / 4 - 64);
}

static uint8_t byte_of(uint64_t seq, uint64_t i) { return (uint8_t)(chance(seq) >> (i % 8) * 8) ^ (uint8_t)i; }

static void *produce(void *unused) {
    (void)unused;
    producer p;
    producer_open(&p, base, capacity, capacity / 4);
    while (p.next_seq < attempts) {
        uint64_t seq = p.next_seq, length = length_of(seq), size = record_bytes(length);
        uint64_t dice = chance(seq + 2) % 64;
        if (dice == 0) mark(&p, &seq, sizeof seq, (double)seq, (int64_t)seq, seq);
        if (dice == 1) {
            lose(&p, TOO_LARGE, length, (double)seq, seq);
            continue;
        }
        int64_t at = reserve(&p, size);
        if (at < 0) {
            if (drops) lose(&p, FULL, length, (double)seq, seq);
            if (!drops || dice < 16) sched_yield(); /* or nothing but losses would follow */
            p.bell_due = false;
            continue;
        }
        uint64_t done = dice == 2 ? length / 2 : length;
        for (uint64_t i = 0; i < done; i++) base[(uint64_t)at + HEADER_BYTES + i] = byte_of(seq, i);
        if (dice == 2) /* interrupted: given back, and lost */
            CHECK(!recover(&p, seq, length, (double)seq, seq));
        else
            publish(&p, size, length, (double)seq, (int64_t)seq, seq);
        p.bell_due = false;
    }
    producer_close(&p, (double)attempts, (int64_t)attempts, attempts);
    return NULL;
}

typedef struct {
    uint64_t position, free_pos, next_seq, read, lost, marks;
    bool closed;
} account;

static void told(account *a, const uint8_t *entries, uint64_t length) {
    uint64_t first = UINT64_MAX, last = 0, samples = 0;
    CHECK(length % LOSS_ENTRY_BYTES == 0);
    for (uint64_t at = 0; at < length; at += LOSS_ENTRY_BYTES) {
        loss_entry e;
        memcpy(&e, entries + at, sizeof e);
        CHECK(e.cause < CAUSES && e.samples && e.t_first == (double)e.first_seq && e.mono_last_ns == e.last_seq);
        if (e.first_seq < first) first = e.first_seq;
        if (e.last_seq > last) last = e.last_seq;
        samples += e.samples;
    }
    if (!samples) return;
    CHECK(first == a->next_seq && last + 1 - first == samples);
    a->next_seq += samples;
    a->lost += samples;
}

static void sample(account *a, const uint8_t *record, const record_header *h) {
    CHECK(h->seq == a->next_seq && h->length == length_of(h->seq) && h->step == (int64_t)h->seq);
    for (uint64_t i = 0; i < h->length; i++) CHECK(record[HEADER_BYTES + i] == byte_of(h->seq, i));
    a->next_seq++;
    a->read++;
}

/* The records up to `head` or to the end of the lap. */
static void take(account *a, uint64_t head) {
    uint64_t in_lap = a->position % capacity, left = capacity - in_lap;
    uint64_t end = head - a->position < left ? head : a->position + left;
    if (fixed_bytes >= 0) { /* the prover finds at least the samples that stand there one behind the other */
        uint64_t first_seq = 0, size = record_bytes((uint64_t)fixed_bytes);
        size_t n = prove_run(base + DATA_OFFSET + in_lap, (end - a->position) / size, size, a->position,
                             (uint64_t)fixed_bytes, true, &first_seq);
        CHECK(n == 0 || first_seq == a->next_seq);
    }
    while (a->position < end) {
        const uint8_t *record = base + DATA_OFFSET + a->position % capacity;
        record_header h;
        memcpy(&h, record, sizeof h);
        CHECK(h.magic == MAGIC_RECORD && h.position == a->position && h.crc == header_crc(&h));
        CHECK(record_bytes(h.length) <= end - a->position);
        if (h.type == DATA) sample(a, record, &h);
        if (h.type == LOSS) told(a, record + HEADER_BYTES, h.length);
        if (h.type == MARK) a->marks++;
        if (h.type == CLOSE) {
            uint64_t prefix[2];
            memcpy(prefix, record + HEADER_BYTES, sizeof prefix);
            told(a, record + HEADER_BYTES + CLOSE_PREFIX_BYTES, h.length - CLOSE_PREFIX_BYTES);
            CHECK(prefix[0] == a->next_seq && prefix[1] == load(base, MARKS_LOST));
            a->closed = true;
        }
        a->position += record_bytes(h.length);
    }
}

static int consume(void) {
    account a = {0};
    for (uint64_t round = 0; !a.closed; round++) {
        uint64_t head = load_acquire(base, HEAD);
        CHECK(head >= a.position && head <= a.free_pos + capacity && head % ALIGN_BYTES == 0);
        CHECK(load(base, INTENT_END) % ALIGN_BYTES == 0);
        if (head == a.position) {
            a.free_pos = a.position; /* somebody may wait for just that */
            store_release(base, FREE_POS, a.free_pos);
            store(base, SLEEP_TICKET, load(base, SLEEP_TICKET) + 1);
            atomic_thread_fence(memory_order_seq_cst);
            if (child && waitpid(child, NULL, WNOHANG) == child) {
                child = 0;
                CHECK(load_acquire(base, HEAD) != a.position); /* it ended, and not without a close */
            }
            sched_yield();
            continue;
        }
        take(&a, head);
        if (chance(round) % 4 || a.position - a.free_pos > capacity / 2) {
            a.free_pos = a.position;
            store_release(base, FREE_POS, a.free_pos);
        }
    }
    uint64_t lost = 0;
    for (unsigned cause = 0; cause < CAUSES; cause++) lost += load(base, LOST + 16 * cause);
    CHECK(a.read + a.lost == attempts && a.next_seq == attempts && lost == a.lost);
    CHECK(load(base, NEXT_SEQ) == attempts && load(base, HEAD) == load(base, INTENT_END));
    printf("%lu read, %lu lost, %lu marks, %lu laps\n", (unsigned long)a.read, (unsigned long)a.lost,
           (unsigned long)a.marks, (unsigned long)(a.position / capacity));
    return 0;
}

int main(int argc, char **argv) {
    CHECK(argc == 7);
    capacity = strtoull(argv[2], NULL, 10);
    attempts = strtoull(argv[3], NULL, 10);
    fixed_bytes = strtol(argv[4], NULL, 10);
    drops = !strcmp(argv[5], "drop");
    seed = strtoull(argv[6], NULL, 10);
    crc_prepare();
    base = mmap(NULL, DATA_OFFSET + capacity, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(base != MAP_FAILED);
    if (!strcmp(argv[1], "threads")) {
        pthread_t thread;
        CHECK(!pthread_create(&thread, NULL, produce, NULL));
        consume();
        CHECK(!pthread_join(thread, NULL));
        return 0;
    }
    child = fork();
    CHECK(child >= 0);
    if (!child) {
        produce(NULL);
        _exit(0);
    }
    int status;
    consume();
    CHECK(!child || (waitpid(child, &status, 0) == child && status == 0));
    return 0;
}
