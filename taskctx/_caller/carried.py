"""The user's ContextVars that travel with a task."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextvars import Context
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from pydantic import ConfigDict, PydanticUserError, TypeAdapter
from pydantic_core import from_json, to_json

from ..errors import CaptureError, ConfigurationError, InvalidArgument, InvalidType, Reason
from .resets import Resets
from .token import MASKED


class CarriedVar(Protocol):
    """The methods that :func:`carry` needs of a variable.  A ``contextvars.ContextVar`` has them; an adapter can."""

    def get(self) -> Any: ...
    def set(self, value: Any, /) -> Any: ...
    def reset(self, token: Any, /) -> None: ...


class _Unset:
    """Stands for "no value": the variable is not set and has no default."""

    def __repr__(self) -> str:
        return "UNSET"


_UNSET = _Unset()
_NUMBERS_AS_THEY_ARE: Final = ConfigDict(ser_json_inf_nan="constants")
"""NaN and infinity stay numbers; by default pydantic writes null, which is another value or none."""
_NOT_JSON = (ValueError, TypeError, RecursionError)


@dataclass(frozen=True, slots=True)
class _Carried:
    name: str
    var: CarriedVar = field(repr=False)
    adapter: TypeAdapter[Any] = field(repr=False)
    default: Any = field(repr=False)
    default_json: bytes | None = field(repr=False)
    required: bool


carried_variables: dict[str, _Carried] = {}
"""The variables that this process carries, by name."""


def carry(
    var: CarriedVar,
    *,
    name: str | None = None,
    type: Any = Any,  # noqa: A002 - the public API's word
    required: bool = False,
) -> None:
    """Capture a ContextVar's value with every task, and set it in the worker before the task's body runs.

    Call it once at import, in submitters and workers alike.  A task whose snapshot does not hold the variable
    sees the variable's own default (None where it has none), never a value left in the worker.

    Args:
        var: a ``ContextVar``, or an object with its ``get``, ``set`` and ``reset``.
        name: the name under which the value is stored; by default the ContextVar's own name.
        type: the type as which pydantic validates the value in the worker.
        required: no task may run without the value.  A submission where the value is unset or None raises
            :class:`CaptureError`, and nothing is scheduled.  A restore fails (``carried_required``) where the snapshot
            does not hold the value, where the value is not valid, and where the worker does not carry the variable.

    Raises:
        ConfigurationError: another variable is carried under this name.
        InvalidArgument: the variable has no name.
        InvalidType: ``var`` lacks one of these methods, or pydantic cannot validate ``type``.
    """
    if not all(callable(getattr(var, method, None)) for method in ("get", "set", "reset")):
        raise InvalidType("carry takes a ContextVar, or an object with its get, set and reset")
    name = name or getattr(var, "name", None)
    if not isinstance(name, str) or not name:
        raise InvalidArgument("carry needs a name for this variable: carry(var, name=...)")
    known = carried_variables.get(name)
    if known is not None and known.var is not var:
        raise ConfigurationError(f"another variable is already carried under the name {name!r}")
    # in an empty Context the variable has its default
    default = Context().run(_value, var)
    adapter = _adapter(type)
    carried_variables[name] = _Carried(name, var, adapter, default, _as_json(adapter, default), required)


def _adapter(kind: Any) -> TypeAdapter[Any]:
    """The validator of a type, built now: pydantic delays the build when it does not find a name."""
    try:
        try:
            adapter: TypeAdapter[Any] = TypeAdapter(kind, config=_NUMBERS_AS_THEY_ARE)
        except PydanticUserError:
            # a model, a dataclass and a TypedDict have their own configuration
            adapter = TypeAdapter(kind)
        adapter.rebuild()
    except Exception as error:  # pydantic's errors here have no common class
        raise InvalidType(
            "carry needs a type that pydantic can validate: carry(var, type=dict[str, str]), or a pydantic model"
        ) from error
    return adapter


def stop_carrying(name: str) -> None:
    """Undo :func:`carry`, for tests."""
    carried_variables.pop(name, None)


def capture_carried() -> dict[str, Any]:
    """The carried variables that are set to something other than their defaults, as JSON values by name.

    The default of a required variable travels too, unless it is None: the worker's default may differ.

    Raises:
        CaptureError: a value has no JSON form; the message names the variable, not the value.
    """
    # no local holds a captured value when the type of another variable raises an error of its own
    return dict(filter(None, map(_captured, carried_variables.values())))


def _captured(carried: _Carried) -> tuple[str, Any] | None:
    value = _value(carried.var)
    try:
        if value is _UNSET or value is (None if carried.required else carried.default):
            return None
        value = _dumped(carried.adapter, value)
        # compare as JSON, because in Python 0, 0.0 and False are equal
        is_default = value == carried.default_json and not carried.required
        return None if is_default else (carried.name, from_json(value))
    except _NOT_JSON:
        raise CaptureError(
            f"the carried variable {carried.name!r} holds a value that its type cannot write as JSON; "
            "register a type that can: carry(var, type=...)"
        ) from None
    finally:
        del value


def required_names(captured: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of the required variables; each of them has a captured value.

    Raises:
        CaptureError: (``carried_required``) a required variable has no value here; the message names it.
    """
    names = tuple(carried.name for carried in carried_variables.values() if carried.required)
    missing = [name for name in names if captured.get(name) is None]
    del captured  # error reporters send the locals of every frame that an exception passes
    if missing:
        raise CaptureError(
            f"the carried variable {missing[0]!r} is required and has no value here: "
            "set it before the task is submitted, or carry it without required=True",
            Reason.CARRIED_REQUIRED,
        )
    return names


