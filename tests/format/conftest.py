"""The golden stores, unpacked: one of each format version that there has been."""

import tarfile
from pathlib import Path

import pytest

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture
def unpacked(tmp_path):
    """Unpack the golden store of a version, and give its path."""

    def unpack(version):
        path = tmp_path / f"v{version}"
        with tarfile.open(GOLDEN / f"v{version}.tar.gz") as archive:
            archive.extraction_filter = getattr(tarfile, "data_filter", None)  # which Python has from 3.11.4 on
            archive.extractall(path)
        return path

    return unpack


@pytest.fixture
def golden(unpacked):
    return unpacked(1)
