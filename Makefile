# Everything happens in .venv, made from constraints.txt. PYTHON may name a Python 3.10 or 3.11.
PYTHON ?= $(firstword $(foreach p,python3.11 python3.10 python3,$(shell $p --version >/dev/null 2>&1 && command -v $p)))
BIN := .venv/bin
DEMO := saved/demo

.PHONY: demo test test-clients lint

demo: .venv/installed
	rm -rf $(DEMO)
	$(BIN)/python run_recbole.py --model=MultVAE --dataset=ml-100k --val_interval="{'rating': '[4,inf)'}" \
	    --checkpoint_dir=$(DEMO)
	$(BIN)/python -m multvae_export $(DEMO)/*.pth $(DEMO)/model.onnx
	$(BIN)/python export/clients/python/demo.py $(DEMO)/model.onnx \
	    $$($(BIN)/python -c "import recbole; print(recbole.__path__[0])")/dataset_example/ml-100k --user=1

# A process for each core, four at most, of one thread each: more threads than cores are slow.
test: .venv/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadscope

# The clients in all languages that this machine has the tools for, and which those are. `make test` does it too, but for Spark's,
# which installs 900 MB and takes three minutes.
test-clients: .venv/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "slow or not slow" tests/clients

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The stamp is written last: an installation that was cut short is made again.
.venv/installed: pyproject.toml constraints.txt
	@echo "Installing into .venv: 6 GB, a few minutes."
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .[test,lint]
	touch $@
