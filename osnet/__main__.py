"""``python -m osnet`` is the command ``osnet``."""

from osnet.cli.app import main

if __name__ == "__main__":
    main()
