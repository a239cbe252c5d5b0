"""Databases behind TLS, as their URL asks for it: a real server with a certificate of its own, and one that has none."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic

import psycopg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from psycopg.conninfo import make_conninfo

from orphan_pipeline.demo.servers import PostgresServer, running_postgres
from orphan_pipeline.errors import Refused
from orphan_pipeline.references import extract
from orphan_pipeline.references.cut import DatabaseUnderCut, open_cut
from orphan_pipeline.references.read import read_keys
from orphan_pipeline.settings.model import ReferenceSettings
from references import installed

Source = Callable[..., ReferenceSettings]
NAME = "database.example.com"


@dataclass(frozen=True, slots=True)
class Authority:
    """Who signs: its certificate lies in `root`."""

    root: Path
    name: x509.Name
    key: ec.EllipticCurvePrivateKey


def authority(folder: Path, name: str) -> Authority:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    key = ec.generate_private_key(ec.SECP256R1())
    made = Authority(folder / f"{name}.pem", subject, key)
    made.root.write_bytes(certificate(subject, key.public_key(), made, x509.BasicConstraints(ca=True, path_length=None)))
    return made


def certificate(subject: x509.Name, key: ec.EllipticCurvePublicKey, by: Authority, extension: x509.ExtensionType) -> bytes:
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(by.name).public_key(key).serial_number(x509.random_serial_number())
    )
    builder = (
        builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1)).add_extension(extension, critical=False)
    )
    return builder.sign(by.key, hashes.SHA256()).public_bytes(Encoding.PEM)


@dataclass(frozen=True, slots=True)
class Secured:
    server: PostgresServer
    trusted: Path
    other: Path

    def url(self, **parameters: str) -> str:
        """`host` is the name that the certificate must bear, wherever the server is."""
        return make_conninfo(self.server.url("postgres"), **{"host": NAME, "hostaddr": self.server.host, **parameters})


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    folder = tmp_path_factory.mktemp("tls")
    for programs in installed.programs():
        with running_postgres(folder / "server", programs) as server, psycopg.connect(server.url(), autocommit=True) as admin:
            if _turn_on(admin, folder):
                yield Secured(server, folder / "trusted.pem", folder / "other.pem")
                return
    pytest.skip("no PostgreSQL that was built with TLS is installed here, and ORPHAN_PIPELINE_POSTGRES_BINARIES names none")


def _turn_on(admin: psycopg.Connection, folder: Path) -> bool:
    row = admin.execute("SELECT current_setting('ssl_library'), current_setting('data_directory')").fetchone()
    assert row is not None
    library, data = row
    if not library:
        return False
    trusted, _ = authority(folder, "trusted"), authority(folder, "other")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    files = {
        "server.crt": certificate(name, key.public_key(), trusted, x509.SubjectAlternativeName([x509.DNSName(NAME)])),
        "server.key": key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    }
    owner = Path(data).stat()
    for file, text in files.items():
        path = Path(data) / file
        path.touch(mode=0o600)
        path.write_bytes(text)
        os.chown(path, owner.st_uid, owner.st_gid)
    admin.execute("ALTER SYSTEM SET ssl = on")
    admin.execute("SELECT pg_reload_conf()")
    # The one process that takes connections has read its files when the first of them comes about.
    given_up = monotonic() + 60
    while not _takes_tls(admin.info):
        assert monotonic() < given_up
    return True


def _takes_tls(info: psycopg.ConnectionInfo) -> bool:
    try:
        psycopg.connect(info.dsn, password=info.password, sslmode="require").close()
    except psycopg.OperationalError:
        return False
    return True


def refused(url: str, source: ReferenceSettings, password: str) -> str:
    """The one line that is said instead of a cut."""
    with pytest.raises(Refused) as said, open_cut({"app": DatabaseUnderCut(url=url)}, [source]):
        pass
    line = str(said.value)
    assert line.startswith("database app: ")
    assert "\n" not in line
    assert password not in line
    return line


def test_every_connection_of_a_cut_is_behind_the_right_certificate(
    secured: Secured, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extract, "BLOCKS_WORTH_A_CONNECTION", 2)
    url = secured.url(sslmode="verify-full", sslrootcert=str(secured.trusted))
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute("CREATE TABLE documents (id int PRIMARY KEY, data jsonb)")
        admin.execute("INSERT INTO documents SELECT n, jsonb_build_array('k' || n) FROM generate_series(1, 3000) AS n")
    with open_cut({"app": DatabaseUnderCut(url=url, connections=3)}, [source("$[*]")]) as cuts:
        assert sum(table.num_rows for table in read_keys(source("$[*]"), cuts["app"])) == 3000
        connections = cuts["app"].sessions.up_to(3)
        assert len(connections) == 3
        assert all(connection.pgconn.ssl_in_use for connection in connections)


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"host": "elsewhere.example.com"}, f'server certificate for "{NAME}" does not match host name "elsewhere.example.com"'),
        ({"sslrootcert": "{other}"}, "certificate verify failed"),
        ({"sslrootcert": "/nowhere/root.pem"}, 'root certificate file "/nowhere/root.pem" does not exist'),
    ],
    ids=["another host", "another authority", "no root"],
)
def test_a_certificate_that_does_not_fit_is_one_line(secured: Secured, source: Source, parameters: dict[str, str], said: str) -> None:
    given = {name: value.replace("{other}", str(secured.other)) for name, value in parameters.items()}
    url = secured.url(**{"sslmode": "verify-full", "sslrootcert": str(secured.trusted), **given})
    assert said in refused(url, source("$[*]"), secured.server.password)


def test_tls_is_required_of_a_server_without(postgres: PostgresServer, source: Source) -> None:
    line = refused(f"{postgres.url()}?sslmode=require", source("$[*]"), postgres.password)
    assert "server does not support SSL, but SSL was required" in line
