package role

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"

	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/directory/chain"
	dirembedded "github.com/postern-mail/postern/directory/embedded"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/manage"
	"github.com/postern-mail/postern/settings"
)

// DirectoryConfig is a [[directories]] table of the settings file. Their order is
// the one in which they are asked.
type DirectoryConfig struct {
	// Kind is a row of drivers.go: "embedded", which may be there once, or an
	// external directory.
	Kind string `toml:"kind"`
	// Name is shown in logs and by Get-Mailbox, and keys what is kept of the
	// directory's people: it is not changed later. The kind when it is left out.
	Name string `toml:"name"`
	// Domains are whose names the directory is asked for, "" for names without a
	// domain; empty is every name.
	Domains []string `toml:"domains"`
	// Cache is a time span such as 00:30:00: how long somebody who was seen can go on
	// signing in with the same password, and get mail, while the directory does not
	// answer. Not at all when it is left out.
	Cache string `toml:"cache"`
	// Provision says whether people of an external directory get a mailbox at their
	// first login or message; true when it is left out.
	Provision *bool `toml:"provision"`
	// People are the names of the directories whose people this one proves, a text or
	// a list; "any" is every one. Left out it has people of its own.
	People any `toml:"people"`

	cache  time.Duration
	people []string
	open   openSource // nil for embedded
	at     string     // "file:line" of the table
}

// maxDirectories bounds them; each may be asked for every login.
const maxDirectories = 16

