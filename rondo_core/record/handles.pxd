# The types with which handles.py is compiled; without a compiler the same file runs as Python.
# The locals of `Counter.inc` have their types where they are: what is declared here is called indirectly.
# Addresses stand in no attribute that Python code reaches, and none of them may become None: see the module.
cimport cython

cdef extern from *:
    """
    #include <math.h>

    static inline long long rondo_ceil(double number) {
        return (long long)ceil(number);
    }
    """
    long long ceil "rondo_ceil"(double number) noexcept

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
        most=cython.double, mean=cython.double
    )
    cpdef merge(self, number, total, lowest, highest, now_ns=*)
    @cython.locals(
        source="const double[:]", total=cython.double, least=cython.double, most=cython.double, number=cython.double,
        index=Py_ssize_t
    )
    cdef _added_up(self, numbers)

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
