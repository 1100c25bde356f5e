/* Times and Gate: the numbers of a Clock, and which samples are due; see clock.py. */
#ifndef RECD_TIMES_H
#define RECD_TIMES_H

#include "objects.h"

#include <math.h>

/* --- Times ----------------------------------------------------------------------------------------- */
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

/* --- Gate: as in clock.py, step for step ----------------------------------------------------------- */
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

#endif
