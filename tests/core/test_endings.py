"""How runs ended: each word on record is sorted once, for all who show it."""

import pytest

from rondo_core.storage import Run, how_ended, outcome
from rondo_core.storage.runs import boot_id, this_run


def ended(text):
    return Run(1, 71, 5, boot_id(), 1, 2 if text else 0, text)


@pytest.mark.parametrize(
    ("text", "sort"),
    [
        ("closed", "well"),
        ("returned", "well"),
        ("exit status 0", "well"),
        ("power-off", "well"),
        ("signal 15", "stopped"),
        ("signal 2", "stopped"),
        ("signal 15, exit status 0", "stopped"),
        ("signal 11", "failed"),
        ("signal 1", "stopped"),
        ("exit status 1: no such file", "failed"),
        ("exit status 3", "failed"),
        ("raised ValueError: closed (job.py:3)", "failed"),
        ("panic", "failed"),
        ("exited", "unclear"),
        ("dropped without close", "unclear"),
        ("something newer", "unclear"),
        ("", "gone"),
    ],
)
def test_an_end_is_sorted_by_its_words(text, sort):
    """Well, stopped by someone, failed, gone without a word, or nobody can say; while it is written it is live."""
    assert outcome(ended(text), None) == sort
    assert outcome(ended(text), 71) == "live"


def test_an_end_is_told_in_the_words_on_record():
    """A run without them is gone, and what may have happened to the machine since is said."""
    assert how_ended(ended("signal 15"), None) == "signal 15"
    assert how_ended(ended(""), 71) == "writing now"
    assert how_ended(this_run(1, 1, ""), None) == "gone without closing the store"
    elsewhere = Run(1, 71, 5, "6c1a5c4e-0000-4000-8000-000000000001", 1, machine="another")
    assert "another boot, or on another machine" in how_ended(elsewhere, None)
