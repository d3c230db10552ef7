"""`python -m scythe_cli.cli` is `scythe`."""

from scythe_cli.cli.app import main

main()
