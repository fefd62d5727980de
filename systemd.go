package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"

	"github.com/postern-mail/postern/listener"
	"github.com/postern-mail/postern/role"
)

// supervisor tells systemd how the server is. Without systemd it does nothing.
type supervisor struct{ log *slog.Logger }

// sockets takes those that systemd opened, nil when it opened none.
func (s supervisor) sockets() (*listener.Inherited, error) {
	files := activation.Files(true)
	if len(files) == 0 {
		return nil, nil
	}
	return listener.Inherit(files)
}

// tell sends a state of sd_notify(3).
func (s supervisor) tell(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		s.log.Warn("systemd cannot be told", "state", state, "error", err)
	}
}

// reload brackets reloading.
func (s supervisor) reload(reload func() error) error {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err == nil {
		s.tell(fmt.Sprintf("%s\nMONOTONIC_USEC=%d", daemon.SdNotifyReloading, now.Nano()/1000))
	}
	defer s.tell(daemon.SdNotifyReady)
	return reload()
}

// watch feeds systemd's watchdog at half its interval while the server answers, until
// stop is called.
func (s supervisor) watch(server *role.Server) (stop func()) {
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil || interval == 0 {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.feed(ctx, interval/2, server.Alive)
	}()
	return func() {
		cancel()
		<-done
	}
}

// feed asks alive once every so often and tells systemd of each good answer. One
// that never comes is not waited for.
func (s supervisor) feed(ctx context.Context, every time.Duration, alive func(context.Context) error) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	var answer chan error // not nil while it is awaited
	for {
		select {
		case <-ctx.Done():
			return
		case err := <-answer:
			answer = nil
			if err != nil {
				s.log.Error("the server does not answer itself; the watchdog is not told", "error", err)
				continue
			}
			s.tell(daemon.SdNotifyWatchdog)
		case <-ticker.C:
			if answer != nil {
				s.log.Error("the server has not answered itself in time; the watchdog is not told")
				continue
			}
			answer = make(chan error, 1)
			go func(answer chan<- error) { answer <- alive(ctx) }(answer)
		}
	}
}
