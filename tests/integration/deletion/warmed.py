"""What a process that is forked to be killed finds ready: imports, and botocore's description of S3, which takes longer to read than a run
takes to delete a few hundred objects."""

import boto3.session
import real_run  # noqa: F401
from deletion_helpers import session

session().client("s3", region_name="nowhere", aws_access_key_id="x", aws_secret_access_key="x")
boto3.session.Session = lambda **_: session()  # type: ignore[assignment, misc]
