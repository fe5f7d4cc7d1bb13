"""Connections to gRPC servers: how they are opened, and when one is there to send on."""

from grpc import ChannelConnectivity, ssl_channel_credentials
from grpc.aio import Channel, insecure_channel, secure_channel

from dist_task_pipelines.executors.base import Service
from dist_task_pipelines.executors.tls import grpc_files

MAX_MESSAGE_BYTES = 16 * 1024 * 1024  # that a channel takes: the most that settings allow

# What a server may have seen is not sent again behind our back (nobody's service config can ask
# for it), nothing is read from the environment, and a server that is back is found within a second.
_OPTIONS = (
    ("grpc.enable_http_proxy", 0),
    ("grpc.service_config_disable_resolution", 1),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.primary_user_agent", "dist-task-pipelines"),
)


def open_channel(service: Service) -> Channel:
    """A channel, which connects at its first use; to be opened on the loop that uses it.

    Raises:
        UnusableTls: the service's certificates or keys cannot be used.
    """
    if service.tls is None:
        return insecure_channel(service.address, _OPTIONS)
    credentials = ssl_channel_credentials(*grpc_files(service.tls))
    return secure_channel(service.address, credentials, _OPTIONS)


async def settled(channel: Channel) -> None:
    """Wait until the channel is connected, or the last attempt to connect it failed.

    After a failure it tries again by itself, each second, and stays in that state meanwhile.
    """
    state = channel.get_state(try_to_connect=True)
    while state in (ChannelConnectivity.IDLE, ChannelConnectivity.CONNECTING):
        await channel.wait_for_state_change(state)
        state = channel.get_state(try_to_connect=True)
