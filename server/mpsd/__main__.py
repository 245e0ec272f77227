"""`mpsd`: the command."""

from mpsd.commands import app


def main() -> None:
    """Entry point."""
    app()


if __name__ == "__main__":
    main()
