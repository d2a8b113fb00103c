# Everything happens in .venv; torch comes first, pinned, so that no CUDA packages are pulled.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: install demo test test-long lint tutorials docs benchmarks clean

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group dev --editable .
	touch $(STAMP)

demo: $(STAMP)  ## embed, classify and resample 15 patients
	$(BIN)/scgde demo --output demo_output

# A process a core, each with one thread: torch's threads gain little on what tests compute.
test: $(STAMP)  ## the whole suite, minutes
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist worksteal

test-long: $(STAMP)  ## what takes longer than the suite may
	$(BIN)/python -m pytest -m long

lint: $(STAMP)  ## formatting, style, hygiene
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

tutorials: $(STAMP)  ## run every notebook, keep its output and print its time; minutes each
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group doc
	@failed=; for notebook in tutorials/*.ipynb; do \
		start=$$(date +%s); \
		$(BIN)/jupyter execute --inplace --timeout=900 $$notebook || failed="$$failed $$notebook"; \
		echo "$$notebook: $$(($$(date +%s) - start)) s"; \
	done; \
	if [ -n "$$failed" ]; then echo "failed:$$failed" >&2; exit 1; fi

docs: $(STAMP)  ## the site, into docs/_build/html; a warning or a broken link fails it
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group doc
	rm -rf docs/api docs/_build/html  # a name that is gone must not keep its page
	$(BIN)/python -m sphinx --builder html --fail-on-warning --keep-going --jobs auto docs docs/_build/html

benchmarks: $(STAMP)  ## speed, patients, error bars, tests (some need ../shared/data); some five hours
	$(BIN)/python -m benchmarks.training_rate
	$(BIN)/python -m benchmarks.patients
	$(BIN)/python -m benchmarks.coverage
	$(BIN)/python -m benchmarks.comparisons
	$(BIN)/python -m benchmarks.trained_pairs
	$(BIN)/python -m benchmarks.streaming
	$(BIN)/python -m benchmarks.streaming --covariance
	$(BIN)/python -m benchmarks.thinning --seeds 5
	$(BIN)/python -m benchmarks.query
	$(BIN)/python -m benchmarks.mutual_information
	$(BIN)/python -m benchmarks.clones
	$(BIN)/python -m benchmarks.clones --scale
	$(BIN)/python -m benchmarks.perturbations
	$(BIN)/python -m benchmarks.cite_seq
	$(BIN)/python -m benchmarks.resampling
	for table in identities independence mfep alignment score dimension coverage cells speed \
		ensemble populations; do $(BIN)/python -m benchmarks.dpa $$table || exit 1; done

clean:
	rm -rf $(VENV) demo_output docs/_build docs/api docs/tutorials .pytest_cache .ruff_cache
