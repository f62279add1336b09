# The functions of the module `time` of which compiled code asks the kernel by itself, in place of the call.
# What a test suite puts in their place is what answers: packages that travel in time change the function that the module
# names, or what that function does, and both are looked at, by comparing numbers, each time. Only a built-in function
# that has just given the kernel's own answer is trusted.
cdef extern from *:
    """
    #include <time.h>

    typedef struct {
        const char *name;
        clockid_t id;
        PyObject *function; /* trusted while the module names it and it does what it did */
        PyCFunction method;
    } rondo_clock;

    static rondo_clock rondo_wall = {"time_ns", CLOCK_REALTIME, NULL, NULL};
    static rondo_clock rondo_steady = {"monotonic_ns", CLOCK_MONOTONIC, NULL, NULL};
    static PyObject *rondo_names = NULL; /* of the module time */

    #if PY_VERSION_HEX >= 0x030C0000
    static int rondo_renamed = 1; /* whether a name may stand for something else now */

    static int rondo_on_change(PyDict_WatchEvent event, PyObject *dict, PyObject *key, PyObject *value) {
        rondo_renamed = 1;
        return 0;
    }

    static int rondo_watched = 0;

    static void rondo_watch(void) {
        int watcher = PyDict_AddWatcher(rondo_on_change);
        rondo_watched = watcher >= 0 && PyDict_Watch(watcher, rondo_names) == 0;
        PyErr_Clear(); /* where others watch as much as can be watched, the module is asked each time */
    }

    #define RONDO_UNTOUCHED() (!rondo_renamed)
    #define RONDO_LOOKED() (rondo_renamed = !rondo_watched)
    #else
    static uint64_t rondo_version = 0;

    static void rondo_watch(void) {
    }

    #define RONDO_UNTOUCHED() (rondo_names != NULL && ((PyDictObject *)rondo_names)->ma_version_tag == rondo_version)
    #define RONDO_LOOKED() (rondo_version = ((PyDictObject *)rondo_names)->ma_version_tag)
    #endif

    static inline long long rondo_kernel_ns(clockid_t id) {
        struct timespec instant;
        clock_gettime(id, &instant);
        return instant.tv_sec * 1000000000LL + instant.tv_nsec;
    }

    static long long rondo_ask_ns(rondo_clock *clock) {
        PyObject *function, *answer;
        long long before, ns;
        if (rondo_names == NULL) {
            PyObject *module = PyImport_ImportModule("time");
            if (module == NULL)
                return -1;
            rondo_names = PyModule_GetDict(module); /* the module is not let go of */
            rondo_watch();
        }
        if (!RONDO_UNTOUCHED()) {
            rondo_wall.function = rondo_steady.function = NULL;
            RONDO_LOOKED();
        }
        function = PyDict_GetItemString(rondo_names, clock->name);
        if (function == NULL) {
            PyErr_Format(PyExc_AttributeError, "module 'time' has no attribute '%s'", clock->name);
            return -1;
        }
        Py_INCREF(function);
        before = rondo_kernel_ns(clock->id);
        answer = PyObject_CallNoArgs(function);
        ns = answer == NULL ? -1 : PyLong_AsLongLong(answer);
        Py_XDECREF(answer);
        if (PyCFunction_CheckExact(function) && before <= ns && ns <= rondo_kernel_ns(clock->id)
            && PyDict_GetItemString(rondo_names, clock->name) == function) {
            clock->function = function; /* which the module keeps */
            clock->method = PyCFunction_GET_FUNCTION(function);
        }
        Py_DECREF(function);
        return ns;
    }

    static inline long long rondo_read_ns(rondo_clock *clock) {
        if (RONDO_UNTOUCHED() && clock->function != NULL
            && ((PyCFunctionObject *)clock->function)->m_ml->ml_meth == clock->method)
            return rondo_kernel_ns(clock->id);
        return rondo_ask_ns(clock);
    }

    static inline long long rondo_time_ns(void) {
        return rondo_read_ns(&rondo_wall);
    }

    static inline long long rondo_monotonic_ns(void) {
        return rondo_read_ns(&rondo_steady);
    }
    """
    long long time_ns "rondo_time_ns"() except? -1
    long long monotonic_ns "rondo_monotonic_ns"() except? -1
