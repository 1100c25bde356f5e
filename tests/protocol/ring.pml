/* The ring's protocol: one producer, one consumer, one tap, and the store buffers between them and the memory.

   Spin walks through every interleaving of what follows, with every order in which stores may become visible, and
   checks each assertion in every state: exhaustive within the bounds below, no sampling. test_model.py runs it.

   WHAT IS MODELLED
   The words of shared memory (`mem`), the data area among them: a record is a header and, for a sample, two words of
   payload. A sample is published, lost because the ring is full (and told in a LOSS record before the next one),
   aborted, or interrupted (and so lost) after any of its stores. PAD fills a lap. The consumer reads records, brings
   one or some to safety, and frees: three things. It may die between any two steps, and its successor goes on at what
   is safe. The producer may be killed between any two steps; what is in its store buffer still becomes visible.

   MEMORY
   -DTSO: the store buffer is a queue (x86, which the pure-Python ring relies upon). Otherwise stores to different
   words become visible in any order unless a fence or a release stands between them (PSO; for Arm and RISC-V); that
   includes all that TSO allows, so what holds here holds there. A full fence waits until the buffer is empty, and so
   does a post of the semaphore. Loads: a tap's happen in any order between its acquire load of
   head and its acquire fence. The consumer's happen in order; HEAD_NOT_ACQUIRED shows what one that comes too early
   does, FREE_EARLY one that comes too late (free_pos must be a release).
   A word that is looked at only when the producer is gone (next_seq, lost; intent_end but for taps) is
   written without the buffer: all of it is visible by then.

   THREE QUESTIONS, asked one at a time: none changes the answer to another, for a tap writes nothing, and a sleep is
   a delay, which any step may have
   RECORDS  Each published sample is read once, in order, whole; each loss is told; at the end, attempts = read + lost,
            and one more in flight only if the producer was killed (so its next_seq tells); head is old or new, and
            what lies half-written beyond it lies below intent_end.
   TAP      A copy that counts is the sample that its header names. The consumer is any: it frees what it may, when it
            likes.
   WAKE     With a full fence on both sides no wake-up is lost at all: a consumer that sleeps without a timeout never
            sleeps on while something is published. -DBOUNDED, and no fence (pure Python): a wake-up may be lost, and
            a sleep that ends by itself is all it takes to read everything. Death is left out: a producer killed
            between its commit and its post wakes nobody, and needs the bounded sleep too. A record is one word here:
            sleeping is about head only.

   THE TAP'S CHECK, position + capacity >= intent_end, needs an intent_end that never goes back. An aborted or
   interrupted reservation has overwritten the oldest records; once intent_end equals head again, nothing tells. This
   model keeps it where it was. -DINTENT_GOES_BACK sets it back, as ring.py does: then the check has to leave a margin
   for the largest reservation (-DTAP_MARGIN), and fails without.

   WHAT IS NOT
   A header is one word: the checksum makes half a header no record. The control reserve and odd sizes are arithmetic:
   tests/model looks at them. MARK and CLOSE are control records like LOSS. An aligned word never tears (layout.py).
   Machines on which two readers may see stores of two writers in different orders (POWER) are not covered.

   BOUNDS
   A data area of 7 words and samples of 3 (WAKE: 3 and 1), SAMPLES of them: more than a lap with 3, two laps with 4.
   One abort or interrupt; one death of the consumer, one of the producer.

   MUTANTS, each of which must fail, with the assertion that test_model.py says
   NO_INTENT_FENCE  INTENT_LATE  INTENT_GOES_BACK  HEAD_EARLY  HEAD_NOT_RELEASED  HEAD_NOT_ACQUIRED  NEXT_SEQ_LATE
   FREE_EARLY  FREE_UNSAFE  FREE_PADDING  TAP_NOT_CHECKED  TAP_NOT_FENCED  NOT_RECHECKED  NO_PRODUCER_FENCE
   NO_CONSUMER_FENCE  DOORBELL_EARLY */

#ifdef WAKE
#define CELLS 3
#define SAMPLE 1
#else
#define CELLS 7
#define SAMPLE 3
#endif
#ifndef SAMPLES
#define SAMPLES 4
#endif

/* --- memory ------------------------------------------------------------------------------------- */

