package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"testing"
	"time"
)

// TestWatchdog: systemd hears of good answers only; a server that hangs is not
// waited for and not spoken for.
func TestWatchdog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "n")
	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer notify.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	heard := func(within time.Duration) string {
		notify.SetReadDeadline(time.Now().Add(within))
		b := make([]byte, 100)
		n, _ := notify.Read(b)
		return string(b[:n])
	}
	answers := make(chan error)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		supervisor{slog.New(slog.DiscardHandler)}.feed(ctx, 5*time.Millisecond, func(context.Context) error { return <-answers })
	}()
	if got := heard(100 * time.Millisecond); got != "" {
		t.Errorf("%q of a server that hangs", got)
	}
	answers <- nil
	if got := heard(30 * time.Second); got != "WATCHDOG=1" {
		t.Errorf("%q", got)
	}
	answers <- errors.New("no")
	if got := heard(100 * time.Millisecond); got != "" {
		t.Errorf("%q of a server that is not well", got)
	}
	cancel()
	<-done
	close(answers) // the one that is under way
}
