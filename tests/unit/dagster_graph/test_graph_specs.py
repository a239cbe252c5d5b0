"""What the graph of a settings file consists of: every asset, check, job, schedule and sensor, and what each says about itself."""

import dagster as dg
import pytest

from orphan_pipeline.definitions import build_definitions
from orphan_pipeline.gates.gate import GATES
from orphan_pipeline.settings.model import Settings

STAGES = ("inventory_snapshot", "referenced_keys", "dangling_references", "orphan_set", "deleted_objects")
MEDIA = ["media@example.com", "team:media"]
STORAGE = ["team:storage"]

SPECS: dict[str, tuple[set[str], str, set[str], list[str], str | None]] = {
    "s3/acme-media": (set(), "sources", {"s3"}, MEDIA, None),
    "s3/acme.invoices": (set(), "sources", {"s3"}, STORAGE, None),
    "app/public/documents": (set(), "sources", {"postgres"}, MEDIA, None),
    "app/archive/documents": (set(), "sources", {"postgres"}, MEDIA, None),
    "billing/query/paid": (set(), "sources", {"postgres"}, STORAGE, None),
    "media/inventory_snapshot": ({"s3/acme-media"}, "media", {"s3", "parquet"}, MEDIA, None),
    "media/referenced_keys": (
        {"media/inventory_snapshot", "app/public/documents", "app/archive/documents"},
        "media",
        {"postgres", "parquet"},
        MEDIA,
        None,
    ),
    "media/dangling_references": ({"media/inventory_snapshot", "media/referenced_keys"}, "media", {"duckdb", "parquet"}, MEDIA, None),
    "media/orphan_set": (
        {"media/inventory_snapshot", "media/referenced_keys", "media/dangling_references"},
        "media",
        {"duckdb", "parquet"},
        MEDIA,
        None,
    ),
    "media/deleted_objects": ({"media/orphan_set"}, "media", {"s3", "parquet"}, MEDIA, "media_prefixes"),
    "my-invoices/inventory_snapshot": ({"s3/acme.invoices"}, "my_invoices", {"s3", "parquet"}, STORAGE, None),
    "my-invoices/referenced_keys": (
        {"my-invoices/inventory_snapshot", "billing/query/paid", "app/public/documents"},
        "my_invoices",
        {"postgres", "parquet"},
        STORAGE,
        None,
    ),
    "my-invoices/dangling_references": (
        {"my-invoices/inventory_snapshot", "my-invoices/referenced_keys"},
        "my_invoices",
        {"duckdb", "parquet"},
        STORAGE,
        None,
    ),
    "my-invoices/orphan_set": (
        {"my-invoices/inventory_snapshot", "my-invoices/referenced_keys", "my-invoices/dangling_references"},
        "my_invoices",
        {"duckdb", "parquet"},
        STORAGE,
        None,
    ),
    "my-invoices/deleted_objects": ({"my-invoices/orphan_set"}, "my_invoices", {"s3", "parquet"}, STORAGE, "my_invoices_prefixes"),
}


def _specs(definitions: dg.Definitions) -> dict[str, dg.AssetSpec]:
    return {spec.key.to_user_string(): spec for spec in definitions.resolve_all_asset_specs()}


def _prefixes_of(spec: dg.AssetSpec) -> str | None:
    if spec.partitions_def is None:
        return None
    assert isinstance(spec.partitions_def, dg.DynamicPartitionsDefinition)
    return spec.partitions_def.name


def test_the_graph_is_exactly_this(definitions: dg.Definitions) -> None:
    found = {
        key: (
            {dep.asset_key.to_user_string() for dep in spec.deps},
            spec.group_name,
            spec.kinds,
            sorted(spec.owners),
            _prefixes_of(spec),
        )
        for key, spec in _specs(definitions).items()
    }
    assert found == SPECS


def test_every_asset_has_description_owner_and_kind(definitions: dg.Definitions) -> None:
    specs = _specs(definitions)
    assert [key for key, spec in specs.items() if not (spec.description or "").strip()] == []
    assert [key for key, spec in specs.items() if not spec.owners or not spec.kinds] == []


