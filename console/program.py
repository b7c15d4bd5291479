"""The program around the commands: options of all of them, groups, and what an error becomes. Nothing heavy is imported."""

import select
import sys
import traceback
from dataclasses import dataclass
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup
from typer.main import get_command

INTERRUPTED = 130
"""Exit code after Ctrl-C, as a shell has it."""


@dataclass
class Invocation:
    """What the whole program is told, beside its command."""

    debug: bool = False
    """Whether an error is shown with its traceback."""


class Listing(TyperGroup):
    """A group that lists when no command of it is named: `perennial decisions churn` is `perennial decisions list churn`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # the class that typer passes here has no public name
        """The arguments, with the command `list` where none is named. A shell that completes a line is offered the commands."""
        named = ctx.resilient_parsing or (bool(args) and (args[0] in self.commands or args[0] == "--help"))
        return super().parse_args(ctx, args if named else ["list", *args])


class Program(TyperGroup):
    """The program: an interruption ends it with one line, and only a reader that is gone ends it without a word."""

    def invoke(self, ctx: Any) -> Any:  # the class that typer passes here has no public name
        """Whatever the command returns."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            typer.echo("perennial: interrupted", err=True)
            raise typer.Exit(INTERRUPTED) from None
        except BrokenPipeError as error:
            if _is_read():  # typer takes any broken pipe, a store's too, for a reader of what is printed that has gone
                from perennial.outages import translated

                raise translated(error, "perennial") from error
            raise


def run(app: typer.Typer) -> NoReturn:
    """Run a command line to its end; an error becomes a sentence and an exit code, whoever raised it."""
    invocation = Invocation()
    try:
        app(obj=invocation)
    except Exception as raised:
        from perennial.outages import translated

        if invocation.debug:
            traceback.print_exc()
        command = called(app, sys.argv[1:])
        error = translated(raised, command, "what the same command prints after `perennial --debug`")
        typer.echo(f"perennial: {error}", err=True)
        sys.exit(error.exit_code)
    sys.exit(0)


def _is_read() -> bool:
    """Whether whoever reads what is printed is still there."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return not poll.poll(0)


def called(app: typer.Typer, arguments: list[str]) -> str:
    """Name of the command that arguments call; of the program where they call none.

    >>> app = typer.Typer()
    >>> hello, bye = (app.command(name)(lambda: None) for name in ("hello", "bye"))
    >>> called(app, ["--debug", "hello", "you"]), called(app, [])
    ('hello', 'perennial')
    """
    command, words = get_command(app), list[str]()
    for argument in arguments:
        if argument.startswith("-"):
            continue
        subcommand = getattr(command, "commands", {}).get(argument)
        if subcommand is None:
            break
        command = subcommand
        words.append(argument)
    return " ".join(words) or "perennial"
