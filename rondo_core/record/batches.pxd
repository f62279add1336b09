# The types with which batches.py is compiled; see handles.pxd.
cimport cython
from rondo_core.record.gauges cimport Gauge, PeakGauge
from rondo_core.record.handles cimport Counter, Current, Handle

cdef extern from *:
    """
    /* Take the numbers of a list or a tuple, if all are floats or integers as Python has them: no other's code runs. */
    static int rondo_take_floats(PyObject *values, double *into, Py_ssize_t count) {
        PyObject **items = PySequence_Fast_ITEMS(values);
        Py_ssize_t index;
        for (index = 0; index < count; index++) {
            PyObject *item = items[index];
            if (PyFloat_CheckExact(item))
                into[index] = PyFloat_AS_DOUBLE(item);
            else if (PyLong_CheckExact(item)) {
                into[index] = PyLong_AsDouble(item);
                if (into[index] == -1.0 && PyErr_Occurred()) {
                    PyErr_Clear();
                    return 0;
                }
            } else
                return 0;
        }
        return 1;
    }
    """
    bint take_floats "rondo_take_floats"(object values, double *into, Py_ssize_t count) noexcept

@cython.no_gc_clear
cdef class HandleBatch(Handle):
    cdef Py_ssize_t _column, _count
    cdef double[::1] _scratch
    cdef double *_taken
    cdef _place(self, current, series, Py_ssize_t column, Py_ssize_t end)

@cython.no_gc_clear
cdef class GaugeBatch(HandleBatch):
    cdef Py_ssize_t _width
    cdef object _slice, _bytes, _pack
    cpdef set(self, values, now_ns=*)
    @cython.locals(
        current=Current, now=cython.longlong, source="const double[:]", row=cython.p_double,
        header=cython.p_longlong, index=Py_ssize_t, count=Py_ssize_t, width=Py_ssize_t, one_by_one=cython.bint,
        number=cython.double
    )
    cdef bint _set_compiled(self, values, now_ns)

@cython.no_gc_clear
cdef class CounterBatch(HandleBatch):
    cpdef inc(self, amounts, now_ns=*)
    @cython.locals(
        current=Current, now=cython.longlong, source="const double[:]", row=cython.p_double,
        header=cython.p_longlong, index=Py_ssize_t, count=Py_ssize_t, one_by_one=cython.bint, number=cython.double
    )
    cdef bint _inc_compiled(self, amounts, now_ns)
