"""The connection to one S3 bucket: endpoint, addressing, credentials, retries. What is listed or deleted through it is not decided here."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError
from botocore.utils import is_s3express_bucket
from dagster_aws.s3 import S3Resource

from orphan_pipeline.errors import Refused
from orphan_pipeline.settings.model import BucketSettings, KeyCredentials, ProfileCredentials
from orphan_pipeline.settings.values import EnvRef

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CONNECTIONS = 32
ADDRESSING: dict[object, Literal["auto", "path", "virtual"]] = {"auto": "auto", True: "path", False: "virtual"}

STORE_ERRORS = (ClientError, BotoCoreError, ResponseParserError)
"""Whatever boto3 raises when the store, or the way to it, is not as it should be."""


class BucketResource(S3Resource):
    """dagster-aws's S3 resource, bound to one bucket. Secrets are given as names of environment variables and read when a client is
    made, in the run: never at load, and never visible in the UI."""

    bucket: str
    path_style: Literal["auto", "path", "virtual"] = "auto"
    requester_pays: bool = False
    access_key_id_env: str | None = None
    secret_access_key_env: str | None = None
    session_token_env: str | None = None

    def get_object_to_set_on_execution_context(self) -> "BucketResource":
        """Steps get this resource, not a client: S3Resource hands out a client that retries, and a delete must not."""
        return self

    def get_client(self) -> "S3Client":
        """A client that retries by itself: for listing, looking and restoring. Raises BadSettings when a secret is missing."""
        return self._client(attempts=self.max_attempts)

    def get_client_that_asks_once(self) -> "S3Client":
        """A client that sends each request exactly once: a delete that is silently sent again hides what the first one did."""
        return self._client(attempts=1)

    def _client(self, *, attempts: int) -> "S3Client":
        session = boto3.session.Session(profile_name=self.profile_name)
        client: S3Client = session.client(
            "s3",
            region_name=self.region_name,
            endpoint_url=self.endpoint_url,
            use_ssl=self.use_ssl,
            verify=self.verify,
            aws_access_key_id=_secret(self.access_key_id_env),
            aws_secret_access_key=_secret(self.secret_access_key_env),
            aws_session_token=_secret(self.session_token_env),
            config=Config(
                retries={"total_max_attempts": attempts, "mode": "standard"},
                max_pool_connections=CONNECTIONS,
                s3={"addressing_style": self.path_style},
                # boto3 presigns the old way by itself; for a directory bucket it opens a session, unless it is told how to sign.
                signature_version=None if is_s3express_bucket(self.bucket) else "s3v4",
                # $AWS_ENDPOINT_URL could otherwise send a plan to another store than the one that it is bound to (rule 9).
                ignore_configured_endpoint_urls=True,  # type: ignore[call-arg]
            ),
        )
        if self.requester_pays:
            # botocore takes what this event returns in place of the parameters; its stub does not know.
            client.meta.events.register("provide-client-params.s3", _requester_pays)  # type: ignore[arg-type]
        return client


def bucket_resource(settings: BucketSettings) -> BucketResource:
    """The resource for one bucket of the settings. Connects to nothing."""
    return BucketResource(
        bucket=settings.bucket,
        endpoint_url=settings.endpoint,
        region_name=settings.region,
        path_style=ADDRESSING[settings.path_style],
        requester_pays=settings.requester_pays,
        **_credentials(settings),
    )


@contextmanager
def refusing_store_errors(bucket: str) -> Iterator[None]:
    """Whatever the store or the way to it answers amiss becomes a Refused of one line."""
    try:
        yield
    except STORE_ERRORS as error:
        raise Refused(f"bucket {bucket}: {_in_words(error)}") from error


def _in_words(error: Exception) -> str:
    """HeadBucket, which comes first, has no words of its own: an answer to HEAD has no body."""
    if isinstance(error, ClientError) and error.operation_name == "HeadBucket":
        match error.response["Error"].get("Code"):
            case "404":
                return "there is no such bucket (the store answered 404)"
            case "403":
                return "these credentials are wrong, or may not look at it (the store answered 403)"
    return f"the store does not answer as expected: {error}"


def _credentials(settings: BucketSettings) -> dict[str, Any]:
    match settings.credentials:
        case ProfileCredentials(profile=profile):
            return {"profile_name": profile}
        case KeyCredentials() as keys:
            return {
                "access_key_id_env": keys.access_key_id.env,
                "secret_access_key_env": keys.secret_access_key.env,
                "session_token_env": keys.session_token.env if keys.session_token else None,
            }
    return {}


def _requester_pays(params: dict[str, Any], model: Any, **_: object) -> dict[str, Any]:
    """Every request that can say so says that we pay for it; presigned ones too."""
    return {**params, "RequestPayer": "requester"} if "RequestPayer" in model.input_shape.members else params


def _secret(name: str | None) -> str | None:
    return EnvRef(env=name).read() if name else None
