"""``python -m recbole_multvae``: the same as run_recbole.py, from an installed package."""

import sys

from recbole_multvae.commands.train import main

if __name__ == "__main__":
    sys.exit(main())
