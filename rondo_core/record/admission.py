"""What a record call is given: made a number and an instant, or counted by the reason why it cannot be.

A program is not to end because of what it measured: nothing here raises about data. The compiled handles and those that
run as Python leave to this module whatever is not plainly a float for the present bucket, so that both take the same.
"""

from __future__ import annotations

from array import array
from itertools import islice
from operator import index, length_hint
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from rondo_core.clock import Clock
    from rondo_core.record.gauges import Gauge

    Slow = Callable[[int, Any, int], None]  # column, what is recorded, now_ns

# Why a value is invalid; all of them together are the samples that were refused as invalid.
NEGATIVE = "negative"  # of a counter's increment, or where a sketch is kept
NAN = "nan"
INFINITE = "infinite"
OVERFLOW = "overflow"  # too large for a float, or for the total that it would be added to
NO_NUMBER = "not_a_number"
NO_INSTANT = "not_a_time"
CONTRADICTORY = "contradictory"  # observations that were added up, and cannot have such a sum
FUNCTION_RAISED = "function_raised"  # of a gauge that a function is read for
UNKNOWN_STATE = "unknown_state"
CAUSES = (NEGATIVE, NAN, INFINITE, OVERFLOW, NO_NUMBER, NO_INSTANT, CONTRADICTORY, FUNCTION_RAISED, UNKNOWN_STATE)

_INF = float("inf")
_PLAIN = frozenset((float, int))
_FARTHEST_NS = 1 << 62  # the year 2116; an instant that is farther off is as much too late, or of the future
MOST_AT_ONCE = 1 << 20  # values of what may have no end
MOST = 1 << 53  # observations of a bucket: up to there a float counts them one by one
_SLACK = 1e-9  # by which floats that were added up may be off, as a share


