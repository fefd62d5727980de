// Package ldap is the directory that an LDAP server keeps: OpenLDAP, 389, Active
// Directory. People are found by a search, and a password is right when the server
// lets its owner sign in with it (a simple bind): keys for SCRAM it does not give.
// Referrals are never followed.
package ldap

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/go-ldap/ldap/v3"
	"golang.org/x/net/idna"

	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/mail"
)

// Directory is a directory.Source.
type Directory struct {
	*settled
	now    func() time.Time
	search *pool // signed in to search
	bind   *pool // where passwords are tried
}

var (
	_ directory.Lister  = (*Directory)(nil)
	_ directory.Grouper = (*Directory)(nil)
)

// Open checks the options. It connects when it is asked first. KindBadArgument.
func Open(o Options) (*Directory, error) {
	s, err := o.settle()
	if err != nil {
		return nil, err
	}
	d := &Directory{settled: s, now: time.Now}
	d.search, d.bind = newPool(s, d.signInToSearch), newPool(s, nil)
	return d, nil
}

// Close is part of directory.Source.
func (d *Directory) Close() error {
	d.search.close()
	d.bind.close()
	return nil
}

func (d *Directory) signInToSearch(c *conn) error {
	if d.BindDN == "" {
		return nil
	}
	if err := c.Bind(d.BindDN, d.password); err != nil {
		return fmt.Errorf("%s cannot sign in to search: %w", d.BindDN, err)
	}
	return nil
}

// Find is part of directory.Source.
func (d *Directory) Find(ctx context.Context, name string) (*directory.Person, error) {
	p, err := d.person(ctx, name)
	if err != nil {
		return nil, err
	}
	return &p.Person, nil
}

