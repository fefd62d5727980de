package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/postern-mail/postern/demo"
	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/event"
	"github.com/postern-mail/postern/manage"
	"github.com/postern-mail/postern/role"
	"github.com/postern-mail/postern/store"
)

type demoCommand struct {
	ReadyFile string `help:"Write a JSON file with addresses and accounts once everything serves." placeholder:"PATH"`
	Verbose   bool   `help:"Log what the server does." short:"v"`
}

// demoAccounts are who has mail in the demonstration.
var demoAccounts = []struct{ address, name string }{
	{"alice@demo.example", "Alice Demo"},
	{"bob@demo.example", "Bob Demo"},
}

func (c demoCommand) Run(s *streams) error {
	dir, err := os.MkdirTemp("", "postern-demo-")
	if err != nil {
		return fmt.Errorf("a temporary folder is needed: %w", err)
	}
	defer os.RemoveAll(dir)
	var d *demonstration
	// Somebody else may take a port between our look and our use of it.
	for try := 0; ; try++ {
		d, err = c.start(s, filepath.Join(dir, fmt.Sprint(try)))
		if err == nil {
			break
		}
		if !errors.Is(err, errPortTaken) || try == 10 {
			return err
		}
	}
	defer d.server.Close()
	if c.ReadyFile != "" {
		if err := d.ready.write(c.ReadyFile); err != nil {
			return err
		}
	}
	d.tell(s.out)
	<-s.ctx.Done()
	fmt.Fprintln(s.out, "\nStopping. The demonstration's mail is gone.")
	return nil
}

var errPortTaken = errors.New("not all services could start; run with --verbose to see why")

// start gives a demonstration that serves from the folder dir.
func (c demoCommand) start(s *streams, dir string) (d *demonstration, err error) {
	level := slog.LevelError + 1 // a port that is taken is no news
	if c.Verbose {
		level = slog.LevelInfo
	}
	config := role.DefaultConfig()
	config.Data, config.Name = dir, "localhost"
	config.Socket = filepath.Join(dir, "postern.sock")
	if s.socket != "" {
		config.Socket = s.socket
	}
	d = &demonstration{chosen: map[string]bool{}}
	config.LMTP = []string{filepath.Join(dir, "lmtp.sock"), d.freePort(24, 10024)}
	log, err := s.logger(event.Text, level)
	if err != nil {
		return nil, err
	}
	server, err := role.Open(s.ctx, config, role.Options{}, log)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			server.Close()
		}
	}()
	d.server, d.manage = server, server.Manage()
	if err := d.prepare(s.ctx); err != nil {
		return nil, err
	}
	if err := server.Start(s.ctx); err != nil {
		return nil, err
	}
	d.ready = readyOf(server)
	d.ready.Accounts = d.accounts
	for _, addr := range []string{d.ready.POP3, d.ready.POP3S, d.ready.IMAP, d.ready.IMAPS, d.ready.LMTP, d.ready.Console} {
		if addr == "" {
			return nil, errPortTaken
		}
	}
	if d.ready.ConsoleLink, _, err = d.manage.NewLink(manage.UnixIdentity(os.Getuid())); err != nil {
		return nil, err
	}
	return d, nil
}

// demonstration fills a server.
type demonstration struct {
	server   *role.Server
	manage   *manage.Server
	accounts []readyAccount
	messages int
	ready    ready
	chosen   map[string]bool // addresses
}

// cmdlet runs a cmdlet as an administrator on this host would.
func (d *demonstration) cmdlet(ctx context.Context, name string, parameters map[string]any) error {
	args, err := json.Marshal(parameters)
	if err != nil {
		return err
	}
	caller := manage.Caller{Name: "postern demo", From: "demo", Roles: []manage.Role{manage.OrganizationAdministrator}, Local: true}
	_, err = d.manage.Run(ctx, caller, name, args)
	return err
}

