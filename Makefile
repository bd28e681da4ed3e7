# What one does here, each in a line or two; the work is done by Python code and tools.
# Another Python: make run PYTHON=/path/to/python3. More arguments for the tool: make test ARGS="tests/ami -x".
PYTHON ?= python3
boot = @command -v $(PYTHON) >/dev/null 2>&1 || { echo "amiweb: needs Python 3.11 or newer, and there is no $(PYTHON): install it (Debian: apt install python3 python3-venv)" >&2; exit 1; }; \
	exec $(PYTHON) amiweb/bootstrap.py
compile = dev -m uv pip compile --quiet --no-header --universal --python-version 3.11 --generate-hashes

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile | expand -t 20
run:  ## start amiweb with two simulated PBXs (Ctrl-C stops it)
	$(boot) base -m amiweb.trial
test:  ## run the whole suite against what this machine has
	$(boot) dev -m pytest $(ARGS)
lint:  ## format, rules, types, import directions, Django's checks
	$(boot) dev -m tests.lint
pbx:  ## provision the real Asterisks that tests/pbx uses (Debian, as root)
	$(boot) dev -m tests.pbx.provision $(ARGS)
bench:  ## measure, on an otherwise idle machine (AMIWEB_BENCH_SCALE=0.01: a try)
	$(boot) dev -m pytest tests/bench -o python_files='bench_*.py' -o python_functions='bench_*' -p no:randomly -s $(ARGS)
bench-client:  ## measure the AMI client beside its references and the packaged clients
	$(boot) dev -m pytest tests/bench/bench_client.py -o python_files='bench_*.py' -o python_functions='bench_*' -p no:randomly -s $(ARGS)
bench-events: export AMIWEB_TEST_DURABLE = 1
bench-events:  ## measure the pipeline of events, on PostgreSQL and on SQLite
	$(boot) dev -m pytest tests/bench/bench_events.py tests/bench/bench_listener.py tests/bench/bench_live.py tests/bench/bench_search.py -o python_files='bench_*.py' -o python_functions='bench_*' -p no:randomly -s $(ARGS)
	$(MAKE) --no-print-directory bench-events-sqlite
bench-events-sqlite: export AMIWEB_TEST_DATABASE = sqlite
bench-events-sqlite:
	$(boot) dev -m pytest tests/bench/bench_events.py -o python_files='bench_*.py' -o python_functions='bench_*' -p no:randomly -s -k committed_rows $(ARGS)
soak: export AMIWEB_SOAK_SECONDS ?= 3600
soak:  ## run the long tests for AMIWEB_SOAK_SECONDS (3600 by default)
	$(boot) dev -m pytest -n 0 -m "soak or hypothesis" -o faulthandler_timeout=0 $(ARGS)
requirements: requirements/bench.txt
requirements:  ## compile requirements/*.in to the pinned .txt files
	$(boot) $(compile) requirements/base.in -o requirements/base.txt
	$(boot) $(compile) requirements/dev.in -o requirements/dev.txt
requirements/bench.txt:
	$(boot) $(compile) requirements/bench.in -o $@
clean:  ## remove what can be made again (not var/, which holds your data)
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -prune -exec rm -rf {} +

.PHONY: help run test lint pbx bench bench-client bench-events bench-events-sqlite soak requirements requirements/bench.txt clean