#define HEAD CELLS
#define INTENT (CELLS + 1)
#define NEXT_SEQ (CELLS + 2)
#define LOST (CELLS + 3)
#define FREE (CELLS + 4)
#define TICKET (CELLS + 5)

/* What a word of the data area holds: all zero is memory that was never written. Payload carries its place and number. */
#define PAYLOAD 0
#define PAD 1
#define DATA 2
#define LOSS 3
#define CELL(kind, position, seq, n) (((kind) << 11) + (((position) + 1) << 6) + ((seq) << 3) + (n))
#define KIND(cell) ((cell) >> 11)
#define POSITION(cell) ((((cell) >> 6) & 31) - 1)
#define SEQ(cell) (((cell) >> 3) & 7)
#define COUNT(cell) ((cell) & 7) /* LOSS: samples lost; else 1 if the write was aborted */

short mem[CELLS + 6];
byte bell; /* the semaphore */
bool finished, killed;

/* What must never be. */
bool impossible_head, no_record, out_of_order, torn, torn_copy, never_woken, unaccounted, unannounced;

inline forbid(what, happens) {
  d_step {
    what = (happens);
    assert(!what)
  }
}

/* --- store buffers ------------------------------------------------------------------------------ */

#define P 0 /* the producer's */
#define C 1 /* the consumer's; it matters only where it stores two words */
#define DEPTH 6
#define BUFFER stores[who]

typedef Stores {
  byte n;
  byte at[DEPTH];
  short value[DEPTH];
  bit fenced[DEPTH]; /* what stands before it in the buffer comes first */
  bit fence          /* ... and so for the next store */
};
Stores stores[2];

/* A store, with a store-store fence before it (a release) or after it. */
inline store(who, fence_before, where, what, fence_after) {
  atomic {
    BUFFER.n < DEPTH;
    d_step {
      BUFFER.at[BUFFER.n] = where;
      BUFFER.value[BUFFER.n] = what;
      BUFFER.fenced[BUFFER.n] = (BUFFER.n > 0 && (fence_before || BUFFER.fence));
      BUFFER.n = BUFFER.n + 1;
      BUFFER.fence = fence_after
    }
  }
}

inline full_fence(who) {
  BUFFER.n == 0
}

inline drain(k) {
  d_step {
    mem[BUFFER.at[k]] = BUFFER.value[k];
    i = k + 1;
    do
    :: i < BUFFER.n ->
       BUFFER.at[i - 1] = BUFFER.at[i];
       BUFFER.value[i - 1] = BUFFER.value[i];
       BUFFER.fenced[i - 1] = BUFFER.fenced[i];
       i++
    :: else -> break
    od;
    i = 0;
    BUFFER.n = BUFFER.n - 1;
    BUFFER.at[BUFFER.n] = 0;
    BUFFER.value[BUFFER.n] = 0;
    BUFFER.fenced[BUFFER.n] = 0;
    BUFFER.fenced[0] = 0;
    BUFFER.fence = BUFFER.fence && BUFFER.n > 0
  }
}

/* The k-th store may overtake those before it: no fence in between, and none is to the same word. */
#define MAY1 (BUFFER.n > 1 && !BUFFER.fenced[1])
#define MAY2 (MAY1 && BUFFER.n > 2 && !BUFFER.fenced[2])
#define MAY3 (MAY2 && BUFFER.n > 3 && !BUFFER.fenced[3])
#define MAY4 (MAY3 && BUFFER.n > 4 && !BUFFER.fenced[4])
#define MAY5 (MAY4 && BUFFER.n > 5 && !BUFFER.fenced[5])
#define APART(a, b) (BUFFER.at[a] != BUFFER.at[b])

proctype Memory(byte who) {
  byte i;
end:
  do
  :: BUFFER.n > 0 -> drain(0)
#ifndef TSO
  :: MAY1 && APART(1, 0) -> drain(1)
  :: MAY2 && APART(2, 0) && APART(2, 1) -> drain(2)
  :: MAY3 && APART(3, 0) && APART(3, 1) && APART(3, 2) -> drain(3)
  :: MAY4 && APART(4, 0) && APART(4, 1) && APART(4, 2) && APART(4, 3) -> drain(4)
  :: MAY5 && APART(5, 0) && APART(5, 1) && APART(5, 2) && APART(5, 3) && APART(5, 4) -> drain(5)
#endif
  od
}

