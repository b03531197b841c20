"""``python -m hashbench``: the command line."""

from hashbench.cli import main

main()