def _as_json(adapter: TypeAdapter[Any], value: Any) -> bytes | None:
    try:
        return _dumped(adapter, value)
    except _NOT_JSON:
        return None


def _dumped(adapter: TypeAdapter[Any], value: Any) -> bytes:
    """The JSON that :func:`_loaded` reads: with the names of fields, and without what a model computes of them.

    Raises:
        ValueError: pydantic cannot write the value, or hides a part of it (SecretStr).
    """
    try:
        # without the adapter's own frames
        value = adapter.serializer.to_json(value, by_alias=False, round_trip=True, warnings="error")
        if MASKED.encode() in value:
            raise ValueError
        return value
    finally:
        # error reporters send the locals of every frame that an exception passes
        del value


def _loaded(adapter: TypeAdapter[Any], value: Any) -> Any:
    """The value of a JSON value.  It is validated as JSON: a strict type takes a date from JSON's text only."""
    return adapter.validate_json(to_json(value, inf_nan_mode="constants"), by_alias=False, by_name=True)


@dataclass(frozen=True, slots=True)
class Loaded:
    """Carried values, validated in the worker.

    Attributes:
        values: the valid values, by name.
        invalid: the names of the variables with a value that is not valid.
        lost: the names of the variables that the submitter or this worker requires, and that have no valid value here.
    """

    values: Mapping[str, Any] = field(repr=False)
    invalid: frozenset[str]
    lost: frozenset[str]


def load_carried(stored: Mapping[str, Any], required: Iterable[str] = ()) -> Loaded:
    """Validate a snapshot's carried values.  Names that this process does not carry are ignored, unless required."""
    values: dict[str, Any] = {}
    invalid: set[str] = set()
    for name, carried in carried_variables.items():
        if name not in stored:
            continue
        try:
            values[name] = _loaded(carried.adapter, stored[name])
        except Exception:  # noqa: BLE001 - a validator of the type's own may raise any error
            invalid.add(name)
    needed = {*required, *(name for name, carried in carried_variables.items() if carried.required)}
    return Loaded(values, frozenset(invalid), frozenset(name for name in needed if values.get(name) is None))


def set_carried(values: Mapping[str, Any], resets: Resets) -> None:
    """Give every carried variable its value from ``values``, or else its default; ``resets`` undoes it."""
    for carried in carried_variables.values():
        value = values.get(carried.name, carried.default)
        if value is _UNSET:
            # A ContextVar cannot be unset.  None is the nearest to "no value" for a variable that has no default
            # and was set before the worker started.
            if _value(carried.var) is _UNSET:
                continue
            value = None
        resets.set(carried.var, value)


def _value(var: CarriedVar) -> Any:
    try:
        return var.get()
    except LookupError:
        return _UNSET
