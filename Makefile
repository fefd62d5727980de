# The few words that are used here and in CI. GO may be another go command.
GO ?= go

.PHONY: check test fuzz docs bench bench-quick bench-growth bench-storm setup mutate

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

# fuzz runs every fuzz target for FUZZTIME.
FUZZTIME ?= 30s
fuzz:
	./scripts/fuzz $(FUZZTIME)

# docs writes the generated pages anew; a test fails when they are stale.
docs:
	$(GO) run . docs

# bench measures Postern beside Dovecot and Cyrus (Debian's packages) and writes
# docs/benchmark.md: half an hour. bench-quick is a look at processor time for each
# operation, beside Dovecot, in less than five minutes.
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
