# The types with which families.py is compiled; without a compiler the same file runs as Python.

cdef class Family:
    cdef dict _children
    cdef object _declare, _pick
    cdef readonly str name
    cdef readonly tuple names
    cdef _declared(self, texts)
    cdef str _text(self, value)
