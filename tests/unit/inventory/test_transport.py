"""Every connection to the store, a proxied one too, gives up the turn while it waits; and the turn comes back whatever happens."""

import boto3
import pytest
from botocore.config import Config

from orphan_pipeline.inventory.listing.transport import TURN, Transport, _Plain, _Secure


@pytest.mark.parametrize("proxies", [{}, {"http": "http://127.0.0.1:9", "https": "http://127.0.0.1:9"}], ids=["direct", "proxied"])
@pytest.mark.parametrize(("scheme", "kind"), [("http", _Plain), ("https", _Secure)])
def test_connections_are_of_the_kind_that_takes_turns(scheme: str, kind: type, proxies: dict[str, str]) -> None:
    client = boto3.client(
        "s3", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="y", config=Config(proxies=proxies or None)
    )
    transport = Transport(client, connections=2, timeout=1)
    url = f"{scheme}://store.example"
    pool = transport._session._get_connection_manager(url, proxies.get(scheme)).connection_from_url(url)  # type: ignore[attr-defined]
    assert pool.ConnectionCls is kind
    transport.close()


def test_the_turn_comes_back_when_waiting_fails() -> None:
    def wait_in_vain() -> None:
        with TURN, TURN.given_up():
            raise TimeoutError

    for _ in range(2):  # the second would wait for ever if the first had kept it
        with pytest.raises(TimeoutError):
            wait_in_vain()
