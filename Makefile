# make demo    install what is missing, build, and run the demonstration
# make test    run every test, and those that compare with a plain server on a second one
# make chaos SEED=n SECONDS=n   one randomized run on real servers (REGIONS=volatile or durable)
# make durability DEATHS=n      measure what is lost in which configuration; prints a table
# make test-matrix    the tests that need a server and a short chaos, on every server that Debian has
# make bench   measure; prints tables
# make lint    formatting and clippy
# make clean

CARGO := cargo
# The module as it is shipped. Nothing else may build into this directory: other features and the tests'
# dependencies would give another module under the same name. The tests have a directory of their own.
MODULE := $(CURDIR)/target/release/libredis_geo.so
TESTS := --target-dir target/test
# After the installed server the oldest: what replies and data are compared with is a plain server of the same version.
OTHER := valkey-backports

.PHONY: demo build test test-matrix chaos durability bench lint clean deps

demo: build
	target/release/geoctl demo --module $(MODULE)

build: deps
	$(CARGO) build --locked --release --features geoctl

# The simulation switches rules off, which only its own build can do.
test: build
	$(CARGO) test --locked --profile checked $(TESTS) --no-default-features --features sim \
		--test cluster --test laws --test directed --test wire
	REDIS_GEO_MODULE=$(MODULE) $(CARGO) test --locked --profile checked $(TESTS) --features geoctl --lib --bins --tests
	scripts/fetch-servers.sh $(OTHER)
	REDIS_GEO_MODULE=$(MODULE) REDIS_GEO_SERVER=$(CURDIR)/target/servers/$(OTHER)/redis-server \
		$(CARGO) test --locked --profile checked $(TESTS) --features geoctl --test commands

CHAOS := REDIS_GEO_MODULE=$(MODULE) CHAOS_REGIONS=$(REGIONS) CHAOS_SEED=$(SEED) CHAOS_SECONDS=$(SECONDS) CHAOS_DEATHS=$(DEATHS) \
	$(CARGO) test --locked --profile checked $(TESTS) --features geoctl --test chaos -- --nocapture

chaos: build
	$(CHAOS) a_long_day

durability: build
	$(CHAOS) --ignored what_is_lost

test-matrix: build
	scripts/fetch-servers.sh
	REDIS_GEO_MODULE=$(MODULE) CHAOS_SECONDS=40 scripts/test-matrix.sh $(CARGO) test --locked --profile checked $(TESTS) \
		--features geoctl --test commands --test number --test regions --test persistence --test clients --test chaos

bench: build
	$(CARGO) build --locked --release $(TESTS) --example empty_filter
	REDIS_GEO_MODULE=$(MODULE) $(CARGO) bench --locked $(TESTS) --features geoctl --bench throughput

lint: deps
	$(CARGO) fmt --check
	$(CARGO) clippy --locked $(TESTS) --features geoctl --all-targets -- -D warnings
	$(CARGO) clippy --locked $(TESTS) --no-default-features --features sim --all-targets -- -D warnings
	$(CARGO) check --locked $(TESTS) --no-default-features

clean:
	$(CARGO) clean

deps:
	@scripts/install-deps.sh
