package passwd

import (
	"bytes"
	"context"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/directory/crypt"
	"github.com/postern-mail/postern/mail"
)

// person is a line.
type person struct {
	directory.Person
	line   int
	stored string
	hash   *crypt.Hash // nil: nobody signs in
	locked string      // why
}

// parse reads the lines. One that is damaged is logged and skipped; a password that
// cannot be used leaves the mailbox.
func (s *Source) parse(ctx context.Context, text []byte) *table {
	t := &table{names: map[string][]*person{}}
	damaged := 0
	complain := func(line int, err error) {
		if damaged++; damaged <= maxDamaged {
			s.o.Log.WarnContext(ctx, "a line of a directory's file is not as it should be", "file", s.o.File, "line", line, "error", mail.TextOf(err))
		}
	}
	for n := 1; len(text) > 0; n++ {
		var line []byte
		line, text, _ = bytes.Cut(text, []byte("\n"))
		p, err := readLine(bytes.TrimSuffix(line, []byte("\r")), &s.o)
		if err != nil {
			complain(n, err)
		}
		if p == nil {
			continue
		}
		p.line = n
		p.PasswordChanged = s.passwordChanged(p)
		t.people = append(t.people, p)
		for _, name := range append([]string{p.Name}, p.Aliases...) {
			t.names[name] = append(t.names[name], p)
			if others := t.names[name]; len(others) == 2 {
				complain(n, mail.Errorf(mail.KindBadArgument, "The name %s is there a second time; the first is in line %d. Nobody has it now.", name, others[0].line))
			}
		}
	}
	if damaged > maxDamaged {
		s.o.Log.WarnContext(ctx, "further lines of a directory's file are not as they should be", "file", s.o.File, "lines", damaged-maxDamaged)
	}
	s.o.Log.InfoContext(ctx, "the file of a directory was read", "file", s.o.File, "people", len(t.people))
	return t
}

// passwordChanged gives when the line's password was first seen: another time with
// every password.
func (s *Source) passwordChanged(p *person) time.Time {
	if p.hash == nil {
		return time.Time{}
	}
	if s.table != nil {
		if i := slices.IndexFunc(s.table.names[p.Name], func(old *person) bool { return old.Name == p.Name }); i >= 0 {
			if was := s.table.names[p.Name][i]; was.stored == p.stored && was.hash != nil {
				return was.PasswordChanged
			}
		}
	}
	return s.stamp
}

// readLine reads one line:
//
//	name:password:uid:gid:gecos:home:shell:extra fields
//
// of which the first two are needed. It gives nobody for an empty line, a comment, or
// one that is damaged, and somebody who cannot sign in, with an error, when only the
// password is.
func readLine(line []byte, o *Options) (*person, error) {
	if len(bytes.TrimSpace(line)) == 0 || line[0] == '#' {
		return nil, nil
	}
	damaged := func(format string, args ...any) (*person, error) {
		return nil, mail.Errorf(mail.KindBadArgument, format, args...)
	}
	if len(line) > maxLine {
		return damaged("The line has more than %d octets and is skipped.", maxLine)
	}
	if !utf8.Valid(line) {
		return damaged("The line is not UTF-8 and is skipped.")
	}
	fields := strings.SplitN(string(line), ":", 8)
	if len(fields) < 2 {
		return damaged("The line has no colon and is skipped.")
	}
	field := func(i int) string {
		if i < len(fields) {
			return fields[i]
		}
		return ""
	}
	if uid, err := strconv.Atoi(field(2)); (err != nil && field(2) != "") || uid < 0 {
		return damaged("The user number %.20q is not one, and the line is skipped.", field(2))
	} else if uid < o.FirstUID {
		return nil, nil
	}
	name, err := prepare(fields[0], o.Domain)
	if err != nil {
		return damaged("The name cannot be one, and the line is skipped: %s", mail.TextOf(err))
	}
	p := &person{Person: directory.Person{ID: name, Name: name}, stored: fields[1]}
	p.DisplayName, _, _ = strings.Cut(field(4), ",")
	wrong := p.extra(field(7), o.Domain)
	switch {
	case p.locked != "":
	case crypt.Locked(p.stored):
		p.locked = "there is no password"
	default:
		if p.hash, err = crypt.Parse(p.stored, o.Scheme); err != nil {
			p.locked, wrong = mail.TextOf(err), err
		}
	}
	return p, wrong
}

