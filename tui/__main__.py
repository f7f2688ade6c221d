"""`hopsmeter`: arguments are read before anything of the dashboard is loaded."""

import sys

INTERRUPTED = 130
"""As a shell says of who was ended by Ctrl-C."""


def main() -> None:
    try:
        from tui.cli.app import cli
        from tui.cli.streams import open_streams
    except KeyboardInterrupt:  # from here on click sees to it
        sys.exit(INTERRUPTED)
    open_streams()
    cli(prog_name="hopsmeter")


if __name__ == "__main__":
    main()
