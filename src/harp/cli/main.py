# SPDX-License-Identifier: AGPL-3.0-or-later
"""The command ``harp``: finds the module of a verb, runs it, turns what goes wrong into a line and an exit code."""

import importlib
import os
import sys
from collections.abc import Sequence

import click

from harp import __version__
from harp.base.errors import HarpError
from harp.bridge.naming import printable
from harp.cli import loading

INTERRUPTED = 130

# Verb: its module, its help in one line. A module is imported only when its verb is used.
_VERBS: dict[str, tuple[str, str]] = {
    "up": ("process", "Run the daemon in the foreground."),
    "down": ("process", "Stop the daemon cleanly."),
    "console": ("console", "Open the console, the pages for a browser."),
    "id": ("identity", "Print this device's id, with check digits."),
    "share": ("folders", "Share an existing folder."),
    "folders": ("folders", "List the folders shared here."),
    "pause": ("folders", "Stop syncing a folder until it is resumed."),
    "resume": ("folders", "Go on syncing a paused folder."),
    "leave": ("folders", "End this device's membership of a folder; the files stay."),
    "wait": ("waiting", "Wait until this device and its connected peers have the same."),
    "verify": ("waiting", "Check every hash chain, signature and file content again."),
    "account": ("account", "Add, list or remove Nextcloud accounts, whose folders can be shared."),
    "invite": ("members", "Print a ticket with which one device can join a folder."),
    "join": ("members", "Join a folder with a ticket."),
    "peers": ("members", "List the other devices."),
    "forget": ("members", "End another device's membership where this one is an owner."),
    "status": ("status", "Show everything at a glance."),
    "history": ("versions", "Show what happened to a file, by whom and when."),
    "files": ("browsing", "List the files of a folder, or find one, deleted ones too."),
    "changes": ("browsing", "Show what was changed last, by whom and when."),
    "cat": ("browsing", "Write the content of a file, or of an older version of it, to standard output."),
    "why": ("versions", "Show what a file waits for, and from whom it comes."),
    "conflicts": ("versions", "List the files in conflict."),
    "restore": ("versions", "Bring an older or deleted version back."),
    "resolve": ("versions", "Settle a conflict: keep one version, or both."),
    "held": ("safety", "List what waits for a decision."),
    "approve": ("safety", "Let a held change happen."),
    "reject": ("safety", "Undo a held change."),
    "proxy": ("proxy", "Run the proxy for Nextcloud's External Apps, or ask about it."),
    "ignore": ("browsing", "Show or change what a folder leaves out."),
    "traffic": ("browsing", "Show where content came from, by day."),
    "log": ("browsing", "Show what the daemon logged last."),
    "config": ("settings", "Read or change settings."),
    "backup": ("keeping", "Write key and ledger to a file."),
    "restore-backup": ("keeping", "Put key and ledger of a backup into a home."),
    "completion": ("completion", "Print what a shell needs to complete verbs and options."),
    "doctor": ("doctor", "Check this machine and the daemon, and say what to do."),
}


class _Verbs(click.Group):
    """Knows the names and the help of all verbs without their modules."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _VERBS:
            return None
        with loading.uncollected():
            module = importlib.import_module(f"harp.cli.{_VERBS[cmd_name][0]}")
        command = getattr(module, cmd_name.replace("-", "_") + "_command")
        if not isinstance(command, click.Command):
            raise TypeError(f"{cmd_name} is not a command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(verb, text) for verb, (_, text) in _VERBS.items()])


@click.group(
    cls=_Verbs,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--home", metavar="DIR", help="Where key, ledger and socket lie (else HARP_HOME, else the XDG data folder)."
)
@click.version_option(__version__, "-V", "--version", prog_name="harp", message="%(prog)s %(version)s")
@click.pass_context
def harp(ctx: click.Context, home: str | None) -> None:
    """Keep folders the same between devices that trust each other."""
    ctx.obj = home
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command line and end the process with its exit code."""
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; everything that goes wrong is a line on stderr. Tracebacks only with ``HARP_DEBUG``."""
    try:
        outcome = harp.main(
            args=None if arguments is None else list(arguments), prog_name="harp", standalone_mode=False
        )
        sys.stdout.flush()
    except HarpError as error:
        if os.environ.get("HARP_DEBUG"):
            raise
        _tell(error.message, error.hint)
        return error.exit_code
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        _tell(error.format_message(), f"see {context.command_path} --help" if context else "")
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has gone; without this, the interpreter would complain once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return outcome if isinstance(outcome, int) else 0


def _tell(message: str, hint: str) -> None:
    click.echo(f"harp: {printable(message)}", err=True)
    if hint:
        click.echo(f"      {printable(hint)}", err=True)


if __name__ == "__main__":
    main()
