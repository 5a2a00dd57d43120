"""One verified ONNX file from a trained checkpoint:

>>> from multvae_export import export
>>> export("saved/MultVAE.pth", "model.onnx")  # doctest: +SKIP
"""

from multvae_export.errors import ExportError
from multvae_export.exporter import Exported, export

__version__ = "0.1.0"
__all__ = ["ExportError", "Exported", "export"]
