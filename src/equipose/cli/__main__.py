"""``python -m equipose.cli``: the same as the ``equipose`` command."""

from __future__ import annotations

import sys

from equipose.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
