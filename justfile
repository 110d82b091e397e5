# What a developer runs; CI runs `just check`.
set positional-arguments

export PATH := justfile_directory() / ".venv/bin:" + env("PATH")

default: check

# Create .venv with the package and everything its tests need
setup:
    python3.11 -m venv .venv
    .venv/bin/pip install -q -e '.[dev]'

# Everything that must hold before a change is merged; the storm wants the machine for itself
check: lint types
    pytest -n 2 --dist loadfile --ignore tests/e2e/test_storm.py
    pytest tests/e2e/test_storm.py

# Format, lint rules, directions of imports
lint:
    ruff format --check .
    ruff check .
    lint-imports

# Rewrite what can be rewritten
fmt:
    ruff format .
    ruff check --fix .

# mypy, strict
types:
    mypy

# All tests, or those given
test *args:
    pytest "$@"

# Rewrite tests/golden expectations, then read the diff
golden:
    pytest tests/test_golden.py --update-golden -q
    git diff --stat tests/golden

# Generate the parse tables in grammar/ from the grammars beside them
grammars:
    python -m emperor.compiler.grammars

# Side by side with the peers, as ratios
bench *args:
    python -m bench "$@"

# The daemon on the example vassals
run *args:
    emperor run --emperor examples/vassals "$@"

# Which lines the tests reach
cov:
    coverage run -m pytest
    coverage report
