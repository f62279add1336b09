"""The golden stores, unpacked: one of each format version that there has been, and of each change within one."""

import tarfile
from pathlib import Path

import pytest

GOLDEN = Path(__file__).parent / "golden"
ENDED = "v1-ended"  # two stores were folded into it
ASIDE = "v1-aside"  # what was recorded last is set aside in it: it reads otherwise

PEAKS = "v1-peaks"  # has other series than the others


@pytest.fixture
def unpacked(tmp_path):
    """Unpack a golden store, and give its path."""

    def unpack(name):
        path = tmp_path / name
        with tarfile.open(GOLDEN / f"{name}.tar.gz") as archive:
            archive.extraction_filter = getattr(tarfile, "data_filter", None)  # which Python has from 3.11.4 on
            archive.extractall(path)
        return path

    return unpack


@pytest.fixture(
    params=sorted({file.name.removesuffix(".tar.gz") for file in GOLDEN.glob("*.tar.gz")} - {ASIDE, PEAKS, ENDED})
)
def golden(request, unpacked):
    return unpacked(request.param)


@pytest.fixture
def ended(unpacked):
    return unpacked(ENDED)


@pytest.fixture
def stepped(unpacked):
    return unpacked(ASIDE)


@pytest.fixture
def peaked(unpacked):
    return unpacked(PEAKS)
