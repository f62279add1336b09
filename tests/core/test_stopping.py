"""An orderly stop by SIGINT and SIGTERM, whatever the code that they interrupt is doing."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from rondo_core.signals import STOP_SIGNALS, stopped_by_signals


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_signal_stops_while_the_main_thread_holds_the_very_lock(number):
    """As it does for a moment in every wait for an event: a handler on its own stack would wait for ever."""
    lock, stopped = threading.Lock(), threading.Event()

    def stop(_number):
        with lock:
            stopped.set()

    with stopped_by_signals(stop) as came:
        with lock:
            signal.raise_signal(number)
        assert stopped.wait(30)
    assert came == [number]


def test_a_signal_stops_while_the_main_thread_is_in_a_system_call():
    """Which goes on: what ends it is the stop."""
    reading, writing = os.pipe()
    with stopped_by_signals(lambda number: os.write(writing, bytes([number]))):
        threading.Timer(0.01, os.kill, (os.getpid(), signal.SIGTERM)).start()
        assert os.read(reading, 1) == bytes([signal.SIGTERM])
    os.close(reading)
    os.close(writing)


def test_what_was_there_before_is_there_afterwards():
    """Handlers and the descriptor that wakes an event loop, also of a block inside another."""
    before = [signal.getsignal(number) for number in STOP_SIGNALS]
    outer, inner = [], []
    with stopped_by_signals(outer.append):
        with stopped_by_signals(inner.append):
            signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
    assert (outer, inner) == ([signal.SIGTERM], [signal.SIGINT])
    assert [signal.getsignal(number) for number in STOP_SIGNALS] == before
    assert signal.set_wakeup_fd(-1) == -1


def test_on_another_thread_signals_are_left_to_the_main_one():
    """A machine on a thread of somebody's program does not take its signals."""
    found = []

    def run():
        with stopped_by_signals(lambda _number: None):
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [signal.SIG_DFL]


def test_a_program_under_it_starts_with_its_own_signals():
    """A child neither ignores them nor writes into its parent's pipe."""
    came = []
    with stopped_by_signals(came.append):
        child = subprocess.Popen(
            [sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()"], stdin=-1, stdout=-1
        )
        assert child.stdout.readline() == b"\n"
        child.terminate()
        child.communicate(timeout=30)
    assert (child.returncode, came) == (-signal.SIGTERM, [])


def test_what_this_process_was_told_to_ignore_stays_ignored():
    """As nohup has it for a terminal that is closed, and a shell for what it runs in the background."""
    code = (
        "import signal, sys\nfrom rondo_core.signals import stopped_by_signals\n"
        "with stopped_by_signals(print) as came:\n"
        "    signal.raise_signal(signal.SIGHUP)\n    signal.raise_signal(signal.SIGQUIT)\n"
        "print(len(came))"
    )
    command = ["sh", "-c", 'trap "" HUP QUIT; exec "$@"', "sh", sys.executable, "-c", code]
    assert subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout == "0\n"
