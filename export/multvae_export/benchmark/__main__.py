"""``python -m multvae_export.benchmark``: the same as the command ``multvae-benchmark``."""

import sys

from multvae_export.benchmark.command import main

if __name__ == "__main__":
    sys.exit(main())
