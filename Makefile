# The few words that are used here and in CI. GO may be another go command.
GO ?= go

# The program that tests start is built without cgo, as a release is; so that all is compiled once,
# the tests are, too.
check test mutate prove: export CGO_ENABLED = 0

.PHONY: check test fuzz docs bench bench-quick bench-growth bench-storm setup mutate prove vulnerabilities release

# check is what to run before a commit: formatting, vet, unit tests in seconds.
check:
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo "gofmt:"; gofmt -l $$(git ls-files '*.go'); exit 1; }
	$(GO) vet ./...
	$(GO) test -short ./...

# test passes all tests, on a fresh Debian machine too: it installs the mail clients first.
test: setup
	$(GO) vet ./...
	$(GO) test -timeout 20m ./...

# setup installs the Debian packages and the Go programs that the tests drive, if
# they are not there.
setup:
	./scripts/test-packages
	GO=$(GO) ./scripts/test-tools

# mutate changes the login policy place by place, and fails when no test notices.
mutate:
	$(GO) run ./test/mutate

# prove runs what docs/reliability.md promises and prints what was counted: some minutes,
# or hours with PROVE=-long.
prove: setup
	$(GO) run ./test/prove $(PROVE)

# vulnerabilities looks for known ones in what the program calls (docs/release.md).
vulnerabilities:
	GO=$(GO) ./scripts/vulnerabilities

# release makes VERSION in FOLDER, signed with the SSH key KEY (docs/release.md).
release:
	GO=$(GO) ./scripts/release "$(VERSION)" "$(FOLDER)" $(KEY)

# fuzz runs every fuzz target for FUZZTIME; with FUZZ=-exposed those that read what anybody
# may send (docs/fuzzing.md).
FUZZTIME ?= 30s
fuzz:
	$(GO) run ./test/fuzz -time $(FUZZTIME) $(FUZZ)

# docs writes the generated pages anew; a test fails when they are stale.
docs:
	$(GO) run . docs

# bench measures Postern beside Dovecot and Cyrus (Debian's packages) and writes
# docs/benchmark.md: an hour. bench-quick is a look at processor time for each operation,
# beside Dovecot, in less than five minutes: it fails, and says which, when a row went back
# from what docs/benchmark.md has.
bench:
	./scripts/bench-packages
	$(GO) run ./bench -page docs/benchmark.md

bench-quick:
	./scripts/bench-packages
	$(GO) run ./bench -servers dovecot -rounds 1 -scale 0.1 -quick

# bench-growth measures how costs grow up to 1,000,000 messages in a mailbox and
# 100,000 accounts, and writes docs/growth.md with its plot.
bench-growth:
	./scripts/bench-packages
	$(GO) run ./bench -growth -page docs/growth.md

# bench-storm measures how long a known user's sign-in takes while one core guesses
# passwords from a thousand addresses, and the server's memory; it needs no root.
bench-storm:
	$(GO) run ./bench -storm
