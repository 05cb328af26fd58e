"""The command line. No ``from __future__ import annotations`` here: on Python 3.9 typer would not see the options."""
