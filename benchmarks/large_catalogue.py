"""A catalogue whose weights pass 2 GB: the export goes into two files and is verified as such. Prints time, size and memory.

python benchmarks/large_catalogue.py [--items 500000]
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

from multvae_export.graph.onnx_file import to_onnx, write
from multvae_export.target import Target
from multvae_export.verification.checks import ExportedFile, verify
from serving import random_model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=500_000)
    model = random_model(parser.parse_args().items)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=".") as folder:
        path = Path(folder) / "model.onnx"
        write(to_onnx(model, Target()), path)
        print(f"written in {time.perf_counter() - start:.0f} s")
        for file in sorted(Path(folder).iterdir()):
            print(f"  {file.name}: {file.stat().st_size / 1e9:.2f} GB")
        verify(ExportedFile(path, model, Target(), 18, 1e-4), lambda name, figures: print(f"  {name}: {figures}"))
    print(f"verified after {time.perf_counter() - start:.0f} s")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GiB")


if __name__ == "__main__":
    main()
