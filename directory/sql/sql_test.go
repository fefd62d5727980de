package sql

import (
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/directory/crypt"
	"github.com/postern-mail/postern/directory/directorytest"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/test/postgresql"
	"github.com/postern-mail/postern/test/stopwatch"
)

const table = `CREATE TABLE %[1]s (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), name text UNIQUE NOT NULL, password text, enabled boolean DEFAULT true,
	display_name text, quota bigint, quota_messages integer, aliases text[] NOT NULL DEFAULT '{}', password_changed timestamptz DEFAULT now())`

const query = `SELECT id, name, password, enabled, display_name, quota, quota_messages, aliases, password_changed FROM %s WHERE name = $1 OR $1 = ANY (aliases)`

var tables atomic.Int64

// fill makes a table of people and gives its name.
func fill(t *testing.T, s *postgresql.Server, people []directorytest.Someone) string {
	name := fmt.Sprintf("people%d", tables.Add(1))
	s.Exec(t, fmt.Sprintf(table, name))
	for _, p := range people {
		var stored *string
		if p.Password != "" {
			text := "{PLAIN}" + p.Password
			stored = &text
		}
		aliases := p.Aliases
		if aliases == nil {
			aliases = []string{}
		}
		s.Exec(t, "INSERT INTO "+name+" (name, password, enabled, display_name, quota, quota_messages, aliases) VALUES ($1, $2, $3, $4, $5, $6, $7)",
			p.Name, stored, p.Blocked == "", p.DisplayName, p.QuotaBytes, p.QuotaMessages, aliases)
	}
	return name
}

func open(t *testing.T, o Options) directory.Source {
	t.Helper()
	d, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func wantKind(t *testing.T, what string, err error, kind mail.Kind) {
	t.Helper()
	if err == nil || mail.KindOf(err) != kind {
		t.Errorf("%s: %v, want %s", what, err, kind)
	}
}

func TestSource(t *testing.T) {
	s := postgresql.Start(t)
	for _, scram := range []bool{false, true} {
		t.Run(fmt.Sprint("scram=", scram), func(t *testing.T) {
			directorytest.RunSource(t, directorytest.SourceTest{Open: func(t *testing.T, people []directorytest.Someone) directory.Source {
				return open(t, Options{Database: s.URL(s.Addr), Query: fmt.Sprintf(query, fill(t, s, people)), KeyOptions: crypt.KeyOptions{Scram: scram}})
			}})
		})
	}
	t.Run("Rows", func(t *testing.T) { testRows(t, s) })
	t.Run("Faults", func(t *testing.T) { testFaults(t, s) })
	t.Run("Restart", func(t *testing.T) { testRestart(t, s) })
}

// What a query may give, and what nobody is let in by.
func testRows(t *testing.T, s *postgresql.Server) {
	for _, x := range []struct {
		query string
		kind  mail.Kind // -1: the password "geheim" is right
	}{
		{"SELECT $1 AS name, '{PLAIN}geheim' AS password", -1},
		{"SELECT $1::varchar AS name, '{PLAIN}geheim' AS password, 1 AS enabled, 7 AS id, 'a@x.example, b@x.example' AS aliases, NULL AS quota", -1},
		{"SELECT 'other@x.example' AS name, '{PLAIN}geheim' AS password, ARRAY[$1]::varchar[] AS aliases", -1},
		{"SELECT $1 AS name, '{PLAIN}geheim' AS password, 'Staff, night shift,staff' AS groups", -1},
		{"SELECT $1 AS name, '{PLAIN}geheim' AS password, 7 AS groups, NULL AS aliases", -1},
		{"SELECT $1 AS name, '{PLAIN}geheim' AS password, (SELECT array_agg('g' || n) FROM generate_series(1, 2000) n) AS groups", mail.KindUnavailable},
		{"SELECT $1 AS name, 'geheim' AS password", mail.KindAuthenticationFailed},
		{"SELECT $1 AS name, NULL AS password", mail.KindAuthenticationFailed},
		{"SELECT $1 AS name", mail.KindAuthenticationFailed},
		{"SELECT $1 AS name WHERE false", mail.KindNotFound},
		{"SELECT 'other@x.example' AS name, '{PLAIN}geheim' AS password WHERE $1 <> ''", mail.KindUnavailable},
		{"SELECT $1 AS name, '{PLAIN}geheim' AS password UNION ALL SELECT $1, '{PLAIN}geheim'", mail.KindUnavailable},
		{"SELECT $1 AS name, '{PLAIN}geheim' AS password, 'x' AS colour", mail.KindUnavailable},
		{"SELECT $1 AS name, $1 AS name, '{PLAIN}geheim' AS password", mail.KindUnavailable},
		{"SELECT $1 AS name, '{PLAIN}geheim' AS password, NULL AS id", mail.KindUnavailable},
		{"SELECT $1 AS name, '{PLAIN}geheim' AS password, 'a b' AS id", mail.KindUnavailable},
		{"SELECT $1 AS name, '{PLAIN}geheim' AS password, -5 AS quota", mail.KindUnavailable},
		{"SELECT $1 AS name, '{PLAIN}geheim' AS password, 'perhaps' AS enabled", mail.KindUnavailable},
		{"SELECT $1 AS name, '{PLAIN}geheim' AS password, 'a b' AS aliases", mail.KindUnavailable},
		{"SELECT $1 AS name, '{PLAIN}geheim' AS password, ARRAY['a', NULL] AS aliases", mail.KindUnavailable},
		{"SELECT $1 AS name, repeat('x', 2000000) AS password", mail.KindUnavailable},
		{"SELECT $1 AS name, '{PLAIN}geheim' AS password FROM nowhere", mail.KindUnavailable},
		{"SELECT $1 AS name, '{PLAIN}geheim' AS password, pg_sleep(30)", mail.KindUnavailable},
		{"WITH gone AS (DELETE FROM pg_description RETURNING 1) SELECT $1 AS name, '{PLAIN}geheim' AS password", mail.KindUnavailable},
	} {
		timeout := "00:00:30" // on a busy machine, too
		if strings.Contains(x.query, "pg_sleep") {
			timeout = "00:00:01"
		}
		d := open(t, Options{Database: s.URL(s.Addr), Query: x.query, Timeout: timeout})
		stopwatch.Within(t, 5*time.Second, x.query, func() {
			p, err := d.CheckPassword(t.Context(), "x@x.example", "geheim")
			switch {
			case x.kind == -1 && err != nil:
				t.Errorf("%s: %v, %v", x.query, p, err)
			case x.kind != -1:
				wantKind(t, x.query, err, x.kind)
			}
		})
		d.Close()
	}
}

// proxy stands between and does what faults do.
type proxy struct {
	listener net.Listener
	to       string

	mu    sync.Mutex
	fault string // "", "refuse", "silent", "cut", "lie"
	conns map[net.Conn]bool
}

func newProxy(t *testing.T, to string) *proxy {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: l, to: to, conns: map[net.Conn]bool{}}
	var wait sync.WaitGroup
	wait.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wait.Go(func() { p.serve(c) })
		}
	})
	t.Cleanup(func() { l.Close(); p.set("refuse"); wait.Wait() })
	return p
}

