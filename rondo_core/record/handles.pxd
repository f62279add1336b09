# The types with which handles.py is compiled; without a compiler the same file runs as Python.
# The locals of `Counter.inc` and `Gauge.set` have their types where they are: what is declared here is called indirectly.
# Addresses stand in no attribute that Python code reaches, and none of them may become None: see the module.
cimport cython

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

    #include <math.h>

    static inline long long rondo_ceil(double number) {
        return (long long)ceil(number);
    }
    """
    long long ceil "rondo_ceil"(double number) noexcept
    bint take_floats "rondo_take_floats"(object values, double *into, Py_ssize_t count) noexcept

@cython.no_gc_clear
cdef class Current:
    cdef readonly long long since_ns, until_ns
    cdef readonly object clock, writer
    cdef readonly bint system_clock
    cdef readonly Py_ssize_t n_cells
    cdef double *row
    cdef long long *header
    cdef unsigned int *row_counts
    cdef tuple _kept
    @cython.locals(cells=cython.double[::1], words=cython.longlong[::1])
    cdef _point(self, row, header)
    cdef long long read(self) except? -1

cdef Current _NOWHERE

@cython.no_gc_clear
cdef class Handle:
    cdef Current _current
    cdef readonly object series
    cdef _bind(self, current, series, Py_ssize_t first, Py_ssize_t end)

@cython.no_gc_clear
cdef class Counter(Handle):
    cdef Py_ssize_t _column

@cython.no_gc_clear
cdef class Gauge(Handle):
    cdef Py_ssize_t _column

@cython.no_gc_clear
cdef class Summary(Handle):
    cdef (Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t) _cells
    @cython.locals(
        current=Current, now=cython.longlong, row=cython.p_double, count=cython.double, bound=cython.double,
        n=Py_ssize_t, sum0=Py_ssize_t, sum1=Py_ssize_t, min0=Py_ssize_t, min1=Py_ssize_t, max0=Py_ssize_t,
        max1=Py_ssize_t, number=cython.double
    )
    cpdef observe(self, value, now_ns=*)
    @cython.locals(
        current=Current, now=cython.longlong, row=cython.p_double, count=cython.double, bound=cython.double,
        n=Py_ssize_t, sum0=Py_ssize_t, sum1=Py_ssize_t, min0=Py_ssize_t, min1=Py_ssize_t, max0=Py_ssize_t,
        max1=Py_ssize_t, many=cython.longlong, summed=cython.double, least=cython.double,
        most=cython.double
    )
    cpdef merge(self, number, total, lowest, highest, now_ns=*)

@cython.no_gc_clear
cdef class SketchedSummary(Summary):
    cdef double _factor
    cdef long long _lowest, _bucket_ns, _version, _zero
    cdef Py_ssize_t _base
    @cython.locals(
        current=Current, now=cython.longlong, row=cython.p_double, count=cython.double, bound=cython.double,
        n=Py_ssize_t, sum0=Py_ssize_t, sum1=Py_ssize_t, min0=Py_ssize_t, min1=Py_ssize_t, max0=Py_ssize_t,
        max1=Py_ssize_t, version=cython.longlong, place=cython.longlong, number=cython.double, plain=cython.bint
    )
    cpdef observe(self, value, now_ns=*)
    cpdef merge(self, number, total, lowest, highest, now_ns=*)

@cython.no_gc_clear
cdef class GaugeBatch(Handle):
    cdef Py_ssize_t _column, _count
    cdef object _slice, _bytes, _pack
    cdef double[::1] _scratch
    cdef double *_taken
    cpdef set(self, values, now_ns=*)
    @cython.locals(
        current=Current, now=cython.longlong, source="const double[:]", row=cython.p_double,
        header=cython.p_longlong, index=Py_ssize_t, count=Py_ssize_t, one_by_one=cython.bint
    )
    cdef bint _set_compiled(self, values, now_ns)
