/* What the objects of the extension share: an array's head, names, the clock, how an object ends. */
#ifndef RECD_OBJECTS_H
#define RECD_OBJECTS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <structmember.h>
#include <time.h>

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
static PyObject *ndarray_type, *float64_type, *str_t, *str_step, *str_data, *str_write_any, *str_claim_any,
    *str_lose_interrupted;

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

#endif