/* --- the producer: client/recd_client/ring.py, RingProducer -------------------------------------- */

#ifdef NO_INTENT_FENCE
#define INTENT_FENCE 0
#else
#define INTENT_FENCE 1
#endif
#ifdef HEAD_NOT_RELEASED
#define HEAD_RELEASE 0
#else
#define HEAD_RELEASE 1
#endif

inline announce(end) {
  atomic {
#ifndef INTENT_GOES_BACK
    intent = (end > intent -> end : intent);
#else
    intent = end;
#endif
#ifdef TAP
    store(P, 0, INTENT, intent, INTENT_FENCE);
#else
    mem[INTENT] = intent;
    stores[P].fence = (stores[P].n > 0 && INTENT_FENCE);
#endif
#ifdef INTENT_GOES_BACK
    intent = 0
#endif
  }
}

inline commit(size) {
  store(P, HEAD_RELEASE, HEAD, head + size, 0)
}

inline ring_doorbell() {
  rung = mem[TICKET];
  atomic {
    full_fence(P);
    bell++
  }
}

inline wake() {
#ifdef WAKE
#ifndef NO_PRODUCER_FENCE
  full_fence(P);
#endif
  if
  :: mem[TICKET] != rung -> ring_doorbell()
  :: else
  fi
#else
  skip
#endif
}

inline lose() {
  atomic {
    first = (untold == 0 -> seq : first);
    untold++;
    gone++;
    seq++;
    mem[NEXT_SEQ] = seq
  };
  mem[LOST] = gone
}

/* PAD and LOSS: a header says it all, and no number is taken. */
inline control(kind, size, number, n) {
#ifndef INTENT_LATE
  announce(head + size);
#endif
#ifdef HEAD_EARLY
  commit(size);
#endif
  store(P, 0, head % CELLS, CELL(kind, head, number, n), 0);
#ifdef INTENT_LATE
  announce(head + size);
#endif
  atomic {
#ifndef HEAD_EARLY
    commit(size);
#endif
    head = head + size
  }
}

/* The last store of an aborted write. */
#define LAST(step)          \
  if                        \
  :: stop == step -> goto aborted \
  :: else                   \
  fi

proctype Producer() {
  byte head, freed, seq, rung, need, pad, untold, first, gone, intent;
  byte stop; /* the step after which this write is aborted; 0: never */
  bit aborted_once;
  {
    do
    :: break
    :: seq < SAMPLES ->
       atomic {
         need = SAMPLE + (untold > 0 -> 1 : 0);
         pad = (need > CELLS - head % CELLS -> CELLS - head % CELLS : 0);
         need = head + pad + need;
#ifdef TAP
         if /* whatever a consumer does, it frees no more than it may read */
         :: need <= mem[HEAD] + CELLS -> need = 0
         :: need = 0; pad = 0; goto no_room
         fi
#else
         freed = (need > freed + CELLS -> mem[FREE] : freed);
         if
         :: need > freed + CELLS -> need = 0; pad = 0; goto no_room
         :: else -> need = 0
         fi
#endif
       };
#ifdef WAKE
       if
       :: ring_doorbell() /* half full */
       :: skip
       fi;
#endif
       if
       :: pad > 0 -> control(PAD, pad, seq, 0); pad = 0
       :: else
       fi;
       if
       :: untold > 0 ->
          control(LOSS, 1, first, untold);
          d_step { untold = 0; first = 0 }
       :: else
       fi;
#ifndef WAKE
       if
       :: !aborted_once -> aborted_once = 1;
          if
          :: stop = 1
          :: stop = 2
          :: stop = 3
          :: stop = 4
          fi
       :: skip
       fi;
#endif
#ifndef INTENT_LATE
       announce(head + SAMPLE);
#endif
#if SAMPLE > 1
       atomic { store(P, 0, (head + 1) % CELLS, CELL(PAYLOAD, head + 1, seq, stop > 0), 0); LAST(1) };
       atomic { store(P, 0, (head + 2) % CELLS, CELL(PAYLOAD, head + 2, seq, stop > 0), 0); LAST(2) };
#endif
#ifdef HEAD_EARLY
       commit(SAMPLE);
#endif
       atomic { store(P, 0, head % CELLS, CELL(DATA, head, seq, stop > 0), 0); LAST(3) };
#ifdef INTENT_LATE
       announce(head + SAMPLE);
#endif
#ifdef NEXT_SEQ_LATE
       commit(SAMPLE);
#endif
       atomic { mem[NEXT_SEQ] = seq + 1; LAST(4) };
#ifdef DOORBELL_EARLY
       wake();
#endif
       atomic {
#if !defined(HEAD_EARLY) && !defined(NEXT_SEQ_LATE)
         commit(SAMPLE);
#endif
         seq++;
         head = head + SAMPLE
       };
#ifndef DOORBELL_EARLY
       wake();
#endif
       goto next;
aborted:
       stop = 0;
       mem[NEXT_SEQ] = seq;
#ifdef INTENT_GOES_BACK
#ifdef TAP
       store(P, 0, INTENT, head, 0);
#else
       mem[INTENT] = head;
#endif
#endif
       if
       :: lose() /* interrupted: the attempt is lost */
       :: skip   /* aborted: there was none */
       fi;
       goto next;
no_room:
       lose();
       wake();
next:
       skip
    od
  } unless { killed };
  finished = true
}

