"""``python -m recd`` is ``recd``."""

from .cli import main

# Guarded: a fork server imports the main module of its parent again.
if __name__ == "__main__":
    main(prog_name="recd")
