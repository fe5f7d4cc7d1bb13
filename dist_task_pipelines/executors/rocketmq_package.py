"""The official RocketMQ client's package, imported without what it does on import.

By itself it makes a log folder in the home directory, and fails where it cannot: import it
through here only.
"""

import logging
import sys
from types import ModuleType
from typing import Any

_LOG_MODULE = "rocketmq.v5.log.log_config"


class _ClientLog(logging.LoggerAdapter[logging.Logger]):
    """The client's logger, with `warn`, which the client still calls and Python may drop."""

    def warn(self, msg: object, *args: object, **kwargs: Any) -> None:
        self.warning(msg, *args, **kwargs)


def load_client() -> ModuleType:
    """The package; it logs to the standard logger `rocketmq-python-client`."""
    quiet = ModuleType(_LOG_MODULE)
    quiet.__dict__["logger"] = _ClientLog(logging.getLogger("rocketmq-python-client"))
    sys.modules.setdefault(_LOG_MODULE, quiet)
    import rocketmq  # noqa: PLC0415

    return rocketmq  # type: ignore[no-any-return]
