package sql

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/postern-mail/postern/directory"
)

// person is a row.
type person struct {
	directory.Person
	stored string // of the password
}

// row is what the query gave, by column.
type row map[string]cell

// cell is a value as the server writes it; nil is NULL.
type cell struct {
	text *string
	of   uint32 // the type
}

// columns are those that mean something. A new one is a row here.
var columns = map[string]func(p *person, c cell) error{
	"id":           func(p *person, c cell) error { return put(&p.ID, c) },
	"name":         func(p *person, c cell) error { return put(&p.Name, c) },
	"password":     func(p *person, c cell) error { return put(&p.stored, c) },
	"display_name": func(p *person, c cell) error { return put(&p.DisplayName, c) },
	"home_server":  func(p *person, c cell) error { return put(&p.HomeServer, c) },
	"enabled": func(p *person, c cell) error {
		on, err := truth(c)
		if err == nil && (on == nil || !*on) {
			p.Blocked = "the account is disabled in the database"
		}
		return err
	},
	"pop":            func(p *person, c cell) (err error) { p.Pop, err = truth(c); return err },
	"imap":           func(p *person, c cell) (err error) { p.Imap, err = truth(c); return err },
	"quota":          func(p *person, c cell) (err error) { p.QuotaBytes, err = number(c); return err },
	"quota_messages": func(p *person, c cell) (err error) { p.QuotaMessages, err = number(c); return err },
	"aliases":        aliases,
	"groups": func(p *person, c cell) error {
		list, err := list(c)
		if err == nil {
			p.Groups, err = directory.PrepareGroups(list)
		}
		return err
	},
	"password_changed": func(p *person, c cell) (err error) {
		if c.text != nil {
			p.PasswordChanged, err = moment(c)
		}
		return err
	},
}

// read makes somebody of a row; what a directory cannot be sure of is an error.
func read(r row) (*person, error) {
	p := &person{}
	for name, c := range r {
		take, ok := columns[name]
		if !ok {
			return nil, fmt.Errorf("the query gives the column %q, which means nothing", name)
		}
		if err := take(p, c); err != nil {
			return nil, fmt.Errorf("the column %s: %w", name, err)
		}
	}
	name, err := directory.PrepareName(p.Name)
	if err != nil {
		return nil, fmt.Errorf("the column name has %.60q, which is not a name", p.Name)
	}
	p.Name = name
	if p.ID == "" {
		if c, said := r["id"]; said && c.text == nil {
			return nil, fmt.Errorf("the column id has nothing")
		}
		p.ID = name
	}
	if directory.CheckID(p.ID) != nil {
		return nil, fmt.Errorf("the column id has %.60q, which is not 1 to %d printable octets without blanks", p.ID, directory.MaxID)
	}
	p.Aliases = slices.DeleteFunc(p.Aliases, func(alias string) bool { return alias == name })
	if p.stored == "" {
		p.PasswordChanged = time.Time{}
	}
	return p, nil
}

func put(to *string, c cell) error {
	if c.text != nil {
		*to = *c.text
	}
	return nil
}

// truth reads a boolean, or 1 and 0.
func truth(c cell) (*bool, error) {
	if c.text == nil {
		return nil, nil
	}
	yes := false
	switch strings.ToLower(*c.text) {
	case "t", "true", "1", "y", "yes":
		yes = true
	case "f", "false", "0", "n", "no":
	default:
		return nil, fmt.Errorf("%.20q is neither true nor false", *c.text)
	}
	return &yes, nil
}

func number(c cell) (*int64, error) {
	if c.text == nil {
		return nil, nil
	}
	n, err := strconv.ParseInt(*c.text, 10, 64)
	if err != nil || n < 0 {
		return nil, fmt.Errorf("%.20q is not a number from 0 on", *c.text)
	}
	return &n, nil
}

func moment(c cell) (time.Time, error) {
	var t time.Time
	if c.of != pgtype.TimestamptzOID && c.of != pgtype.TimestampOID {
		return t, fmt.Errorf("it is not a timestamp")
	}
	err := pgtype.NewMap().Scan(c.of, pgtype.TextFormatCode, []byte(*c.text), &t)
	return t, err
}

// list reads an array of text, or names with commas between.
func list(c cell) (list []string, err error) {
	if c.text == nil {
		return nil, nil
	}
	switch c.of {
	case pgtype.TextArrayOID, pgtype.VarcharArrayOID:
		if err := pgtype.NewMap().Scan(c.of, pgtype.TextFormatCode, []byte(*c.text), &list); err != nil {
			return nil, fmt.Errorf("it cannot be read as an array without NULL")
		}
	default:
		if *c.text != "" {
			list = strings.Split(*c.text, ",")
		}
	}
	return list, nil
}

func aliases(p *person, c cell) error {
	list, err := list(c)
	if err != nil {
		return err
	}
	for _, alias := range list {
		name, err := directory.PrepareName(strings.TrimSpace(alias))
		if err != nil {
			return fmt.Errorf("%.60q is not a name", alias)
		}
		if !slices.Contains(p.Aliases, name) {
			p.Aliases = append(p.Aliases, name)
		}
	}
	slices.Sort(p.Aliases)
	return nil
}
