"""`hopsmeter`: arguments are read before anything of the dashboard is loaded."""

import sys

INTERRUPTED = 130
"""As a shell says of who was ended by Ctrl-C."""


def main() -> None:
    try:
        from tui.cli.app import cli
    except KeyboardInterrupt:  # from here on click sees to it
        sys.exit(INTERRUPTED)
    cli(prog_name="hopsmeter")


if __name__ == "__main__":
    main()
