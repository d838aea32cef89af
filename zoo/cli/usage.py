"""What was typed, as a command; what is none is refused in one line that names the nearest.

tyro parses. It draws its complaints as boxes of several lines; a hook gets them as objects, and
where a version of tyro has no such hook the box is flattened.
"""

import contextlib
import dataclasses
import functools
import io
import operator
import re
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any

from tyro.conf import Positional

from zoo.common.words import near_names, nearest

_BOX = {ord(part): " " for part in "╭─╮│╰╯├┤┌┐└┘"}
_POSITIONAL = typing.get_args(Positional[int])[1:]
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class UsageError(ValueError):
    """What was typed is no command."""


def parse(
    kinds: Mapping[str, Any], name: str, args: Sequence[str], *, prog: str, description: str
) -> Any:
    """The command in `args`, an object of one of `kinds`.

    Args:
      kinds: name of a command -> its dataclass.
      name: of the command that is meant, "" where there is none.
      args: what was typed.
      prog: what stands before it.
      description: above the list of commands in the help.

    Raises:
      UsageError: in one line.
      SystemExit: after the help was printed.
    """
    import tyro

    if args and not args[0].startswith("-") and args[0] not in kinds:
        raise UsageError(_unknown("command", args[0], kinds, prog))
    union: Any = functools.reduce(
        operator.or_, (Annotated[kind, tyro.conf.subcommand(key)] for key, kind in kinds.items())
    )
    rejected = functools.partial(_reject, kinds.get(name), f"{prog} {name}".strip())
    complaint = io.StringIO()
    try:
        with _hook(rejected), contextlib.redirect_stderr(complaint):
            return tyro.cli(
                union,
                prog=prog,
                description=description,
                args=list(args) or ["--help"],
                config=(tyro.conf.FlagCreatePairsOff,),
            )
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        text = _COLOURS.sub("", complaint.getvalue()).translate(_BOX)
        raise UsageError(" ".join(text.split())) from None


def options_of(kind: type, prefix: str = "") -> Iterator[str]:
    """Every option of a dataclass as it is typed: `--batch-size`, `--model.width`.

    The default of a field decides, as with tyro, which subclass of its type the options are of.
    """
    defaults = {field.name: field.default for field in dataclasses.fields(kind)}
    for field, hint in typing.get_type_hints(kind, include_extras=True).items():
        inner, marks = _unwrapped(hint)
        if any(mark in _POSITIONAL for mark in marks):
            continue
        named = next((m.name for m in marks if getattr(m, "name", None) is not None), field)
        path = f"{prefix}{named}"
        default = type(defaults[field])
        inner = default if _is_dataclass(default) else inner
        nested = [one for one in (inner, *subcommands_of(kind).values()) if _is_dataclass(one)]
        if nested:
            for one in nested:
                yield from options_of(one, f"{path}." if path else "")
        else:
            yield "--" + path.replace("_", "-")


def in_options(changes: Mapping[str, str], kind: type) -> str:
    """Changes of a configuration, by field, as the options with which a command can make them.

    Those that the command has no option for are left out: of `optimizer.accumulate_steps`,
    `zoo train` has `--optimizer.accumulate-steps`, `zoo finetune` `--accumulate-steps`.
    """
    known = set(options_of(kind))
    found = []
    for field, value in changes.items():
        spellings = ["--" + name.replace("_", "-") for name in (field, field.rpartition(".")[2])]
        found += [f"{option} {value}" for option in spellings if option in known][:1]
    return " or ".join(found)


def subcommands_of(kind: type) -> dict[str, type]:
    """The commands below a command: name -> dataclass."""
    found = {}
    for hint in typing.get_type_hints(kind, include_extras=True).values():
        for choice in typing.get_args(_unwrapped(hint)[0]):
            inner, marks = _unwrapped(choice)
            if _is_dataclass(inner):
                found |= {mark.name: inner for mark in marks if hasattr(mark, "name")}
    return found


def _unwrapped(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    """A type and what it is annotated with."""
    if typing.get_origin(hint) is not Annotated:
        return hint, ()
    inner, *marks = typing.get_args(hint)
    return inner, tuple(marks)


def _is_dataclass(kind: Any) -> bool:
    return isinstance(kind, type) and dataclasses.is_dataclass(kind)


def _hook(rejected: Any) -> contextlib.AbstractContextManager[Any]:
    with contextlib.suppress(ImportError, AttributeError):
        from tyro._errors import on_parse_error  # tyro has no public name for it

        return on_parse_error(rejected)
    return contextlib.nullcontext()


def _reject(kind: type | None, prog: str, event: Any) -> None:
    """Raises the sentence for an event of tyro's; leaves those it does not know to tyro."""
    what = _flag(event)
    match type(event).__name__:
        case "UnrecognizedArgs":
            raise UsageError(_unrecognized(kind, prog, event.tokens[0]))
        case "MissingArgs":
            missing = ", ".join(_shown(one.arg.display_name()) for one in event.missing_arguments)
            raise UsageError(f"{prog} needs {missing}; see: {prog} --help")
        case "MissingSubcommand":
            names = event.subcommand_spec.parser_from_name
            raise UsageError(f"{prog} needs one of: {', '.join(names)}; see: {prog} --help")
        case "InvalidChoice":
            allowed = ", ".join(event.choices)
            near = nearest(event.value, event.choices, 1)
            raise UsageError(f"{what} {event.value!r}; {near}{near and '; '}allowed: {allowed}")
        case "BadValue":
            raise UsageError(f"{what} needs a value; see: {prog} --help")
        case "InstantiationFailure":
            raise UsageError(f"{what} {_no_number(event.message)}; see: {prog} --help")


def _flag(event: Any) -> str:
    argument = getattr(event, "argument", None)
    return "" if argument is None else _shown(argument.display_name())


def _shown(name: str) -> str:
    """An option as it is typed; a word without one by its own name: `data` of `action.data`."""
    return name if name.startswith("-") else name.rpartition(".")[2]


def _unrecognized(kind: type | None, prog: str, token: str) -> str:
    option = token.partition("=")[0]
    if option.startswith("-"):
        known = [] if kind is None else list(options_of(kind))
        return _unknown("option", option, known, prog)
    below = {} if kind is None else subcommands_of(kind)
    if below:
        return _unknown("command", f"{prog.rpartition(' ')[2]} {token}", below, prog)
    return f"{prog} takes no further {token!r}; see: {prog} --help"


def _unknown(what: str, given: str, known: Iterable[str], prog: str) -> str:
    known, last = list(known), given.rpartition(" ")[2]
    near = [name for name in known if _initials(name) == last] or near_names(last, known, 2, 0.65)
    hint = f"nearest: {', '.join(near)}; " if near else ""
    return f"unknown {what} {given!r}; {hint}all: {prog} --help"


def _initials(option: str) -> str:
    """`--optimizer.lr` of `--optimizer.learning-rate`."""
    path, dot, name = option.rpartition(".")
    return f"{path}{dot}" + "".join(part[0] for part in name.split("-") if part)


def _no_number(message: str) -> str:
    """Python's words for what `int` and `float` do not take, in ours."""
    value = message.rpartition(": ")[2]
    if message.startswith("invalid literal for int()"):
        return f"{value} is no whole number"
    return f"{value} is no number" if message.startswith("could not convert") else message
