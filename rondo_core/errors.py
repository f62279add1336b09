"""Every error that rondo raises, typed by what the caller can do about it.

One root, so that a command needs one `except`; a builtin second, where users already catch it. A message is
one line: the input, what is wrong, the mend. Facts are attributes and survive pickling.
"""

from __future__ import annotations

from collections.abc import Iterable


class RondoError(Exception):
    """The root of every error of rondo's own; `exit_status` is what a command ends with."""

    exit_status = 1

    def __init__(self, *args: object) -> None:
        """Keep the constructor's own arguments as `args`, so that the error pickles."""
        super().__init__(*args)
        self.message = str(args[0]) if args else ""

    def __str__(self) -> str:
        """Give the one line for the user."""
        return self.message


class UsageError(RondoError, ValueError):
    """What was asked for cannot be: the caller mends the input."""

    exit_status = 2


class SchemaError(UsageError):
    """A schema contradicts itself, or the one on disk."""


class LabelError(UsageError):
    """A metric name or a label that the field's receivers could not take."""


class SelectorError(UsageError):
    """A selector that does not parse; `position` is the offending character's index."""

    def __init__(self, message: str, position: int = 0) -> None:
        """Name what is wrong and where."""
        super().__init__(message, position)
        self.position = position


class RangeError(UsageError):
    """A range, a duration or a tier that cannot be read."""


class QueryLimitError(UsageError):
    """A query that would read, or take, more than whoever answers it allows."""


class ConsolidatorError(UsageError):
    """No consolidator of that name reads this kind of series."""


class StoreError(RondoError):
    """A store cannot be opened, written or read."""


class StoreNotFoundError(StoreError, FileNotFoundError):
    """No store at that path."""


class StoreExistsError(StoreError, FileExistsError):
    """There is a store, or something else, at that path already."""


class StoreClosedError(StoreError):
    """The store was closed; open it again to write."""


class StoreForkedError(StoreError):
    """A handle of the parent process was used after fork; the child opens a store of its own."""


class CapacityError(StoreError):
    """The schema has no room for one more series."""


class StoreLockedError(StoreError):
    """Another process, or another `Store` of this one (`here`), writes it; `pid`: 0 where it is not known."""

    def __init__(self, path: str, pid: int = 0, here: bool = False) -> None:
        """Name the store and the process that holds it."""
        super().__init__(path, pid, here)
        self.path, self.pid, self.here = path, pid, here
        self.who = f"process {pid}" if pid else "another process"
        self.message = f"{path}: {self.who} writes this store; stop it, or open read-only"
        if here:
            self.message = f"{path}: this very process writes this store already; use or close the Store that it has"


class StoreReopenedError(StoreError):
    """A store that was read as one whose process has ended was opened again meanwhile; it is live now."""


class OpenFilesError(StoreError):
    """The process, or the machine, may open no more files."""

    def __init__(self, path: str) -> None:
        """Name the file that could not be opened."""
        super().__init__(path)
        self.path = path
        self.message = f"{path}: too many open files; raise the limit (ulimit -n), or close some"


class CorruptStoreError(StoreError):
    """A file of the store does not hold what its format says; `offset` is where, in bytes."""

    def __init__(self, path: str, what: str = "damaged", offset: int = 0) -> None:
        """Name the file, what is wrong in it and where."""
        super().__init__(path, what, offset)
        self.path, self.what, self.offset = path, what, offset
        self.message = f"{path}: {what} (at byte {offset})"


class FormatVersionError(StoreError):
    """The store was made by a newer rondo than this one."""

    def __init__(self, path: str, found: int = 0, known: int = 0) -> None:
        """Name the file and both versions."""
        super().__init__(path, found, known)
        self.path, self.found, self.known = path, found, known
        self.message = f"{path}: format version {found}, this rondo reads up to {known}; install a newer rondo"


class UnknownSeriesError(StoreError, LookupError):
    """A selector matches no series; `nearest` are the names that come closest, `why` says which label differs."""

    def __init__(self, selector: str, nearest: tuple[str, ...] = (), why: str = "") -> None:
        """Name the selector and what was perhaps meant."""
        super().__init__(selector, nearest, why)
        self.selector, self.nearest, self.why = selector, nearest, why
        hint = why or (f"nearest: {', '.join(nearest)}" if nearest else "the store holds no series")
        self.message = f"{selector}: no such series; {hint}"


class PluginError(RondoError):
    """A plugin cannot be used; `plugin` is its name."""

    def __init__(self, plugin: str, what: str = "failed") -> None:
        """Name the plugin and what is wrong with it."""
        super().__init__(plugin, what)
        self.plugin, self.what = plugin, what
        self.message = f"plugin {plugin}: {what}"


class PluginLoadError(PluginError):
    """The plugin's module raised when it was imported or registered."""


class PluginNotFoundError(PluginError):
    """No plugin of that name is installed."""


class HookError(PluginError):
    """A hook of the plugin raised or gave back what it may not."""


class ExportError(RondoError):
    """The receiver cannot be used as configured: the cursor stays, and it is asked again at long intervals."""


class RetryableExportError(ExportError):
    """The receiver has none of the batch, and may be sent it again, `retry_after_s` seconds from now if given."""

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        """Say what the receiver answered and when it wants to be asked again."""
        super().__init__(message, retry_after_s)
        self.retry_after_s = retry_after_s


class ReceiverAwayError(RetryableExportError):
    """There is no way to the receiver: nothing of the batch was sent, and it matters not what is in it."""


class AnswerLostError(RetryableExportError):
    """The batch was begun to be sent and no answer came: the receiver may have it, and may not."""


class PermanentExportError(ExportError):
    """The receiver refused these samples for good; sending them again changes nothing."""


class BatchTooLargeError(ExportError):
    """The receiver does not take that much in one request; in smaller ones it may take all of it."""


def printable(text: str) -> str:
    """Give a text in which nothing steers a terminal or ends a line: what is not printable is written as an escape."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def meant(given: str, known: Iterable[str]) -> str:
    """Ask whether the nearest of the known words was meant: "did you mean path? "; nothing where none is near."""
    import difflib

    words = list(known)
    near = difflib.get_close_matches(given, words, 1) or difflib.get_close_matches(given.lower(), words, 1)
    return f"did you mean {near[0]}? " if near else ""


def instead(given: str, known: Iterable[str]) -> str:
    """End an error about a word that is none of those known: by the one that was meant, if any, and all of them."""
    words = list(known)
    return f"{meant(given, words)}it has {', '.join(words) or 'none'}"


def one_line(error: BaseException) -> str:
    """Give an error of any kind as one line, class named where it is not ours; see `printable`."""
    text = printable(" ".join(str(error).split()))
    return text if isinstance(error, RondoError) else f"{type(error).__name__}: {text}"


def make_logs_printable() -> None:
    """Let log records that nobody has asked for, which go to standard error, be lines of their own too."""
    import logging

    class Formatter(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            return "\n".join(map(printable, super().format(record).split("\n")))

        def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
            record.message = printable(record.message)
            return super().formatMessage(record)

    if logging.lastResort is not None:
        logging.lastResort.setFormatter(Formatter())
