/* RingProducer and RingConsumer: the two ends of a ring as Python sees them; see ring.py. */
#ifndef RECD_ENDS_H
#define RECD_ENDS_H

#include "objects.h"
#include "ring.h"

/* --- RingProducer ---------------------------------------------------------------------------------- */
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

/* --- RingConsumer ---------------------------------------------------------------------------------- */
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

#endif
