"""``python -m emperor``."""

from emperor.cli import main

if __name__ == "__main__":
    main()
