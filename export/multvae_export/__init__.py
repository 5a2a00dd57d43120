"""One verified ONNX file from a trained checkpoint:

>>> from multvae_export import export
>>> export("saved/MultVAE.pth", "model.onnx")  # doctest: +SKIP
"""

from typing import TYPE_CHECKING, Any

from multvae_export.errors import ExportError

if TYPE_CHECKING:
    from multvae_export.exporter import Exported, export
    from multvae_export.vectors.export import export_vectors

__version__ = "0.1.0"
__all__ = ["ExportError", "Exported", "export", "export_vectors"]


def __getattr__(name: str) -> Any:
    # Whoever only reads checkpoints needs neither onnx nor onnxruntime, which the exporter imports.
    if name not in ("Exported", "export", "export_vectors"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from multvae_export.exporter import Exported, export
    from multvae_export.vectors.export import export_vectors

    return {"Exported": Exported, "export": export, "export_vectors": export_vectors}[name]
