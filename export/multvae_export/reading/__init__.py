"""The only reader of ``.pth`` files. It executes nothing that is inside.

``torch.save`` writes a zip archive of tensors and of one pickle, and a pickle is a program. (The plugin adds the result of
the test, as JSON.) :mod:`.archive` reads the parts of the archive, :mod:`.allowed` lists the names that the pickle may use,
:mod:`.interpreter` runs the few instructions that ``torch.save`` writes, :mod:`.maker` makes the values, :mod:`.limits`
bounds what they cost. A subclass of :class:`.maker.Maker` makes the objects: the exporter (:mod:`..checkpoint.records`)
makes records of names and attributes and imports nothing, the plugin makes RecBole's objects.

Threat model: somebody made the file to harm whoever reads it. Comments in the code name these lines. Kept out:

* Threat 1, code: no function that the file names is called. The names in :data:`.allowed.FUNCTIONS` stand for methods of
  the maker, which check their arguments. Other functions, other instructions and TorchScript are refused.
* Threat 2, imports: names that are not listed are refused. Only the plugin imports modules, and only those of
  :data:`.allowed.PACKAGES`; from a module it takes the classes that are defined there, nothing that the module imports.
* Threat 3, objects: they are made empty, and no constructor runs. Attributes are set once, on new objects only, and none
  hides a method. ``__setstate__`` runs only for the plugin, as classes of these packages define it.
* Threat 4, other files: parts are read from this archive only. No name in it is used as a path.
* Threat 5, memory that is not the file's: a tensor, array or sparse matrix that does not fit its bytes is refused. (The
  exporter checks sparse matrices where it uses them.)

Only bounded, in proportion to the size of the file:

* Threat 6, memory: parts are not compressed and together no larger than the file. At most four bytes or elements are copied
  for each byte of the file. A byte of the pickle makes one Python object at most, of some 200 bytes: a large pickle can
  still fill the memory.
* Threat 7, time: an instruction takes as long as the bytes it reads or copies. Keys that may collide in a table are refused.
* Threat 8, the stack: values that Python or NumPy would hash, compare or free by recursion must not be nested.
* Threat 9, text: values are not longer as text than 100 MB or four times the file, whichever is more. Messages show names
  and types, cut and without control characters.

Not covered: weights, tokens, scores and settings that are wrong on purpose; whoever uses them checks that they fit. CRC-32,
which the exporter checks, finds damage and not forgery. Bugs of Python, NumPy and torch, and classes of your own that
``torch.serialization.add_safe_globals`` admits to the plugin, are not covered either.

In comparison, torch's ``weights_only`` reader too interprets the pickle with a list of names. It calls the real functions,
bounds neither memory nor time, and refuses RecBole's ``Config`` and pickle protocol 4. skops (``io/_audit.py``) writes no
pickle: it compares all types in a file with a list of trusted ones, which the user extends, before it constructs anything.
Then the code of these types runs, and the size of their objects is not bounded.
"""

from multvae_export.errors import DamagedCheckpointError, ExportError, NotACheckpointError, UnsafeCheckpointError
from multvae_export.reading.allowed import PACKAGES, Name
from multvae_export.reading.archive import Archive
from multvae_export.reading.maker import Maker
from multvae_export.reading.newest import newest
from multvae_export.reading.unpack import unpack

#: The part of a checkpoint that has the metrics of its test, as JSON: they are known after ``torch.save`` wrote it.
TEST_RESULT = "test_result.json"
#: The newest format of what the plugin adds to a checkpoint (``other_parameter`` and ``recbole_multvae``).
FORMAT_VERSION = 2

__all__ = [
    "FORMAT_VERSION",
    "PACKAGES",
    "TEST_RESULT",
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