func prepare(name, domain string) (string, error) {
	if domain != "" && !strings.Contains(name, "@") {
		name += "@" + domain
	}
	return directory.PrepareName(name)
}

// restrictions are extra fields by which Dovecot lets somebody in from fewer places,
// elsewhere, or as somebody else. Postern cannot do that by line, so such a line signs
// nobody in: less than it says, never more. nopassword lets everybody in.
var restrictions = []string{"allow_nets", "allow_real_nets", "nopassword", "nologin", "proxy", "proxy_maybe", "user", "login_user", "noauthenticate", "client_cert"}

// extra reads the extra fields that mean something here; the first error is given,
// and the field left out.
func (p *person) extra(text, domain string) (wrong error) {
	for _, field := range strings.Fields(text) {
		key, value, _ := strings.Cut(field, "=")
		key = strings.TrimPrefix(key, "userdb_")
		var err error
		switch {
		case slices.Contains(restrictions, key) && value != "no":
			p.locked = "the line has " + key + ", which signs nobody in here"
			if key != "nologin" {
				err = mail.Errorf(mail.KindBadArgument, "The line has %s: it signs nobody in here.", key)
			}
		case strings.HasPrefix(key, "quota_rule"):
			err = p.quotaRule(value)
		case key == "quota_storage_size":
			p.QuotaBytes, err = size(value, 1)
		case key == "quota_message_count":
			p.QuotaMessages, err = size(value, 1)
		case key == "postern_aliases":
			for _, alias := range strings.Split(value, ",") {
				name, bad := prepare(alias, domain)
				if bad != nil {
					err = mail.Errorf(mail.KindBadArgument, "The alias %q cannot be one and is left out.", alias)
				} else if name != p.Name && !slices.Contains(p.Aliases, name) {
					p.Aliases = append(p.Aliases, name)
				}
			}
			slices.Sort(p.Aliases)
		case key == "postern_groups":
			if p.Groups, err = directory.PrepareGroups(strings.Split(value, ",")); err != nil {
				p.locked = "the line has more groups than can be read" // a policy may be for one
			}
		case key == "postern_blocked":
			if value != "no" && value != "" {
				p.Blocked = value
			}
		}
		if err != nil && wrong == nil {
			wrong = err
		}
	}
	return wrong
}

// quotaRule reads "*:storage=1G:messages=1000"; rules of one folder are Dovecot's
// alone.
func (p *person) quotaRule(rule string) error {
	folder, limits, _ := strings.Cut(rule, ":")
	if folder != "*" {
		return nil
	}
	for _, limit := range strings.Split(limits, ":") {
		key, value, _ := strings.Cut(limit, "=")
		var err error
		switch key {
		case "storage":
			p.QuotaBytes, err = size(value, 1<<10)
		case "bytes":
			p.QuotaBytes, err = size(value, 1)
		case "messages":
			p.QuotaMessages, err = size(value, 1)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// size reads a number with a unit; without one it is of unit. nil and an error when it
// is none.
func size(text string, unit int64) (*int64, error) {
	digits := strings.TrimRight(strings.ToUpper(text), "BKMGT")
	switch strings.TrimSuffix(strings.ToUpper(text[len(digits):]), "B") {
	case "K":
		unit = 1 << 10
	case "M":
		unit = 1 << 20
	case "G":
		unit = 1 << 30
	case "T":
		unit = 1 << 40
	case "":
		if len(digits) < len(text) {
			unit = 1
		}
	default:
		digits = ""
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 || n > 1<<62/unit {
		return nil, mail.Errorf(mail.KindBadArgument, "The quota %.40q is not a size and is left out.", text)
	}
	n *= unit
	return &n, nil
}
