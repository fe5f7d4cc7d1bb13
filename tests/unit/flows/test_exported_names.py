from dist_task_pipelines import flows


def test_the_public_names() -> None:
    assert sorted(flows.__all__) == [
        "Catalog",
        "ConfigModels",
        "Outputs",
        "check_params",
        "convert",
        "fill_secrets",
        "flow_from",
        "outputs_read",
        "redact",
        "resolve_definition",
        "task_config",
        "task_input",
    ]
    assert all(hasattr(flows, name) for name in flows.__all__)
