"""Settings as a command line: each setting is written down once, as a field of a dataclass.

A field is a flag where its annotation has a :class:`Flag`. Name and default of the flag are those of the field.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, get_type_hints


@dataclass(frozen=True, slots=True)
class Flag:
    """How a setting is given on the command line.

    Attributes:
        help: What it is; the default is added to that.
        parse: Makes the setting of its text; what it refuses is an ``ArgumentTypeError`` or a ``ValueError``. None for
            a switch, which has no text.
        choices: The texts there are; empty for any.
        without_text: The setting where the flag is given without a text; None where that is an error.
    """

    help: str
    parse: Callable[[str], object] | None = str
    choices: tuple[str, ...] = ()
    without_text: object = None


def parser_of(settings: type, *, program: str, description: str | None) -> argparse.ArgumentParser:
    """The command line that a dataclass of settings stands for.

    Args:
        settings: The dataclass. It may give a field of its base class another default; the flag stays.
        program: Name of the program.
        description: What the program is.
    """
    parser = argparse.ArgumentParser(prog=program, description=description, allow_abbrev=False)
    flags: dict[str, Flag] = {}
    # bases first: a subclass that gives a field another default keeps its flag
    for kind in reversed(settings.__mro__[:-1]):
        for name, hint in get_type_hints(kind, include_extras=True).items():
            for flag in getattr(hint, "__metadata__", ()):
                flags[name] = flag
    for field in fields(settings):
        if field.name in flags:
            parser.add_argument(f"--{field.name}", **_options(flags[field.name], field.default))
    return parser


def _options(flag: Flag, default: object) -> dict[str, Any]:
    """What argparse needs to know of a flag."""
    shown = _shown(default)
    # argparse formats the help by percent signs
    text = (f"{flag.help} (default: {shown})" if shown else flag.help).replace("%", "%%")
    if flag.parse is None:
        return {"action": "store_true", "help": text}
    options: dict[str, Any] = {"type": flag.parse, "default": default, "help": text}
    if flag.choices:
        options["choices"] = flag.choices
    if flag.without_text is not None:
        options |= {"nargs": "?", "const": flag.without_text}
    return options


def _shown(default: object) -> str:
    """A default as one would type it; empty for those that say nothing."""
    if default is True:
        return "true"
    if default is None or default is False:
        return ""
    if isinstance(default, tuple):
        return ",".join(default)
    return f"{default:g}" if isinstance(default, float) else str(default)


def port(text: str) -> int:
    """A port; 0 where that means none, or any."""
    if not 0 <= (number := int(text)) < 65536:
        raise argparse.ArgumentTypeError("must be a port, from 0 to 65535")
    return number


def natural(text: str) -> int:
    """A whole number that is not negative."""
    if (number := int(text)) < 0:
        raise argparse.ArgumentTypeError("must not be negative")
    return number


def positive(text: str) -> int:
    """A whole number above 0."""
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def span(text: str) -> float:
    """A time that may be 0."""
    # written so that it refuses NaN too
    if not 0 <= (number := float(text)) < float("inf"):
        raise argparse.ArgumentTypeError("must be a time, or 0")
    return number


def duration(text: str) -> float:
    """A time above 0."""
    if not (number := span(text)):
        raise argparse.ArgumentTypeError("must be longer than 0")
    return number


def boolean(text: str) -> bool:
    """``true`` or ``false``."""
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError("must be true or false")
    return text.lower() == "true"
