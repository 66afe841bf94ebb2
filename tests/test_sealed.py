"""Sealed files: every damage is noticed."""
from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robinfo.sealed import BLANK, DamagedFile, is_sealed, seal, verify


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sealed file of some kilobytes, text and bytes."""
    file = tmp_path_factory.mktemp("sealed") / "file.bin"
    file.write_bytes(b'{"name": "x", "seal":"' + BLANK.encode() + b'"}' + bytes(range(256)) * 20)
    seal(file)
    return file


@given(st.data())
def test_one_changed_bit_is_noticed(sealed: Path, data: st.DataObject) -> None:
    whole = bytearray(sealed.read_bytes())
    place = data.draw(st.integers(0, len(whole) - 1))
    whole[place] ^= 1 << data.draw(st.integers(0, 7))
    copy = sealed.with_name("copy.bin")
    copy.write_bytes(whole)
    with pytest.raises(DamagedFile, match=r"copy\.bin"):
        verify(copy)


@given(st.integers(0, 5000))
def test_a_missing_end_and_a_longer_one_are_noticed(sealed: Path, length: int) -> None:
    whole = sealed.read_bytes()
    copy = sealed.with_name("copy.bin")
    for text in (whole[: length % len(whole)], whole + b"x" * (1 + length)):
        copy.write_bytes(text)
        with pytest.raises(DamagedFile):
            verify(copy)


def test_what_is_whole_passes_and_is_known_as_sealed(sealed: Path, tmp_path: Path) -> None:
    verify(sealed)
    assert is_sealed(sealed)
    (tmp_path / "empty").touch()
    assert not is_sealed(tmp_path / "empty")


def test_a_file_is_sealed_once(sealed: Path) -> None:
    with pytest.raises(ValueError, match="blank seal"):
        seal(sealed)
