"""Each test here is a fault that a person met. ``@pytest.mark.saw`` says what that person saw."""

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "faults" in item.path.parts:
            marks = list(item.iter_markers("saw"))
            assert marks and all(len(m.args) == 1 and m.args[0].strip() for m in marks), (
                f"{item.nodeid} does not say what a person saw: @pytest.mark.saw('...')"
            )
