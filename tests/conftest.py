"""What every test gets: the option that rewrites goldens, and hypothesis' manners."""

import os

import pytest
from hypothesis import settings

#: EMPEROR_FUZZ_CASES=5000: so many examples for each property, other ones each time.
CASES = os.environ.get("EMPEROR_FUZZ_CASES")

# the same examples each time, and nothing left behind
settings.register_profile("house", deadline=None, database=None, derandomize=True)
settings.register_profile(
    "fuzz", deadline=None, database=None, max_examples=int(CASES or 100), print_blob=True
)
settings.load_profile("fuzz" if CASES else "house")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="rewrite what tests/golden expects"
    )
