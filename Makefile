# make run     a node with an embedded database, in the foreground, its data in ./anylog-data
# make demo    a network of four nodes on this machine, fed with the weather of two cities; Ctrl-C stops them
# make cluster three operators that keep the same data, beside a master and a query node; docs/drills.rst plays with them
# make test    everything that must hold: ruff, mypy, and the tests of all levels
# make bench   measures, each beside a yardstick taken in the same run
# make kill    hundreds of kill -9 under load        make storm   power cuts and bad weather, simulated; SEEDS=n for more
# make fuzz    looks for bytes and messages that break MQTT codec or mapping, by the way they take through the code; SECONDS=n each
# make clean   removes what the above have made, but never ./anylog-data, ./anylog-cluster

VENV ?= .venv
HOME_DIR ?= anylog-data
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null \
	&& echo $$python && break; done)
BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip --disable-pip-version-check install --quiet
# Installing Debian packages is for root alone; anybody else is told what is missing.
APT = (test "$$(id -u)" = 0 && command -v apt-get >/dev/null && \
	(apt-get install -y -qq $(1) >/dev/null 2>&1 || (apt-get update -qq && apt-get install -y -qq $(1))) >/dev/null)

# Each test of real processes starts some nodes: their modules are compiled once, and kept away from the sources.
unexport PYTHONDONTWRITEBYTECODE
export PYTHONPYCACHEPREFIX = $(abspath $(VENV))/bytecode

.PHONY: run demo cluster test lint types tests tools bench kill storm fuzz clean

run: $(VENV)/.installed
	@exec $(BIN)/anylog run --home $(HOME_DIR)

# DEMO='--home DIR' keeps the data, DEMO='--shift 1000' takes other ports, DEMO=--help tells the rest.
demo: $(VENV)/.for-demo
	@exec $(BIN)/python etc/demo/demo.py $(DEMO)

# CLUSTER='kill two', CLUSTER=stop and others: see the head of etc/demo/cluster.py.
cluster: $(VENV)/.installed
	@exec $(BIN)/python etc/demo/cluster.py $(or $(CLUSTER),start)

test: lint types tests

lint: $(VENV)/.for-tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.for-tests
	$(BIN)/mypy

# Four at a time: what computes, the storms, and the real processes in two halves, which mostly wait. What all but the last
# say is shown at their end.
HALF = $(wildcard tests/process/test_[a-f]*.py)
STORMS = tests/network/test_storms.py
NODE_CLIENT = tests/process/node_client/package.json
tests: $(VENV)/.for-tests tools
	@run="$(BIN)/python -m pytest"; failed=; \
	$$run tests/house tests/unit tests/network tests/fuzz --ignore=$(STORMS) >$(VENV)/first.log 2>&1 & first=$$!; \
	$$run $(STORMS) >$(VENV)/storms.log 2>&1 & storms=$$!; \
	$$run $(HALF) >$(VENV)/second.log 2>&1 & second=$$!; \
	$$run tests/process $(HALF:%=--ignore=%) || failed=1; \
	wait $$second || failed=1; cat $(VENV)/second.log; \
	wait $$storms || failed=1; cat $(VENV)/storms.log; \
	wait $$first || failed=1; cat $(VENV)/first.log; test -z "$$failed"

# curl and mosquitto_pub play the strangers in some tests, iproute2 and iptables make hosts that fall silent, libfaketime
# makes clocks that jump, Mosquitto is the broker of others, Node.js has a client of its own; where one is missing and cannot
# be installed the tests that need it are skipped by name.
tools: $(VENV)/.made
	@command -v curl >/dev/null || $(call APT,curl) || echo "curl is missing: tests that need it are skipped"
	@PATH=$$PATH:/usr/sbin:/sbin; for tool in ip:iproute2 iptables:iptables openssl:openssl mosquitto:mosquitto \
		mosquitto_pub:mosquitto-clients faketime:libfaketime; do \
		test "$$tool" = faketime:libfaketime && ls /usr/lib/*/faketime/libfaketimeMT.so.1 >/dev/null 2>&1 \
		|| command -v $${tool%:*} >/dev/null || $(call APT,$${tool#*:}) \
		|| echo "$${tool#*:} is missing: tests that need it are skipped"; done
	@command -v node >/dev/null || $(call APT,nodejs) || echo "nodejs is missing: tests that need it are skipped"
	@cmp -s $(NODE_CLIENT) $(VENV)/node/package.json && test -d $(VENV)/node/node_modules/mqtt || { \
		command -v npm >/dev/null || $(call APT,npm); mkdir -p $(VENV)/node && cp $(NODE_CLIENT) $(VENV)/node/ && \
		npm install --prefix $(VENV)/node --omit=dev --no-package-lock --no-audit --no-fund --ignore-scripts \
		--loglevel=error >/dev/null; } || { rm -f $(VENV)/node/package.json; \
		echo "the npm package mqtt cannot be installed: tests that need it are skipped"; }

bench: $(VENV)/.for-tests
	$(BIN)/python bench/run.py

kill: $(VENV)/.for-tests tools
	$(BIN)/python -m pytest -m long tests/process

storm: $(VENV)/.for-tests
	SEEDS=$(or $(SEEDS),1000) FROM=$(or $(FROM),10000) $(BIN)/python -m pytest -m long tests/network

# What it finds on its way stays in $(VENV)/fuzz, an input that breaks a law as crash-... or timeout-... beside it.
fuzz: $(VENV)/.for-tests
	for target in codec mapping; do \
		$(BIN)/python tests/fuzz/run_fuzz.py $$target $(VENV)/fuzz/$$target -max_total_time=$(or $(SECONDS),600) || exit 1; done

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.made:
	@test -n "$(PYTHON)" || { echo "anylog needs Python 3.11, 3.12 or 3.13: none was found. On Debian 12: apt install python3-venv"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || $(call APT,python3-venv) \
		|| { echo "$(PYTHON) cannot make virtual environments. On Debian: apt install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.installed: $(VENV)/.made setup.cfg pyproject.toml
	$(PIP) -e .
	@touch $@

# The data set is real measurements in CSV files; its own dependencies are not needed to read them.
$(VENV)/.for-demo: $(VENV)/.installed
	$(PIP) --no-deps 'vega_datasets>=0.9,<1'
	@touch $@

$(VENV)/.for-tests: $(VENV)/.made setup.cfg pyproject.toml
	$(PIP) -e '.[test]'
	$(PIP) --no-deps 'vega_datasets>=0.9,<1'
	@$(PIP) --only-binary atheris -e '.[fuzz]' || echo "atheris cannot be installed: the fuzzers are skipped"
	@touch $(VENV)/.installed $(VENV)/.for-demo $@