// set ends all connections and has the next ones fail in a way.
func (p *proxy) set(fault string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault = fault
	for c := range p.conns {
		c.Close()
	}
}

func (p *proxy) serve(c net.Conn) {
	defer c.Close()
	p.mu.Lock()
	fault := p.fault
	p.conns[c] = true
	p.mu.Unlock()
	defer func() { p.mu.Lock(); delete(p.conns, c); p.mu.Unlock() }()
	switch fault {
	case "refuse":
		return
	case "silent":
		io.Copy(io.Discard, c)
		return
	case "lie":
		c.Write([]byte("R\x7f\xff\xff\xff\x00\x00\x00\x00" + strings.Repeat("x", 1000)))
		io.Copy(io.Discard, c)
		return
	}
	server, err := net.Dial("tcp", p.to)
	if err != nil {
		return
	}
	defer server.Close()
	done := make(chan struct{})
	go func() { defer close(done); io.Copy(server, c); server.Close() }()
	if fault == "cut" {
		// After the sign-in, in the middle of the first answer.
		io.CopyN(c, server, 700)
	} else {
		io.Copy(c, server)
	}
	c.Close()
	<-done
}

func testFaults(t *testing.T, s *postgresql.Server) {
	name := fill(t, s, []directorytest.Someone{{Person: directory.Person{Name: "anna@example.org"}, Password: "geheim"}})
	p := newProxy(t, s.Addr)
	d := open(t, Options{Database: s.URL(p.listener.Addr().String()), Query: fmt.Sprintf(query, name), Timeout: "00:00:01"})
	right := func(when string) {
		t.Helper()
		who, err := d.CheckPassword(t.Context(), "anna@example.org", "geheim")
		for try := 0; err != nil && try < 3; try++ { // a busy machine stands still for longer than the time-out
			who, err = d.CheckPassword(t.Context(), "anna@example.org", "geheim")
		}
		if err != nil {
			t.Errorf("%s: %v, %v", when, who, err)
		}
	}
	right("at first")
	for _, fault := range []string{"refuse", "silent", "lie", "cut"} {
		p.set(fault)
		stopwatch.Within(t, 6*time.Second, fault+": four questions", func() {
			for _, name := range []string{"anna@example.org", "nobody@example.org"} {
				_, err := d.CheckPassword(t.Context(), name, "geheim")
				if fault == "cut" && err == nil {
					continue // the answer was before the cut
				}
				wantKind(t, fault, err, mail.KindUnavailable)
				_, err = d.Find(t.Context(), name)
				if fault == "cut" && (err == nil || mail.KindOf(err) == mail.KindNotFound) {
					continue
				}
				wantKind(t, fault, err, mail.KindUnavailable)
			}
		})
		p.set("")
		right("after " + fault)
	}
}

