"""The command line: `dist-task`.

Commands about flows and transactions go over REST, by the client; those that start or migrate the
platform work on this machine. Tables for people, `--json` for machines; exit codes: 0 done,
1 failed, 2 wrong usage or input, 3 the server or the ledger cannot be reached.

What a command needs is imported when it runs, so that `dist-task` starts fast.
"""

from dist_task_pipelines.cli.main import app, main

__all__ = ["app", "main"]
