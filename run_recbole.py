"""The command line of RecBole's own run_recbole.py, which also knows MultVAE and MultDAE."""

import sys

from recbole_multvae.commands.train import main

if __name__ == "__main__":
    sys.exit(main())
