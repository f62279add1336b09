# The types with which gauges.py is compiled; see handles.pxd.
cimport cython
from rondo_core.record.handles cimport Current, Handle

@cython.no_gc_clear
cdef class Gauge(Handle):
    cdef Py_ssize_t _column
    cdef bint _changes

@cython.no_gc_clear
cdef class PeakGauge(Gauge):
    cdef readonly Py_ssize_t width
