"""What a loss's parameters may be: said once, by the annotations of its function, and checked.

A type says most of it: `bool` is true or false, a `Literal` one of its words, an `int` a whole
number, a `float` a finite number, `None` null. `Limits` in an `Annotated` type says how large a
number may be.
"""

import inspect
import math
import re
from collections.abc import Callable, Iterable, Mapping
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints


class Limits(NamedTuple):
    """The least and the greatest number; with `strict`, neither of them itself."""

    low: float = -math.inf
    high: float = math.inf
    strict: bool = False


AtLeast0 = Annotated[float, Limits(low=0.0)]
Positive = Annotated[float, Limits(low=0.0, strict=True)]
Share = Annotated[float, Limits(low=0.0, high=1.0)]
Count = Annotated[int, Limits(low=1)]


def parameters_of(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Return the keyword-only parameters of a function, their annotations resolved if they can."""
    try:
        hints = get_type_hints(function, include_extras=True)
    except NameError:  # names that are imported for type checkers only
        hints = {}
    return {
        name: parameter.replace(annotation=hints.get(name, Any))
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }


def takes_any(function: Callable[..., Any]) -> bool:
    """Tell whether a function takes keywords that it does not name."""
    parameters = inspect.signature(function).parameters.values()
    return any(entry.kind is inspect.Parameter.VAR_KEYWORD for entry in parameters)


def checked(
    parameters: Mapping[str, inspect.Parameter], given: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the values given for parameters, numbers as Python's own.

    Raises:
        ValueError: in one sentence, for a value that a parameter cannot have.

    """
    return {name: check(name, parameters[name].annotation, value) for name, value in given.items()}


def check(name: str, annotation: Any, value: Any) -> Any:
    """Return a value of an annotated type, or raise ValueError saying what it must be."""
    limits = Limits()
    if get_origin(annotation) is Annotated:
        annotation, *notes = get_args(annotation)
        limits = next((note for note in notes if isinstance(note, Limits)), limits)
    is_union = get_origin(annotation) in (Union, UnionType)
    kinds = get_args(annotation) if is_union else (annotation,)
    words = [word for kind in kinds if get_origin(kind) is Literal for word in get_args(kind)]
    if isinstance(value, str) and value in words:
        return value
    if value is None and NoneType in kinds:
        return None
    if bool in kinds and isinstance(value, bool):
        return value
    if float in kinds and isinstance(value, Real) and _inside(value, limits):
        return float(value)
    if int in kinds and isinstance(value, Integral) and _inside(value, limits):
        return int(value)
    wanted = []
    if float in kinds or int in kinds:
        wanted.append(_number("whole number" if int in kinds else "number", limits))
    if words:
        wanted.append(f"one of {', '.join(words)}")
    if bool in kinds:
        wanted.append("true or false")
    if wanted and NoneType in kinds:
        wanted.append("null")
    if not wanted:
        return value  # of a type that is not ours to check
    raise ValueError(f"{name} must be {' or '.join(wanted)}, got {_shown(value)}")


def with_parameters(own: str, functions: str, names: Iterable[str]) -> str:
    """Return the docstring of a class with the formula, parameters and source of its function's.

    Of the function's docstring, its first sentence, the batch and what follows the source are left
    out, and of the class's own come the text and the parameters that it explains itself.
    """
    text, _, arguments = inspect.cleandoc(own).partition("\n\nArgs:\n")
    said = inspect.cleandoc(functions)
    formula, _, rest = said.partition("\n\nArgs:\n")
    _, _, formula = formula.partition("\n\n")
    of_function, _, rest = rest.partition("\n\n")
    source = [part for part in rest.split("\n\n") if part.startswith("Source:")]
    entries = re.split(r"\n(?=    \w)", f"{arguments}\n{of_function}".strip("\n"))
    kept = [entry for entry in entries if entry.strip().partition(":")[0] in set(names)]
    listed = "Args:\n" + "\n".join(kept) if kept else ""
    return "\n\n".join(part for part in (text, formula, listed, *source) if part) + "\n"


def _inside(value: Any, limits: Limits) -> bool:
    try:
        if isinstance(value, bool) or not math.isfinite(value):
            return False
    except OverflowError:  # an integer of thousands of digits
        return False
    if limits.strict:
        return bool(limits.low < value < limits.high)
    return bool(limits.low <= value <= limits.high)


def _shown(value: Any) -> str:
    try:
        return repr(value)
    except ValueError:  # Python writes out no integer of so many digits
        return "an integer of thousands of digits"


def _number(kind: str, limits: Limits) -> str:
    bounds = []
    if math.isfinite(limits.low):
        bounds.append(f"{'above' if limits.strict else 'of at least'} {limits.low:g}")
    if math.isfinite(limits.high):
        bounds.append(f"{'below' if limits.strict else 'at most'} {limits.high:g}")
    return f"a {kind} {' and '.join(bounds)}" if bounds else f"a finite {kind}"
