"""`hopsmeter`: arguments are read before anything of the dashboard is loaded."""

from tui.cli.app import cli


def main() -> None:
    cli(prog_name="hopsmeter")


if __name__ == "__main__":
    main()
