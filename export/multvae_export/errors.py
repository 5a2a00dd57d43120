"""The ways an export can fail: one type each, one sentence each."""


class ExportError(Exception):
    """The base of every error below."""


class NotACheckpointError(ExportError):
    """The file is missing, or is not a checkpoint."""


class NotAnExportError(ExportError):
    """The file is missing, or multvae-export did not write it."""


class DamagedCheckpointError(ExportError):
    """The file was a checkpoint once, but its contents are not what was written."""


class UnsafeCheckpointError(ExportError):
    """The file holds something that reading would have to execute."""


class UnsupportedModelError(ExportError):
    """The checkpoint is of a model that has no exporter."""


class FormatVersionError(ExportError):
    """The checkpoint is of a newer format than this exporter knows."""


class SpecError(ExportError):
    """The checkpoint's description of its model is not one that can be followed."""


class WeightsError(ExportError):
    """The weights do not fit the model: a shape is wrong, a layer is missing, a number is not finite."""


class TokensError(ExportError):
    """The item tokens are missing or do not fit the model."""


class OptionError(ExportError):
    """An option is outside its range."""


class VerificationError(ExportError):
    """The written file does not do what the model does."""


class HistoriesError(ExportError):
    """The file of histories is missing, or is not one that fits the model."""


class PrecisionError(ExportError):
    """The rankings in fewer bits are too far from fp32's."""
