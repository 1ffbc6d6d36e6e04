# make demo   a real learning curve on bundled images, about five minutes on two cores
# make test   lint, types, fast tests
# make test-integrations   scikit-learn, Hugging Face, Lightning and the trackers, with the real packages
# make test-web   steep watch in a real browser, headless
# make docs   the site, in out/site
# make test-cluster   a real Slurm of one node and a real Ray of two, started and stopped here: as root
# make test-faults   kills, full disks, damaged files: what docs/reliability.md promises
PYTHON ?= python3
TORCH ?= torch==2.13.0
OUT ?= demo
BIN := .venv/bin

# Threads of one multiplication wait for each other where other work has a core.
export OPENBLAS_NUM_THREADS ?= 1

.PHONY: demo docs test test-integrations test-web chromium test-slow test-numerics test-faults fuzz lint types environment clean characters bench-coverage bench-lcdb bench-joint bench-fit bench-engine bench-planners bench-surfaces bench-search-times bench-driver bench-forecast test-cluster

demo: environment
	$(BIN)/steep demo --out $(OUT)

test: lint types
	$(BIN)/python -m pytest -n auto --dist worksteal

# Faults injected from outside, through the command line: docs/reliability.md. Most of the time is
# trials that sleep, so there are more processes than cores.
test-faults: environment
	$(BIN)/python -m pytest -n 4 --dist worksteal -m faults tests/faults

# Every door of the command line with whatever comes: FUZZ examples a test.
FUZZ ?= 1000
fuzz: environment
	STEEP_FUZZ=$(FUZZ) $(BIN)/python -m pytest -m faults tests/faults/test_fuzz.py tests/faults/test_fuzz_commands.py

# The libraries of others that have a door, in an environment of its own on top of .venv.
test-integrations: environment .venv-integrations/installed
	.venv-integrations/bin/python -m pytest -n 0 tests/integrations

# steep watch in a headless Chromium, that of the system; screenshots go to out/web.
test-web: environment .venv-web/installed chromium
	.venv-web/bin/python -m pytest -n 0 tests/web

chromium:
	@command -v chromium > /dev/null || { apt-get update && apt-get install -y --no-install-recommends chromium fonts-dejavu-core; }

# A real Slurm, which is installed (Debian) if need be, and a real Ray of two raylets, in an environment
# of its own on top of .venv; or a sentence that says why not. Nothing that it starts outlives it.
test-cluster:
	tests/cluster/run.sh

# An environment of its own that sees the packages of .venv: of integrations, of web, of docs, of ray.
.venv-%/installed: requirements-%.txt .venv/installed
	$(PYTHON) -m venv .venv-$*
	$(BIN)/python -c "import sysconfig; print(sysconfig.get_path('purelib'))" > .venv-$*/below.txt
	.venv-$*/bin/python -c "import pathlib, sysconfig; pathlib.Path(sysconfig.get_path('purelib'), 'below.pth').write_text('import site; site.addsitedir(' + repr(pathlib.Path('.venv-$*/below.txt').read_text().strip()) + ')\n')"
	.venv-$*/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-$*.txt
	touch $@

# The site in out/site, without a warning, with the published studies as pages (some minutes); in an
# environment of its own on top of .venv.
docs: environment .venv-docs/installed
	.venv-docs/bin/sphinx-build -q -W --keep-going -E -b html docs out/site
	$(BIN)/steep watch studies/results --export out/site/gallery

test-slow: environment
	$(BIN)/python -m pytest -m slow

# Minutes: the same numbers with other kernels, vector instructions and threads.
test-numerics: environment
	$(BIN)/python tests/environments.py

lint: environment
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache

types: environment
	$(BIN)/mypy

# A study of characters: see studies/characters.yaml.
characters: environment
	$(BIN)/steep run studies/characters.yaml --out out/characters

bench-coverage: environment
	$(BIN)/python benchmarks/coverage.py

# Forecasts of every kind of curve, in one table with peers (docs/decisions/forecasting.md).
bench-forecast: environment
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/forecasts.py

bench-lcdb: environment
	$(BIN)/python benchmarks/lcdb.py benchmarks/data/lcdb11_dev.csv

bench-joint: environment
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/joint.py

bench-fit: environment
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/fit_speed.py

bench-planners: environment
	$(BIN)/python benchmarks/planners.py --write

bench-surfaces: environment
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/surfaces.py

bench-search-times: environment
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/search_times.py

# Processor time beyond the training, of 100, 1,000 and 10,000 synthetic trials.
bench-driver: environment
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/driver.py

bench-engine: environment
	$(BIN)/python benchmarks/engine.py
	$(BIN)/python benchmarks/engine_study.py

environment: .venv/installed

# torch first and by itself, so that TORCH may be a wheel's path or carry pip's options.
.venv/installed: requirements.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint requirements.txt $(TORCH)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

clean:
	rm -rf .venv .venv-integrations .venv-web .venv-docs .venv-ray .mypy_cache .pytest_cache .ruff_cache build *.egg-info
