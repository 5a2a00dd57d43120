"""``python -m multvae_export.compare``: the same as the command ``multvae-compare``."""

import sys

from multvae_export.compare.command import main

if __name__ == "__main__":
    sys.exit(main())
