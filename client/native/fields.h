/* Fields of a sample: what each must be like, and how it is copied into a record. */
#ifndef RECD_FIELDS_H
#define RECD_FIELDS_H

#include "objects.h"

#include "copy.h"

enum { MAX_FIELDS = 64 };

typedef struct {
    PyObject *name, *descr;
    PyObject *place; /* array whose row i is the field in the record that begins i cache lines into the data */
    int nd;
    Py_ssize_t *shape;
    uint64_t offset, bytes; /* in the payload */
    size_t item_bytes;
    char scalar; /* kind of the Python number that fits a field without dimensions: f, i, b; or 0 */
} field;

static void free_fields(field *fields, Py_ssize_t n) {
    for (Py_ssize_t i = 0; i < n; i++) {
        Py_XDECREF(fields[i].name);
        Py_XDECREF(fields[i].descr);
        Py_XDECREF(fields[i].place);
        PyMem_Free(fields[i].shape);
    }
    PyMem_Free(fields);
}

/* (name, dtype, shape, offset, scalar kind or "", place) */
static int read_field(PyObject *spec, field *f) {
    PyObject *name, *descr, *shape, *place, *itemsize;
    unsigned long long offset;
    const char *scalar;
    if (!PyArg_ParseTuple(spec, "OOO!KsO", &name, &descr, &PyTuple_Type, &shape, &offset, &scalar, &place)) return -1;
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
    Py_INCREF(place);
    f->place = place;
    f->offset = offset;
    f->scalar = *scalar;
    return PyErr_Occurred() ? -1 : 0;
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

static inline void put(const field *f, const source *s, uint8_t *to) {
    if (!s->array) {
        memcpy(to, &s->number, f->item_bytes);
    } else if (s->array->flags & C_CONTIGUOUS) {
        copy_contiguous(to, s->array->data, f->bytes);
    } else if (f->bytes) {
        copy_strided(to, s->array->data, f->nd, f->shape, s->array->strides, f->item_bytes, f->bytes);
    }
}

#endif
