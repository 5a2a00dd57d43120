"""The ways an export can fail: one type each, one sentence each."""


class ExportError(Exception):
    """The base of every error below."""


class NotACheckpointError(ExportError):
    """The file is missing, or is not a checkpoint."""


class NotAnExportError(ExportError):
    """The file is missing, or multvae-export did not write it."""


class DamagedCheckpointError(ExportError):
    """The file was a checkpoint, but its contents have changed since it was written."""


class UnsafeCheckpointError(ExportError):
    """The file holds something that a reader would have to execute."""


class UnsupportedModelError(ExportError):
    """The checkpoint is of a model that cannot be exported."""


class FormatVersionError(ExportError):
    """The checkpoint is of a newer format than this exporter knows."""


class SpecError(ExportError):
    """The checkpoint's description of its model is wrong."""


class WeightsError(ExportError):
    """The weights do not fit the model: a shape is wrong, a layer is missing, a number is not finite."""


class TokensError(ExportError):
    """The item tokens are missing or do not fit the model."""


class OptionError(ExportError):
    """An option is outside its range."""


class VerificationError(ExportError):
    """The written file does not give the answers of the model."""


class HistoriesError(ExportError):
    """The file of histories is missing or does not fit the model."""


class PrecisionError(ExportError):
    """In fewer bits, the rankings differ too much from fp32's."""


class FeaturesError(ExportError):
    """The file of items is missing or does not fit the model, or its fields say nothing about the items."""
