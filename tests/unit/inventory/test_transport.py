"""A request gives up the turn while it waits, one through a proxy too; and the turn comes back whatever happens."""

import socket
from concurrent.futures import ThreadPoolExecutor

import boto3
import pytest
from botocore.config import Config

from orphan_pipeline.inventory.listing.transport import TURN, Transport

SECONDS = 30


@pytest.mark.parametrize("proxied", [False, True], ids=["direct", "proxied"])
def test_the_turn_is_free_while_a_request_waits_for_its_answer(proxied: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as pool:
        server.settimeout(SECONDS)
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        client = boto3.client(
            "s3",
            region_name="us-east-1",
            aws_access_key_id="x",
            aws_secret_access_key="y",
            config=Config(proxies={"http": address} if proxied else {}),
        )
        transport = Transport(client, connections=2, timeout=SECONDS)

        def sent() -> tuple[int, bytes]:
            with TURN:
                return transport.send("http://store.example/" if proxied else address, {})

        answer = pool.submit(sent)
        connection, _ = server.accept()
        with connection:
            assert connection.recv(1000).startswith(b"GET http://store.example/ " if proxied else b"GET / ")
            with TURN:  # would wait for ever if the request had kept it
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwhole")
            assert answer.result(SECONDS) == (200, b"whole")
        transport.close()


def test_the_turn_comes_back_when_waiting_fails() -> None:
    def wait_in_vain() -> None:
        with TURN, TURN.given_up():
            raise TimeoutError

    for _ in range(2):  # the second would wait for ever if the first had kept it
        with pytest.raises(TimeoutError):
            wait_in_vain()
