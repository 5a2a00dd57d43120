"""pyarrow, an optional dependency. One sentence says that it is missing, or that it does not fit the installed NumPy."""

from __future__ import annotations

from recbole_multvae.errors import DataError

try:
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow import csv as arrow_csv
    from pyarrow import parquet
except ImportError as error:
    reason = " ".join(str(error).split())
    raise DataError(f"multvae-import needs pyarrow ({reason}): pip install 'recbole-multvae[import]'.") from error

__all__ = ["arrow_csv", "pa", "parquet", "pc"]