// prepare makes accounts with mail and chooses the ports.
func (d *demonstration) prepare(ctx context.Context) error {
	for _, a := range demoAccounts {
		password := rand.Text()[:16]
		if err := d.cmdlet(ctx, "New-Mailbox", map[string]any{"Name": a.address, "DisplayName": a.name, "Password": password}); err != nil {
			return err
		}
		d.accounts = append(d.accounts, readyAccount{a.address, password})
		if err := d.deliver(ctx, a.address, a.name); err != nil {
			return err
		}
	}
	for _, service := range []struct {
		set                     string
		clear, ssl, alt, altSSL int
	}{{"Set-PopSettings", 110, 995, 10110, 10995}, {"Set-ImapSettings", 143, 993, 10143, 10993}} {
		err := d.cmdlet(ctx, service.set, map[string]any{
			"UnencryptedOrTLSBindings": []string{d.freePort(service.clear, service.alt)},
			"SSLBindings":              []string{d.freePort(service.ssl, service.altSSL)},
		})
		if err != nil {
			return err
		}
	}
	return d.cmdlet(ctx, "Set-ConsoleSettings", map[string]any{"SSLBindings": []string{d.freePort(8443, 8444)}})
}

func (d *demonstration) deliver(ctx context.Context, address, name string) error {
	list, err := d.server.Directory().Lookup(ctx, mustPrepare(address))
	if err != nil {
		return err
	}
	st := d.server.Store()
	account, err := st.Account(ctx, list.Account)
	if err != nil {
		return err
	}
	defer account.Close()
	arrivals := map[string][]store.Arrival{}
	for _, m := range demo.Mail(address, name, time.Now()) {
		arrivals[m.Mailbox] = append(arrivals[m.Mailbox], store.Arrival{Prepared: st.Prepare(m.Raw), Flags: m.Flags, Keywords: m.Keywords, InternalDate: m.Date})
	}
	for mailbox, list := range arrivals {
		if _, err := account.Append(ctx, mailbox, list...); err != nil {
			return err
		}
		d.messages += len(list)
	}
	return nil
}

func mustPrepare(address string) string {
	name, err := directory.PrepareName(address)
	if err != nil {
		return address
	}
	return name
}

// freePort gives a loopback address with the port that everybody knows if it may
// be opened, else with the first free one from other on.
func (d *demonstration) freePort(known, other int) string {
	for port := known; port < 65536; {
		addr := fmt.Sprintf("127.0.0.1:%d", port)
		if l, err := net.Listen("tcp4", addr); err == nil {
			l.Close()
			if !d.chosen[addr] {
				d.chosen[addr] = true
				return addr
			}
		}
		if port == known {
			port = other
		} else {
			port++
		}
	}
	return "127.0.0.1:0"
}

// tell prints what a person needs to try it.
func (d *demonstration) tell(w io.Writer) {
	r := d.ready
	me := "go run ."
	if exe, err := os.Executable(); err == nil && !strings.Contains(exe, "go-build") {
		me = exe
	}
	a := d.accounts[0]
	fmt.Fprintf(w, `Postern is serving %d messages on this host, until you press Ctrl-C.

  POP3    %-20s  POP3 over SSL   %s
  IMAP4   %-20s  IMAP4 over SSL  %s
  LMTP    %-20s  or the socket   %s

Console   %s
  Sign in once, within 10 minutes; the browser does not know the certificate and asks
  %s

Accounts
`, d.messages, r.POP3, r.POP3S, r.IMAP, r.IMAPS, r.LMTP, r.LMTPSocket, r.Console, r.ConsoleLink)
	for _, a := range d.accounts {
		fmt.Fprintf(w, "  %-20s  password %s\n", a.Name, a.Password)
	}
	fmt.Fprintf(w, `
Read a message
  curl --cacert %s --ssl-reqd -u '%s:%s' 'imap://localhost:%s/INBOX;MAILINDEX=1'

Change who may log in (now SecureLogin: nothing before TLS), and look at it
  %s --socket %s Set-ImapSettings -LoginType PlainTextLogin
  %s --socket %s Get-ImapSettings
  %s --socket %s shell

`, r.Certificate, a.Name, a.Password, r.IMAP[strings.LastIndexByte(r.IMAP, ':')+1:], me, r.Socket, me, r.Socket, me, r.Socket)
}
