"""Prints `docs/api.md`: `make docs` keeps it."""

import sys

from dist_task_pipelines.api.app import create_routes
from dist_task_pipelines.api.openapi import document
from dist_task_pipelines.api.reference import markdown

sys.stdout.write(markdown(document(create_routes())))
