"""What the commands share: the options of the data set, and how a command ends with an error."""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Callable

from multvae_export.errors import ExportError

INTERRUPTED = 130


def add_dataset_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--dataset-path`` and ``--trust-dataset``."""
    group = parser.add_argument_group("data set, for checkpoints of RecBole's own models")
    path = "the folder of RecBole's data sets: for item tokens, users and histories that the checkpoint lacks"
    group.add_argument("--dataset-path", metavar="FOLDER", help=path)
    trust = "you are sure that it is the data set of the training: for a checkpoint with nothing to compare it with"
    group.add_argument("--trust-dataset", action="store_true", help=trust)


def run_command(action: Callable[[], None], verbose: bool = False, mistake: int = 1) -> int:
    """Run a command and return its exit code. An error of this package or of the file system ends it with one sentence.

    ``mistake`` is the exit code of such an error.
    """
    try:
        action()
    except (ExportError, OSError) as error:
        if verbose:
            traceback.print_exc()
        print(f"error: {error}", file=sys.stderr)
        return mistake
    except KeyboardInterrupt:
        print("error: interrupted; nothing was written.", file=sys.stderr)
        return INTERRUPTED
    return 0
