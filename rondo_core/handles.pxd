# The types with which handles.py is compiled; without a compiler the same file runs as Python.
cimport cython

cdef long long _wall_ns() noexcept

cdef class Current:
    cdef public long long since_ns, until_ns
    cdef public double[::1] row
    cdef public long long[::1] header
    cdef public unsigned int[::1] row_counts
    cdef public object row_bytes, clock, writer
    cdef public bint system_clock

cdef class Counter:
    cdef Current _current
    cdef Py_ssize_t _column
    cdef public object series
    @cython.locals(current=Current, now=cython.longlong)
    cpdef inc(self, double amount=*, now_ns=*)

cdef class Gauge:
    cdef Current _current
    cdef Py_ssize_t _column
    cdef public object series
    @cython.locals(current=Current, now=cython.longlong)
    cpdef set(self, double value, now_ns=*)

cdef class Summary:
    cdef Current _current
    cdef tuple _cells
    cdef public object series
    @cython.locals(
        current=Current, now=cython.longlong, row=cython.double[::1], count=cython.double, bound=cython.double,
        n=Py_ssize_t, sum0=Py_ssize_t, sum1=Py_ssize_t, min0=Py_ssize_t, min1=Py_ssize_t, max0=Py_ssize_t,
        max1=Py_ssize_t
    )
    cpdef observe(self, double value, now_ns=*)
    @cython.locals(
        current=Current, now=cython.longlong, row=cython.double[::1], count=cython.double, bound=cython.double,
        n=Py_ssize_t, sum0=Py_ssize_t, sum1=Py_ssize_t, min0=Py_ssize_t, min1=Py_ssize_t, max0=Py_ssize_t,
        max1=Py_ssize_t, sound=cython.bint
    )
    cpdef merge(self, Py_ssize_t number, double total, double lowest, double highest, now_ns=*)

cdef class SketchedSummary(Summary):
    cdef double _factor
    cdef long long _lowest, _bucket_ns, _version
    cdef Py_ssize_t _base
    @cython.locals(
        current=Current, now=cython.longlong, row=cython.double[::1], count=cython.double, bound=cython.double,
        n=Py_ssize_t, sum0=Py_ssize_t, sum1=Py_ssize_t, min0=Py_ssize_t, min1=Py_ssize_t, max0=Py_ssize_t,
        max1=Py_ssize_t, version=cython.longlong, place=cython.longlong
    )
    cpdef observe(self, double value, now_ns=*)
    cpdef merge(self, Py_ssize_t number, double total, double lowest, double highest, now_ns=*)

cdef class GaugeBatch:
    cdef Current _current
    cdef Py_ssize_t _column, _count
    cdef object _slice, _bytes, _pack
    cdef double[::1] _scratch
    cdef public tuple series
    cpdef set(self, values, now_ns=*)
    @cython.locals(
        current=Current, now=cython.longlong, scratch=cython.double[::1], source=cython.double[::1],
        row=cython.double[::1], header=cython.longlong[::1], index=Py_ssize_t
    )
    cdef _set_compiled(self, values, now_ns)