#ifdef RECORDS
active proctype Killer() {
end:
  atomic { !finished && !killed -> killed = true }
}
#endif

/* --- the consumer: RingConsumer, and the worker that has it --------------------------------------- */

#define QUIET (finished && stores[P].n == 0) /* nothing more will come */

#ifdef WAKE
#ifdef BOUNDED
#define TICKETS 2 /* a ticket taken for another is one more lost wake-up */
#else
#define TICKETS 8
#endif
#define free(position) store(C, 1, FREE, position, 0)
#else
#define free(position) mem[FREE] = position /* its only store: a delay of it is a delay of the consumer */
#endif

/* What an aborted write has left above intent_end when that is set back. */
#ifndef INTENT_GOES_BACK
#define TAKEN_BACK(cell) false
#else
#define TAKEN_BACK(cell) (KIND(cell) != LOSS && COUNT(cell))
#endif

proctype Consumer() {
  byte pos, head, freed, ticket, i;
  byte expected, samples;                /* read: the next number, samples */
  byte safe, safe_expected, safe_samples; /* the same of what is safe */
  short header, early;
  bit died;
  do
#ifdef HEAD_NOT_ACQUIRED
  :: pos == head && early == 0 && mem[(pos + 1) % CELLS] != 0 -> early = mem[(pos + 1) % CELLS]
#endif
  :: pos == head && mem[HEAD] != head ->
     d_step {
       forbid(impossible_head, mem[HEAD] < head || mem[HEAD] > freed + CELLS);
       head = mem[HEAD]
     };
#ifdef FREE_EARLY
     free(head)
#endif
  :: pos < head ->
     atomic {
       header = mem[pos % CELLS];
       forbid(no_record, POSITION(header) != pos || KIND(header) == PAYLOAD);
       forbid(out_of_order, KIND(header) != PAD && SEQ(header) != expected)
     };
     if
     :: KIND(header) == PAD ->
        atomic { pos = pos + CELLS - pos % CELLS; header = 0 };
#ifdef FREE_PADDING
        free(pos)
#endif
     :: else ->
#if SAMPLE > 1
        if
        :: KIND(header) == DATA ->
           d_step {
             early = (early == 0 -> mem[(pos + 1) % CELLS] : early);
             forbid(torn, early != CELL(PAYLOAD, pos + 1, expected, 0));
             early = 0
           };
           forbid(torn, mem[(pos + 2) % CELLS] != CELL(PAYLOAD, pos + 2, expected, 0))
        :: else
        fi;
#endif
        atomic {
          if
          :: KIND(header) == DATA -> expected++; samples++; pos = pos + SAMPLE
          :: else -> expected = expected + COUNT(header); pos++
          fi;
          header = 0;
          if
          :: safe = pos; safe_expected = expected; safe_samples = samples
#ifndef WAKE
          :: skip /* safe together with the next */
#endif
          fi
        }
     fi
#ifdef FREE_UNSAFE
  :: freed < pos -> freed = pos; free(pos)
#else
  :: freed < safe -> freed = safe; free(safe)
#endif
#ifdef RECORDS
  :: !died -> /* a successor knows what is safe and nothing else */
     d_step {
       died = 1;
       pos = safe;
       head = safe;
       freed = safe;
       expected = safe_expected;
       samples = safe_samples;
       early = 0
     };
     free(safe)
#endif
#ifdef WAKE
  :: pos == head && mem[HEAD] == head && !QUIET -> /* looked, and there is nothing */
     ticket = (ticket + 1) % TICKETS;
     store(C, 0, TICKET, ticket, 0);
#ifndef NO_CONSUMER_FENCE
     full_fence(C);
#endif
     if
#ifdef NOT_RECHECKED
     :: true ->
#else
     :: mem[HEAD] != head
     :: else ->
#endif
        if
        :: bell > 0 ->
           do
           :: bell > 0 -> bell--
           :: else -> break
           od
        :: QUIET && mem[HEAD] == head
#ifdef BOUNDED
        :: true
#else
        :: QUIET && mem[HEAD] != head && bell == 0 -> forbid(never_woken, true)
#endif
        fi
     fi
#endif
  :: QUIET && pos == head && mem[HEAD] == head -> break
  od;
  skip;
  d_step {
    i = mem[NEXT_SEQ] - samples - mem[LOST];
    forbid(unaccounted, mem[NEXT_SEQ] < expected || (i > 0 && !killed) || i > 1);
    i = 0;
    do
    :: i < CELLS ->
       forbid(unannounced, POSITION(mem[i]) >= mem[HEAD] && POSITION(mem[i]) >= mem[INTENT] && !TAKEN_BACK(mem[i]));
       i++
    :: else -> break
    od;
    i = 0
  }
}

