package role

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postern-mail/postern/audit"
	"github.com/postern-mail/postern/event"
	"github.com/postern-mail/postern/manage"
)

// TestAuditOverRestarts: what was changed is proven after a restart; a tail that was
// cut meanwhile is noticed, as the store knows of it, and stays so.
func TestAuditOverRestarts(t *testing.T) {
	ctx, quiet := context.Background(), slog.New(slog.DiscardHandler)
	c := config(t)
	owner := manage.Caller{Name: "unix:root", From: "socket", Way: manage.WaySocket, Roles: []manage.Role{manage.OrganizationAdministrator}, Local: true}
	open := func() (*Server, func(cmdlet, arguments string) *manage.Result) {
		s, err := Open(ctx, c, Options{}, quiet)
		if err != nil {
			t.Fatal(err)
		}
		return s, func(cmdlet, arguments string) *manage.Result {
			t.Helper()
			r, err := s.manage.Run(ctx, owner, cmdlet, []byte(arguments))
			if err != nil {
				t.Fatal(cmdlet, err)
			}
			return r
		}
	}
	shut := func(s *Server) {
		t.Helper()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	s, run := open()
	for _, banner := range []string{"a", "b", "c"} {
		run("Set-PopSettings", `{"Banner":"`+banner+`"}`)
	}
	event.NoCertificate.Log(ctx, s.Log(), "service", "POP3")
	if r := run("Get-MailboxServer", "{}"); len(r.Objects) != 1 {
		t.Error(r)
	}
	shut(s)

	s, run = open()
	if r := run("Test-AuditLog", "{}"); r.ExitCode != 0 {
		t.Error(r.Objects)
	}
	if r := run("Get-EventLog", `{"Id":"2007"}`); len(r.Objects) != 1 {
		t.Error("the event is gone:", r.Objects)
	}
	if facts, err := (host{s}).Facts(ctx); err != nil || facts.DataSize == 0 || facts.DiskSize < facts.DiskFree || facts.DiskFree == 0 || facts.Started.IsZero() {
		t.Errorf("%+v %v", facts, err)
	}
	shut(s)

	files, err := filepath.Glob(filepath.Join(c.Data, "audit", "*.jsonl"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	text, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.SplitAfter(text, []byte("\n"))
	if err := os.WriteFile(files[0], bytes.Join(lines[:2], nil), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		s, run = open()
		r := run("Test-AuditLog", "{}")
		text, err := json.Marshal(r.Objects)
		if err != nil || r.ExitCode != 1 || !strings.Contains(string(text), `"Sequence":3`) {
			t.Errorf("%s %v", text, err)
		}
		found, _, err := s.audit.Search(ctx, audit.Query{Limit: 1})
		if err != nil || found[0].Cmdlet != audit.Notice {
			t.Errorf("%+v %v", found, err)
		}
		shut(s)
	}
}
