# The types with which timing.py is compiled; without a compiler the same file runs as Python.

cdef class Timer:
    cdef object _summary, _outer
    cdef double _start

cdef class InProgress:
    cdef object _gauge