func testRestart(t *testing.T, s *postgresql.Server) {
	name := fill(t, s, []directorytest.Someone{{Person: directory.Person{Name: "anna@example.org"}, Password: "geheim"}})
	d := open(t, Options{Database: s.URL(s.Addr), Query: fmt.Sprintf(query, name), Timeout: "00:00:30"})
	for range 2 {
		if p, err := d.CheckPassword(t.Context(), "anna@example.org", "geheim"); err != nil {
			t.Fatalf("%v, %v", p, err)
		}
		s.Stop()
		_, err := d.Find(t.Context(), "anna@example.org")
		wantKind(t, "while the server is down", err, mail.KindUnavailable)
		s.Run()
	}
	if p, err := d.CheckPassword(t.Context(), "anna@example.org", "geheim"); err != nil {
		t.Fatalf("after a restart: %v, %v", p, err)
	}
}

func TestOptions(t *testing.T) {
	good := Options{Database: "postgres://u@h/d?sslmode=verify-full", Query: "SELECT name FROM p WHERE name = $1"}
	if d, err := Open(good); err != nil {
		t.Error(err)
	} else {
		d.Close()
	}
	for _, x := range []struct {
		change func(*Options)
		want   string
	}{
		{func(o *Options) { o.Database = "" }, "database is needed"},
		{func(o *Options) { o.Database = "postgres://u:topsecret@h:x/d" }, "database: "},
		{func(o *Options) { o.Database = "postgres://u@h/d" }, "sslmode"},
		{func(o *Options) { o.Database = "postgres://u@h/d?sslmode=require" }, "sslmode"},
		{func(o *Options) { o.Database = "postgres://u@h/d?sslmode=prefer" }, "sslmode"},
		{func(o *Options) { o.PasswordFile = "/nowhere" }, "password_file"},
		{func(o *Options) { o.Scheme = "X" }, "scheme"},
		{func(o *Options) { o.Timeout = "x" }, "timeout"},
		{func(o *Options) { o.Timeout = "01:00:00" }, "timeout"},
		{func(o *Options) { o.Connections = -1 }, "connections"},
		{func(o *Options) { o.Query = "" }, "query: it is needed"},
	} {
		o := good
		x.change(&o)
		if _, err := Open(o); err == nil || !strings.Contains(err.Error(), x.want) || strings.Contains(err.Error(), "topsecret") {
			t.Errorf("%q: %v", x.want, err)
		}
	}
}

func TestCheckQuery(t *testing.T) {
	for _, good := range []string{
		"SELECT name FROM p WHERE name = $1", "select name from p where name = lower($1::text) or $1 = any(aliases);",
		"WITH x AS (SELECT 1) SELECT name FROM p WHERE name = $1 -- the name", "SELECT ';' FROM p WHERE name = $1",
	} {
		if err := CheckQuery(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{
		"", " ", "--", "SELECT name FROM p", "SELECT name FROM p WHERE name = '%u'", "SELECT name FROM p WHERE name = '%{user}' OR name = $1",
		"SELECT name FROM p WHERE name = '$1'", "SELECT name FROM p -- $1", "SELECT name /* $1 */ FROM p", "SELECT name FROM p WHERE name = $1 AND x = $2",
		"SELECT name FROM p WHERE name = :name", "SELECT name FROM p WHERE name = ?", "SELECT name FROM p WHERE name = '${name}' or name = $1",
		"DELETE FROM p WHERE name = $1", "SELECT 1 WHERE $1 = ''; DELETE FROM p", "SELECT \x00 $1", "/**/",
	} {
		if err := CheckQuery(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func FuzzRow(f *testing.F) {
	f.Add("anna@example.org", "7", "t", "5", `{a@x.example,"b@x.example"}`, uint32(1009))
	f.Add("anna", "", "", "-1", `a,b`, uint32(25))
	f.Fuzz(func(t *testing.T, name, id, enabled, quota, aliases string, of uint32) {
		c := func(text string) cell { return cell{text: &text, of: of} }
		p, err := read(row{"name": c(name), "id": c(id), "enabled": c(enabled), "quota": c(quota), "aliases": c(aliases), "password_changed": c(quota)})
		if err != nil {
			return
		}
		if directory.CheckID(p.ID) != nil || p.QuotaBytes != nil && *p.QuotaBytes < 0 {
			t.Errorf("%+v", p)
		}
		for _, name := range append([]string{p.Name}, p.Aliases...) {
			if prepared, err := directory.PrepareName(name); err != nil || prepared != name {
				t.Errorf("the name %q", name)
			}
		}
	})
}

func FuzzCheckQuery(f *testing.F) {
	f.Add("SELECT name FROM p WHERE name = $1")
	f.Add("SELECT '")
	f.Fuzz(func(t *testing.T, query string) {
		if CheckQuery(query) == nil && !strings.Contains(query, "$1") {
			t.Errorf("%q is taken", query)
		}
	})
}