def test_sources_are_external_and_stages_are_not(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    assert {key.to_user_string() for key in graph.external_asset_keys} == {key for key in SPECS if not key.endswith(STAGES)}


def test_gates_are_checks_on_the_orphan_set_and_only_those_of_one_prefix_do_not_block(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    blocking = {(key.asset_key.to_user_string(), key.name): graph.get(key).blocking for key in graph.asset_check_keys}
    of_one_prefix = {"prefix_orphan_fraction", "prefix_without_references", "prefix_age_bands"}
    gates = {name: name not in of_one_prefix for name in GATES}
    assert of_one_prefix < gates.keys()
    assert blocking == {(f"{name}/orphan_set", gate): blocks for name in ("media", "my-invoices") for gate, blocks in gates.items()}


def test_each_bucket_has_its_jobs_schedule_and_sensor(definitions: dg.Definitions) -> None:
    repository = definitions.get_repository_def()
    names = {"media", "my_invoices"}
    jobs = {job.name for job in repository.get_all_jobs()} - {"__ASSET_JOB"}
    assert jobs == {f"{name}_{job}" for name in names for job in ("sweep_job", "deletion_job", "restore_job")}
    assert {schedule.name for schedule in repository.schedule_defs} == {f"{name}_nightly" for name in names}
    assert {sensor.name for sensor in repository.sensor_defs} == {f"{name}_deletion_sensor" for name in names}
    assert set(repository.get_top_level_resources()) == {"lake", "media_bucket", "my_invoices_bucket", "app_database", "billing_database"}


def test_schedules_and_sensors_are_off_until_someone_turns_them_on(definitions: dg.Definitions) -> None:
    repository = definitions.get_repository_def()
    assert {schedule.default_status for schedule in repository.schedule_defs} == {dg.DefaultScheduleStatus.STOPPED}
    assert {sensor.default_status for sensor in repository.sensor_defs} == {dg.DefaultSensorStatus.STOPPED}


def test_the_schedule_runs_the_sweep_when_the_settings_say(definitions: dg.Definitions) -> None:
    schedule = definitions.get_repository_def().get_schedule_def("media_nightly")
    assert (schedule.cron_schedule, schedule.execution_timezone, schedule.job_name) == ("30 3 * * *", "Europe/Berlin", "media_sweep_job")


@pytest.mark.parametrize("bucket", ["media", "my_invoices"])
def test_the_sweep_job_is_everything_but_deletion_in_one_run(definitions: dg.Definitions, bucket: str) -> None:
    job = definitions.resolve_job_def(f"{bucket}_sweep_job")
    assert {key.path[-1] for key in job.asset_layer.executable_asset_keys} == set(STAGES) - {"deleted_objects"}
    assert {key.path[0] for key in job.asset_layer.executable_asset_keys} == {bucket.replace("_", "-")}
    assert job.partitions_def is None


@pytest.mark.parametrize("bucket", ["media", "my_invoices"])
def test_the_deletion_job_is_deletion_alone_by_prefix(definitions: dg.Definitions, bucket: str) -> None:
    job = definitions.resolve_job_def(f"{bucket}_deletion_job")
    assert [key.path[-1] for key in job.asset_layer.executable_asset_keys] == ["deleted_objects"]
    assert isinstance(job.partitions_def, dg.DynamicPartitionsDefinition)
    assert job.partitions_def.name == f"{bucket}_prefixes"


def test_deletion_runs_of_a_bucket_share_a_pool(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    pools = {key.to_user_string(): graph.get(key).pools for key in graph.materializable_asset_keys}
    assert {key: found for key, found in pools.items() if found} == {
        "media/deleted_objects": {"media_deletion"}, "my-invoices/deleted_objects": {"my_invoices_deletion"}
    }  # fmt: skip


def test_sources_without_a_database(settings: Settings) -> None:
    """A file and another lake are where lineage begins too; no resource is asked for them."""
    document = settings.model_dump(mode="json")
    document["databases"] = {}
    del document["buckets"]["my-invoices"]
    document["buckets"]["media"]["references"] = [
        {"name": "legacy", "file": "/exports/legacy/*.parquet", "column": "key"},
        {"name": "shop", "lake": "/srv/shop/lake/media"},
    ]
    specs = _specs(build_definitions(Settings.model_validate(document)))
    files = {"file/exports_legacy___parquet", "lake/srv_shop_lake_media"}
    assert {key for key in specs if specs[key].kinds == {"file"}} == files
    assert {dep.asset_key.to_user_string() for dep in specs["media/referenced_keys"].deps} == {"media/inventory_snapshot", *files}
    assert specs["lake/srv_shop_lake_media"].description == (
        "What /srv/shop/lake/media says that points at objects, for a system that is not asked itself."
    )
