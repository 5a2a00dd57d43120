"""RecBole's command line from a checkout: it trains RecBole's models and those of this package."""

import sys

from recbole_multvae.commands.train import main

if __name__ == "__main__":
    sys.exit(main())
