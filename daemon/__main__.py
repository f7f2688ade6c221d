"""`hopsmeterd`: run, tick JOB, check."""

import asyncio
import contextlib
import logging
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import click
import psycopg

from core.clusters.connection import launcher
from core.clusters.keys import prove_keyring
from core.doctor import examine_start
from core.errors import Conflict, HopsmeterError, SettingsFault
from core.settings import Settings, load
from daemon import log
from daemon.agenda import TICKS
from daemon.database import Database
from daemon.deps import Deps
from daemon.opening import make_deps, require_keyring_and_port, sole_owner
from daemon.service import Service
from daemon.supervisor import Supervisor

CLOSE_LIMIT_S = 30.0


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="hopsmeter", prog_name="hopsmeterd")
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The settings file; else HOPSMETER_CONFIG, else /etc/hopsmeter/hopsmeter.toml.",
)
@click.pass_context
def main(context: click.Context, config: Path | None) -> None:
    """Collect what clusters cost, keep the books, carry out commands."""
    context.obj = config


@main.command()
@click.pass_obj
def run(config: Path | None) -> None:
    """Work until told to stop (SIGTERM).

    Told twice, it does not wait for what runs.
    """
    settings = _settings(config)
    log.configure(settings.log_format, settings.log_level)
    with _sentences(settings), sole_owner(settings):
        require_keyring_and_port(settings)
        database, stored = Database(settings), threading.Event()
        try:
            deps = make_deps(settings, database, stored=stored)
            # Before the loop and its threads: our own database starts first and stops last.
            database.open()
            code = asyncio.run(_serve(deps, database, stored))
        finally:
            database.close()
    _leave(code)


@main.command()
@click.argument("job", type=click.Choice(sorted(TICKS)))
@click.pass_obj
def tick(config: Path | None, job: str) -> None:
    """Run one job once, and exit 1 if it failed.

    Beside a running daemon, too.
    """
    settings = _settings(config)
    log.configure(settings.log_format, settings.log_level)
    with _sentences(settings), contextlib.ExitStack() as stack:
        beside = False
        try:
            stack.enter_context(sole_owner(settings))
        except Conflict:
            beside = True
        database = Database(settings)
        stack.callback(database.close)
        deps = make_deps(settings, database, stored=threading.Event(), beside=beside)
        database.open(borrow=beside)
        database.require_current()
        with deps.connect("keyring") as connection:
            prove_keyring(connection, deps.keyring)
        report = TICKS[job].run(deps)
        deps.collecting.stop(CLOSE_LIMIT_S)
        log.get("job").info(job, **(report.facts or {"found": "nothing to do"}))


@main.command()
@click.pass_obj
def check(config: Path | None) -> None:
    """Say whether a start would succeed; exit 1 if not.

    Looks at settings, keyring and database, and starts nothing.
    """
    settings = _settings(config)
    failed = False
    for finding in examine_start(settings):
        failed |= finding.verdict == "fail"
        click.echo(f"{finding.verdict:<5} {finding.name}: {finding.saw}")
        if finding.cure:
            click.echo(f"      {finding.cure}")
    sys.exit(1 if failed else 0)


async def _serve(deps: Deps, database: Database, stored: threading.Event) -> int:
    return await Service(deps, database, Supervisor(), stored).run()


def _settings(config: Path | None) -> Settings:
    """Read the settings; every fault is told, each on a line, before a log can be set up."""
    try:
        return load(os.environ, config)
    except SettingsFault as faults:
        click.echo("hopsmeterd does not start:", err=True)
        for line in faults.message.splitlines():
            click.echo(f"  {line}", err=True)
        sys.exit(1)


@contextlib.contextmanager
def _sentences(settings: Settings) -> Iterator[None]:
    """Tell what was foreseen as a sentence in the log, faults of settings each; leave with 1."""
    try:
        yield
    except SettingsFault as faults:
        for line in faults.message.splitlines():
            log.get("process").error("it cannot go on", why=line)
        _leave(1)
    except (HopsmeterError, psycopg.Error) as fault:
        log.get("process").error("it cannot go on", why=str(fault).strip())
        _leave(1)
    except OSError as fault:
        place = fault.filename or f"the state folder {settings.state_folder}, or what it needs"
        why = f"The system refuses {place}: {fault.strerror or fault}. Mend that, and start again."
        log.get("process").error("it cannot go on", why=why)
        _leave(1)


def _leave(code: int) -> NoReturn:
    """End the process; threads that still hang in a cluster or a dead connection go with it."""
    launcher.stop()
    logging.shutdown()
    sys.stdout.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
