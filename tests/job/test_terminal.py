"""`rondo run` on a terminal: the job has one of its size and modes, what is typed comes to it, and all is restored."""

import fcntl
import os
import pty
import select
import signal
import struct
import sys
import termios

import pytest

FACTS = """
import os, sys, termios, fcntl, struct
size = struct.unpack("4H", fcntl.ioctl(1, termios.TIOCGWINSZ, bytes(8)))[:2]
print([os.isatty(n) for n in (0, 1, 2)], size, os.ttyname(0) == os.ttyname(1), os.tcgetpgrp(0) == os.getpgrp())
"""


class Terminal:
    """A command on a pseudo-terminal of its own, which is its controlling one."""

    def __init__(self, lives, *words):
        self.pid, self.descriptor = pty.fork()
        if not self.pid:
            try:
                os.chdir(lives.cwd)
                fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("4H", 33, 111, 0, 0))
                os.execvpe(words[0], list(words), lives.environment)
            finally:
                os._exit(1)
        self.seen = b""

    def until(self, text):
        """Read until a text has come."""
        while text not in self.seen:
            assert select.select([self.descriptor], [], [], 60)[0], self.seen
            try:
                self.seen += os.read(self.descriptor, 4096)
            except OSError as error:  # nobody has the terminal open any more
                raise AssertionError(f"{text!r} has not come: {self.seen!r}") from error

    def end(self):
        """Read to the end, and give what was read and the exit status."""
        while True:
            try:
                data = os.read(self.descriptor, 4096)
            except OSError:
                break
            if not data:
                break
            self.seen += data
        os.close(self.descriptor)
        return self.seen, os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@pytest.fixture
def terminal(lives):
    """Start a command on a terminal."""
    started = []

    def start(*words):
        started.append(Terminal(lives, *words))
        return started[-1]

    yield start
    for each in started:
        try:
            os.kill(each.pid, signal.SIGKILL)
            os.waitpid(each.pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass


def test_a_job_has_a_terminal_of_the_same_size(lives, terminal):
    """All three streams are one, it is the job's own, and what is written comes once, with the terminal's ends of lines."""
    seen, status = terminal(*lives.command("-q", "--", sys.executable, "-c", FACTS)).end()
    assert status == 0
    assert seen == b"[True, True, True] (33, 111) True True\r\n"
    assert lives.life().start.output == {"stdout": "terminal", "stderr": "stdout"}
    assert lives.life().output("stdout")[0] == seen


def test_what_is_typed_comes_to_the_job(lives, terminal):
    """Lines, the end of file, and no echo where the job has turned it off."""
    code = "import getpass, sys; print('said', input('N:')); print('secret', getpass.getpass('P:')); print('rest', sys.stdin.read())"
    job = terminal(*lives.command("-q", "--", sys.executable, "-c", code))
    job.until(b"N:")
    os.write(job.descriptor, b"hello\n")
    job.until(b"P:")
    os.write(job.descriptor, b"hidden\n")
    job.until(b"secret hidden")
    os.write(job.descriptor, b"\x04")
    seen, status = job.end()
    assert status == 0
    assert seen == b"N:hello\r\nsaid hello\r\nP:\r\nsecret hidden\r\nrest \r\n"


def test_interrupting_interrupts_the_job(lives, terminal):
    """Ctrl-C is the job's, once; the recorder says how it ended."""
    job = terminal(*lives.command("--", "sh", "-c", "trap 'echo caught' INT; echo ready; read x; read y; exit 9"))
    job.until(b"ready\r\n")
    os.write(job.descriptor, b"\x03")
    job.until(b"caught")
    os.write(job.descriptor, b"\n\n")
    seen, status = job.end()
    assert status == 9
    assert seen.count(b"caught") == 1
    assert b"rondo: exit status 9 after " in seen


def test_suspending_stops_the_job_and_the_shell_has_its_terminal(lives, terminal):
    """Ctrl-Z stops job and recorder, with the terminal as it was; `fg` lets both go on."""
    own = " ".join(lives.command("-q", "--", "sh", "-c", "'echo $$ > pid; echo ready; read x; echo got $x; exit 0'"))
    # A signal is a while on its way.
    stopped = "until grep '^State:.T' /proc/$(cat pid)/status > state; do sleep 0.05; done"
    looks = f"stty -g > during; {stopped}; echo stopped $?"
    job = terminal("bash", "-c", f"set -m; stty -g > before; {own}; {looks}; fg; echo over $?")
    job.until(b"ready\r\n")
    os.write(job.descriptor, b"\x1a")
    job.until(b"stopped 0")
    assert "T (stopped)" in (lives.cwd / "state").read_text()
    assert (lives.cwd / "during").read_text() == (lives.cwd / "before").read_text()
    os.write(job.descriptor, b"typed\n")
    job.until(b"got typed")
    job.until(b"over 0")


def test_a_shell_in_a_job_stops_its_own_jobs(lives, terminal):
    """What a shell inside has in its foreground is stopped by Ctrl-Z as ever, and nothing else is."""
    inner = "set -m; sh -c 'echo ready; read x'; echo status $?; kill -9 %1"
    job = terminal(*lives.command("-q", "--", "bash", "-c", inner))
    job.until(b"ready\r\n")
    os.write(job.descriptor, b"\x1a")
    job.until(b"status 148")
    assert job.end()[1] == 0


def test_a_change_of_size_comes_to_the_job(lives, terminal):
    """As the window grows, so does the job's."""
    code = """
import os, signal
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGWINCH])
print("ready", flush=True)
signal.sigwait([signal.SIGWINCH])
print(os.get_terminal_size(1).columns)
"""
    job = terminal(*lives.command("-q", "--", sys.executable, "-c", code))
    job.until(b"ready")
    fcntl.ioctl(job.descriptor, termios.TIOCSWINSZ, struct.pack("4H", 40, 99, 0, 0))
    job.until(b"99")
    assert job.end()[1] == 0


def test_the_terminals_modes_are_restored(lives, terminal):
    """Also where the recorder is killed: by the relay, when the job has ended."""
    own = " ".join(lives.command("-q", "--", "sh", "-c", "'echo ready $PPID; read x'"))
    for kill in (False, True):
        job = terminal("bash", "-c", f"stty -g > before; {own}; stty -g > after; echo over; cat")
        job.until(b"ready ")
        job.until(b"\r\n")
        if kill:
            recorder = int(job.seen.rpartition(b"ready ")[2].split()[0])
            os.kill(recorder, signal.SIGKILL)
            job.until(b"over")
        else:
            os.write(job.descriptor, b"\n")
            job.until(b"over")
            assert (lives.cwd / "after").read_text() == (lives.cwd / "before").read_text()
        os.write(job.descriptor, b"\n\x04")
        os.kill(job.pid, signal.SIGHUP)


def test_output_to_a_pager_keeps_the_terminal(lives, terminal):
    """In a pipeline standard error is a terminal still, and lines end as they should."""
    code = "import os, sys; sys.stderr.write(f'{os.isatty(2)}\\n'); print('out')"
    own = " ".join(lives.command("-q", "--", sys.executable, "-c", f'"{code}"'))
    seen, status = terminal("bash", "-c", f"{own} | cat; exit ${{PIPESTATUS[0]}}").end()
    assert status == 0
    assert sorted(seen.replace(b"\r\n", b"")) == sorted(b"Trueout")  # of two writers, who may write between the other's
    assert seen.count(b"\r\n") == seen.count(b"\n") == 2
