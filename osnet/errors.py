"""Every error that this package raises. Each also inherits the builtin that fits, so that plain ``except`` works.

A message is one line: what went wrong, what was expected, what was found, what to do next.
"""

from __future__ import annotations


class OsnetError(Exception):
    """Base of all errors of this package."""


class OptionError(OsnetError, ValueError):
    """A keyword, setting or flag has an invalid value."""


class UnknownKeywordError(OptionError, TypeError):
    """A keyword that is not known. The message lists the known ones."""


class UnknownModelError(OsnetError, ValueError):
    """A name that is not a network, card, alias, uid or file. The message lists the nearest known names."""


class CardError(OsnetError, ValueError):
    """A model card that does not follow the hub's format."""


class UrlError(OsnetError, ValueError):
    """A link that may not be followed: scheme, host, port, credentials or file name."""


class DownloadError(OsnetError, ConnectionError):
    """No address of a file gave it whole."""


class OfflineError(DownloadError):
    """A file is not in the cache and the network may not be asked."""


class HashError(OsnetError, ValueError):
    """Bytes whose SHA-256 is not the published one."""


class CacheError(OsnetError, OSError):
    """The cache folder cannot be used: not writable, a path of the wrong kind, a lock that is not released."""


class LockError(CacheError, TimeoutError):
    """Another process holds a lock for too long."""


class ExistsError(OsnetError, FileExistsError):
    """A file exists already and may not be replaced."""


class DiskError(CacheError):
    """The disk is full or refuses to write."""


class StoreError(OsnetError, RuntimeError):
    """An object store does not answer, or refuses.

    Not an OSError, so that no reader of files takes it for a damaged file.
    """


class ClusterError(OsnetError, RuntimeError):
    """A cluster cannot be reached, or lost its workers."""


class CheckpointError(OsnetError, ValueError):
    """A file that is not a whole, well-formed checkpoint."""


class WeightsError(CheckpointError):
    """Arrays that are not the weights of the network asked for."""


class ImageError(OsnetError, ValueError):
    """An image, frame or box that cannot be used."""


class DataError(OsnetError, ValueError):
    """A data set, or arrays of features and labels, that cannot give a meaningful answer."""


class GalleryError(OsnetError, ValueError):
    """A gallery that cannot be used: not there, damaged, or written by a newer version."""


class TrainingError(OsnetError, ArithmeticError):
    """Training cannot continue: the loss is no longer a finite number."""


class VerificationError(OsnetError, ValueError):
    """An exported file gives other features than the weights that it was made from."""


class DependencyError(OsnetError, ImportError):
    """An optional package is missing, too old, or clashes with one that is loaded already."""
