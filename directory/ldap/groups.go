package ldap

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-ldap/ldap/v3"

	"github.com/postern-mail/postern/directory"
)

// Bounds of the search for a group through other groups.
const (
	maxDepth  = 8
	maxGroups = 1000
)

// member tells whether somebody is in one of the required groups, through other
// groups too.
func (d *Directory) member(ctx context.Context, p *found) (bool, error) {
	if d.ad {
		return d.memberByRule(ctx, p)
	}
	is := false
	err := d.upwards(ctx, p, func(dns []string) bool { is = d.required(dns); return is })
	if errors.Is(err, errTooManyGroups) {
		err = nil
	}
	return is, err
}

// Groups is part of directory.Grouper: a group's name is the first part of its
// distinguished name, without the attribute ("cn=Mail Users,ou=groups,…" is "mail
// users").
func (d *Directory) Groups(ctx context.Context, who *directory.Person) ([]string, error) {
	p, err := d.person(ctx, who.Name)
	if err == nil && p.ID != who.ID {
		err = fmt.Errorf("%q is somebody else by now", who.Name)
	}
	if err != nil {
		return nil, unavailable(err)
	}
	dns, err := d.allGroups(ctx, p)
	if err != nil {
		return nil, asked(err)
	}
	var names []string
	for _, text := range dns {
		dn, err := ldap.ParseDN(text)
		if err != nil || len(dn.RDNs) == 0 || len(dn.RDNs[0].Attributes) == 0 {
			return nil, unavailable(fmt.Errorf("a group has no distinguished name: %.100q", text))
		}
		names = append(names, dn.RDNs[0].Attributes[0].Value)
	}
	return directory.PrepareGroups(names)
}

// allGroups gives the DNs of all groups that somebody is in, through others too.
// More than it goes through is an error: policies must not miss a group.
func (d *Directory) allGroups(ctx context.Context, p *found) ([]string, error) {
	if d.ad {
		return d.dns(ctx, d.GroupBase, ldap.ScopeWholeSubtree, "(member:"+inChain+":="+ldap.EscapeFilter(p.dn)+")", maxGroups)
	}
	var all []string
	err := d.upwards(ctx, p, func(dns []string) bool { all = append(all, dns...); return false })
	return all, err
}

// errTooManyGroups: there are more groups, or further ones above, than are looked at.
var errTooManyGroups = fmt.Errorf("there are more than %d groups, or more than %d levels of them", maxGroups, maxDepth)

// upwards tells of the groups that somebody is in and then, level by level, of those
// that have these, until done says so. A group that is known is not told again.
// errTooManyGroups when it does not come to an end.
func (d *Directory) upwards(ctx context.Context, p *found, done func(dns []string) bool) error {
	seen := map[string]bool{}
	fresh := func(dns []string) []string {
		return slices.DeleteFunc(dns, func(dn string) bool {
			key := strings.ToLower(dn)
			was := seen[key]
			seen[key] = true
			return was
		})
	}
	level := fresh(slices.Clone(p.groups))
	if done(level) {
		return nil
	}
	members, uids := append(level, p.dn), p.uids
	for range maxDepth {
		above, err := d.groupsOf(ctx, members, uids)
		if err != nil {
			return err
		}
		level = fresh(above)
		switch {
		case done(level), len(level) == 0:
			return nil
		case len(seen) > maxGroups:
			return errTooManyGroups
		}
		members, uids = level, nil
	}
	return errTooManyGroups
}

// required tells whether one of the DNs is a required group.
func (d *Directory) required(dns []string) bool {
	return slices.ContainsFunc(dns, func(text string) bool {
		dn, err := ldap.ParseDN(text)
		return err == nil && slices.ContainsFunc(d.groups, dn.EqualFold)
	})
}

// inChain is the rule by which Active Directory goes through the groups itself
// (LDAP_MATCHING_RULE_IN_CHAIN, [MS-ADTS], 3.1.1.3.4.4.3).
const inChain = "1.2.840.113556.1.4.1941"

// memberByRule asks Active Directory.
func (d *Directory) memberByRule(ctx context.Context, p *found) (is bool, err error) {
	var b strings.Builder
	for _, dn := range d.RequireGroup {
		b.WriteString("(memberOf:" + inChain + ":=" + ldap.EscapeFilter(dn) + ")")
	}
	dns, err := d.dns(ctx, p.dn, ldap.ScopeBaseObject, "(|"+b.String()+")", 1)
	return len(dns) == 1 && sameDN(dns[0], p.dn), err
}

func sameDN(a, b string) bool {
	x, err1 := ldap.ParseDN(a)
	y, err2 := ldap.ParseDN(b)
	return err1 == nil && err2 == nil && x.EqualFold(y)
}

// groupsOf gives the groups that have one of members, or one of uids by a name that is
// no DN (posixGroup); more than maxGroups is an error.
func (d *Directory) groupsOf(ctx context.Context, members, uids []string) ([]string, error) {
	var all []string
	for some := range slices.Chunk(members, 50) {
		var b strings.Builder
		for _, uid := range uids {
			b.WriteString("(&(objectClass=posixGroup)(memberUid=" + ldap.EscapeFilter(uid) + "))")
		}
		uids = nil
		for _, dn := range some {
			v := ldap.EscapeFilter(dn)
			b.WriteString("(member=" + v + ")(uniqueMember=" + v + ")")
		}
		dns, err := d.dns(ctx, d.GroupBase, ldap.ScopeWholeSubtree, "(|"+b.String()+")", maxGroups)
		if err != nil {
			return nil, err
		}
		if all = append(all, dns...); len(all) > maxGroups {
			return nil, errTooManyGroups
		}
	}
	return all, nil
}

// dns gives the DNs of what a search finds.
func (d *Directory) dns(ctx context.Context, base string, scope int, filter string, most int) (dns []string, err error) {
	err = d.search.do(ctx, func(c *conn) error {
		dns = nil
		r, err := c.Search(&ldap.SearchRequest{
			BaseDN: base, Scope: scope, DerefAliases: ldap.NeverDerefAliases, SizeLimit: most, EnforceSizeLimit: true,
			TimeLimit: int(d.timeout / time.Second), Filter: filter, Attributes: []string{"1.1"},
		})
		if err != nil {
			return searchFailed(err)
		}
		for _, e := range r.Entries {
			dns = append(dns, e.DN)
		}
		return nil
	})
	return dns, err
}
