"""``python -m recbole_multvae``: the same as run_recbole.py, from an installed package."""

import sys

from recbole_multvae.runner import main

if __name__ == "__main__":
    sys.exit(main())
