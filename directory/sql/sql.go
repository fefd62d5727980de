// Package sql is a directory in a PostgreSQL database: a query that the settings file
// gives says who a name is, and what is stored of the password. The name reaches the
// database as a parameter and never as text of the query.
package sql

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/directory/crypt"
	"github.com/postern-mail/postern/mail"
)

// Source is a directory.Source.
type Source struct {
	o       Options
	pool    *pgxpool.Pool
	timeout time.Duration
	checker *crypt.Checker
	keys    *crypt.Keys
}

// keyed is a Source that offers SCRAM.
type keyed struct{ *Source }

var _ directory.KeySource = keyed{}

// Open makes a directory of options; it does not wait for the database.
// KindBadArgument for options that cannot be meant.
func Open(o Options) (directory.Source, error) {
	config, timeout, err := o.prepare()
	if err != nil {
		return nil, err
	}
	pool, err := pgxpool.NewWithConfig(context.Background(), config)
	if err != nil {
		return nil, mail.Errorf(mail.KindBadArgument, "database: %v", err)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Source{o: o, pool: pool, timeout: timeout, checker: crypt.NewChecker(), keys: crypt.NewKeys(o.KeyOptions, o.Keeper)}
	if o.Scram {
		return keyed{s}, nil
	}
	return s, nil
}

// Forget is part of directory.Forgetter.
func (s *Source) Forget(ctx context.Context, id string) { s.keys.Forget(ctx, id) }

// Close ends all connections and waits for the questions on them, which are bounded.
func (s *Source) Close() error {
	s.pool.Close()
	return nil
}

// Find is part of directory.Source.
func (s *Source) Find(ctx context.Context, name string) (*directory.Person, error) {
	p, err := s.person(ctx, name)
	if err != nil {
		return nil, err
	}
	return &p.Person, nil
}

// CheckPassword is part of directory.Source.
func (s *Source) CheckPassword(ctx context.Context, name, password string) (*directory.Person, error) {
	p, err := s.person(ctx, name)
	if err != nil {
		return nil, err
	}
	hash, err := s.hash(p)
	if err != nil {
		return nil, &mail.Error{Kind: mail.KindAuthenticationFailed, Cause: err}
	}
	ok, err := s.checker.Matches(ctx, hash, password)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, mail.Errorf(mail.KindAuthenticationFailed, "")
	}
	s.keys.Proved(ctx, p.ID, p.stored, hash, password)
	return &p.Person, nil
}

// ScramKeys is part of directory.KeySource.
func (s keyed) ScramKeys(ctx context.Context, name string, hash directory.Hash) (*directory.Person, directory.ScramKeys, error) {
	none := directory.ScramKeys{}
	p, err := s.person(ctx, name)
	if err != nil {
		return nil, none, err
	}
	h, err := s.hash(p)
	if err != nil {
		return nil, none, &mail.Error{Kind: mail.KindNotFound, Cause: err}
	}
	keys, err := s.Source.keys.Of(ctx, p.ID, p.stored, h, hash)
	if err != nil {
		return nil, none, err
	}
	return &p.Person, keys, nil
}

// hash reads what is stored of the password; the error says why there is none.
func (s *Source) hash(p *person) (*crypt.Hash, error) {
	if crypt.Locked(p.stored) {
		return nil, errors.New("there is no password in the database")
	}
	return crypt.Parse(p.stored, s.o.Scheme)
}

// person asks the database, within the time.
func (s *Source) person(ctx context.Context, name string) (*person, error) {
	if err := ctx.Err(); err != nil {
		return nil, mail.Wrap(mail.KindUnavailable, err)
	}
	if prepared, err := directory.PrepareName(name); err != nil || prepared != name {
		return nil, mail.Errorf(mail.KindNotFound, "")
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	rows, err := s.ask(ctx, name)
	if err != nil && again(err) && ctx.Err() == nil {
		// The connection was an old one: the server was started anew since.
		s.pool.Reset()
		rows, err = s.ask(ctx, name)
	}
	if err != nil {
		return nil, mail.Wrap(mail.KindUnavailable, err)
	}
	switch len(rows) {
	case 0:
		return nil, mail.Errorf(mail.KindNotFound, "")
	case 1:
	default:
		return nil, mail.Wrap(mail.KindUnavailable, fmt.Errorf("the query gave more than one row for %q", name))
	}
	p, err := read(rows[0])
	if err == nil && p.Name != name && !slices.Contains(p.Aliases, name) {
		err = fmt.Errorf("the query gave %q for %q, which is none of its aliases", p.Name, name)
	}
	if err != nil {
		return nil, mail.Wrap(mail.KindUnavailable, err)
	}
	return p, nil
}

// again tells whether a question may be asked a second time: nothing was answered, or
// the server said that it ends.
func again(err error) bool {
	var said *pgconn.PgError
	if errors.As(err, &said) {
		return len(said.Code) == 5 && said.Code[:3] == "57P"
	}
	return true
}

// ask gives the rows of the query, no more than two.
func (s *Source) ask(ctx context.Context, name string) ([]row, error) {
	// Text, so that a column may have any type that reads as what is meant; no prepared
	// statement, so that a pooler may stand between.
	rows, err := s.pool.Query(ctx, s.o.Query, pgx.QueryExecModeExec, pgx.QueryResultFormats{pgx.TextFormatCode}, name)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []row
	for len(all) < 2 && rows.Next() {
		r := row{}
		for i, value := range rows.RawValues() {
			column := rows.FieldDescriptions()[i]
			if _, twice := r[column.Name]; twice {
				return nil, fmt.Errorf("the query gives the column %q twice", column.Name)
			}
			v := cell{of: column.DataTypeOID}
			if value != nil {
				text := string(value)
				v.text = &text
			}
			r[column.Name] = v
		}
		all = append(all, r)
	}
	if len(all) < 2 {
		if err := rows.Err(); err != nil {
			return nil, err
		}
	}
	return all, nil
}
