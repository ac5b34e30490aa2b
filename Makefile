# make test      all tests, with the race detector and, where it matters, without
# make test-slow the same with a quarter of a processor, which shows what depends on speed: root
# make test-386  the tests of counters and arithmetic, as a 32-bit program
# make lint      formatting, vet, staticcheck, tidy modules
# make fuzz      each fuzz target for FUZZTIME
# make bench     the Go benchmarks, in a form that benchstat compares
# make compare   udprelay beside other relays, and with many peers, into docs/performance.md:
#                root, a quiet machine with two processors, 20 minutes
# make test-systemd  the units in real systemds, by the package; needs root and Debian
# make packages  .deb and .rpm in dist, of VERSION=1.2.3 or of what git describes

GOTESTSUM   = go run gotest.tools/gotestsum@v1.13.0 --format pkgname-and-test-fails
STATICCHECK = go run honnef.co/go/tools/cmd/staticcheck@v0.8.2
# A number of inputs, not a time: when the time is over, go1.26 sometimes fails
# for that alone (go.dev/issue/75804).
FUZZTIME   ?= 100000x

# The systems besides Linux that it must build for, and the word sizes and byte
# orders that the system calls must fit. Only two are built with the cluster, for
# NATS takes long and is the same everywhere.
OTHERS  = windows/amd64 linux/arm64
WITHOUT = darwin/arm64 freebsd/amd64 linux/386 openbsd/amd64 linux/s390x

.PHONY: test test-slow test-386 test-packages lint others fuzz bench compare packages test-systemd

# The first run has the tests that the race detector would disturb: of
# allocations, and the million datagrams. It leaves out packages without such
# tests whose tests take long, for they wait for programs and networks. The second
# leaves out the packages, the dashboard, the comparison of relays and the watch for
# storms, in whose code hardly anything runs beside anything. Each test is in one of them at least.
#
# Tests wait more than they compute, so one package more than there are processors
# is tested at a time, and the one that takes longest comes first. Both runs take
# place, whatever the first one finds. The timeout is for tests that hang, and not
# for slow machines.
TESTING = $(GOTESTSUM) -- -count=1 -timeout 2h -p $$(($$(getconf _NPROCESSORS_ONLN) + 1))

test: test-packages
	@plain=passed race=passed; \
	$(TESTING) $$(go list ./relay ./... | grep -vE '^udprelay$$|/filetransfer|/internal/(client|command|bench|daemon|cluster$$|admin$$)') || plain=failed; \
	$(TESTING) -race $$(go list ./relay ./... | grep -v -e /packaging -e /dashboard -e /compare -e /storm) || race=failed; \
	echo "without the race detector: $$plain; with it: $$race"; \
	test $$plain,$$race = passed,passed

# Built at full speed, as that is not what it is about.
test-slow: test-packages
	go test -run '^$$' ./... >/dev/null && go test -race -run '^$$' ./... >/dev/null
	.ci/slow $(MAKE) test

# On Debian, the programs that tests drive are installed; elsewhere it is said
# which are missing, and their tests are skipped.
test-packages:
	@.ci/test-packages

# It runs natively. What is left out takes half a minute or more, for it waits or
# counts allocations, which are the same for all processors.
test-386:
	GOARCH=386 CGO_ENABLED=0 go test -count=1 -p 3 -skip 'TestRelayingAllocatesNothing|TestDeadPeersCostTheLivingNothing|Million|Honest|FloodersCost|InARing|ThatEcho|Loops|ManySenders' \
		./relay ./peers ./internal/storm ./internal/state ./internal/framing

lint:
	@files=$$(gofmt -l .); test -z "$$files" || { echo "gofmt would change: $$files"; exit 1; }
	go mod tidy -diff
	go vet -tags systemd ./...
	$(STATICCHECK) -tags systemd ./...

# Vet leaves out the packages whose tests need a browser or NATS.
others:
	@for target in $(OTHERS); do \
		echo "build for $$target"; \
		GOOS=$${target%/*} GOARCH=$${target#*/} CGO_ENABLED=0 go build -o /dev/null . || exit 1; \
	done
	@for target in $(WITHOUT); do \
		echo "build for $$target, without clusters"; \
		GOOS=$${target%/*} GOARCH=$${target#*/} CGO_ENABLED=0 go build -tags nocluster -o /dev/null . || exit 1; \
	done
	@for system in darwin windows freebsd; do \
		echo "vet for $$system"; \
		GOOS=$$system go vet -tags nocluster $$(go list ./... | grep -v -e dashboard -e /gateway -e /cluster) || exit 1; \
	done
	@echo "build without clusters"
	@go vet -tags nocluster ./... && go test -tags nocluster ./internal/cluster
	@! go list -deps -tags nocluster ./... | grep nats-io || { echo "want no NATS with the tag nocluster"; exit 1; }

# Each package is built once, however many targets it has.
fuzz:
	@set -e; for directory in $$(grep -rl --include='*_test.go' '^func Fuzz' . | xargs -n 1 dirname | sort -u); do \
		binary=$$(mktemp); go test -c -fuzz . -o $$binary $$directory; \
		for target in $$(cd $$directory && $$binary -test.list '^Fuzz'); do \
			echo "fuzz $$directory $$target"; \
			(cd $$directory && $$binary -test.run '^$$' -test.fuzz "^$$target\$$" -test.fuzztime $(FUZZTIME) -test.fuzzcachedir "$$(go env GOCACHE)/fuzz/$$directory"); \
		done; \
		rm $$binary; \
	done

bench:
	go test -run '^$$' -bench . -benchmem -count 6 ./peers ./relay

# COMPARE has flags for both, such as -rounds 9. What was measured is kept in dist,
# and shown again by: go run ./internal/compare -from dist/compare.json
compare:
	mkdir -p dist
	go run ./internal/compare -page docs/performance.md -json dist/compare.json $(COMPARE)
	go run ./internal/compare -size -page docs/performance.md -json dist/size.json $(COMPARE)

# The same commit gives the same bytes. SOURCE_DATE_EPOCH and MAINTAINER are heeded.
packages:
	go run ./packaging/build -version "$(VERSION)"

# Each test boots a container. Their systems are kept in the user's cache
# directory, so the first run takes a minute longer.
test-systemd: packages
	@.ci/systemd-packages
	UDPRELAY_TEST_PACKAGE="$$(ls -t $(CURDIR)/dist/udprelay_*_$$(go env GOARCH).deb | head -n 1)" \
		go test -tags systemd -count=1 -race ./internal/systemdtest/...