// directoryName is what a name may be: it is part of records' keys.
var directoryName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,31}$`)

// readDirectories reads the [[directories]] tables of a settings file: the keys that
// all have, and those of their drivers. Unknown keys are errors with the line.
func readDirectories(path string, text []byte) ([]DirectoryConfig, error) {
	tables, err := cutDirectories(path, text)
	if err != nil {
		return nil, err
	}
	var list []DirectoryConfig
	for _, t := range tables {
		c := DirectoryConfig{at: fmt.Sprintf("%s:%d", path, t.line)}
		unknown, err := t.decode(path, &c)
		if err != nil {
			return nil, err
		}
		kinds := append(slices.Collect(maps.Keys(sources)), embeddedDirectory)
		slices.Sort(kinds)
		if c.Kind != embeddedDirectory {
			row, ok := sources[c.Kind]
			if !ok {
				return nil, mail.Errorf(mail.KindBadArgument, "%s:%d: kind: %q is not known; there is %s.", path, t.line, c.Kind, strings.Join(kinds, ", "))
			}
			keys, open := row()
			others, err := t.decode(path, keys)
			if err != nil {
				return nil, err
			}
			// A key that both do not know nobody knows.
			unknown = slices.DeleteFunc(unknown, func(k unknownKey) bool { return !slices.Contains(others, k) })
			c.open = open
		}
		if len(unknown) > 0 {
			return nil, mail.Errorf(mail.KindBadArgument, "%s:%d: a directory of the kind %s has no setting %q.", path, unknown[0].line, c.Kind, unknown[0].key)
		}
		if err := c.check(); err != nil {
			return nil, mail.Errorf(mail.KindBadArgument, "%s: %s", c.at, mail.TextOf(err))
		}
		if slices.ContainsFunc(list, func(other DirectoryConfig) bool { return other.Name == c.Name }) {
			return nil, mail.Errorf(mail.KindBadArgument, "%s: there are two directories with the name %q.", c.at, c.Name)
		}
		if c.open == nil && slices.ContainsFunc(list, func(other DirectoryConfig) bool { return other.open == nil }) {
			return nil, mail.Errorf(mail.KindBadArgument, "%s: the embedded directory is there twice.", c.at)
		}
		if list = append(list, c); len(list) > maxDirectories {
			return nil, mail.Errorf(mail.KindBadArgument, "%s: there are at most %d directories.", c.at, maxDirectories)
		}
	}
	for _, c := range list {
		if err := c.checkPeople(list); err != nil {
			return nil, mail.Errorf(mail.KindBadArgument, "%s: %s", c.at, mail.TextOf(err))
		}
	}
	return list, nil
}

// checkPeople tells whether the directories whose people c proves are there and have
// people.
func (c *DirectoryConfig) checkPeople(all []DirectoryConfig) error {
	for _, name := range c.people {
		i := slices.IndexFunc(all, func(other DirectoryConfig) bool { return other.Name == name })
		switch {
		case name == chain.AnyPeople && len(c.people) == 1:
		case name == chain.AnyPeople:
			return mail.Errorf(mail.KindBadArgument, "people: %q stands alone.", name)
		case i < 0:
			return mail.Errorf(mail.KindBadArgument, "people: there is no directory %q.", name)
		case len(all[i].people) > 0:
			return mail.Errorf(mail.KindBadArgument, "people: the directory %s has no people of its own.", name)
		}
	}
	return nil
}

// readPeople reads the key of that name.
func (c *DirectoryConfig) readPeople() error {
	list, ok := c.People.([]any)
	if text, one := c.People.(string); one {
		list, ok = []any{text}, true
	}
	for _, v := range list {
		name, text := v.(string)
		if ok = ok && text && name != ""; ok {
			c.people = append(c.people, name)
		}
	}
	if c.People != nil && (!ok || len(c.people) == 0) {
		return mail.Errorf(mail.KindBadArgument, "people: the name of a directory, or a list of them.")
	}
	if len(c.people) > 0 && (c.open == nil || c.Provision != nil) {
		return mail.Errorf(mail.KindBadArgument, "people: the embedded directory has people of its own, and a directory that proves others' people makes no mailboxes (provision).")
	}
	return nil
}

func (c *DirectoryConfig) check() error {
	if c.Name == "" {
		c.Name = c.Kind
	}
	if !directoryName.MatchString(c.Name) || c.Name == chain.AnyPeople {
		return mail.Errorf(mail.KindBadArgument, "name: %q is not a small letter and at most 31 small letters, digits and hyphens.", c.Name)
	}
	for i, domain := range c.Domains {
		if domain == "" {
			continue
		}
		name, err := directory.PrepareName("x@" + domain)
		if err != nil {
			return mail.Errorf(mail.KindBadArgument, "domains: %q is not a domain.", domain)
		}
		c.Domains[i] = strings.TrimPrefix(name, "x@")
	}
	if c.Cache != "" {
		var err error
		if c.cache, err = settings.ParseSpan(c.Cache); err != nil {
			return mail.Errorf(mail.KindBadArgument, "cache: %s.", mail.TextOf(err))
		}
	}
	if c.cache > maxDirectoryCache {
		return mail.Errorf(mail.KindBadArgument, "cache: at most %s.", settings.FormatSpan(maxDirectoryCache))
	}
	if c.open == nil && (c.Cache != "" || c.Provision != nil) {
		return mail.Errorf(mail.KindBadArgument, "The embedded directory has neither cache nor provision: it is always there, and New-Mailbox fills it.")
	}
	return c.readPeople()
}

// maxDirectoryCache bounds how long an answer may serve that nobody can check.
const maxDirectoryCache = 7 * 24 * time.Hour

// directoryTable is the text of one [[directories]] table, with empty lines before it
// so that positions are those of the file.
type directoryTable struct {
	line int
	text []byte
}

// unknownKey is a key that a decoding target does not have.
type unknownKey struct {
	line int
	key  string
}

// decode reads the table into target and tells the keys that target does not have.
func (t directoryTable) decode(path string, target any) ([]unknownKey, error) {
	var strict *toml.StrictMissingError
	var wrong *toml.DecodeError
	err := toml.NewDecoder(bytes.NewReader(t.text)).DisallowUnknownFields().Decode(target)
	switch {
	case err == nil:
		return nil, nil
	case errors.As(err, &strict):
		var unknown []unknownKey
		for _, e := range strict.Errors {
			row, _ := e.Position()
			unknown = append(unknown, unknownKey{row, strings.Join(e.Key(), ".")})
		}
		return unknown, nil
	case errors.As(err, &wrong):
		row, column := wrong.Position()
		return nil, mail.Errorf(mail.KindBadArgument, "%s:%d:%d: %s", path, row, column, wrong.Error())
	}
	return nil, mail.Errorf(mail.KindBadArgument, "%s:%d: %v", path, t.line, err)
}

// cutDirectories cuts the [[directories]] tables out of a settings file, which was
// read before and is TOML.
func cutDirectories(path string, text []byte) ([]directoryTable, error) {
	type header struct {
		line  int
		opens bool // [[directories]]
		inner bool // a table within one
	}
	var headers []header
	p := unstable.Parser{}
	p.Reset(text)
	for p.NextExpression() {
		n := p.Expression()
		if n.Kind != unstable.Table && n.Kind != unstable.ArrayTable {
			keys := n.Key()
			if len(headers) == 0 && keys.Next() && string(keys.Node().Data) == "directories" {
				return nil, mail.Errorf(mail.KindBadArgument, "%s:%d: directories are written as tables, [[directories]].", path, p.Shape(keys.Node().Raw).Start.Line)
			}
			continue
		}
		h, keys, depth := header{}, n.Key(), 0
		for keys.Next() {
			if depth == 0 {
				h.line = p.Shape(keys.Node().Raw).Start.Line
				h.inner = string(keys.Node().Data) == "directories"
			}
			depth++
		}
		h.opens = h.inner && depth == 1 && n.Kind == unstable.ArrayTable
		headers = append(headers, h)
	}
	if err := p.Error(); err != nil {
		return nil, mail.Errorf(mail.KindBadArgument, "%s: %v", path, err)
	}
	lines := bytes.SplitAfter(text, []byte("\n"))
	var tables []directoryTable
	for i, h := range headers {
		switch {
		case h.inner && !h.opens:
			return nil, mail.Errorf(mail.KindBadArgument, "%s:%d: a directory is one table, [[directories]], and has none within it.", path, h.line)
		case !h.opens:
			continue
		}
		end := len(lines)
		if i+1 < len(headers) {
			end = headers[i+1].line - 1
		}
		// The header itself goes: what is left are the table's keys.
		cut := append(bytes.Repeat([]byte("\n"), h.line), bytes.Join(lines[h.line:end], nil)...)
		tables = append(tables, directoryTable{h.line, cut})
	}
	return tables, nil
}

// openDirectory opens who exists: our own directory alone, or a chain of several.
func (s *Server) openDirectory(ctx context.Context) error {
	options := s.options.Directory
	options.Key = s.sealed
	own, err := dirembedded.Open(ctx, s.store, options)
	if err != nil {
		return err
	}
	s.own = own
	if len(s.config.Directories) == 0 {
		s.directory = own
		return nil
	}
	o := chain.Options{Accounts: accounts{s.store}, Records: s.store, Log: s.log}
	o.Secret, o.ScramIterations = own.Nobody()
	for _, c := range s.config.Directories {
		l := chain.Link{Name: c.Name, Domains: c.Domains, Provision: c.Provision == nil || *c.Provision, Cache: c.cache, People: c.people}
		if c.open == nil {
			l.Own = own
		} else if l.Source, err = c.open(ctx, s, c.Name); err != nil {
			err = &mail.Error{Kind: mail.KindOf(err), Text: fmt.Sprintf("%s: the directory %s: %s", c.at, c.Name, mail.TextOf(err)), Cause: err}
			break
		}
		o.Links = append(o.Links, l)
	}
	var d *chain.Directory
	if err == nil {
		d, err = chain.Open(ctx, o)
	}
	if err != nil {
		for _, l := range o.Links {
			if l.Source != nil {
				l.Source.Close()
			}
		}
		return err
	}
	s.directory, s.chain, s.sources = d, d, map[string]directory.Source{}
	for _, l := range o.Links {
		s.sources[l.Name] = l.Source
	}
	return nil
}

// directoryRows are the configured directories as the management API sees them.
func (s *Server) directoryRows() (rows []manage.DirectoryRow) {
	for _, d := range s.config.Directories {
		row := manage.DirectoryRow{Name: d.Name, External: d.open != nil, Domains: d.Domains}
		if c, ok := s.sources[d.Name].(directory.Checker); ok {
			row.Check = c.Check
		}
		rows = append(rows, row)
	}
	return rows
}

// directoryNames lists the configured directories for people.
func (c *Config) directoryNames() string {
	if len(c.Directories) == 0 {
		return c.Directory
	}
	var names []string
	for _, d := range c.Directories {
		text := d.Name
		if d.Kind != d.Name {
			text = fmt.Sprintf("%s (%s)", d.Name, d.Kind)
		}
		names = append(names, text)
	}
	return strings.Join(names, ", ")
}
