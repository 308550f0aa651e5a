# Every target makes .venv when it is missing and builds when something changed; ARGS goes to the command.
#   make demo ARGS="--embodiment franka --episodes 5 --seed 0"

SHELL := /bin/bash
PYTHON_BIN := .venv/bin/python
PYTEST := $(PYTHON_BIN) -m pytest -q
.DEFAULT_GOAL := help
.PHONY: help bootstrap build demo test test-full lint format bench parity evaluate faults docs lock clean

help:  ## Show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

bootstrap:  ## Make .venv from the locked pins (nothing to do: milliseconds)
	@scripts/bootstrap

build: bootstrap  ## Build the package with colcon into .venv
	@$(PYTHON_BIN) scripts/build

demo: build  ## X-VLA drives a simulated robot over ROS 2 -> out/demo/
	@.venv/bin/xvla demo $(ARGS)

test: build  ## Run the tests with reduced counts, as the CI does
	@$(PYTEST) $(ARGS)

test-full: build  ## Run the tests with the counts that the documentation names
	@XVLA_TEST_FULL=1 $(PYTEST) $(ARGS)

lint: bootstrap  ## Style, types of the core, spelling, Dockerfile
	$(PYTHON_BIN) -m ruff check .
	$(PYTHON_BIN) -m ruff format --check .
	$(PYTHON_BIN) -m mypy
	$(PYTHON_BIN) -m codespell_lib
	.venv/bin/hadolint Dockerfile

format: bootstrap  ## Let ruff put the sources into form
	$(PYTHON_BIN) -m ruff check --fix .
	$(PYTHON_BIN) -m ruff format .

bench: build  ## Measure -> out/bench.json
	@.venv/bin/xvla bench $(ARGS)

parity: build  ## Compare with the published implementation at full size
	@$(PYTHON_BIN) -m xvla_ros.bench.parity $(ARGS)

evaluate: build  ## Evaluate the shipped policy on unseen scenes
	@.venv/bin/xvla evaluate $(ARGS)

faults: build  ## Break one thing after the other in a running system
	@$(PYTEST) -v test/nodes/policy/test_bad_input.py test/nodes/policy/test_motion.py \
		test/nodes/policy/test_remote.py test/nodes/test_controller.py test/nodes/test_controller_stops.py $(ARGS)

docs: build  ## Write the generated pages of docs/
	@$(PYTHON_BIN) -m xvla_ros.tools.reference_page $(ARGS)

lock:  ## Resolve requirements/*.in again (needs uv)
	python3 scripts/lock

clean:  ## Remove what building and running left; .venv stays
	rm -rf build log out
