/* The native backend of recd_client: what a write costs is what recording takes from the simulation.
 *
 * Times, Gate, RingProducer and RingConsumer have the interface of their namesakes in clock.py and ring.py.
 * Writer is the base of writer.NativeWriter: its `write` takes the ordinary sample into the ring in one call and
 * without a Python object in between; whatever is not ordinary (a full ring, a pause, a value that needs
 * converting, an error) it leaves, untouched, to `write_any` in Python.
 *
 * No header of numpy is needed to build this: the head of an array object, whose layout numpy keeps as part of its
 * ABI, is declared below, and recd_client.native compares what is read through it with what numpy says itself.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <math.h>
#include <pthread.h>
#include <stddef.h>
#include <structmember.h>
#include <time.h>

#include "copy.h"
#include "ring.h"

/* Copies from this size on, 20 us and more, let other threads run. Below, taking the lock back costs more than they
 * gain: a thread that computes gives it back only after 5 ms. */
enum { UNLOCKED_COPY_BYTES = 1 << 20 };
enum { MAX_FIELDS = 64 };
enum { IDLE, BUSY, WRITER_CLOSED, FORKED }; /* writer.py */

typedef struct {
    PyObject_HEAD
    uint8_t *data;
    int nd;
    Py_ssize_t *shape, *strides;
    PyObject *base, *descr;
    int flags;
} array_object;
enum { C_CONTIGUOUS = 1 };

/* Of types of other libraries, a function that gives a value's numpy view, or None; see arrays.py. */
static PyObject *hosts;
static PyObject *ndarray_type, *float64_type, *str_t, *str_step, *str_data, *str_write_any, *str_claim_any;

static uint64_t monotonic_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* The one in *at is let go of after the new one is there (Py_XSETREF is not part of the limited API). */
static void replace(PyObject **at, PyObject *value) {
    PyObject *old = *at;
    Py_INCREF(value);
    *at = value;
    Py_XDECREF(old);
}

static void free_object(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    freefunc free_it = (freefunc)PyType_GetSlot(type, Py_tp_free);
    free_it(self);
    Py_DECREF(type);
}

/* Without a GIL, another thread may change the dict that is looked at. */
#ifdef Py_GIL_DISABLED
#define BEGIN_EXCLUSIVE(o) Py_BEGIN_CRITICAL_SECTION(o)
#define END_EXCLUSIVE() Py_END_CRITICAL_SECTION()
#else
#define BEGIN_EXCLUSIVE(o) {
#define END_EXCLUSIVE() }
#endif

/* --- Times: the numbers of a Clock ------------------------------------------------------------------------- */
typedef struct {
    PyObject_HEAD
    double dt, last_t; /* NaN: no dt */
    char has_last;
    long long step, last_step, opened_ns;
} times_object;

static PyObject *times_dt(PyObject *self, void *unused) {
    double dt = ((times_object *)self)->dt;
    if (dt == dt) return PyFloat_FromDouble(dt);
    Py_RETURN_NONE;
}

static PyObject *times_last_t(PyObject *self, void *unused) {
    times_object *t = (times_object *)self;
    if (t->has_last) return PyFloat_FromDouble(t->last_t);
    Py_RETURN_NONE;
}

static int as_double(PyObject *value, double *out) {
    if (!value) {
        PyErr_SetString(PyExc_AttributeError, "cannot be deleted");
        return -1;
    }
    *out = value == Py_None ? NAN : PyFloat_AsDouble(value);
    return PyErr_Occurred() ? -1 : 0;
}

static int set_times_dt(PyObject *self, PyObject *value, void *unused) {
    return as_double(value, &((times_object *)self)->dt);
}

static int set_times_last_t(PyObject *self, PyObject *value, void *unused) {
    times_object *t = (times_object *)self;
    if (as_double(value, &t->last_t) < 0) return -1;
    t->has_last = value != Py_None;
    return 0;
}

static PyMemberDef times_members[] = {
    {"step", T_LONGLONG, offsetof(times_object, step), 0, NULL},
    {"last_step", T_LONGLONG, offsetof(times_object, last_step), 0, NULL},
    {"opened_ns", T_LONGLONG, offsetof(times_object, opened_ns), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};
static PyGetSetDef times_getset[] = {
    {"dt", times_dt, set_times_dt, NULL, NULL},
    {"last_t", times_last_t, set_times_last_t, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};
static PyType_Slot times_slots[] = {
    {Py_tp_members, times_members},
    {Py_tp_getset, times_getset},
    {Py_tp_dealloc, free_object},
    {0, NULL},
};
static PyType_Spec times_spec = {
    "recd_client._ring.Times", sizeof(times_object), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, times_slots};

/* --- Gate: as in clock.py, step for step -------------------------------------------------------------------- */
typedef struct {
    PyObject_HEAD
    double period, dt, start, last, next;
} gate_object;

static bool gate_is_due(gate_object *g, double t) {
    if (!isfinite(t)) return true;
    double last = g->last;
    g->last = t;
    if (t < last || last != last) {
        g->start = t;
        g->next = t + g->period;
        return true;
    }
    double step = g->dt ? g->dt : t - last;
    double half = 0.5 * (g->period < step ? g->period : step);
    if (t + half < g->next - 1e-9 * g->period) return false;
    g->next = g->start + (floor((t + half - g->start) / g->period + 1e-9) + 1) * g->period;
    return true;
}

static PyObject *gate_restart(PyObject *self, PyObject *unused) {
    gate_object *g = (gate_object *)self;
    g->start = g->last = NAN;
    g->next = -INFINITY;
    Py_RETURN_NONE;
}

static PyObject *gate_due(PyObject *self, PyObject *t) {
    double at = PyFloat_AsDouble(t);
    if (PyErr_Occurred()) return NULL;
    return PyBool_FromLong(gate_is_due((gate_object *)self, at));
}

static int gate_init(PyObject *self, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"hz", "dt", NULL};
    PyObject *dt;
    double hz;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "dO", names, &hz, &dt)) return -1;
    gate_object *g = (gate_object *)self;
    g->period = 1.0 / hz;
    g->dt = dt == Py_None ? 0.0 : PyFloat_AsDouble(dt);
    if (PyErr_Occurred()) return -1;
    gate_restart(self, NULL);
    return 0;
}

