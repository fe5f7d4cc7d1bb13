"""Parts put together: what a stored flow version holds."""

from pathlib import Path

from dist_task_pipelines.assembly import migrate_ledger, open_ledger, resolve_flow
from dist_task_pipelines.domain.status import RetryStrategy
from dist_task_pipelines.executors import Registry
from dist_task_pipelines.settings import Settings

FLOW = {
    "name": "plain",
    "tasks": [{"id": "call", "task_name": "http_request", "config": {"url": "http://shop/"}}],
}


def settings(home: Path, retry: str = "") -> Settings:
    config = home / "config.toml"
    config.write_text(retry)
    return Settings.load(config, home)


def test_a_version_keeps_the_retry_settings_it_was_made_with(tmp_path: Path) -> None:
    made_with = settings(tmp_path, '[retry]\nstrategy = "auto"\ninterval = 7')
    migrate_ledger(made_with)
    definition = resolve_flow(made_with, Registry.load(), FLOW, name="plain")
    ledger = open_ledger(made_with)
    record = ledger.flows.create(name="plain", definition=definition)
    ledger.close()

    read_with = open_ledger(settings(tmp_path))
    retry = read_with.flows.load(record.id).by_id["call"].retry
    read_with.close()
    assert (retry.strategy, retry.interval) == (RetryStrategy.AUTO, 7)
