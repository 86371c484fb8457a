"""`python -m tether`: the command line."""

from __future__ import annotations

from tether.cli import main

if __name__ == "__main__":
    main()
