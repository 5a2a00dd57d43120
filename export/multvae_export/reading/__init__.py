"""The one reader of ``.pth`` files. It executes nothing that is inside.

``torch.save`` writes a zip archive of tensors and of one pickle, and a pickle is a program. Here

* :mod:`.archive` reads the parts of the zip archive;
* :mod:`.allowed` lists the names that the pickle may use;
* :mod:`.interpreter` runs the few instructions of pickle that ``torch.save`` writes;
* :mod:`.maker` makes tensors, arrays and containers, once it is sure that the bytes for them are there;
* :mod:`.limits` bounds what a small file can cost.

A subclass of :class:`.maker.Maker` says what the file's objects become: the exporter (:mod:`..checkpoint.records`) makes
records of their names and attributes, the plugin makes RecBole's objects. Neither RecBole nor the plugin is imported here.
"""

from multvae_export.errors import DamagedCheckpointError, ExportError, NotACheckpointError, UnsafeCheckpointError
from multvae_export.reading.allowed import PACKAGES, Name
from multvae_export.reading.archive import Archive
from multvae_export.reading.maker import Maker
from multvae_export.reading.newest import newest
from multvae_export.reading.unpack import unpack

#: The newest format of the plugin's part of a checkpoint (``other_parameter``).
FORMAT_VERSION = 2

__all__ = [
    "FORMAT_VERSION",
    "PACKAGES",
    "Archive",
    "DamagedCheckpointError",
    "ExportError",
    "Maker",
    "Name",
    "NotACheckpointError",
    "UnsafeCheckpointError",
    "newest",
    "unpack",
]
