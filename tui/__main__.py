"""`hopsmeter`: arguments are read before anything of the dashboard is loaded."""

from tui.cli.app import cli
from tui.cli.streams import open_streams


def main() -> None:
    open_streams()
    cli(prog_name="hopsmeter")


if __name__ == "__main__":
    main()
