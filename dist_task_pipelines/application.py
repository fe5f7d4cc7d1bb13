"""Finds the application: `definitions.py`, `resources/`, `sensors/`, `migrations/`, `configs/`.

The wheel carries these as its data folder `app`; in a checkout they stand at its root. What
is in them, this module does not know.
"""

import sys
from pathlib import Path

from dist_task_pipelines.domain.errors import Fault, InvalidConfiguration

PACKAGE = Path(__file__).resolve().parent


def application_root(package: Path = PACKAGE) -> Path:
    """The folder that holds the application's files.

    Raises:
        InvalidConfiguration: there is none; the installation is incomplete.
    """
    # The wheel's folder first: beside an installed package may lie anybody's definitions.py.
    for folder in (package / "app", package.parent):
        if (folder / "definitions.py").is_file():
            return folder
    raise InvalidConfiguration(
        [Fault(str(package), "no definitions.py in app/ or beside it; install the package again")]
    )


def put_on_path() -> None:
    """Make the application's files importable, before anything else of their names."""
    root = str(application_root())
    if root not in sys.path:
        sys.path.insert(0, root)