static PyMethodDef gate_methods[] = {
    {"is_due", gate_due, METH_O, "Whether the sample at ``t`` is to be kept; advances the grid if so."},
    {"restart", gate_restart, METH_NOARGS, "Make the next sample due, and the first of a new grid."},
    {NULL, NULL, 0, NULL},
};
static PyType_Slot gate_slots[] = {
    {Py_tp_init, gate_init}, {Py_tp_methods, gate_methods}, {Py_tp_dealloc, free_object}, {0, NULL}};
static PyType_Spec gate_spec = {"recd_client._ring.Gate", sizeof(gate_object), 0, Py_TPFLAGS_DEFAULT, gate_slots};

/* --- RingProducer --------------------------------------------------------------------------------------------- */
typedef struct {
    PyObject_HEAD
    producer p;
    PyObject *memory;   /* the array that keeps the mapping alive; NULL once released */
    PyObject *doorbell; /* callable */
} producer_object;

static bool is_array(PyObject *o) { return (PyObject *)Py_TYPE(o) == ndarray_type; }

/* Call the doorbell if the ring asks for it; -1 with an exception set if that failed. */
static int ring_bell(producer_object *self) {
    if (!self->p.bell_due) return 0;
    self->p.bell_due = false;
    PyObject *done = PyObject_CallNoArgs(self->doorbell);
    Py_XDECREF(done);
    return done ? 0 : -1;
}

static bool is_released(producer_object *self) {
    if (self->memory) return false;
    PyErr_SetString(PyExc_ValueError, "the ring is released");
    return true;
}

static int producer_init(PyObject *self, PyObject *args, PyObject *kwargs) {
    producer_object *o = (producer_object *)self;
    PyObject *memory, *doorbell;
    unsigned long long capacity, max_record;
    if (!PyArg_ParseTuple(args, "OOKK", &memory, &doorbell, &capacity, &max_record)) return -1;
    if (!is_array(memory)) {
        PyErr_SetString(PyExc_TypeError, "memory must be a numpy array of the whole segment");
        return -1;
    }
    replace(&o->memory, memory);
    replace(&o->doorbell, doorbell);
    producer_open(&o->p, ((array_object *)memory)->data, capacity, max_record);
    return 0;
}

static int producer_traverse(PyObject *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(((producer_object *)self)->doorbell);
    return 0;
}

static int producer_clear(PyObject *self) {
    Py_CLEAR(((producer_object *)self)->doorbell);
    return 0;
}

static void producer_dealloc(PyObject *self) {
    PyObject_GC_UnTrack(self);
    producer_clear(self);
    Py_CLEAR(((producer_object *)self)->memory);
    free_object(self);
}

static PyObject *producer_reserve(PyObject *self, PyObject *size) {
    producer_object *o = (producer_object *)self;
    unsigned long long bytes = PyLong_AsUnsignedLongLong(size);
    if (PyErr_Occurred() || is_released(o)) return NULL;
    int64_t offset = reserve(&o->p, bytes);
    if (ring_bell(o) < 0) return NULL;
    return PyLong_FromLongLong(offset);
}

static PyObject *producer_publish(PyObject *self, PyObject *args) {
    producer_object *o = (producer_object *)self;
    unsigned long long size, payload_bytes, mono_ns;
    long long step;
    double t;
    if (!PyArg_ParseTuple(args, "KKdLK", &size, &payload_bytes, &t, &step, &mono_ns) || is_released(o)) return NULL;
    publish(&o->p, size, payload_bytes, t, step, mono_ns);
    if (ring_bell(o) < 0) return NULL;
    Py_RETURN_NONE;
}

static PyObject *producer_abort(PyObject *self, PyObject *unused) {
    producer_object *o = (producer_object *)self;
    if (is_released(o)) return NULL;
    store(o->p.base, INTENT_END, o->p.head);
    Py_RETURN_NONE;
}

static PyObject *producer_resync(PyObject *self, PyObject *unused) {
    producer_object *o = (producer_object *)self;
    if (is_released(o)) return NULL;
    resync(&o->p);
    Py_RETURN_NONE;
}

static PyObject *producer_recover(PyObject *self, PyObject *args) {
    producer_object *o = (producer_object *)self;
    unsigned long long seq, payload_bytes, mono_ns;
    double t;
    if (!PyArg_ParseTuple(args, "KKdK", &seq, &payload_bytes, &t, &mono_ns) || is_released(o)) return NULL;
    return PyBool_FromLong(recover(&o->p, seq, payload_bytes, t, mono_ns));
}

static PyObject *producer_lose(PyObject *self, PyObject *args) {
    producer_object *o = (producer_object *)self;
    unsigned cause;
    unsigned long long payload_bytes, mono_ns;
    double t;
    if (!PyArg_ParseTuple(args, "IKdK", &cause, &payload_bytes, &t, &mono_ns) || is_released(o)) return NULL;
    if (cause >= CAUSES) {
        PyErr_SetString(PyExc_ValueError, "unknown cause of loss");
        return NULL;
    }
    lose(&o->p, cause, payload_bytes, t, mono_ns);
    Py_RETURN_NONE;
}

static PyObject *producer_mark(PyObject *self, PyObject *args) {
    producer_object *o = (producer_object *)self;
    const char *payload;
    Py_ssize_t length;
    double t;
    long long step;
    unsigned long long mono_ns;
    if (!PyArg_ParseTuple(args, "y#dLK", &payload, &length, &t, &step, &mono_ns) || is_released(o)) return NULL;
    bool done = mark(&o->p, payload, (uint64_t)length, t, step, mono_ns);
    if (ring_bell(o) < 0) return NULL;
    return PyBool_FromLong(done);
}

static PyObject *producer_end(PyObject *self, PyObject *args) {
    producer_object *o = (producer_object *)self;
    double t;
    long long step;
    unsigned long long mono_ns;
    if (!PyArg_ParseTuple(args, "dLK", &t, &step, &mono_ns) || is_released(o)) return NULL;
    producer_close(&o->p, t, step, mono_ns);
    if (ring_bell(o) < 0) return NULL;
    Py_RETURN_NONE;
}

