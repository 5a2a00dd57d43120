"""Runs a pickle with a stack and a memo. It knows the instructions that ``torch.save`` writes and no other.

https://docs.python.org/3/library/pickletools.html describes the instructions. Plain values are made here, all others by a
:class:`.maker.Maker`.
"""

from __future__ import annotations

import pickle
import struct
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from typing import Any

from multvae_export.errors import DamagedCheckpointError, UnsafeCheckpointError
from multvae_export.reading.limits import check_keys, check_nesting
from multvae_export.reading.maker import Maker, describe

_unpack_float = struct.Struct(">d").unpack_from
_DICTS = (dict, OrderedDict, defaultdict)

_Operation = Callable[["Interpreter"], None]
_OPERATIONS: dict[int, _Operation] = {}


def _code(name: str) -> int:
    return getattr(pickle, name)[0]


_STOP, _MEMOIZE, _TEXT = _code("STOP"), _code("MEMOIZE"), _code("SHORT_BINUNICODE")
_INT1, _INT2, _FLOAT = _code("BININT1"), _code("BININT2"), _code("BINFLOAT")
_NO_TUPLE = _code("TUPLE1") - 1  # The codes of TUPLE1, TUPLE2 and TUPLE3 follow each other.


def _operation(*names: str) -> Callable[[_Operation], _Operation]:
    """Register a method for the named instructions."""

    def register(method: _Operation) -> _Operation:
        _OPERATIONS.update({_code(name): method for name in names})
        return method

    return register


