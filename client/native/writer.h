/* Writer: the ordinary sample's way into the ring, in one call; see writer.py for all others. */
#ifndef RECD_WRITER_H
#define RECD_WRITER_H

#include "objects.h" /* before any header of the system, as Python asks */

#include "ends.h"
#include "fields.h"
#include "times.h"

#include <pthread.h>

/* Copies from this size on, 20 us and more, let other threads run. Below, taking the lock back costs more than they
 * gain: a thread that computes gives it back only after 5 ms. */
enum { UNLOCKED_COPY_BYTES = 1 << 20 };
enum { IDLE, BUSY, WRITER_CLOSED, FORKED }; /* writer.py */

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

static PyTypeObject *producer_type, *times_type, *gate_type;

static void clear_fields(writer_object *w) {
    field *fields = w->fields;
    Py_ssize_t n = w->n_fields;
    w->fields = NULL;
    w->n_fields = 0;
    free_fields(fields, n);
}

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

/* No array of the writer's keeps the ring mapped any more. */
static PyObject *writer_forget_ring(PyObject *self, PyObject *unused) {
    writer_object *w = (writer_object *)self;
    w->ready = 0;
    clear_fields(w);
    Py_RETURN_NONE;
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

/* Whether the array is a part of the ring, claimed earlier: where it is copied to may overlap it. */
static inline bool in_ring(const writer_object *w, const array_object *a) {
    const producer *p = &w->producer->p;
    return (uintptr_t)a->data - (uintptr_t)p->base < DATA_OFFSET + p->capacity;
}

/* An array of another library, whose memory numpy can look at. False may come with an exception. What is called is
 * Python, and may be interrupted by it: meanwhile this is a write, into which no other may come. */
static bool look_elsewhere(writer_object *w, const field *f, PyObject *value, source *out) {
    /* A conversion may wait for a device: not for a sample that perhaps nobody wants. */
    PyObject *host = w->gate || w->paused || w->state != IDLE
                         ? NULL
                         : PyDict_GetItemWithError(hosts, (PyObject *)Py_TYPE(value));
    if (!host) return false;
    Py_INCREF(value); /* what is called may take it out of the sample */
    w->state = BUSY;
    PyObject *view = PyObject_CallFunctionObjArgs(host, value, NULL);
    if (w->state == BUSY) w->state = IDLE; /* else this is a forked child */
    Py_DECREF(value);
    if (view && is_array(view) && fits(f, (array_object *)view) && !in_ring(w, (array_object *)view)) {
        out->array = (array_object *)view;
        return true;
    }
    Py_XDECREF(view);
    return false;
}

/* Whether the value is what the field takes without converting. */
static inline bool look(writer_object *w, const field *f, PyObject *value, source *out) {
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
    /* Strides may be changed by another thread meanwhile. */
    bool contiguous = true;
    for (Py_ssize_t i = 0; i < w->n_fields; i++)
        contiguous &= !sources[i].array || sources[i].array->flags & C_CONTIGUOUS;
    if (w->payload_bytes < UNLOCKED_COPY_BYTES || !contiguous)
        copy_all(w, sources, to);
    else
        copy_unlocked(w, sources, to);
    publish(p, w->size, w->payload_bytes, at, number, mono_ns);
    w->payload_bytes_total += w->payload_bytes;
    return ring_bell(w->producer) < 0 ? FAILED : TAKEN;
}

static PyObject *call_method(PyObject *self, PyObject *method_name, PyObject *const *args, Py_ssize_t n,
                             PyObject *names);

/* The sample was interrupted before it had a place in the ring: it counts as lost, and what interrupted it goes on. */
static void lose_interrupted(writer_object *w, PyObject *t, PyObject *step) {
    PyObject *type, *error, *traceback, *args[2] = {t ? t : Py_None, step ? step : Py_None};
    if (w->state != IDLE || w->gate || w->paused) return; /* perhaps nobody wanted it */
    PyErr_Fetch(&type, &error, &traceback);
    PyObject *done = call_method((PyObject *)w, str_lose_interrupted, args, 2, NULL);
    if (!done) PyErr_Clear();
    Py_XDECREF(done);
    PyErr_Restore(type, error, traceback);
}

static int write_ordinary(writer_object *w, PyObject *data, PyObject *t, PyObject *step) {
    source sources[MAX_FIELDS];
    if (!w->ready) return NOT_ORDINARY;
    if (!look_at(w, data, sources)) {
        if (!PyErr_Occurred()) return NOT_ORDINARY;
        /* a value that cannot be read, a key that cannot be compared: write_any says so; but Ctrl-C stays */
        if (!PyErr_ExceptionMatches(PyExc_Exception)) {
            lose_interrupted(w, t, step);
            return FAILED;
        }
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

#endif
