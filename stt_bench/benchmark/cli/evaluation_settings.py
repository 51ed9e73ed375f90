"""The options of eval as settings of `evaluation`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stt_bench.benchmark.system.errors import BenchError

if TYPE_CHECKING:
    from stt_bench.benchmark.config.evaluation_section import EvaluationConfig


def given_of(**options: Any) -> dict[str, Any]:
    """Return the options that are not None."""
    return {name: value for name, value in options.items() if value is not None}


def rates_in(text: str | None) -> list[float] | None:
    """Return the numbers of `--verification`."""
    if text is None:
        return None
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise BenchError(
            f"--verification '{text[:40]}': write false accept rates with commas, such as "
            "0.001,0.01"
        ) from None


def option_of(field: str) -> str:
    """Return the option, without dashes, of a field of `evaluation`."""
    return "memory" if field == "memory_mib" else field.replace("_", "-")


def settings_of(values: dict[str, Any]) -> EvaluationConfig:
    """Return checked settings; a mistake in them is told by the option's name."""
    from pydantic import ValidationError

    from stt_bench.benchmark.config.evaluation_section import EvaluationConfig
    from stt_bench.benchmark.config.mistakes import first_mistake

    try:
        return EvaluationConfig.model_validate(values)
    except ValidationError as error:
        keys, sentence = first_mistake(error, EvaluationConfig)
        told = f"--{option_of(keys[0])}: {sentence}" if keys else sentence.removeprefix("row: ")
        raise BenchError(told) from None
