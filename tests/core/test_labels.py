"""Whose labels win where a store's own meet an operator's."""

from rondo_core.model.labels import overridden


def test_labels_that_win_displace_a_stores_own_which_stay_under_another_name():
    """What is displaced is kept as exported_NAME, with the prefix once more where that is taken, and nothing is lost."""
    own = (("instance", "b"), ("reason", "io"))
    assert overridden(own, {"instance": "a"}) == (("exported_instance", "b"), ("instance", "a"), ("reason", "io"))
    own = (("exported_instance", "c"), ("instance", "b"))
    assert overridden(own, {"instance": "a"}) == (
        ("exported_exported_instance", "b"),
        ("exported_instance", "c"),
        ("instance", "a"),
    )
    both = overridden(own, {"instance": "a", "exported_instance": "x"})
    assert dict(both) == {
        "instance": "a",
        "exported_instance": "x",
        "exported_exported_instance": "b",
        "exported_exported_exported_instance": "c",
    }


def test_labels_that_win_change_nothing_else():
    """Others stand as they are, sorted; an empty value is no label, and displaces all the same."""
    assert overridden((("z", "1"),), {"a": "2"}) == (("a", "2"), ("z", "1"))
    assert overridden((("z", "1"),), {}) == (("z", "1"),)
    assert overridden((("z", "1"),), {"z": ""}) == (("exported_z", "1"),)
