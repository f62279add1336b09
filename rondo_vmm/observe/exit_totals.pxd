# The types with which exit_totals.py is compiled; without a compiler the same file runs as Python.
cimport cython

@cython.no_gc_clear
cdef class ExitTotals:
    cdef list _exits, _before
    cdef tuple _takers, _each
    cdef object _clock, _wall, _lock
    cdef bint _system_clock, _system_wall, _wanted
    cdef long long _run, _run_min, _run_max, _took, _took_min, _took_max, _last
    cdef public long long due_ns
    cdef long long _read(self) except? -1
    @cython.locals(
        exits=list, before=list, counts=list, reason=Py_ssize_t, last=cython.longlong, now_ns=cython.longlong
    )
    cpdef flush(self)
    @cython.locals(after=cython.longlong, run=cython.longlong, took=cython.longlong)
    cpdef long long add(self, Py_ssize_t reason, long long before_ns, long long left_ns) except? -1
