"""`python -m dist_task_pipelines.cli`."""

from dist_task_pipelines.cli import main

if __name__ == "__main__":
    main()
