# Every target sets up what it needs: a bare machine with Python 3.11 (or newer) and make is enough.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test proof lint bench ui docs clean

demo: $(READY)
	$(BIN)/orphan-pipeline demo $(if $(filter 1 true yes,$(KEEP)),--keep) $(if $(JSON),--json $(JSON))

test: $(READY)
	$(BIN)/python -m pytest -n 2 --dist loadfile

proof: $(READY)
	ORPHAN_PIPELINE_SNAPSHOTS=1000 ORPHAN_PIPELINE_DOCUMENTS=300 $(BIN)/python -m pytest -s tests/integration/references/test_reference_proofs.py tests/integration/references/test_reference_closing.py
	ORPHAN_PIPELINE_KILLS=200 $(BIN)/python -m pytest -s tests/integration/deletion/test_deletion_killed.py tests/integration/deletion/test_quarantine.py \
		tests/integration/pipeline/test_deletion_killed_in_dagster.py tests/integration/pipeline/test_restore_killed_in_dagster.py
	ORPHAN_PIPELINE_RACES=10000 $(BIN)/python -m pytest -s tests/integration/deletion/test_races.py tests/integration/deletion/test_newer.py

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(READY)
	$(BIN)/python -m benchmarks

ui: $(READY)
	@home=$$($(BIN)/python -m orphan_pipeline.resources.home) && echo "DAGSTER_HOME=$$home" && \
		DAGSTER_HOME="$$home" $(BIN)/dagster dev -w workspace.yaml

docs: $(READY)
	$(BIN)/python -m orphan_pipeline.settings.reference > docs/settings.md

clean:
	rm -rf $(VENV)

$(READY): pyproject.toml constraints.txt
	@echo "Installing into $(VENV): a minute or two, once"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $(READY)
