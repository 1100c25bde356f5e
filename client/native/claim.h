/* Claim: the memory of the next record, as a context manager. */
#ifndef RECD_CLAIM_H
#define RECD_CLAIM_H

#include "writer.h"

typedef struct {
    PyObject_HEAD
    writer_object *writer;
    PyObject *t, *step;
    PyObject *inner; /* the context manager of Python, for what is not ordinary */
    double at;
    int64_t number;
    uint64_t mono_ns;
    bool reserved, used;
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

static PyObject *str_enter, *str_exit;

/* Reserve as write_ordinary does; false, and nothing happened, if that is not possible. */
static bool claim_ordinary(claim_object *c) {
    writer_object *w = c->writer;
    if (!w->ready || w->gate || !begin(w, c->t, c->step, &c->at, &c->number, &c->mono_ns)) return false;
    announce(&w->producer->p, w->producer->p.head + w->size);
    w->state = BUSY;
    return true;
}

/* FixedPlan.claim, without its Python: after a frame was drawn nothing of that is in a cache, and costs 9 us. */
static PyObject *arrays_at(const writer_object *w, uint64_t offset) {
    PyObject *row = PyLong_FromUnsignedLongLong((offset - DATA_OFFSET) / ALIGN_BYTES);
    PyObject *key = row ? PyTuple_Pack(2, row, Py_Ellipsis) : NULL, *arrays = w->bare ? NULL : PyDict_New();
    bool all = key && (arrays || w->bare);
    for (Py_ssize_t i = 0; all && i < w->n_fields; i++) {
        PyObject *name = w->fields[i].name, *place = w->fields[i].place;
        Py_INCREF(name); /* Python that runs in here may let go of the fields */
        Py_INCREF(place);
        PyObject *array = PyObject_GetItem(place, key);
        if (w->bare) {
            arrays = array;
        } else {
            all = array && PyDict_SetItem(arrays, name, array) == 0;
            Py_XDECREF(array);
        }
        Py_DECREF(name);
        Py_DECREF(place);
    }
    Py_XDECREF(row);
    Py_XDECREF(key);
    if (!all) Py_CLEAR(arrays);
    if (!arrays && !PyErr_Occurred()) PyErr_SetString(PyExc_RuntimeError, "let go of while it was claimed");
    return arrays;
}

static PyObject *claim_enter(PyObject *self, PyObject *unused) {
    claim_object *c = (claim_object *)self;
    if (c->used) {
        PyErr_SetString(PyExc_RuntimeError, "a claim is used once");
        return NULL;
    }
    c->used = true;
    if (try_enter(c->writer)) {
        if (claim_ordinary(c)) {
            c->reserved = true;
            PyObject *arrays = arrays_at(c->writer, c->writer->producer->p.offset);
            if (!arrays) unclaim(c);
            return arrays;
        }
        leave(c->writer);
    }
    PyObject *args[2] = {c->t ? c->t : Py_None, c->step ? c->step : Py_None};
    c->inner = call_method((PyObject *)c->writer, str_claim_any, args, 2, NULL);
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
static PyType_Spec claim_spec = {"recd_client._ring.Claim", sizeof(claim_object), 0,
                                 Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, claim_slots};

#endif