class Interpreter:
    """One run of one pickle.

    Args:
        data: the pickle.
        maker: makes everything but plain values.
    """

    def __init__(self, data: bytes, maker: Maker) -> None:
        self.data = data
        self.maker = maker
        self.at = 0
        self.stack: list[Any] = []
        self.outer: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        """Run to the end and return the value of the pickle.

        Raises:
            UnsafeCheckpointError: an instruction, a name or a call is not on the list.
            Exception: the pickle is damaged. An instruction can fail in any way.
        """
        data = self.data
        while (code := data[self.at]) != _STOP:
            self.at += 1
            operation = _OPERATIONS.get(code)
            if operation is None:  # Threat 1
                raise UnsafeCheckpointError(f"it has the pickle instruction {code:#04x}, which torch.save does not write")
            operation(self)
        return self.stack.pop()

    def take(self, count: int) -> bytes:
        """The next bytes."""
        end = self.at + count
        if end > len(self.data):  # Threat 6
            raise DamagedCheckpointError("its pickle is cut short")
        taken = self.data[self.at : end]
        self.at = end
        return taken

    def number(self, size: int) -> int:
        """The next bytes as a number that is not negative."""
        return int.from_bytes(self.take(size), "little")

    def since_mark(self) -> list[Any]:
        """The values that were pushed since the last mark."""
        items, self.stack = self.stack, self.outer.pop()
        return items

    @_operation("PROTO")
    def _protocol(self) -> None:
        self.at += 1

    @_operation("FRAME")
    def _frame(self) -> None:
        self.at += 8

    @_operation("MARK")
    def _mark(self) -> None:
        self.outer.append(self.stack)
        self.stack = []

    @_operation("NONE")
    def _none(self) -> None:
        self.stack.append(None)

    @_operation("NEWTRUE")
    def _true(self) -> None:
        self.stack.append(True)

    @_operation("NEWFALSE")
    def _false(self) -> None:
        self.stack.append(False)

    @_operation("SHORT_BINUNICODE", "BINFLOAT", "BININT2", "BININT1")
    def _plain(self) -> None:
        """Texts and numbers. One loop reads all that follow each other, because lists of tokens are long."""
        data, at, push, memo = self.data, self.at - 1, self.stack.append, self.memo
        while True:
            code = data[at]
            if code == _TEXT:
                end = at + 2 + data[at + 1]
                text = data[at + 2 : end].decode("utf-8", "surrogatepass")
                push(text)
                if data[end] == _MEMOIZE:
                    memo[len(memo)] = text
                    end += 1
                at = end
            elif code == _FLOAT:
                push(_unpack_float(data, at + 1)[0])
                at += 9
            elif code == _INT2:
                push(data[at + 1] | data[at + 2] << 8)
                at += 3
            elif code == _INT1:
                push(data[at + 1])
                at += 2
            else:
                break
        self.at = at

    @_operation("BININT")
    def _int4(self) -> None:
        self.stack.append(int.from_bytes(self.take(4), "little", signed=True))

    @_operation("LONG1")
    def _long(self) -> None:
        self.stack.append(int.from_bytes(self.take(self.number(1)), "little", signed=True))

    @_operation("EMPTY_TUPLE")
    def _empty_tuple(self) -> None:
        self.stack.append(())

    @_operation("TUPLE")
    def _tuple(self) -> None:
        items = self.since_mark()
        self.stack.append(tuple(items))

    @_operation("TUPLE1", "TUPLE2", "TUPLE3")
    def _short_tuple(self) -> None:
        count = self.data[self.at - 1] - _NO_TUPLE
        if len(self.stack) < count:
            raise DamagedCheckpointError("its pickle makes a tuple of values that are not there")
        self.stack[-count:] = [tuple(self.stack[-count:])]

    @_operation("EMPTY_LIST")
    def _empty_list(self) -> None:
        self.stack.append([])

    @_operation("EMPTY_DICT")
    def _empty_dict(self) -> None:
        self.stack.append({})

    @_operation("EMPTY_SET")
    def _empty_set(self) -> None:
        self.stack.append(set())

    def _grow(self, kinds: tuple[type, ...]) -> Any:
        target = self.stack[-1]
        if type(target) not in kinds:  # Threat 3
            raise UnsafeCheckpointError(f"it adds items to {describe(target)}, which RecBole does not write")
        return target

    @_operation("APPEND")
    def _append(self) -> None:
        value = self.stack.pop()
        self._grow((list,)).append(value)

    @_operation("APPENDS")
    def _appends(self) -> None:
        values = self.since_mark()
        self._grow((list,)).extend(values)

    @_operation("ADDITEMS")
    def _add_items(self) -> None:
        values = self.since_mark()
        check_keys(values)
        self._grow((set,)).update(values)

    def _enter(self, keys: list[Any], values: list[Any]) -> None:
        target = self._grow(_DICTS)
        check_keys(keys)
        if type(target) is defaultdict:
            check_nesting(values)
        target.update(zip(keys, values, strict=True))

    @_operation("SETITEM")
    def _set_item(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._enter([key], [value])

    @_operation("SETITEMS")
    def _set_items(self) -> None:
        items = self.since_mark()
        self._enter(items[::2], items[1::2])

    @_operation("MEMOIZE")
    def _memoize(self) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    @_operation("BINPUT")
    def _put(self) -> None:
        self.memo[self.number(1)] = self.stack[-1]

    @_operation("LONG_BINPUT")
    def _long_put(self) -> None:
        self.memo[self.number(4)] = self.stack[-1]

    @_operation("BINGET")
    def _get(self) -> None:
        self.stack.append(self.memo[self.data[self.at]])
        self.at += 1

    @_operation("LONG_BINGET")
    def _long_get(self) -> None:
        self.stack.append(self.memo[self.number(4)])

    @_operation("BINUNICODE")
    def _text(self) -> None:
        self.stack.append(self.take(self.number(4)).decode("utf-8", "surrogatepass"))

    @_operation("SHORT_BINBYTES")
    def _short_bytes(self) -> None:
        self.stack.append(self.take(self.number(1)))

    @_operation("BINBYTES")
    def _bytes(self) -> None:
        self.stack.append(self.take(self.number(4)))

    @_operation("BINBYTES8")
    def _long_bytes(self) -> None:
        self.stack.append(self.take(self.number(8)))

    def _line(self) -> str:
        return self.take(self.data.index(b"\n", self.at) + 1 - self.at)[:-1].decode()

    @_operation("GLOBAL")
    def _global(self) -> None:
        module = self._line()
        self.stack.append(self.maker.resolve(module, self._line()))

    @_operation("STACK_GLOBAL")
    def _stack_global(self) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        if type(name) is not str or type(module) is not str:
            raise DamagedCheckpointError("a name in it is no text")
        self.stack.append(self.maker.resolve(module, name))

    @_operation("BINPERSID")
    def _storage(self) -> None:
        self.stack.append(self.maker.storage(self.stack.pop()))

    @_operation("REDUCE")
    def _reduce(self) -> None:
        arguments = self.stack.pop()
        if type(arguments) is not tuple:  # Threat 1
            raise DamagedCheckpointError(f"it calls a function with {describe(arguments)}")
        self.stack.append(self.maker.call(self.stack.pop(), arguments))

    @_operation("NEWOBJ")
    def _new(self) -> None:
        arguments, cls = self.stack.pop(), self.stack.pop()
        if type(arguments) is not tuple or arguments:  # Threat 3
            raise UnsafeCheckpointError(
                f"it makes an object of {describe(cls)} with arguments, which RecBole does not write"
            )
        self.stack.append(self.maker.new(cls))

    @_operation("BUILD")
    def _build(self) -> None:
        state = self.stack.pop()
        self.maker.build(self.stack[-1], state)
