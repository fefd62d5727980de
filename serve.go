package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"runtime/pprof"
	"syscall"

	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/postern-mail/postern/event"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/role"
	"github.com/postern-mail/postern/settings"
)

type serveCommand struct {
	Config    string `help:"Settings file; /etc/postern/postern.toml when it is there." placeholder:"FILE"`
	Data      string `help:"Data folder, instead of the settings file's." placeholder:"DIR"`
	ReadyFile string `help:"Write a JSON file with all addresses once everything serves." placeholder:"PATH"`
	LogLevel  string `help:"debug, info, warn or error." default:"info" enum:"debug,info,warn,error"`
	LogFormat string `help:"text, json or journald, instead of the settings file's." placeholder:"FORMAT"`
	User      string `help:"Whom the server becomes when root starts it, instead of the settings file's." placeholder:"NAME"`
	Sandbox   string `help:"on, required or off, instead of the settings file's." placeholder:"MODE"`
	// Who starts the server names it; nothing that reaches it over a network does.
	CPUProfile string `name:"cpu-profile" hidden:"" help:"Write a processor profile into a new file when the server ends." placeholder:"FILE"`
}

// gcPercent is Go's GOGC where the environment does not say: what a message leaves
// behind is mostly short-lived, and at 100 a tenth of the processor time of deliveries
// went into looking for it (docs/decisions/embedded.md).
const gcPercent = 200

func (c serveCommand) Run(s *streams) error {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	if c.CPUProfile != "" {
		done, err := profile(c.CPUProfile)
		if err != nil {
			return err
		}
		defer done()
	}
	config, err := role.LoadConfig(c.Config)
	if err != nil {
		return err
	}
	if c.Data != "" {
		config.Data = c.Data
	}
	if s.socket != "" {
		config.Socket = s.socket
	}
	config.User, config.Sandbox.Mode = cmp.Or(c.User, config.User), cmp.Or(c.Sandbox, config.Sandbox.Mode)
	config.Log = cmp.Or(c.LogFormat, config.Log)
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.LogLevel)); err != nil {
		return err
	}
	log, err := s.logger(event.Format(config.Log), level)
	if err != nil {
		return err
	}
	systemd := supervisor{log}
	inherited, err := systemd.sockets()
	if err != nil {
		return err
	}
	if err := config.Become(); err != nil {
		return err
	}
	server, err := role.Open(s.ctx, config, role.Options{Inherited: inherited}, log)
	if err != nil {
		return err
	}
	defer server.Close()
	if err := server.Confine(s.ctx, c.folders()...); err != nil {
		return err
	}
	if err := server.Start(s.ctx); err != nil {
		return err
	}
	if c.ReadyFile != "" {
		if err := readyOf(server).write(c.ReadyFile); err != nil {
			return err
		}
	}
	log = server.Log()
	event.ServerStarted.Log(s.ctx, log, "server", config.Name, "data", config.Data, "socket", config.Socket)
	if console := server.Manage().ConsoleURL(); console != "" {
		log.Info("the console is open: postern console prints a link to sign in", "console", console)
	}
	systemd.tell(daemon.SdNotifyReady)
	stop, rest := systemd.watch(server), startThrift(s.ctx, server.Renew)
	waitAndReload(s.ctx, func() error { return systemd.reload(server.Reload) }, log)
	rest()
	stop()
	systemd.tell(daemon.SdNotifyStopping)
	event.ServerStopping.Log(s.ctx, log) // sessions have a moment to end
	return server.Close()
}

// folders are those that the command itself writes to, later.
func (c serveCommand) folders() []string {
	if c.ReadyFile == "" {
		return nil
	}
	path, err := filepath.Abs(c.ReadyFile)
	if err != nil {
		return nil
	}
	return []string{filepath.Dir(path)}
}

// profile begins a processor profile, which done writes (docs/decisions/speed.md says how
// it is read).
func profile(path string) (done func(), err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		f.Close()
		return nil, err
	}
	return func() {
		pprof.StopCPUProfile()
		f.Close()
	}, nil
}

// waitAndReload waits for the end of ctx; SIGHUP reads certificates again.
func waitAndReload(ctx context.Context, reload func() error, log *slog.Logger) {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	for {
		select {
		case <-ctx.Done():
			return
		case <-hup:
			if err := reload(); err != nil {
				log.Error("reload", "error", err)
			} else {
				log.Info("certificates read again")
			}
		}
	}
}

// ready is the ready file: where a server serves, for scripts.
type ready struct {
	POP3        string         `json:"pop3"`
	POP3S       string         `json:"pop3s"`
	IMAP        string         `json:"imap"`
	IMAPS       string         `json:"imaps"`
	LMTP        string         `json:"lmtp"`
	LMTPSocket  string         `json:"lmtp_socket,omitempty"`
	Console     string         `json:"console"`                // its URL, "" when it does not run
	ConsoleLink string         `json:"console_link,omitempty"` // signs in once; of the demonstration
	Socket      string         `json:"socket"`
	Certificate string         `json:"certificate"`
	Accounts    []readyAccount `json:"accounts"`
}

type readyAccount struct {
	Name     string `json:"name"`
	Password string `json:"password"`
}

func readyOf(s *role.Server) ready {
	first := func(a []netip.AddrPort) string {
		if len(a) == 0 {
			return ""
		}
		return a[0].String()
	}
	pop, im, lm := s.Addrs(settings.POP3), s.Addrs(settings.IMAP4), s.Addrs(settings.LMTP)
	r := ready{
		POP3: first(pop.Clear), POP3S: first(pop.SSL), IMAP: first(im.Clear), IMAPS: first(im.SSL), LMTP: first(lm.Clear),
		Console: s.Manage().ConsoleURL(), Socket: s.Socket(), Certificate: s.Certificate(), Accounts: []readyAccount{},
	}
	if len(lm.Unix) > 0 {
		r.LMTPSocket = lm.Unix[0]
	}
	return r
}

// write puts the file in place whole, so that who waits for it never reads half.
func (r ready) write(path string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".ready-*")
	if err != nil {
		return mail.Errorf(mail.KindUnavailable, "The ready file cannot be written: %v", err)
	}
	defer os.Remove(tmp.Name())
	_, err = fmt.Fprintf(tmp, "%s\n", text)
	if err == nil {
		err = tmp.Close()
	}
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return mail.Errorf(mail.KindUnavailable, "The ready file cannot be written: %v", err)
	}
	return nil
}
