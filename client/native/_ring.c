/* The native backend of recd_client: what a write costs is what recording takes from the simulation.
 *
 * Times, Gate, RingProducer and RingConsumer have the interface of their namesakes in clock.py and ring.py.
 * Writer is the base of writer.NativeWriter: its `write` takes the ordinary sample into the ring in one call and
 * without a Python object in between; whatever is not ordinary (a full ring, a pause, a value that needs
 * converting, an error) it leaves, untouched, to `write_any` in Python.
 *
 * No header of numpy is needed to build this: the head of an array object, whose layout numpy keeps as part of its
 * ABI, is declared in objects.h, and recd_client.native compares what is read through it with what numpy says itself.
 */
#include "claim.h"

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
    {"_forget_ring", writer_forget_ring, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};
static PyType_Slot writer_slots[] = {
    {Py_tp_methods, writer_methods}, {Py_tp_members, writer_members}, {Py_tp_traverse, writer_traverse},
    {Py_tp_clear, writer_clear},     {Py_tp_dealloc, writer_dealloc}, {0, NULL},
};
static PyType_Spec writer_spec = {"recd_client._ring.Writer", sizeof(writer_object), 0,
                                  Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, writer_slots};

/* What the declaration in objects.h reads of an array: (address, shape, strides, id of the dtype, contiguous). */
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

/* What ring.h says of the layout, for recd_client.native to compare. */
static int add_layout(PyObject *module) {
    static const struct {
        const char *name;
        int value;
    } constants[] = {
        {"PAGE_BYTES", PAGE_BYTES}, {"HEADER_BYTES", HEADER_BYTES}, {"ALIGN_BYTES", ALIGN_BYTES},
        {"DATA_OFFSET", DATA_OFFSET}, {"CONTROL_RESERVE_BYTES", CONTROL_RESERVE_BYTES},
        {"MAX_MARK_BYTES", MAX_MARK_BYTES}, {"MAGIC_RECORD", MAGIC_RECORD},
        {"LOSS_ENTRY_BYTES", LOSS_ENTRY_BYTES}, {"CLOSE_PREFIX_BYTES", CLOSE_PREFIX_BYTES},
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

static PyTypeObject *consumer_type, *writer_type;
static const struct {
    const char *name;
    PyType_Spec *spec;
    PyTypeObject **type;
} types[] = {
    {"Times", &times_spec, &times_type}, {"Gate", &gate_spec, &gate_type},
    {"RingProducer", &producer_spec, &producer_type}, {"RingConsumer", &consumer_spec, &consumer_type},
    {"Writer", &writer_spec, &writer_type}, {"Claim", &claim_spec, &claim_type},
};
enum { TYPES = sizeof types / sizeof *types };

/* Everything that is static, once. */
static int prepare_process(void) {
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
    str_lose_interrupted = PyUnicode_InternFromString("_lose_interrupted");
    str_enter = PyUnicode_InternFromString("__enter__");
    str_exit = PyUnicode_InternFromString("__exit__");
    hosts = PyDict_New();
    crc_prepare();
    bool all = ndarray_type && float64_type && str_exit && hosts;
    for (int i = 0; all && i < TYPES; i++) all = (*types[i].type = (PyTypeObject *)PyType_FromSpec(types[i].spec));
    return all ? 0 : -1;
}

/* A module that is imported anew has the same types, of which there are objects; another interpreter may not. */
static int prepare(PyObject *module) {
    static PyInterpreterState *owner;
    PyInterpreterState *here = PyInterpreterState_Get();
    if (owner && owner != here) {
        PyErr_SetString(PyExc_ImportError, "another interpreter of this process uses recd_client._ring");
        return -1;
    }
    if (!owner && prepare_process() < 0) return -1;
    owner = here;
    if (PyModule_AddObjectRef(module, "HOSTS", hosts) < 0) return -1;
    for (int i = 0; i < TYPES; i++)
        if (PyModule_AddObjectRef(module, types[i].name, (PyObject *)*types[i].type) < 0) return -1;
    return add_layout(module);
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
