# Two commands do everything on a fresh machine: `make demo` and `make test`.
# They need Python 3.11 or later, a Rust toolchain and a C linker; all else goes into .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
RUST_SOURCES := Cargo.toml Cargo.lock $(shell find rust firmware_sim/src -name '*.rs' -o -name 'Cargo.toml' 2>/dev/null) firmware_sim/Cargo.toml
DESCRIPTIONS := pyproject.toml firmware_sim/pyproject.toml tui/pyproject.toml
# A microcontroller: no operating system, no allocator, 32-bit. What builds for it has no standard library behind it.
BARE := thumbv7em-none-eabihf

.PHONY: help demo test setup peers test-rust test-python format lint types contracts packaging pictures clean

help:
	@echo "make demo        set up, build, and run simulator, supervisor and terminal (SIMULATOR, not a medical device)"
	@echo "make test        set up, build, and pass every test"
	@echo "make lint types contracts packaging    the other checks of .ci/run"
	@echo "make pictures    draw the pictures of the README and the usability walk-through again"

demo: setup
	$(BIN)/igrt demo $(ARGS)

test: setup test-rust test-python

setup: $(READY)

$(READY): $(RUST_SOURCES) $(DESCRIPTIONS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or later is needed; '$(PYTHON)' is older. Try: make PYTHON=python3.12 demo"; exit 1; }
	@command -v cargo >/dev/null || { echo "A Rust toolchain is needed: cargo was not found"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e '.[dev]' -e ./firmware_sim -e ./tui
	touch $(READY)

# Other people's libraries, as witnesses, and the cluster of the extra `campaign`: with them no test that checks against one is skipped, and `igrt bench --peers` has its peers.
peers: setup
	$(BIN)/python -c 'import tomllib; extras = tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]; print(*extras["peers"], *extras["campaign"], sep="\n")' > $(VENV)/peers.txt
	$(BIN)/python -m pip install --quiet -r $(VENV)/peers.txt

test-rust:
	cargo test --workspace --locked

# What runs in virtual time shares the cores. What runs against the wall clock, on real ptys, comes after it, two at a time: it
# mostly waits for arms and couch to arrive. On a machine whose cores are taken by others, links are lost: run it when they are idle.
test-python: setup
	$(BIN)/python -m pytest -m "not packaging and not hil" --numprocesses 3 --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)
	$(BIN)/python -m pytest -m hil --numprocesses 2 --dist loadgroup --no-loadscope-reorder $(PYTEST_ARGS)

format: setup
	cargo fmt --all
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: setup
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo clippy --package igrt-firmware --features python --locked -- -D warnings
	cargo rustc --package igrt-firmware --lib --crate-type rlib --no-default-features --locked
	if [ -d "$$(rustc --print target-libdir --target $(BARE))" ] || timeout 120 rustup target add $(BARE); then \
	  cargo rustc --package igrt-firmware --lib --crate-type rlib --no-default-features --target $(BARE) --locked; \
	else echo "skipped: no core library for $(BARE) on this machine, and it could not be fetched"; fi
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: setup
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest igrt_hw._core igrt_firmware_sim._firmware --ignore-disjoint-bases

contracts: setup
	$(BIN)/lint-imports

packaging: setup
	$(BIN)/python -m pytest -m packaging tests/packaging

pictures: setup
	$(BIN)/igrt-tui --picture docs/img/console.svg
	$(BIN)/igrt-tui --usability docs

clean:
	rm -rf $(VENV) target dist build
