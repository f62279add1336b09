"""`python -m rondo_cli` is `rondo`."""

from rondo_cli.main import main

main()
