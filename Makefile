# Everything happens in .venv, made from constraints.txt with the newest Python that is supported and can make environments.
# PYTHON, in the environment or after make, may name another. Each name is tried, as one of pyenv's may be of a Python that is
# not chosen. A path that is named may hold spaces: its quotes close and open those of a message.
BIN := .venv/bin
DEMO := saved/demo
SUPPORTED := import ensurepip, sys; sys.exit(not (3, 10) <= sys.version_info < (3, 15))
NEEDED := This needs Python 3.10 to 3.14 with its module venv (on Debian and Ubuntu: python3 and python3-venv)
newest = $(shell for python in $(1); do $$python -c '$(SUPPORTED)' 2>/dev/null && command -v $$python && break; done)
NEWEST = $(call newest,python3.14 python3.13 python3.12 python3.11 python3.10 python3)
CHOSEN = $(if $(strip $(PYTHON)),"$(PYTHON)",$(NEWEST))
# An environment has the standard library of the Python that made it. Where PYTHON names another one, the environment in $(1) is
# made again.
library = $(shell $(1) -c 'import os; print(os.path.realpath(os.__file__))' 2>/dev/null)
same = $(and $(call library,$(CHOSEN)),$(findstring :$(call library,$(CHOSEN)):,:$(call library,$(1)/bin/python):))
other = $(if $(strip $(PYTHON)),$(if $(wildcard $(1)/installed),$(if $(call same,$(1)),,other-python)))

.PHONY: demo test test-clients test-trackers test-engines test-newest lint lock other-python

demo: .venv/installed
	rm -rf $(DEMO)
	$(BIN)/python run_recbole.py --model=MultVAE --dataset=ml-100k --val_interval="{'rating': '[4,inf)'}" \
	    --checkpoint_dir=$(DEMO)
	$(BIN)/python -m multvae_export $(DEMO)/*.pth $(DEMO)/model.onnx
	$(BIN)/python export/clients/python/demo.py $(DEMO)/model.onnx \
	    $$($(BIN)/python -c "import recbole; print(recbole.__path__[0])")/dataset_example/ml-100k --user=1

# A process for each core, four at most, of one thread each: more threads than cores are slow. tests/conftest.py has the order.
PYTEST := -m pytest -n auto --maxprocesses 4 --dist loadscope --no-loadscope-reorder
test: .venv/installed
	OMP_NUM_THREADS=1 $(BIN)/python $(PYTEST)

# The clients in all languages that this machine has the tools for, and which those are. `make test` does it too, but for Spark's,
# which installs 900 MB and takes three minutes, NVIDIA Triton's server, and the lines of the Dockerfile.
test-clients: .venv/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "slow or not slow" tests/clients tests/leaderboard/test_ray.py

# What the trackers of --track are told, with their clients, which the other tests do without.
test-trackers: .venv/installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .[mlflow,wandb]
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/tracking

# The sketches of export/vectors/README.md for FAISS and Milvus, with these engines, which the other tests do without.
test-engines: .venv/installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .[engines]
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/engines

# The core of the tests with NumPy 2 and the newest Python at hand, pyenv's among them, in an environment of its own.
CORE := tests/models tests/export tests/experiment $(addprefix tests/test_,registration.py checkpoint.py compatibility.py)
.venv-newest/installed: NEWEST = $(call newest,$(foreach minor,14 13 12 11 10,\
    python3.$(minor) $(wildcard $(or $(PYENV_ROOT),$(HOME)/.pyenv)/versions/3.$(minor).*/bin/python)))
test-newest: .venv-newest/installed
	.venv-newest/bin/python -m pip install --quiet "numpy>=2" "scipy>=1.13"
	.venv-newest/bin/python -c "import numpy, sys; print('Python', sys.version.split()[0], 'with NumPy', numpy.__version__)"
	OMP_NUM_THREADS=1 .venv-newest/bin/python $(PYTEST) $(CORE)

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The stamp is written last: an installation that was cut short is made again. From Python 3.12 on pyproject.toml leaves RecBole
# out, as it asks for a ray that has no wheel there: it is installed last, without its requirements.
.SECONDEXPANSION:
%/installed: pyproject.toml constraints.txt $$(call other,$$*)
	@test -n '$(CHOSEN)' && $(CHOSEN) -c '$(SUPPORTED)' 2>/dev/null || \
	    { echo "$(NEEDED), and found "$(or $(CHOSEN),none)": install one, or name one with PYTHON=/path/to/python3." >&2; exit 1; }
	$(if $(filter other-python,$^),@echo "The environment in $* is of another Python than "$(CHOSEN)": it is made again.")
	@echo "Installing into $* with "$(CHOSEN)": 6 GB, a few minutes."
	$(CHOSEN) -m venv --clear $*
	$*/bin/python -m pip install --quiet --constraint constraints.txt --editable .[test,lint]
	$*/bin/python -m pip install --quiet --no-deps recbole==1.2.1
	touch $@

# Newer versions for constraints.txt, with uv: NumPy 1 before Python 3.12, and NumPy 2 from there on.
lock:
	printf '%s\n' torch==2.13.0 \
	    "numpy<2; python_version < '3.12'" "numpy>=2; python_version >= '3.12'" \
	    "scipy<1.13; python_version < '3.12'" "scipy>=1.13; python_version >= '3.12'" | \
	uv pip compile --quiet --universal --python-version 3.10 --constraint - --all-extras --no-annotate --upgrade \
	    --custom-compile-command "make lock" --output-file constraints.txt pyproject.toml
