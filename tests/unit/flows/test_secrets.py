from hypothesis import given
from hypothesis import strategies as st

from dist_task_pipelines.domain.errors import InvalidConfiguration
from dist_task_pipelines.flows import fill_secrets, redact, task_config
from tests.unit.flows.making import faults_of, task

SECRETS = {"KEY": "s3cret", "ODD": "${secret.KEY}$"}


def test_secrets_are_filled_in_at_any_depth_and_named() -> None:
    config = {"a": "Bearer ${secret.KEY}", "b": [{"c": "${secret.KEY}"}, 1, "plain"]}
    assert fill_secrets(config, SECRETS.get) == (
        {"a": "Bearer s3cret", "b": [{"c": "s3cret"}, 1, "plain"]},
        {"s3cret"},
    )
    assert config["a"] == "Bearer ${secret.KEY}"


def test_a_secret_is_not_looked_into() -> None:
    assert fill_secrets({"a": "${secret.ODD}${secret.KEY}"}, SECRETS.get) == (
        {"a": "${secret.KEY}$s3cret"},
        {"${secret.KEY}$", "s3cret"},
    )


def test_escapes_are_undone() -> None:
    filled, used = fill_secrets({"a": "$${secret.KEY} $$${secret.KEY} $5"}, SECRETS.get)
    assert (filled, used) == ({"a": "${secret.KEY} $s3cret $5"}, {"s3cret"})


def test_every_missing_secret_is_named() -> None:
    config = {"a": "${secret.X}", "b": {"c d": ["${secret.Y}${input.z}"]}}
    assert faults_of(InvalidConfiguration, fill_secrets, config, SECRETS.get) == [
        ("config.a", "there is no secret 'X'"),
        ('config.b["c d"][0]', "there is no secret 'Y'"),
        ('config.b["c d"][0]', "${input.z} was not filled in"),
    ]


def test_an_empty_secret_is_a_secret() -> None:
    assert fill_secrets({"a": "<${secret.E}>"}, {"E": ""}.get) == ({"a": "<>"}, {""})


@given(st.text(alphabet="${}secrtKEY.x", max_size=20))
def test_what_was_sent_never_becomes_a_placeholder(sent: str) -> None:
    config = {
        "whole": "${input.x}",
        "inside": "<${input.x}>",
        "before": "${input.x}${secret.KEY}",
        "split": "${input.x}{secret.KEY}",
        "output": ["${tasks.up.output.x}"],
    }
    half = task_config(task(config=config), {"x": sent}, {"up": {"x": {"deep": sent}}})
    assert fill_secrets(half, SECRETS.get)[0] == {
        "whole": sent,
        "inside": f"<{sent}>",
        "before": f"{sent}s3cret",
        "split": sent + "{secret.KEY}",
        "output": [{"deep": sent}],
    }


def test_secrets_are_redacted_wherever_they_stand() -> None:
    reply = {"a": "x s3cret y s3cret", "b": [{"s3cret": 1}, 5, None, "fine"]}
    assert redact(reply, {"s3cret"}) == {
        "a": "x [redacted] y [redacted]",
        "b": [{"[redacted]": 1}, 5, None, "fine"],
    }
    assert reply["a"] == "x s3cret y s3cret"


def test_the_longest_secret_is_redacted_first() -> None:
    assert redact("abc ab .", ["ab", "abc", "."]) == "[redacted] [redacted] [redacted]"


def test_an_empty_secret_redacts_nothing() -> None:
    assert redact({"a": "b"}, {""}) == {"a": "b"}


def test_keys_that_become_equal_are_kept_apart() -> None:
    redacted = redact({"k1": 1, "k2": 2, "[redacted]": 3}, {"k1", "k2"})
    assert redacted == {"[redacted]": 1, "[redacted]'": 2, "[redacted]''": 3}


def test_a_secret_inside_a_url_is_percent_encoded() -> None:
    secrets = {"BASE": "http://u@h/", "S": "a/b?", "UP": ".."}
    config = {"url": "${secret.BASE}x/${secret.S}", "body": "http://${secret.S}"}
    filled, used = fill_secrets(config, secrets.get)
    assert filled == {"url": "http://u@h/x/a%2Fb%3F", "body": "http://a/b?"}
    assert used == {"http://u@h/", "a/b?"}
    dots = {"url": "http://h/${secret.UP}"}
    assert faults_of(InvalidConfiguration, fill_secrets, dots, secrets.get) == [
        ("config.url", "${secret.UP} cannot stand in a URL")
    ]
