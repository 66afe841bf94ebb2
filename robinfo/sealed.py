"""Files that know when they are damaged: a checksum of the whole file inside the file.

A sealed file holds, somewhere near its start, ``"seal":"…"`` with the SHA-256 of all its bytes, the 64 digits themselves
counted as zeros. One changed bit anywhere, a missing end or a file of another kind no longer matches. Data caches, checkpoints and ``metrics.json``
are sealed. Only the standard library is needed.
"""
from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

__all__ = ["BLANK", "DamagedFile", "is_sealed", "seal", "verify"]

BLANK = "0" * 64
_SEAL = re.compile(rb'"seal\\?":\s?\\?"([0-9a-f]{64})\\?"')  # also within a text inside JSON, where quotes are escaped
_HEAD, _BLOCK = 1 << 22, 1 << 24  # where the seal must be; bytes hashed at a time


class DamagedFile(ValueError):
    """A file whose bytes do not match its seal; the message names it.

    Examples
    --------
    >>> issubclass(DamagedFile, ValueError)
    True
    """


def seal(path: str | os.PathLike[str]) -> str:
    """Put the checksum of a file into it, in place of the blank one that it was written with.

    Parameters
    ----------
    path : path
        A file that holds ``"seal":"`` followed by `BLANK` once.

    Returns
    -------
    str
        The 64 hexadecimal digits.

    Raises
    ------
    ValueError
        The file holds no blank seal.

    Examples
    --------
    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "a.json"
    >>> _ = file.write_text('{"seal": "%s", "x": 1}' % BLANK)
    >>> digits = seal(file); verify(file); file.read_text() == '{"seal": "%s", "x": 1}' % digits
    True
    """
    file = Path(path)
    place = _place(file)
    with file.open("r+b") as stream:
        stream.seek(place)
        if stream.read(64).decode() != BLANK:
            raise ValueError(f"{file} must hold a blank seal (64 zeros), got one that is filled in; write the file anew")
        digits = _digest(file, place)
        stream.seek(place)
        stream.write(digits.encode())
        stream.flush()
        os.fsync(stream.fileno())
    return digits


def verify(path: str | os.PathLike[str]) -> None:
    """Compare a file with its seal.

    Parameters
    ----------
    path : path
        A sealed file.

    Raises
    ------
    DamagedFile
        Some byte differs from what was written, or there is no seal.
    OSError
        The file cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "a.json"
    >>> _ = file.write_text('{"seal": "%s", "x": 1}' % BLANK); _ = seal(file)
    >>> _ = file.write_text(file.read_text().replace("1}", "2}"))
    >>> verify(file)
    Traceback (most recent call last):
    robinfo.sealed.DamagedFile: .../a.json does not match its checksum: ...
    """
    file = Path(path)
    place = _place(file)
    with file.open("rb") as stream:
        stream.seek(place)
        stored = stream.read(64).decode("ascii", "replace")
    if stored != _digest(file, place):
        raise DamagedFile(f"{file} does not match its checksum: it was changed or damaged after it was written; delete it or restore a copy")


def is_sealed(path: str | os.PathLike[str]) -> bool:
    """Whether a file holds a seal, whatever it says.

    Parameters
    ----------
    path : path
        Any file.

    Returns
    -------
    bool
        False also for an empty file.

    Examples
    --------
    >>> is_sealed(__file__)
    False
    """
    with Path(path).open("rb") as stream:
        return _SEAL.search(stream.read(_HEAD)) is not None


def _place(file: Path) -> int:
    """Where the digits of the seal begin."""
    with file.open("rb") as stream:
        found = _SEAL.search(stream.read(_HEAD))
    if found is None:
        raise DamagedFile(f'{file} must hold a checksum ("seal"), got none: it is damaged, or no file of robinfo; delete it or restore a copy')
    return found.start(1)


def _digest(file: Path, place: int) -> str:
    """SHA-256 of a file whose digits at `place` count as zeros."""
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        digest.update(stream.read(place) + BLANK.encode())
        stream.seek(place + 64)
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