static PyObject *producer_ring_doorbell(PyObject *self, PyObject *unused) {
    producer_object *o = (producer_object *)self;
    if (is_released(o)) return NULL;
    ask_bell(&o->p);
    if (ring_bell(o) < 0) return NULL;
    Py_RETURN_NONE;
}

static PyObject *producer_release(PyObject *self, PyObject *unused) {
    producer_object *o = (producer_object *)self;
    o->p.base = NULL;
    Py_CLEAR(o->memory);
    Py_RETURN_NONE;
}

static PyMemberDef producer_members[] = {
    {"capacity_bytes", T_ULONGLONG, offsetof(producer_object, p.capacity), READONLY, NULL},
    {"max_record_bytes", T_ULONGLONG, offsetof(producer_object, p.max_record), READONLY, NULL},
    {"head", T_ULONGLONG, offsetof(producer_object, p.head), READONLY, NULL},
    {"next_seq", T_ULONGLONG, offsetof(producer_object, p.next_seq), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};
static PyMethodDef producer_methods[] = {
    {"reserve", producer_reserve, METH_O, NULL},
    {"publish", producer_publish, METH_VARARGS, NULL},
    {"abort", producer_abort, METH_NOARGS, NULL},
    {"resync", producer_resync, METH_NOARGS, NULL},
    {"recover", producer_recover, METH_VARARGS, NULL},
    {"_lose", producer_lose, METH_VARARGS, NULL},
    {"_mark", producer_mark, METH_VARARGS, NULL},
    {"close", producer_end, METH_VARARGS, NULL},
    {"ring_doorbell", producer_ring_doorbell, METH_NOARGS, NULL},
    {"_release", producer_release, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};
static PyType_Slot producer_slots[] = {
    {Py_tp_init, producer_init},         {Py_tp_methods, producer_methods},   {Py_tp_members, producer_members},
    {Py_tp_traverse, producer_traverse}, {Py_tp_clear, producer_clear},       {Py_tp_dealloc, producer_dealloc},
    {0, NULL},
};
static PyType_Spec producer_spec = {"recd_client._ring.RingProducer", sizeof(producer_object), 0,
                                    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, producer_slots};

/* --- RingConsumer: the words; proving and splitting is prove_run below ---------------------------------------- */
typedef struct {
    PyObject_HEAD
    PyObject *memory;
    uint8_t *base;
    unsigned long long capacity, free_position, known_head, odd_head;
} consumer_object;

static int consumer_init(PyObject *self, PyObject *args, PyObject *kwargs) {
    consumer_object *o = (consumer_object *)self;
    PyObject *memory;
    unsigned long long capacity, position;
    if (!PyArg_ParseTuple(args, "OKK", &memory, &capacity, &position)) return -1;
    if (!is_array(memory)) {
        PyErr_SetString(PyExc_TypeError, "memory must be a numpy array of the whole segment");
        return -1;
    }
    replace(&o->memory, memory);
    o->base = ((array_object *)memory)->data;
    o->capacity = capacity;
    o->free_position = o->known_head = position;
    return 0;
}

static void consumer_dealloc(PyObject *self) {
    Py_CLEAR(((consumer_object *)self)->memory);
    free_object(self);
}

static bool consumer_released(consumer_object *o) {
    if (o->base) return false;
    PyErr_SetString(PyExc_ValueError, "the ring is released");
    return true;
}

/* The head if it is possible, else -1, and it is in _odd_head; the word is read once. */
static PyObject *consumer_head(PyObject *self, PyObject *unused) {
    consumer_object *o = (consumer_object *)self;
    if (consumer_released(o)) return NULL;
    uint64_t head = load_acquire(o->base, HEAD);
    if (head < o->known_head || head > o->free_position + o->capacity || head % ALIGN_BYTES) {
        o->odd_head = head;
        return PyLong_FromLong(-1);
    }
    o->known_head = head;
    return PyLong_FromUnsignedLongLong(head);
}

static PyObject *consumer_free(PyObject *self, PyObject *position) {
    consumer_object *o = (consumer_object *)self;
    unsigned long long to = PyLong_AsUnsignedLongLong(position);
    if (PyErr_Occurred() || consumer_released(o)) return NULL;
    o->free_position = to;
    store_release(o->base, FREE_POS, to);
    Py_RETURN_NONE;
}

static PyObject *consumer_announce_sleep(PyObject *self, PyObject *unused) {
    consumer_object *o = (consumer_object *)self;
    if (consumer_released(o)) return NULL;
    store(o->base, SLEEP_TICKET, load(o->base, SLEEP_TICKET) + 1);
    atomic_thread_fence(memory_order_seq_cst); /* before the head is looked at once more */
    Py_RETURN_NONE;
}

static PyObject *consumer_has_news(PyObject *self, PyObject *unused) {
    consumer_object *o = (consumer_object *)self;
    if (consumer_released(o)) return NULL;
    return PyBool_FromLong(load_acquire(o->base, HEAD) != o->known_head);
}

static PyObject *consumer_release(PyObject *self, PyObject *unused) {
    consumer_object *o = (consumer_object *)self;
    o->base = NULL;
    Py_CLEAR(o->memory);
    Py_RETURN_NONE;
}

static PyMemberDef consumer_members[] = {
    {"capacity_bytes", T_ULONGLONG, offsetof(consumer_object, capacity), READONLY, NULL},
    {"free_position", T_ULONGLONG, offsetof(consumer_object, free_position), READONLY, NULL},
    {"_known_head", T_ULONGLONG, offsetof(consumer_object, known_head), READONLY, NULL},
    {"_odd_head", T_ULONGLONG, offsetof(consumer_object, odd_head), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};
static PyMethodDef consumer_methods[] = {
    {"_head", consumer_head, METH_NOARGS, NULL},
    {"free", consumer_free, METH_O, NULL},
    {"announce_sleep", consumer_announce_sleep, METH_NOARGS, NULL},
    {"has_news", consumer_has_news, METH_NOARGS, NULL},
    {"_release", consumer_release, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};
static PyType_Slot consumer_slots[] = {
    {Py_tp_init, consumer_init},
    {Py_tp_methods, consumer_methods},
    {Py_tp_members, consumer_members},
    {Py_tp_dealloc, consumer_dealloc},
    {0, NULL},
};
static PyType_Spec consumer_spec = {"recd_client._ring.RingConsumer", sizeof(consumer_object), 0,
                                    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, consumer_slots};

/* run(region, at, position, most, stride, length, checksums) -> (count, first seq) */
static PyObject *run(PyObject *module, PyObject *args) {
    Py_buffer region;
    unsigned long long at, position, most, stride, length;
    int checksums;
    if (!PyArg_ParseTuple(args, "y*KKKKKp", &region, &at, &position, &most, &stride, &length, &checksums)) return NULL;
    uint64_t first_seq = 0;
    size_t n = 0;
    bool inside = stride >= HEADER_BYTES && at <= (uint64_t)region.len && most <= ((uint64_t)region.len - at) / stride;
    if (inside) {
        Py_BEGIN_ALLOW_THREADS
        n = prove_run((const uint8_t *)region.buf + at, most, stride, position, length, checksums, &first_seq);
        Py_END_ALLOW_THREADS
    }
    PyBuffer_Release(&region);
    if (!inside) {
        PyErr_SetString(PyExc_ValueError, "the records reach beyond the region");
        return NULL;
    }
    return Py_BuildValue("KK", (unsigned long long)n, (unsigned long long)first_seq);
}

/* --- Writer ------------------------------------------------------------------------------------------------------ */
typedef struct {
    PyObject *name, *descr;
    int nd;
    Py_ssize_t *shape;
    uint64_t offset, bytes; /* in the payload */
    size_t item_bytes;
    char scalar; /* kind of the Python number that fits a field without dimensions: f, i, b; or 0 */
} field;

typedef struct {
    PyObject_HEAD
    producer_object *producer;
    times_object *times;
    gate_object *gate;
    field *fields;
    Py_ssize_t n_fields;
    int bare;
    int ready;     /* every sample has the same size, it fits, and clock and gate are native */
    char paused;
    int state;
    unsigned long long payload_bytes, size, calls, payload_bytes_total;
    _Atomic(uintptr_t) owner; /* the thread that is inside; 0: none */
    unsigned depth;
} writer_object;

static inline uintptr_t this_thread(void) { return (uintptr_t)pthread_self(); }

/* Without waiting. With the GIL nobody can come between the load and the store. */
static inline bool try_enter(writer_object *w) {
#ifdef Py_GIL_DISABLED
    uintptr_t nobody = 0;
    return atomic_compare_exchange_strong_explicit(&w->owner, &nobody, this_thread(), memory_order_acquire,
                                                   memory_order_relaxed);
#else
    if (atomic_load_explicit(&w->owner, memory_order_relaxed)) return false;
    atomic_store_explicit(&w->owner, this_thread(), memory_order_relaxed);
    return true;
#endif
}

static inline void leave(writer_object *w) { atomic_store_explicit(&w->owner, 0, memory_order_release); }

static PyObject *writer_enter(PyObject *self, PyObject *unused) {
    writer_object *w = (writer_object *)self;
    long pause_ns = 20000;
    while (!try_enter(w)) {
        if (atomic_load_explicit(&w->owner, memory_order_relaxed) == this_thread()) {
            w->depth++;
            break;
        }
        struct timespec pause = {0, pause_ns};
        Py_BEGIN_ALLOW_THREADS
        nanosleep(&pause, NULL);
        Py_END_ALLOW_THREADS
        if (PyErr_CheckSignals() < 0) return NULL;
        if (pause_ns < 1000000) pause_ns *= 2;
    }
    Py_RETURN_NONE;
}

static PyObject *writer_exit(PyObject *self, PyObject *unused) {
    writer_object *w = (writer_object *)self;
    if (w->depth)
        w->depth--;
    else
        leave(w);
    Py_RETURN_NONE;
}

/* In a forked child: a thread that is not here may be inside. */
static PyObject *writer_forget_owner(PyObject *self, PyObject *unused) {
    writer_object *w = (writer_object *)self;
    w->depth = 0;
    leave(w);
    Py_RETURN_NONE;
}

static void clear_fields(writer_object *w) {
    for (Py_ssize_t i = 0; i < w->n_fields; i++) {
        Py_XDECREF(w->fields[i].name);
        Py_XDECREF(w->fields[i].descr);
        PyMem_Free(w->fields[i].shape);
    }
    PyMem_Free(w->fields);
    w->fields = NULL;
    w->n_fields = 0;
}

/* (name, dtype, shape, offset, scalar kind or "") */
static int read_field(PyObject *spec, field *f) {
    PyObject *name, *descr, *shape, *itemsize;
    unsigned long long offset;
    const char *scalar;
    if (!PyArg_ParseTuple(spec, "OOO!Ks", &name, &descr, &PyTuple_Type, &shape, &offset, &scalar)) return -1;
    itemsize = PyObject_GetAttrString(descr, "itemsize");
    if (!itemsize) return -1;
    f->bytes = f->item_bytes = PyLong_AsSize_t(itemsize);
    Py_DECREF(itemsize);
    f->nd = (int)PyTuple_Size(shape);
    if (PyErr_Occurred() || f->nd > MAX_DIMENSIONS) return -1;
    f->shape = PyMem_Malloc((size_t)(f->nd + 1) * sizeof *f->shape);
    if (!f->shape) {
        PyErr_NoMemory();
        return -1;
    }
    for (int d = 0; d < f->nd; d++) {
        f->shape[d] = PyLong_AsSsize_t(PyTuple_GetItem(shape, d));
        f->bytes *= (uint64_t)f->shape[d];
    }
    Py_INCREF(name);
    f->name = name;
    PyUnicode_InternInPlace(&f->name);
    Py_INCREF(descr);
    f->descr = descr;
    f->offset = offset;
    f->scalar = *scalar;
    return PyErr_Occurred() ? -1 : 0;
}

static PyTypeObject *producer_type, *times_type, *gate_type;

/* _set_up(producer, clock, gate or None, fields, bare, payload_bytes, plain) */
static PyObject *writer_set_up(PyObject *self, PyObject *args) {
    writer_object *w = (writer_object *)self;
    PyObject *producer, *clock, *gate, *fields;
    int bare, plain;
    unsigned long long payload_bytes;
    if (!PyArg_ParseTuple(args, "O!OOO!pKp", producer_type, &producer, &clock, &gate, &PyTuple_Type, &fields, &bare,
                          &payload_bytes, &plain))
        return NULL;
    Py_ssize_t n = PyTuple_Size(fields);
    int ready = plain && n > 0 && n <= MAX_FIELDS && PyObject_TypeCheck(clock, times_type) &&
                (gate == Py_None || PyObject_TypeCheck(gate, gate_type));
    Py_INCREF(producer);
    w->producer = (producer_object *)producer;
    w->payload_bytes = payload_bytes;
    w->size = record_bytes(payload_bytes);
    w->bare = bare;
    if (ready) {
        Py_INCREF(clock);
        w->times = (times_object *)clock;
        if (gate != Py_None) {
            Py_INCREF(gate);
            w->gate = (gate_object *)gate;
        }
        w->fields = PyMem_Malloc((size_t)n * sizeof(field));
        if (!w->fields) return PyErr_NoMemory();
        memset(w->fields, 0, (size_t)n * sizeof(field));
        w->n_fields = n;
        for (Py_ssize_t i = 0; i < n; i++)
            if (read_field(PyTuple_GetItem(fields, i), &w->fields[i]) < 0) return NULL;
    }
    w->ready = ready;
    Py_RETURN_NONE;
}

static int writer_clear(PyObject *self) {
    writer_object *w = (writer_object *)self;
    w->ready = 0;
    Py_CLEAR(w->producer);
    Py_CLEAR(w->times);
    Py_CLEAR(w->gate);
    clear_fields(w);
    return 0;
}

static int writer_traverse(PyObject *self, visitproc visit, void *arg) {
    writer_object *w = (writer_object *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT((PyObject *)w->producer);
    Py_VISIT((PyObject *)w->times);
    return 0;
}

static void writer_dealloc(PyObject *self) {
    PyObject_GC_UnTrack(self);
    writer_clear(self);
    free_object(self);
}

/* What is to be copied for one field: an array's bytes, or a number's. */
typedef struct {
    array_object *array; /* a reference of its own; NULL: a number */
    union {
        double f;
        int64_t i;
        uint8_t b;
    } number;
} source;

static void let_go(const source *sources, Py_ssize_t n) {
    for (Py_ssize_t i = 0; i < n; i++) Py_XDECREF((PyObject *)sources[i].array);
}

static inline bool fits(const field *f, const array_object *a) {
    if (a->descr != f->descr || a->nd != f->nd) return false;
    for (int d = 0; d < f->nd; d++)
        if (a->shape[d] != f->shape[d]) return false;
    return true;
}

/* Whether the array is a part of the ring, claimed earlier: where it is copied to may overlap it. */
static inline bool in_ring(const writer_object *w, const array_object *a) {
    const producer *p = &w->producer->p;
    return (uintptr_t)a->data - (uintptr_t)p->base < DATA_OFFSET + p->capacity;
}

/* An array of another library, whose memory numpy can look at. False may come with an exception. */
static bool look_elsewhere(const writer_object *w, const field *f, PyObject *value, source *out) {
    PyObject *host = PyDict_GetItemWithError(hosts, (PyObject *)Py_TYPE(value));
    if (!host) return false;
    Py_INCREF(value); /* what is called may take it out of the sample */
    PyObject *view = PyObject_CallFunctionObjArgs(host, value, NULL);
    Py_DECREF(value);
    if (view && is_array(view) && fits(f, (array_object *)view) && !in_ring(w, (array_object *)view)) {
        out->array = (array_object *)view;
        return true;
    }
    Py_XDECREF(view);
    return false;
}

/* Whether the value is what the field takes without converting. */
static inline bool look(const writer_object *w, const field *f, PyObject *value, source *out) {
    PyTypeObject *type = Py_TYPE(value);
    if ((PyObject *)type == ndarray_type) {
        array_object *a = (array_object *)value;
        if (!fits(f, a) || in_ring(w, a)) return false;
        Py_INCREF(value);
        out->array = (array_object *)value;
        return true;
    }
    out->array = NULL;
    int overflow = 0;
    switch (f->scalar) {
    case 'f':
        if (type != &PyFloat_Type && (PyObject *)type != float64_type) break;
        out->number.f = PyFloat_AsDouble(value);
        return true;
    case 'i':
        if (type != &PyLong_Type) break;
        out->number.i = PyLong_AsLongLongAndOverflow(value, &overflow);
        return !overflow && out->number.i != INT64_MIN;
    case 'b':
        if (type != &PyBool_Type) break;
        out->number.b = value == Py_True;
        return true;
    }
    return look_elsewhere(w, f, value, out);
}

/* Look at every field of the sample; false, and nothing happened, if one is not ordinary. There may be an exception. */
static bool look_at(writer_object *w, PyObject *sample, source *out) {
    field *f = w->fields;
    if (w->bare) return look(w, f, sample, out);
    if (!PyDict_CheckExact(sample) || PyDict_Size(sample) != w->n_fields) return false;
    Py_ssize_t i = 0, at = 0;
    PyObject *key, *value;
    BEGIN_EXCLUSIVE(sample)
    /* Mostly the same keys in the same order as in the first sample: then no key is looked up. */
    for (; i < w->n_fields; i++) {
        if (!PyDict_Next(sample, &at, &key, &value) || key != f[i].name) value = PyDict_GetItemWithError(sample, f[i].name);
        if (!value || !look(w, &f[i], value, &out[i])) break;
    }
    END_EXCLUSIVE()
    if (i == w->n_fields) return true;
    let_go(out, i);
    return false;
}

static inline void put(const field *f, const source *s, uint8_t *to) {
    if (!s->array) {
        memcpy(to, &s->number, f->item_bytes);
    } else if (s->array->flags & C_CONTIGUOUS) {
        copy_contiguous(to, s->array->data, f->bytes);
    } else if (f->bytes) {
        copy_strided(to, s->array->data, f->nd, f->shape, s->array->strides, f->item_bytes, f->bytes);
    }
}

/* Time and step of a sample as Clock.resolve gives them; false, and nothing happened, for what that converts. */
static inline bool resolve(writer_object *w, PyObject *t, PyObject *step, uint64_t mono_ns, double *at, int64_t *number,
                           bool *from_clock) {
    times_object *c = w->times;
    *number = c->step;
    if (step && step != Py_None) {
        int overflow;
        if (Py_TYPE(step) != &PyLong_Type) return false;
        *number = PyLong_AsLongLongAndOverflow(step, &overflow);
        if (overflow || *number == INT64_MIN) return false;
    }
    *from_clock = false;
    if (t && t != Py_None) {
        if (Py_TYPE(t) != &PyFloat_Type && (PyObject *)Py_TYPE(t) != float64_type) return false;
        *at = PyFloat_AsDouble(t);
    } else if (c->dt != c->dt) {
        *at = (double)((int64_t)mono_ns - c->opened_ns) * 1e-9;
        *from_clock = true;
    } else {
        if (*number < 0) *number = (int64_t)w->calls;
        *at = (double)*number * c->dt;
    }
    return true;
}

static void copy_all(writer_object *w, const source *sources, uint8_t *to) {
    for (Py_ssize_t i = 0; i < w->n_fields; i++) put(&w->fields[i], &sources[i], to + w->fields[i].offset);
}

/* A copy that takes long, without the GIL. */
static void copy_unlocked(writer_object *w, const source *sources, uint8_t *to) {
    w->state = BUSY;
    Py_BEGIN_ALLOW_THREADS
    copy_all(w, sources, to);
    Py_END_ALLOW_THREADS
    w->state = IDLE;
}

enum { NOT_ORDINARY, TAKEN, FAILED };

/* Room for an ordinary sample, and its time; false, and nothing happened, if either is not ordinary. */
static bool begin(writer_object *w, PyObject *t, PyObject *step, double *at, int64_t *number, uint64_t *mono_ns) {
    producer_object *o = w->producer;
    bool from_clock;
    if (w->state != IDLE || !w->ready || w->paused || !o->memory || o->p.head + w->size > o->p.fast_end) return false;
    *mono_ns = monotonic_ns();
    if (!resolve(w, t, step, *mono_ns, at, number, &from_clock)) return false;
    w->calls++;
    if (!from_clock) {
        w->times->last_t = *at;
        w->times->has_last = 1;
        w->times->last_step = *number;
    }
    return true;
}

/* A write that everything is ready for. */
static int write_looked_at(writer_object *w, const source *sources, PyObject *t, PyObject *step) {
    double at;
    int64_t number;
    uint64_t mono_ns;
    if (!begin(w, t, step, &at, &number, &mono_ns)) return NOT_ORDINARY;
    producer *p = &w->producer->p;
    if (w->gate && !gate_is_due(w->gate, at)) {
        store(p->base, SKIPPED, load(p->base, SKIPPED) + 1);
        return TAKEN;
    }
    announce(p, p->head + w->size);
    uint8_t *to = p->base + p->offset + HEADER_BYTES;
    if (w->payload_bytes < UNLOCKED_COPY_BYTES)
        copy_all(w, sources, to);
    else
        copy_unlocked(w, sources, to);
    publish(p, w->size, w->payload_bytes, at, number, mono_ns);
    w->payload_bytes_total += w->payload_bytes;
    return ring_bell(w->producer) < 0 ? FAILED : TAKEN;
}

static int write_ordinary(writer_object *w, PyObject *data, PyObject *t, PyObject *step) {
    source sources[MAX_FIELDS];
    if (!w->ready) return NOT_ORDINARY;
    if (!look_at(w, data, sources)) {
        if (!PyErr_Occurred()) return NOT_ORDINARY;
        /* a value that cannot be read, a key that cannot be compared: write_any says so; but Ctrl-C stays */
        if (!PyErr_ExceptionMatches(PyExc_Exception)) return FAILED;
        PyErr_Clear();
        return NOT_ORDINARY;
    }
    int outcome = write_looked_at(w, sources, t, step);
    let_go(sources, w->n_fields);
    return outcome;
}

/* The three arguments of write, by position or name; false for anything else. */
static bool arguments(PyObject *const *args, Py_ssize_t n, PyObject *names, PyObject **data, PyObject **t,
                      PyObject **step) {
    if (n > 3) return false;
    if (n > 0) *data = args[0];
    if (n > 1) *t = args[1];
    if (n > 2) *step = args[2];
    for (Py_ssize_t i = 0; names && i < PyTuple_Size(names); i++) {
        PyObject *name = PyTuple_GetItem(names, i), **to;
        if (name == str_t)
            to = t;
        else if (name == str_step)
            to = step;
        else if (name == str_data)
            to = data;
        else
            return false;
        if (*to) return false;
        *to = args[n + i];
    }
    return true;
}

/* self.<method>(*args, **names) */
static PyObject *call_method(PyObject *self, PyObject *method_name, PyObject *const *args, Py_ssize_t n,
                             PyObject *names) {
    PyObject *method = PyObject_GetAttr(self, method_name), *positional = PyTuple_New(n), *named = PyDict_New();
    PyObject *result = NULL;
    if (!method || !positional || !named) goto done;
    for (Py_ssize_t i = 0; i < n; i++) {
        Py_INCREF(args[i]);
        PyTuple_SetItem(positional, i, args[i]);
    }
    for (Py_ssize_t i = 0; names && i < PyTuple_Size(names); i++)
        if (PyDict_SetItem(named, PyTuple_GetItem(names, i), args[n + i]) < 0) goto done;
    result = PyObject_Call(method, positional, named);
done:
    Py_XDECREF(method);
    Py_XDECREF(positional);
    Py_XDECREF(named);
    return result;
}

static PyObject *writer_write(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names) {
    writer_object *w = (writer_object *)self;
    PyObject *data = NULL, *t = NULL, *step = NULL;
    if (arguments(args, n, names, &data, &t, &step) && data && try_enter(w)) {
        int outcome = write_ordinary(w, data, t, step);
        leave(w);
        if (outcome == TAKEN) Py_RETURN_TRUE;
        if (outcome == FAILED) return NULL;
    }
    return call_method(self, str_write_any, args, n, names);
}

/* --- Claim: the memory of the next record ------------------------------------------------------------------------ */
typedef struct {
    PyObject_HEAD
    writer_object *writer;
    PyObject *t, *step;
    PyObject *inner; /* the context manager of Python, for what is not ordinary */
    double at;
    int64_t number;
    uint64_t mono_ns;
    bool reserved;
} claim_object;

static PyTypeObject *claim_type;

static PyObject *writer_claim(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *names) {
    PyObject *data = NULL, *t = NULL, *step = NULL, *three[3] = {Py_None};
    if (n > 2) return call_method(self, str_claim_any, args, n, names);
    for (Py_ssize_t i = 0; i < n; i++) three[i + 1] = args[i];
    if (!arguments(three, n + 1, NULL, &data, &t, &step)) return NULL;
    for (Py_ssize_t i = 0; names && i < PyTuple_Size(names); i++) {
        PyObject *name = PyTuple_GetItem(names, i), **to = name == str_t ? &t : name == str_step ? &step : NULL;
        if (!to || *to) return call_method(self, str_claim_any, args, n, names);
        *to = args[n + i];
    }
    allocfunc allocate = (allocfunc)PyType_GetSlot(claim_type, Py_tp_alloc);
    claim_object *c = (claim_object *)allocate(claim_type, 0);
    if (!c) return NULL;
    Py_INCREF(self);
    Py_XINCREF(t);
    Py_XINCREF(step);
    c->writer = (writer_object *)self;
    c->t = t;
    c->step = step;
    return (PyObject *)c;
}

/* Give a reservation back. */
static void unclaim(claim_object *c) {
    c->reserved = false;
    if (c->writer->state == FORKED) return; /* not this process's */
    if (c->writer->state != BUSY) {         /* let go of by this very thread, inside the block */
        leave(c->writer);
        return;
    }
    resync(&c->writer->producer->p);
    c->writer->state = IDLE;
    leave(c->writer);
}

static void claim_dealloc(PyObject *self) {
    claim_object *c = (claim_object *)self;
    if (c->reserved) unclaim(c); /* entered by hand, and never left */
    Py_CLEAR(c->writer);
    Py_CLEAR(c->t);
    Py_CLEAR(c->step);
    Py_CLEAR(c->inner);
    free_object(self);
}

static PyObject *str_enter, *str_exit, *str_view;

/* Reserve as write_ordinary does; false, and nothing happened, if that is not possible. */
static bool claim_ordinary(claim_object *c) {
    writer_object *w = c->writer;
    if (!w->ready || w->gate || !begin(w, c->t, c->step, &c->at, &c->number, &c->mono_ns)) return false;
    announce(&w->producer->p, w->producer->p.head + w->size);
    w->state = BUSY;
    return true;
}

static PyObject *claim_enter(PyObject *self, PyObject *unused) {
    claim_object *c = (claim_object *)self;
    PyObject *w = (PyObject *)c->writer;
    if (c->reserved || c->inner) {
        PyErr_SetString(PyExc_RuntimeError, "a claim is used once");
        return NULL;
    }
    if (try_enter(c->writer)) {
        if (claim_ordinary(c)) {
            c->reserved = true;
            PyObject *offset = PyLong_FromUnsignedLongLong(c->writer->producer->p.offset);
            PyObject *view = offset ? PyObject_CallMethodObjArgs(w, str_view, offset, NULL) : NULL;
            Py_XDECREF(offset);
            if (!view) unclaim(c);
            return view;
        }
        leave(c->writer);
    }
    PyObject *args[2] = {c->t ? c->t : Py_None, c->step ? c->step : Py_None};
    c->inner = call_method(w, str_claim_any, args, 2, NULL);
    return c->inner ? PyObject_CallMethodObjArgs(c->inner, str_enter, NULL) : NULL;
}

static PyObject *claim_exit(PyObject *self, PyObject *args) {
    claim_object *c = (claim_object *)self;
    if (c->inner) {
        PyObject *exit = PyObject_GetAttr(c->inner, str_exit);
        PyObject *result = exit ? PyObject_Call(exit, args, NULL) : NULL;
        Py_XDECREF(exit);
        return result;
    }
    writer_object *w = c->writer;
    PyObject *error = PyTuple_GetItem(args, 0);
    if (!error) return NULL;
    if (!c->reserved) Py_RETURN_FALSE;
    if (error != Py_None) {
        unclaim(c);
        Py_RETURN_FALSE;
    }
    if (w->state != BUSY) { /* the process was forked inside the block: this is the child, the ring the parent's */
        unclaim(c);
        PyObject *nothing[2] = {Py_None, Py_None};
        PyObject *refused = call_method((PyObject *)w, str_claim_any, nothing, 2, NULL);
        PyObject *entered = refused ? PyObject_CallMethodObjArgs(refused, str_enter, NULL) : NULL; /* raises */
        Py_XDECREF(refused);
        return entered;
    }
    c->reserved = false;
    producer_object *o = w->producer;
    publish(&o->p, w->size, w->payload_bytes, c->at, c->number, c->mono_ns);
    w->payload_bytes_total += w->payload_bytes;
    w->state = IDLE;
    leave(w);
    if (ring_bell(o) < 0) return NULL;
    Py_RETURN_FALSE;
}

static PyMethodDef claim_methods[] = {
    {"__enter__", claim_enter, METH_NOARGS, NULL},
    {"__exit__", claim_exit, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};
static PyType_Slot claim_slots[] = {{Py_tp_methods, claim_methods}, {Py_tp_dealloc, claim_dealloc}, {0, NULL}};
static PyType_Spec claim_spec = {"recd_client._ring.Claim", sizeof(claim_object), 0, Py_TPFLAGS_DEFAULT, claim_slots};

static PyMemberDef writer_members[] = {
    {"_state", T_INT, offsetof(writer_object, state), 0, NULL},
    {"_paused", T_BOOL, offsetof(writer_object, paused), 0, NULL},
    {"_calls", T_ULONGLONG, offsetof(writer_object, calls), 0, NULL},
    {"payload_bytes_total", T_ULONGLONG, offsetof(writer_object, payload_bytes_total), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};
static PyMethodDef writer_methods[] = {
    {"write", (PyCFunction)(void (*)(void))writer_write, METH_FASTCALL | METH_KEYWORDS,
     "Copy a sample into the ring; False only if it was lost (see :meth:`Stream.write`)."},
    {"claim", (PyCFunction)(void (*)(void))writer_claim, METH_FASTCALL | METH_KEYWORDS,
     "Hand out a record's memory, to be filled in place (see :meth:`Stream.claim`)."},
    {"_set_up", writer_set_up, METH_VARARGS, NULL},
    {"__enter__", writer_enter, METH_NOARGS, "No other thread is inside now; may be entered again."},
    {"__exit__", writer_exit, METH_VARARGS, NULL},
    {"_forget_owner", writer_forget_owner, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};
static PyType_Slot writer_slots[] = {
    {Py_tp_methods, writer_methods}, {Py_tp_members, writer_members}, {Py_tp_traverse, writer_traverse},
    {Py_tp_clear, writer_clear},     {Py_tp_dealloc, writer_dealloc}, {0, NULL},
};
static PyType_Spec writer_spec = {"recd_client._ring.Writer", sizeof(writer_object), 0,
                                  Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, writer_slots};

/* --- the module ---------------------------------------------------------------------------------------------------- */

/* What the declaration above reads of an array: (address, shape, strides, id of the dtype, contiguous). */
static PyObject *describe(PyObject *module, PyObject *array) {
    if (!is_array(array)) {
        PyErr_SetString(PyExc_TypeError, "not a numpy array");
        return NULL;
    }
    array_object *a = (array_object *)array;
    if (a->nd < 0 || a->nd > MAX_DIMENSIONS) {
        PyErr_SetString(PyExc_RuntimeError, "numpy's arrays have another layout");
        return NULL;
    }
    PyObject *shape = PyTuple_New(a->nd), *strides = PyTuple_New(a->nd);
    for (int d = 0; shape && strides && d < a->nd; d++) {
        PyTuple_SetItem(shape, d, PyLong_FromSsize_t(a->shape[d]));
        PyTuple_SetItem(strides, d, PyLong_FromSsize_t(a->strides[d]));
    }
    return Py_BuildValue("NNNNO", PyLong_FromVoidPtr(a->data), shape, strides, PyLong_FromVoidPtr(a->descr),
                         a->flags & C_CONTIGUOUS ? Py_True : Py_False);
}

static PyMethodDef functions[] = {
    {"run", run, METH_VARARGS, "How many samples stand there one behind the other, and the number of the first."},
    {"describe", describe, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

static PyTypeObject *add_type(PyObject *module, const char *name, PyType_Spec *spec) {
    PyObject *type = PyType_FromSpec(spec);
    if (type && PyModule_AddObjectRef(module, name, type) < 0) Py_CLEAR(type);
    return (PyTypeObject *)type;
}

/* What ring.h says of the layout, for recd_client.native to compare. */
static int add_layout(PyObject *module) {
    static const struct {
        const char *name;
        int value;
    } constants[] = {
        {"PAGE_BYTES", PAGE_BYTES}, {"HEADER_BYTES", HEADER_BYTES}, {"ALIGN_BYTES", ALIGN_BYTES},
        {"DATA_OFFSET", DATA_OFFSET}, {"CONTROL_RESERVE_BYTES", CONTROL_RESERVE_BYTES},
        {"MAX_MARK_BYTES", MAX_MARK_BYTES}, {"MAGIC_RECORD", MAGIC_RECORD},
        {"PAD", PAD}, {"DATA", DATA}, {"LOSS", LOSS}, {"MARK", MARK}, {"CLOSE", CLOSE},
        {"PRODUCER_OPEN", PRODUCER_OPEN}, {"PRODUCER_CLOSED", PRODUCER_CLOSED},
        {"head", HEAD}, {"intent_end", INTENT_END}, {"next_seq", NEXT_SEQ}, {"lost_full_count", LOST},
        {"lost_interrupted_bytes", LOST + 16 * INTERRUPTED + 8}, {"blocked_ns", BLOCKED_NS},
        {"rung_ticket", RUNG_TICKET}, {"producer_state", PRODUCER_STATE}, {"skipped", SKIPPED},
        {"marks_lost", MARKS_LOST}, {"free_pos", FREE_POS}, {"sleep_ticket", SLEEP_TICKET},
    };
    PyObject *layout = PyDict_New();
    bool all = layout;
    for (size_t i = 0; all && i < sizeof constants / sizeof *constants; i++) {
        PyObject *value = PyLong_FromLong(constants[i].value);
        all = value && PyDict_SetItemString(layout, constants[i].name, value) == 0;
        Py_XDECREF(value);
    }
    all = all && PyModule_AddObjectRef(module, "LAYOUT", layout) == 0;
    Py_XDECREF(layout);
    return all ? 0 : -1;
}

static int prepare(PyObject *module) {
    PyObject *numpy = PyImport_ImportModule("numpy");
    if (!numpy) return -1;
    ndarray_type = PyObject_GetAttrString(numpy, "ndarray");
    float64_type = PyObject_GetAttrString(numpy, "float64");
    Py_DECREF(numpy);
    str_t = PyUnicode_InternFromString("t");
    str_step = PyUnicode_InternFromString("step");
    str_data = PyUnicode_InternFromString("data");
    str_write_any = PyUnicode_InternFromString("write_any");
    str_claim_any = PyUnicode_InternFromString("claim_any");
    str_enter = PyUnicode_InternFromString("__enter__");
    str_exit = PyUnicode_InternFromString("__exit__");
    str_view = PyUnicode_InternFromString("_view");
    hosts = PyDict_New();
    crc_prepare();
    times_type = add_type(module, "Times", &times_spec);
    gate_type = add_type(module, "Gate", &gate_spec);
    producer_type = add_type(module, "RingProducer", &producer_spec);
    claim_type = add_type(module, "Claim", &claim_spec);
    bool all = times_type && gate_type && producer_type && claim_type && add_type(module, "RingConsumer", &consumer_spec) &&
               add_type(module, "Writer", &writer_spec) && ndarray_type && float64_type && str_view && hosts &&
               PyModule_AddObjectRef(module, "HOSTS", hosts) == 0;
    return all ? add_layout(module) : -1;
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, prepare},
#ifdef Py_GIL_DISABLED
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};
static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "recd_client._ring", "The native backend.", 0, functions, module_slots, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__ring(void) { return PyModuleDef_Init(&definition); }