// CheckPassword is part of directory.Source: it signs in to the server as name.
func (d *Directory) CheckPassword(ctx context.Context, name, password string) (*directory.Person, error) {
	// A bind with an empty password succeeds at many servers and proves nothing
	// (RFC 4513, 5.1.2); what some stop at is no password either.
	if password == "" || strings.ContainsRune(password, 0) {
		return nil, refused("the password is empty or has a NUL")
	}
	p, err := d.person(ctx, name)
	if err != nil {
		return nil, err
	}
	policy := ldap.NewControlBeheraPasswordPolicy()
	err = d.bind.do(ctx, func(c *conn) error {
		r, err := c.SimpleBind(ldap.NewSimpleBindRequest(p.dn, password, []ldap.Control{policy}))
		if err != nil {
			return d.judge(p, r, err)
		}
		if said := policyOf(r); said != nil && said.Error == mustChange {
			return refused("the password was set by somebody else and must be changed first")
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &p.Person, nil
}

// found is somebody whom the directory has.
type found struct {
	directory.Person
	dn     string
	note   string   // what keeps a right password from being accepted now: locked, expired
	groups []string // memberOf
	uids   []string
}

// mostMatches bounds how many entries a name may have before it is taken as
// ambiguous without looking at them.
const mostMatches = 16

// person finds who a name means. What the server gives counts only if it has the
// name: a server that compares loosely, or lies, makes nobody of somebody else.
func (d *Directory) person(ctx context.Context, name string) (*found, error) {
	if ctx.Err() != nil {
		return nil, unavailable(ctx.Err())
	}
	if prepared, err := directory.PrepareName(name); err != nil || prepared != name {
		return nil, errNotFound
	}
	var matches []*found
	err := d.search.do(ctx, func(c *conn) error {
		matches = nil
		r, err := c.Search(&ldap.SearchRequest{
			BaseDN: d.Base, Scope: d.scope, DerefAliases: ldap.NeverDerefAliases, SizeLimit: mostMatches, EnforceSizeLimit: true,
			TimeLimit: int(d.timeout / time.Second), Filter: d.filterFor(name), Attributes: d.requested,
		})
		if err != nil {
			return searchFailed(err)
		}
		for _, e := range r.Entries {
			p, names, err := d.read(e)
			if err != nil {
				return unavailable(err)
			}
			if names[name] {
				matches = append(matches, p)
			}
		}
		return nil
	})
	if err != nil {
		return nil, asked(err)
	}
	p, err := one(name, matches)
	if err != nil {
		return nil, err
	}
	if len(d.groups) > 0 {
		member, err := d.member(ctx, p)
		if err != nil {
			return nil, asked(err)
		}
		if !member {
			return nil, errNotFound
		}
	}
	return p, nil
}

var errNotFound = &mail.Error{Kind: mail.KindNotFound, Text: "The directory knows no such name."}

// one chooses among those who have a name: it is the sign-in name of one, or an
// alias of one.
func one(name string, matches []*found) (*found, error) {
	var first []*found
	for _, p := range matches {
		if p.Name == name {
			first = append(first, p)
		}
	}
	if len(first) > 0 {
		matches = first
	}
	switch len(matches) {
	case 0:
		return nil, errNotFound
	case 1:
		return matches[0], nil
	}
	return nil, unavailable(fmt.Errorf("%q means both %s and %s", name, matches[0].dn, matches[1].dn))
}

// filterFor is the filter that finds a name. Every value goes through EscapeFilter.
func (d *Directory) filterFor(name string) string {
	var b strings.Builder
	any := func(attributes []string, values ...string) {
		for _, attribute := range attributes {
			for _, v := range values {
				fmt.Fprintf(&b, "(%s=%s)", attribute, ldap.EscapeFilter(v))
			}
		}
	}
	full, bare := spellings(name), []string(nil)
	if at := strings.LastIndexByte(name, '@'); d.Domain != "" && at > 0 && name[at+1:] == d.Domain {
		bare = []string{name[:at]}
	}
	any([]string{d.NameAttribute}, append(full, bare...)...)
	any(d.LoginAttributes, append(full, bare...)...)
	any(d.AliasAttributes, full...)
	for _, attribute := range d.AliasAttributes {
		if strings.EqualFold(attribute, "proxyAddresses") {
			for _, v := range full {
				any([]string{attribute}, "smtp:"+v)
			}
		}
	}
	return "(&" + d.Filter + "(|" + b.String() + "))"
}

// spellings are the forms in which a directory may have a prepared name: domains are
// often kept in ASCII.
func spellings(name string) []string {
	list := []string{name}
	if at := strings.LastIndexByte(name, '@'); at > 0 {
		if ascii, err := idna.ToASCII(name[at+1:]); err == nil && ascii != name[at+1:] {
			list = append(list, name[:at+1]+ascii)
		}
	}
	return list
}

// People is part of directory.Lister: everybody, by pages. Who has no usable name
// or identifier is left out.
func (d *Directory) People(ctx context.Context, each func(directory.Person) error) error {
	var all []*found
	err := d.search.doWithin(ctx, listTime, listBudget, func(c *conn) error {
		all = nil
		// A page's cookie is worth something on its connection alone.
		paging := ldap.NewControlPaging(500)
		for {
			r, err := c.Search(&ldap.SearchRequest{
				BaseDN: d.Base, Scope: d.scope, DerefAliases: ldap.NeverDerefAliases, Filter: d.Filter, Attributes: d.requested,
				Controls: []ldap.Control{paging},
			})
			if err != nil {
				return searchFailed(err)
			}
			for _, e := range r.Entries {
				if p, _, err := d.read(e); err == nil {
					all = append(all, p)
				}
			}
			next, _ := control(r.Controls, ldap.ControlTypePaging).(*ldap.ControlPaging)
			if next == nil || len(next.Cookie) == 0 {
				return nil
			}
			paging.SetCookie(next.Cookie)
		}
	})
	if err != nil {
		return asked(err)
	}
	for _, p := range all {
		if len(d.groups) > 0 {
			member, err := d.member(ctx, p)
			if err != nil {
				return asked(err)
			}
			if !member {
				continue
			}
		}
		if err := each(p.Person); err != nil {
			return err
		}
	}
	return nil
}

// Bounds of People.
const (
	listTime   = 5 * time.Minute
	listBudget = 1 << 30
)

// control finds a control by its type. The library gives nil for those that it
// cannot read.
func control(controls []ldap.Control, kind string) ldap.Control {
	for _, c := range controls {
		if c != nil && c.GetControlType() == kind {
			return c
		}
	}
	return nil
}
