"""The two packages of RocketMQ's clients, which share the module name `rocketmq`.

`rocketmq-python-client` is the official one for RocketMQ 5; `rocketmq-client-python` is the
older one for brokers without its proxy. Where both are installed, the one installed last
owns `rocketmq/__init__.py`.

The official one makes a log folder in the home directory when it is imported, and fails
where it cannot: import either through here only.
"""

import importlib
import logging
import sys
from types import ModuleType
from typing import Any

_LOG_MODULE = "rocketmq.v5.log.log_config"
_OFFICIAL, _LEGACY = "rocketmq-python-client", "rocketmq-client-python"


class BadSetup(Exception):
    """A client cannot work as it is installed, configured or used; says what to do."""


class _ClientLog(logging.LoggerAdapter[logging.Logger]):
    """The client's logger, with `warn`, which the client still calls and Python may drop."""

    def warn(self, msg: object, *args: object, **kwargs: Any) -> None:
        self.warning(msg, *args, **kwargs)


def load_client() -> ModuleType:
    """The official package; it logs to the standard logger `rocketmq-python-client`.

    Raises:
        BadSetup: it is not installed, or the other package lies over it.
    """
    _set_log_aside()
    try:
        rocketmq = importlib.import_module("rocketmq")
        importlib.import_module("rocketmq.v5")
    except ImportError as error:
        raise BadSetup(
            f"the driver rocketmq5 needs {_OFFICIAL}: pip install it ({error})"
        ) from None
    if not hasattr(rocketmq, "Producer"):
        raise BadSetup(
            f"{_LEGACY} lies over {_OFFICIAL}, which the driver rocketmq5 needs: both own the "
            f"module `rocketmq`. Run pip uninstall {_LEGACY}, then pip install "
            f"--force-reinstall --no-deps {_OFFICIAL}"
        )
    return rocketmq


def load_legacy_client() -> ModuleType:
    """The module of the older package that sends, `rocketmq.client`.

    Raises:
        BadSetup: it is not installed, or its native library is missing.
    """
    _set_log_aside()
    try:
        return importlib.import_module("rocketmq.client")
    except ModuleNotFoundError:
        raise BadSetup(
            f"the driver rocketmq4 needs {_LEGACY}: pip install 'dist-task-pipelines[rocketmq4]'. "
            f"It may lie over {_OFFICIAL}, which only the driver rocketmq5 needs"
        ) from None
    except (ImportError, OSError, NotImplementedError) as error:
        raise BadSetup(
            f"{_LEGACY} is installed but cannot work: {error}. It needs the native library "
            "librocketmq of rocketmq-client-cpp 2.x where the system's linker finds it, or "
            "beside its own modules"
        ) from None


def _set_log_aside() -> None:
    quiet = ModuleType(_LOG_MODULE)
    quiet.__dict__["logger"] = _ClientLog(logging.getLogger(_OFFICIAL))
    sys.modules.setdefault(_LOG_MODULE, quiet)
