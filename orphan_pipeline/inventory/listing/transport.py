"""Sends one request and gives its whole answer. Connections are botocore's pool's (proxies, certificates, time-outs); what is ours is that
threads take turns: the interpreter runs one of them at a time anyway, and threads that all want to run cost more processor time, spent on
handing its lock around. A thread keeps the turn from an answer to its next request, and gives it up for the request as a whole: the more
often turns change hands, the less is gained."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING

from botocore.awsrequest import AWSRequest
from botocore.exceptions import ConnectionError as StoreConnectionError
from botocore.exceptions import HTTPClientError
from botocore.httpsession import URLLib3Session
from botocore.utils import get_environ_proxies
from urllib3.exceptions import HTTPError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


class Unanswered(Exception):
    """No whole answer came: a refused connection, a reset, a time-out, an answer cut off. It says which by the name of the error alone:
    the words of a connection's error hold the presigned URL, with all that its signature gives away."""


@contextmanager
def unanswered() -> Iterator[None]:
    """Raises Unanswered for what botocore and urllib3 raise where a connection fails, times out or ends too early."""
    try:
        yield
    except (HTTPClientError, StoreConnectionError, HTTPError) as error:
        raise Unanswered(type(error).__name__) from None


class Turn:
    """One for the process, as there is one interpreter."""

    def __init__(self) -> None:
        self._lock = Lock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    @contextmanager
    def given_up(self) -> Iterator[None]:
        """For the holder, while it waits."""
        self._lock.release()
        try:
            yield
        finally:
            self._lock.acquire()


TURN = Turn()


class Transport:
    """Thread-safe. `send` is called by the holder of the turn."""

    def __init__(self, client: "S3Client", *, connections: int, timeout: int) -> None:
        self._session = URLLib3Session(
            max_pool_connections=connections,
            timeout=timeout,
            proxies=_proxies(client),
            # botocore takes a bundle's path too; its stub only knows the bool.
            verify=os.environ.get("AWS_CA_BUNDLE") or os.environ.get("REQUESTS_CA_BUNDLE") or True,  # type: ignore[arg-type]
        )

    def send(self, url: str, headers: Mapping[str, str]) -> tuple[int, bytes]:
        """Status and body. Raises Unanswered."""
        request = AWSRequest(method="GET", url=url, headers=headers, stream_output=True)
        with unanswered(), TURN.given_up():
            response = self._session.send(request.prepare())
            # In one read: botocore's `content` puts the body together from small pieces.
            return response.status_code, response.raw.read()

    def close(self) -> None:
        self._session.close()


def _proxies(client: "S3Client") -> dict[str, str]:
    """Those of the client's own configuration, else the environment's, as boto3 has it."""
    configured: dict[str, str] | None = getattr(client.meta.config, "proxies", None)
    return get_environ_proxies(client.meta.endpoint_url) if configured is None else configured
