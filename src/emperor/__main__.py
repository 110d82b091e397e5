"""``python -m emperor``."""

from emperor.cli.main import main

if __name__ == "__main__":
    main()