/* --- a tap ----------------------------------------------------------------------------------------- */

#ifdef TAP_MARGIN
#define MARGIN SAMPLE /* the largest reservation */
#else
#define MARGIN 0
#endif

/* Copies one record, which is no different from copying many: nothing is remembered. */
proctype Tap() {
  byte head, pos, intent, loaded;
  short header, first, second;
end:
  atomic {
    mem[HEAD] > 0 -> head = mem[HEAD]; pos = head - 1;
    do
    :: pos > 0 && pos + CELLS > head -> pos--
    :: break
    od;
    head = 0;
    if
    :: KIND(mem[pos % CELLS]) != DATA || POSITION(mem[pos % CELLS]) != pos -> goto rejected
    :: else /* otherwise it never will be a record: do not even begin */
    fi
  };
  do
  :: !(loaded & 1) ->
     atomic {
       header = mem[pos % CELLS];
       loaded = loaded | 1;
       if
       :: KIND(header) != DATA || POSITION(header) != pos -> goto rejected
       :: else
       fi
     }
  :: !(loaded & 2) -> d_step { first = mem[(pos + 1) % CELLS]; loaded = loaded | 2 }
  :: !(loaded & 4) -> d_step { second = mem[(pos + 2) % CELLS]; loaded = loaded | 4 }
#ifdef TAP_NOT_FENCED
  :: !(loaded & 8) -> d_step { intent = mem[INTENT]; loaded = loaded | 8 }
  :: loaded == 15 -> break
#else
  :: loaded == 7 -> intent = mem[INTENT]; break
#endif
  od;
#ifndef TAP_NOT_CHECKED
  if
  :: pos + CELLS < intent + MARGIN -> goto rejected
  :: else
  fi;
#endif
  forbid(torn_copy, header != CELL(DATA, pos, SEQ(header), 0)
                || first != CELL(PAYLOAD, pos + 1, SEQ(header), 0)
                || second != CELL(PAYLOAD, pos + 2, SEQ(header), 0));
rejected:
  skip;
  d_step { header = 0; first = 0; second = 0; intent = 0; loaded = 0; pos = 0 }
}

init {
  atomic {
    run Memory(P);
    run Producer();
#ifdef TAP
    run Tap()
#else
#ifdef WAKE
    run Memory(C);
#endif
    run Consumer()
#endif
  }
}
