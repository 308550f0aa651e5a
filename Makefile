# Every target makes .venv when it is missing and builds when something changed; ARGS goes to the command.
#   make demo ARGS="--embodiment franka --episodes 5 --seed 0"

SHELL := /bin/bash
PYTHON_BIN := .venv/bin/python
PYTEST := $(PYTHON_BIN) -m pytest -q
# One process per core: first what only computes, then what talks over DDS and keeps time.
JOBS := $(shell nproc)
TESTS = $(if $(ARGS),$(PYTEST) $(ARGS),$(PYTEST) -n $(JOBS) --dist loadfile -m "not live" && $(PYTEST) -n $(JOBS) --dist loadfile -m live)
# Beside an installed ROS, the libraries of our messages are found as after `source .venv/setup.bash`.
ifneq ($(ROS_DISTRO),)
export LD_LIBRARY_PATH := $(LD_LIBRARY_PATH):$(CURDIR)/.venv/lib
endif
.DEFAULT_GOAL := help
.PHONY: help bootstrap build demo test test-full ros-workspace-test jazzy-rehearsal lint format bench demo-matrix parity evaluate adapt-small miniature faults fuzz soak sbom docs lock clean

help:  ## Show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 22

bootstrap:  ## Make .venv from the locked pins (nothing to do: milliseconds)
	@scripts/bootstrap

build: bootstrap  ## Build the package with colcon into .venv
	@$(PYTHON_BIN) scripts/build

demo: build  ## X-VLA drives a simulated robot over ROS 2 -> out/demo/
	@.venv/bin/xvla demo $(ARGS)

test: build  ## Run the tests with reduced counts, as the CI does; ARGS="test/core -k ..." runs some
	@$(TESTS)

test-full: build  ## Run the tests with the counts that the documentation names
	@export XVLA_TEST_FULL=1; $(TESTS)

ros-workspace-test: build  ## Build a plain colcon workspace outside the checkout and run the simulation from it
	@XVLA_TEST_FULL=1 $(PYTEST) test/package/test_workspace.py $(ARGS)

jazzy-rehearsal:  ## Bootstrap, build, test and run on wheels that stand for an installed ROS 2 Jazzy
	@python3 scripts/jazzy_rehearsal.py $(ARGS)

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

demo-matrix: build  ## The demo on idle, old and busy machines -> docs/demo-matrix.md
	@$(PYTHON_BIN) -m bench.demo_matrix --page docs/demo-matrix.md $(ARGS)

parity: build  ## Compare with the published implementation at full size
	@$(PYTHON_BIN) -m bench.parity $(ARGS)

evaluate: build  ## Evaluate the shipped policy on unseen scenes
	@.venv/bin/xvla evaluate $(ARGS)

adapt-small: build  ## Teach the demo policy a robot it has never seen -> out/adapt-small/
	@.venv/bin/xvla adapt --simulated 30 --seed 0 --checkpoint demo_policy --embodiment ur5e --row 3 --rate 1e-3 \
		--frozen-steps 60 --steps 60 --warmup 20 --check 30 --lerobot --out out/adapt-small/policy $(ARGS)
	@.venv/bin/xvla evaluate --simulated 6 --seed 5 --checkpoint out/adapt-small/policy --embodiment ur5e --row 3 \
		--samples 60 --plot out/adapt-small/anchors.png --json out/adapt-small/open_loop.json
	@.venv/bin/xvla evaluate --episodes 10 --checkpoint out/adapt-small/policy --embodiment ur5e --row 3 \
		--json out/adapt-small/closed_loop.json

miniature: build  ## X-VLA's experiment on soft prompts with the demo's network -> out/miniature/
	@$(PYTHON_BIN) -m bench.miniature $(ARGS)

faults: build  ## Break one thing after the other in a running system -> out/faults.json, docs/reliability.md
	@$(PYTHON_BIN) -m bench.faults $(if $(ARGS),$(ARGS),--page docs/reliability.md)

fuzz: build  ## Feed every reader 100,000 broken inputs -> out/fuzz.json
	@$(PYTHON_BIN) -m bench.fuzz $(ARGS)

soak: build  ## Run for minutes and watch memory, threads, descriptors and ticks -> out/soak.json
	@$(PYTHON_BIN) -m bench.soak $(ARGS)

sbom: bootstrap  ## List every installed package with version and licence -> out/sbom.json
	@scripts/sbom

docs: build  ## Build the site, links checked -> out/site/
	@scripts/bootstrap-docs
	@$(PYTHON_BIN) -m xvla_ros.tools.reference_page
	@NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build

lock:  ## Resolve requirements/*.in again (needs uv)
	python3 scripts/lock

clean:  ## Remove what building and running left; .venv stays
	rm -rf build log out
