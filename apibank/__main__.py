"""Run the command line: `python -m apibank`."""

from apibank.cli import main

if __name__ == "__main__":
    main()
