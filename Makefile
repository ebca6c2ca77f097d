# make run, make test: the two that a newcomer needs. Everything that they need, they fetch or build.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := run

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
COMMIT  := $(shell git rev-parse --short=12 HEAD 2>/dev/null)
LDFLAGS := -s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT)
OUT     ?= build/gpu

# go-nvml declares calls that newer headers mark as deprecated; tracer does not use them.
export CGO_CFLAGS := -O2 -g -Wno-deprecated-declarations

.PHONY: slurm k8s run build test test-llm test-race bench bench-peers soak accuracy opendc lint fakenvml gpu snippets notebook sample big fuzz vulns clean remote store publish spark trino scaling

## run: build, and trace the built-in simulated board and server into datasets/ (about 80 s)
run: build
	build/tracer collect --gpu sim:A10 --endpoint sim --sizes 10,50,100,500 --prompts 2 --out datasets

## build: build/tracer
build:
	go build -ldflags '$(LDFLAGS)' -o build/tracer ./cmd/tracer

## publish: build/tracer-publish, which registers datasets in Iceberg tables: a module of its own, in publish/
publish: build/tracer-publish
build/tracer-publish: $(wildcard publish/*.go publish/go.mod publish/go.sum)
	cd publish && go build -ldflags '-s -w' -o ../build/tracer-publish .

## fakenvml: build/libnvidia-ml.so.1, a fake that shows simulated boards to any program that reads NVML
fakenvml: build/libnvidia-ml.so.1
build/libnvidia-ml.so.1: $(wildcard sampler/nvml/fake/*.c sampler/nvml/fake/*.h)
	mkdir -p build
	$(CC) -std=gnu11 -O2 -Wall -Wextra -Werror -ffp-contract=off -fPIC -shared -fvisibility=hidden -Wl,-soname,libnvidia-ml.so.1 \
		-I"$$(go list -f '{{.Dir}}' github.com/NVIDIA/go-nvml/pkg/nvml)" -o $@ sampler/nvml/fake/*.c -lm -lpthread

# Packages that keep time are tested one after another; tests in them that may run beside others mostly wait, so four do at
# once. The others only compute, two at a time.
KEEPS_TIME := /tracer/(cmd|internal|nebula|sampler)(/|$$)

## test: every test, the real model server's and the documentation's snippets included
test: fakenvml snippets
	scripts/sshd.sh
	server="$$(scripts/llama-server.sh)" && chromium="$$(scripts/chromium.sh)" && versitygw="$$(scripts/versitygw.sh)" && \
		TRACER_LLAMA_SERVER="$$server" TRACER_CHROMIUM="$$chromium" TRACER_VERSITYGW="$$versitygw" && \
		export TRACER_LLAMA_SERVER TRACER_CHROMIUM TRACER_VERSITYGW && failed=0 && \
		{ go test -p 2 $$(go list ./... | grep -vE '$(KEEPS_TIME)') || failed=1; } && \
		{ go test -p 1 -parallel 4 $$(go list ./... | grep -E '$(KEEPS_TIME)') || failed=1; } && exit $$failed
	cd publish && go test .

WRITERS ?= 8

## store: WRITERS processes (8) write into one S3 server, and half of them are killed; then the store's other tests
store: .venv/ready
	versitygw="$$(scripts/versitygw.sh)" && export TRACER_VERSITYGW="$$versitygw" && go test -count=1 -v ./pipeline/bucket && \
		go test -count=1 -v -run 'Store|Push' ./cmd/tracer -args -store.writers $(WRITERS)

# The race detector looks at packages whose code runs on several goroutines; in the others it costs five times the time and
# has nothing to find. Nor does it ask again what keeps a process busy on one goroutine (fits of windows and periods; property
# tests of labels, recovery and Parquet; publications broken off at every step), what verify's goroutines do for one folder as
# for the other (its tables of damage, broken compactions and foreign files), what programs of their own are asked (commands,
# campaigns, faults of servers, hosts and datasets), labels against the truth through NVML (they keep time, which the detector
# takes; those within the process stay), or what needs servers that `make test` fetches (stores, ssh).
BUSY  := ./analysis/verify ./pipeline ./pipeline/journal ./pipeline/ring ./pipeline/store
TIMED := ./cmd/... ./internal/clock ./internal/llamacpp ./nebula/... ./sampler/...
ONE_GOROUTINE := ^TestThe(Window|PeriodIsFound)|^TestPublishedLabels|^TestABrokenRunGives|^TestAPublicationThatBrokeOff|^TestSamplesComeBack|^TestAFlippedByteCosts|^TestDictionariesThatOutgrow
SAME_FOLDERS  := ^TestEvery(Trouble|Damage)|^TestDamageInACompacted|^TestACompactionThatBrokeOff|^TestWhatIsNoFileOfTracers|^TestThePipelinesLabelsAreSound$$
ASKED_ONCE    := ^TestFaults$$/^(Server|Host|Dataset)$$|^TestCommandLine|Campaign|^TestRemote|Store|^TestLabelsAgreeWithTheTruthThroughNVML$$|$(ONE_GOROUTINE)|$(SAME_FOLDERS)

## test-race: the Go tests of concurrent packages under the race detector
test-race: fakenvml
	go test -race -p 2 -skip '$(ASKED_ONCE)' $(BUSY)
	go test -race -p 1 -parallel 4 -skip '$(ASKED_ONCE)' $(TIMED)

## test-llm: trace a real llama.cpp server, with the fake as its GPU
test-llm: fakenvml
	server="$$(scripts/llama-server.sh)" && TRACER_LLAMA_SERVER="$$server" go test -count=1 -run 'Llama|LLM|RealServer' -v ./internal/llamacpp ./cmd/tracer

## remote: boards in another host: two network namespaces, clocks a day apart, a real ssh server, the link cut for 30 s (two minutes; root)
remote: fakenvml
	scripts/sshd.sh
	TRACER_REMOTE_CUT=30s go test -count=1 -run '^TestRemote' -v ./cmd/tracer

## snippets: run the documents' DuckDB, pandas and polars snippets, and the notebook
snippets: build .venv/ready
	scripts/snippets.sh

.venv/ready: scripts/requirements.txt
	python3 -m venv .venv
	.venv/bin/pip install --quiet --requirement scripts/requirements.txt
	touch $@

## notebook: docs/notebook.ipynb with its figures drawn anew
notebook: build/notebook/ready
	cd docs && ../build/notebook/bin/jupyter execute --inplace notebook.ipynb

build/notebook/ready: scripts/requirements.txt scripts/requirements-notebook.txt
	python3 -m venv build/notebook
	build/notebook/bin/pip install --quiet --requirement scripts/requirements-notebook.txt
	touch $@

## bench: benchmarks, ready for benchstat
bench: fakenvml
	go test -run '^$$' -bench . -benchmem -cpu 1 ./pipeline ./schema
	go test -run '^$$' -bench . -benchmem ./pipeline/ring ./pipeline/energy ./sampler/... ./nebula/...

## bench-peers: docs/benchmarks.md, tracer beside its peers and beside the limits (under 40 minutes; fetches the peers)
bench-peers: build fakenvml
	bench/all.sh

## sample: datasets/sample anew, three simulated boards (five minutes); the cookbook and tests read it, so commit it whole
sample: build
	rm -rf datasets/sample
	for board in A10 A100-80 H100-SXM; do \
		build/tracer collect --gpu sim:$$board --endpoint sim --sizes 10,100,500 --prompts 6 --run-id "sample-$$(tr A-Z a-z <<<"$$board")" --out datasets/sample; \
	done
	rm -rf datasets/sample/_tracer/{truth,calibration,tmp}
	build/tracer card datasets/sample --title 'Sample: LLM inference on three simulated GPUs' --license mit

ROWS ?= 1000000
BIG  ?= build/big

## big: ROWS rows of samples in BIG, written by the pipeline from simulated boards in virtual time (4 s a million), and summed up
big: build
	go run ./scripts/big -rows $(ROWS) -out $(BIG)
	time build/tracer summary $(BIG)

## spark: a dataset by Spark (folder, S3, Iceberg) and PyIceberg against DuckDB, column by column (Java 17, Maven; fetches 1.2 GB)
spark: build publish build/engines/ready
	scripts/engines/run.sh

build/engines/ready: scripts/engines/requirements.txt scripts/engines/pom.xml scripts/requirements.txt
	python3 -m venv build/engines/venv
	build/engines/venv/bin/pip install --quiet --requirement scripts/engines/requirements.txt
	mvn --quiet --batch-mode --file scripts/engines/pom.xml dependency:copy-dependencies -DoutputDirectory="$$PWD/build/engines/jars"
	touch $@

## trino: deploy/trino/*.sql by Trino's own parser (Java 17, Maven)
trino:
	mkdir -p build/engines
	mvn --quiet --batch-mode --file scripts/engines/trino/pom.xml dependency:build-classpath -Dmdep.outputFile="$$PWD/build/engines/trino.classpath"
	java -cp "$$(cat build/engines/trino.classpath)" scripts/engines/trino/Parse.java deploy/trino/*.sql

SIZES ?= 1e6,1e7,1e8

## scaling: what writing, verify, summary and report cost, by writers at once and by rows up to SIZES (docs/scaling.md)
scaling: build
	go build -o build/big-writer ./scripts/big
	go run ./scripts/scaling -sizes $(SIZES)

## soak: eight boards every millisecond for ten minutes, then the recovery of a day's journal (a quarter of an hour)
soak: build
	go run ./scripts/soak

## accuracy: docs/accuracy.md, tracer and others on boards whose truth is known (three minutes; fetches Zeus)
accuracy: fakenvml build/accuracy/ready
	go run ./scripts/accuracy -lib build -python build/accuracy/bin/python -version '$(VERSION)' -out docs/accuracy.md

build/accuracy/ready: scripts/requirements-accuracy.txt
	python3 -m venv build/accuracy
	build/accuracy/bin/pip install --quiet --requirement scripts/requirements-accuracy.txt || \
		{ echo 'accuracy: Zeus could not be installed; without it there is nothing to compare with' >&2; exit 1; }
	touch $@

## opendc: reads an export of datasets/sample with OpenDC's library, under its published schemas (Java 17, Maven)
opendc: build
	rm -rf build/opendc && mkdir -p build/opendc
	build/tracer export datasets/sample --format opendc -o build/opendc/workload
	mvn --quiet --batch-mode --file scripts/opendc/pom.xml dependency:build-classpath -Dmdep.outputFile="$$PWD/build/opendc/classpath"
	java -cp "$$(cat build/opendc/classpath)" scripts/opendc/Read.java build/opendc/workload

## slurm: the batch script and a campaign's jobs on a real Slurm of one node, from Debian's packages (four minutes; needs root)
slurm: build
	scripts/slurm.sh scripts/slurm-check.sh

## k8s: the Indexed Job and a campaign's Jobs, held against Kubernetes' own schemas
k8s: build build/k8s/ready
	rm -rf build/k8s/jobs && build/tracer campaign docs/campaign.yaml --emit k8s -o build/k8s/jobs
	for version in 1.31.0 1.37.0; do for file in deploy/k8s/job.yaml build/k8s/jobs/*.yaml; do \
		build/k8s/bin/kubernetes-validate --strict --kubernetes-version "$$version" "$$file"; done; done

build/k8s/ready: scripts/requirements-k8s.txt
	python3 -m venv build/k8s
	build/k8s/bin/pip install --quiet --requirement scripts/requirements-k8s.txt
	touch $@

## fuzz: every fuzzer for TIME each, 60 s unless told; what breaks one is kept as a seed
fuzz:
	scripts/fuzz.sh $(TIME)

## vulns: known vulnerabilities, where their database can be reached; else that all versions are pinned
vulns:
	scripts/vulns.sh

## lint: golangci-lint and gofumpt, as configured in .golangci.yml
lint:
	scripts/lint.sh

## gpu: on a CUDA machine: serve a random-weight 8B model and trace it; results in OUT
gpu: $(if $(shell command -v go),build/rig.tar.gz)
	mkdir -p '$(OUT)'
	OUT='$(OUT)' rig/run.sh

# What a machine with a GPU, Python and torch, but no Go, needs: unpack it there, and OUT=out rig/run.sh.
build/rig.tar.gz: build
	tar -czf $@ --exclude=__pycache__ --exclude='test_*' build/tracer rig

clean:
	rm -rf build
