package directories

import (
	"fmt"
	"strings"
	"testing"

	"github.com/postern-mail/postern/test/postgresql"
	"github.com/postern-mail/postern/test/server"
)

func TestSQL(t *testing.T) {
	db := postgresql.Start(t)
	db.Exec(t, `CREATE TABLE people (id serial PRIMARY KEY, name text UNIQUE, password text, enabled boolean DEFAULT true, quota bigint, aliases text)`)
	db.Exec(t, `INSERT INTO people (name, password, quota, aliases) VALUES ('anna@example.org', '{SSHA}H2IBz7rWAZvsJNT1Cl5G/81hjcdn2a0p', 5242880, 'a.n@example.org'), ('bert@example.org', 'geheim', 0, '')`)
	s := server.Serve(t, server.Options{Directories: fmt.Sprintf(`
[[directories]]
kind = "sql"
name = "people"
database = %q
query = "SELECT id, name, password, enabled, quota, aliases FROM people WHERE name = $1 OR $1 = ANY (string_to_array(aliases, ','))"
timeout = "00:00:20"
scram = true
upgrade = true
`, db.URL(db.Addr))})
	s.MustDeliver(t, message, "a.n@example.org")
	if answers := s.Deliver(t, message, "nobody@example.org"); !strings.HasPrefix(answers[0], "550") {
		t.Errorf("nobody: %v", answers)
	}
	signsIn(t, s, "anna@example.org", "geheim", true)
	signsIn(t, s, "a.n@example.org", "geheim", true)
	signsIn(t, s, "anna@example.org", "wrong", false)
	signsIn(t, s, "anna@example.org' OR '1'='1", "geheim", false)
	signsIn(t, s, "bert@example.org", "geheim", false) // as crypt(3) it is none
	if answer := scramSignIn(t, s, "anna@example.org", "geheim"); !strings.HasPrefix(answer, "a OK") {
		t.Errorf("SCRAM after a login: %s", answer)
	}
	// Renamed: the same mail. Another password, then switched off.
	db.Exec(t, `UPDATE people SET name = 'anna.new@example.org' WHERE name = 'anna@example.org'`)
	signsIn(t, s, "anna.new@example.org", "geheim", true)
	signsIn(t, s, "anna@example.org", "geheim", false)
	db.Exec(t, `UPDATE people SET password = '{PLAIN}next' WHERE name = 'anna.new@example.org'`)
	signsIn(t, s, "anna.new@example.org", "geheim", false)
	signsIn(t, s, "anna.new@example.org", "next", true)
	db.Exec(t, `UPDATE people SET enabled = false`)
	signsIn(t, s, "anna.new@example.org", "next", false)
	db.Exec(t, `UPDATE people SET enabled = true`)
	db.Stop()
	c := server.DialTLS(t, s.IMAPS, s.TLS())
	c.Line()
	if _, answer := c.IMAP(`LOGIN anna.new@example.org next`); !strings.Contains(answer, "[UNAVAILABLE]") {
		t.Errorf("IMAP4 while the database is down: %s", answer)
	}
	if answers := s.Deliver(t, message, "anna.new@example.org"); !strings.HasPrefix(answers[0], "451") {
		t.Errorf("delivery while the database is down: %v", answers)
	}
	db.Run()
	signsIn(t, s, "anna.new@example.org", "next", true)
}
