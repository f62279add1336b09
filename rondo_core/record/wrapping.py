"""Functions of every kind that run inside a block each time they are called: decorators of theirs.

Not compiled: what a program's frameworks ask of a function (is it a coroutine's, a generator's, what is its signature)
only Python's own functions answer.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import wraps
from typing import Any

from rondo_core.errors import UsageError

Block = Callable[[], AbstractContextManager[Any]]


def inside(block: Block, function: Any) -> Any:
    """Give a function that does what `function` does, inside a block of its own for each call.

    The block lasts as long as the call; of a coroutine, a generator or an asynchronous generator from its first step
    to its end, where it returns, raises, is cancelled or closed.
    Args: `block`: makes the context manager.
    Raises: UsageError: it is no function, or one that a class or a static method is made of already.
    """
    if not callable(function):
        raise UsageError(f"{function!r}: no function to decorate; put this decorator below, right above the def")
    for is_kind, wrapper in _WRAPPERS:
        if is_kind(function) or is_kind(getattr(type(function), "__call__", None)):  # noqa: B004 - of its class
            return wrapper(block, function)
    return _plain(block, function)


def _plain(block: Block, function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        with block():
            return function(*args, **kwargs)

    return wrapper


def _coroutine(block: Block, function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        with block():
            return await function(*args, **kwargs)

    return wrapper


def _generator(block: Block, function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        with block():
            return (yield from function(*args, **kwargs))

    return wrapper


def _async_generator(block: Block, function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        with block():
            generator = function(*args, **kwargs)
            try:
                step = generator.asend(None)
                while True:
                    try:
                        item = await step
                    except StopAsyncIteration:
                        return
                    try:
                        sent = yield item
                    except GeneratorExit:
                        raise
                    except BaseException as error:  # noqa: BLE001 - what is thrown in goes further in
                        step = generator.athrow(error)
                    else:
                        step = generator.asend(sent)
            finally:
                await generator.aclose()

    return wrapper


_WRAPPERS: tuple[tuple[Callable[[Any], bool], Callable[..., Any]], ...] = (
    (inspect.iscoroutinefunction, _coroutine),
    (inspect.isasyncgenfunction, _async_generator),
    (inspect.isgeneratorfunction, _generator),
)
