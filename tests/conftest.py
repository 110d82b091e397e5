"""What every test gets: the option that rewrites goldens, and hypothesis' manners."""

import os

import pytest
from hypothesis import settings

# the same examples each time, and nothing left behind; the fuzz tests say how to get others
settings.register_profile("house", deadline=None, database=None, derandomize=True)
settings.register_profile("random", deadline=None, database=None)
settings.load_profile("random" if os.environ.get("EMPEROR_FUZZ_CASES") else "house")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="rewrite what tests/golden expects"
    )