class Admission:
    """Takes what the handles of one schema are given and cannot record by themselves.

    Attributes: `refused`, counts by reason; `functions`, by the gauge that each is read for on a tick. What it takes
    may still be late, or of the future. Every record raises StoreClosedError and StoreForkedError.
    """

    __slots__ = (
        "_alone",
        "_change",
        "_clock",
        "_inc",
        "_inc_many",
        "_lowest",
        "_observe",
        "_set",
        "_set_many",
        "functions",
        "refused",
    )

    def __init__(
        self,
        refused: dict[str, int],
        clock: Clock,
        lowest: float,
        alone: Callable[[Slow, int, Any, int], None],
        records: tuple[Slow, Slow, Slow, Slow, Slow, Slow],
    ) -> None:
        """Count in `refused`, and leave the rest to a writer.

        Args: `clock`: read where no instant is given; `lowest`: the least that is observed; `alone`: runs one of
            `records` at a time: a gauge's value, gauges', a gauge's change, a counter's, counters', a summary's.
        """
        self.refused, self._clock, self._lowest, self._alone = refused, clock, lowest, alone
        self._set, self._set_many, self._change, self._inc, self._inc_many, self._observe = records
        self.functions: dict[Gauge, Callable[[], Any]] = {}

    def set_slow(self, column: int, value: Any, now_ns: Any) -> None:
        """Store a gauge's value outside the current bucket."""
        self._record(self._set, column, value if type(value) is float else self.number(value), now_ns)

    def set_many_slow(self, column: int, values: Any, n_values: int, now_ns: Any) -> bool:
        """Store the values of gauges side by side, from `column` on; say whether all are numbers, and the instant one.

        Raises: ValueError: there are more values, or fewer.
        """
        numbers = self.numbers(values, n_values)
        return numbers is not None and self._record(self._set_many, column, numbers, now_ns, n_values)

    def change_slow(self, column: int, amount: Any) -> None:
        """Change a gauge's value outside the current bucket, or for the first time."""
        self._record(self._change, column, self._finite(amount, -_INF), None)

    def inc_many_slow(self, column: int, amounts: Any, n_values: int, now_ns: Any) -> None:
        """Add to counters side by side, from `column` on. Raises: ValueError: there are more amounts, or fewer."""
        numbers = self.amounts(amounts, n_values)
        if numbers is not None:
            self._record(self._inc_many, column, numbers, now_ns, n_values)

    def amounts(self, given: Any, n_values: int) -> array[float] | None:
        """Read what so many counters grow by; None where one of the amounts is refused, and so all are.

        Raises: ValueError: there are more or fewer.
        """
        numbers = self.numbers(given, n_values, "counters")
        wrong = [] if numbers is None else [each for each in numbers if not 0.0 <= each < _INF]
        if wrong:
            self.refuse(_cause(wrong[0]), n_values)
            return None
        return numbers

    def inc_slow(self, column: int, amount: Any, now_ns: Any) -> None:
        """Add to a counter outside the current bucket: a late increment counts in every row from its own on."""
        plain = type(amount) is float and 0.0 <= amount < _INF
        self._record(self._inc, column, amount if plain else self._finite(amount, 0.0), now_ns)

    def observe_slow(self, column: int, value: Any, now_ns: Any) -> None:
        """Take a summary's observation outside the current bucket."""
        plain = type(value) is float and self._lowest <= value < _INF and value != -_INF
        number = value if plain else self._finite(value, self._lowest)
        self._record(self._observe, column, None if number is None else (1, number, number, number), now_ns)

    def merge_slow(self, column: int, many: tuple[Any, Any, Any, Any], now_ns: Any) -> None:
        """Take a summary's observations, added up, outside the current bucket, where it has no sketch."""
        self._record(self._observe, column, self.observations(many), now_ns)

    def _record(self, call: Slow, column: int, value: Any, now_ns: Any, n_samples: int = 1) -> bool:
        plain = type(now_ns) is int and -_FARTHEST_NS <= now_ns <= _FARTHEST_NS
        instant_ns = None if value is None else now_ns if plain else self.instant(now_ns, n_samples)
        if instant_ns is not None:
            self._alone(call, column, value, instant_ns)
        return instant_ns is not None

    def refuse(self, cause: str, n_samples: int = 1) -> None:
        """Count what is invalid."""
        self.refused[cause] += n_samples

    def instant(self, now_ns: Any, n_samples: int = 1) -> int | None:
        """Read an instant, ns since the epoch, of a number of any kind, None being now; None where it is none."""
        if now_ns is None:
            return self._clock()
        try:
            instant = index(now_ns) if hasattr(now_ns, "__index__") else index(real(now_ns).__int__())
        except Exception:  # noqa: BLE001 - whatever another's object does
            self.refuse(NO_INSTANT, n_samples)
            return None
        return max(-_FARTHEST_NS, min(instant, _FARTHEST_NS))

    def number(self, value: Any) -> float | None:
        """Read a float as a row's cell takes one; None where it is none."""
        if type(value) is float:
            return value
        try:
            return float(value) if type(value) is int else array("d", (real(value),))[0]
        except OverflowError:
            self.refuse(OVERFLOW)
        except Exception:  # noqa: BLE001 - whatever another's object does
            self.refuse(NO_NUMBER)
        return None

    def floats(self, values: Any) -> array[float] | tuple[Any, ...]:
        """Read floats of a buffer of them, or of what gives items; these themselves where one is no number.

        Of what has no length, and so perhaps no end, the first `MOST_AT_ONCE`.
        """
        items: tuple[Any, ...] = ()
        try:
            view = memoryview(values)
            if view.format == "d" and view.ndim == 1:
                return array("d", view.tobytes())
        except Exception:  # noqa: BLE001, S110 - no buffer
            pass
        try:
            given = values.tolist() if hasattr(values, "tolist") else values
            items = tuple(given if hasattr(given, "__len__") else islice(given, MOST_AT_ONCE))
            return array("d", _reals(items))
        except Exception:  # noqa: BLE001 - whatever another's object does
            if not items:
                self.refuse(NO_NUMBER)
            return items

    def numbers(self, values: Any, n_values: int, what: str = "gauges") -> array[float] | None:
        """Read so many floats: of a buffer of them, or one by one of what is a sequence; None where one is none.

        Raises: ValueError: there are more or fewer.
        """
        if type(values) is list or type(values) is tuple:  # no buffer: there is nothing to try
            return self._one_by_one(values, n_values, what)
        whole = array("d", bytes(8 * n_values))
        try:
            memoryview(whole)[:] = values
        except Exception:  # noqa: BLE001 - no buffer, or not of so many floats
            return self._one_by_one(values, n_values, what)
        return whole

    def _one_by_one(self, values: Any, n_values: int, what: str) -> array[float] | None:
        try:
            # What it was now, whoever changes it while floats are made; no more of what may have no end.
            items = tuple(islice(values, n_values + 1))
            given = len(items) if len(items) <= n_values else length_hint(values) or f"{len(items)} or more"
        except Exception:  # noqa: BLE001 - whatever another's object does
            self.refuse(NO_NUMBER, n_values)
            return None
        if len(items) != n_values:
            raise ValueError(f"batch of {n_values} {what}: {given} values")
        try:
            return array("d", _reals(items))
        except OverflowError:
            self.refuse(OVERFLOW, n_values)
        except Exception:  # noqa: BLE001 - whatever another's object does
            self.refuse(NO_NUMBER, n_values)
        return None

    def _finite(self, given: Any, lowest: float) -> float | None:
        number = self.number(given)
        if number is None:
            return None
        if lowest <= number < _INF and number != -_INF:
            return number
        self.refuse(_cause(number))
        return None

    def observations(self, given: tuple[Any, Any, Any, Any]) -> tuple[int, float, float, float] | None:
        """Read observations that were added up: how many, their sum, the least and the greatest."""
        numbers = []
        for each in given[1:]:
            number = self._finite(each, -_INF)
            if number is None:
                return None
            numbers.append(number)
        total, lowest, highest = numbers
        try:
            many = index(given[0])
        except Exception:  # noqa: BLE001 - whatever another's object does
            self.refuse(NO_NUMBER)
            return None
        if many > MOST:
            self.refuse(OVERFLOW)
        elif are_observations(many, total, lowest, highest):
            return many, total, lowest, highest
        else:
            self.refuse(CONTRADICTORY)
        return None


def real(value: Any) -> Any:
    """Give a value back; one of numpy's complex numbers would become a float by half. Raises: TypeError."""
    if type(value) is not float and getattr(getattr(value, "dtype", None), "kind", "") == "c":
        raise TypeError("a complex number")
    return value


def _reals(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Give values back, one of each type looked at. Raises: TypeError: as `real`."""
    if not _PLAIN.issuperset(map(type, values)):
        for each in {type(value): value for value in values}.values():
            real(each)
    return values


def _cause(number: float) -> str:
    """Say why a number is refused."""
    return NAN if number != number else INFINITE if abs(number) == _INF else NEGATIVE  # noqa: PLR0124


def are_observations(number: int, total: float, lowest: float, highest: float) -> bool:
    """Say whether so many values between these bounds can have that sum, as floats add up."""
    slack = _SLACK * number * max(abs(lowest), abs(highest))
    return number > 0 and lowest <= highest and number * lowest - slack <= total <= number * highest + slack
