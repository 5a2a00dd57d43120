"""``python -m multvae_export``: the same as the command ``multvae-export``."""

import sys

from multvae_export.cli import main

if __name__ == "__main__":
    sys.exit(main())
