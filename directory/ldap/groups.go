package ldap

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/go-ldap/ldap/v3"
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
	if d.required(p.groups) {
		return true, nil
	}
	// Upwards, level by level: the groups that have those of the level below.
	seen := map[string]bool{}
	level := []string{p.dn}
	for depth := 0; depth < maxDepth && len(level) > 0 && len(seen) < maxGroups; depth++ {
		above, err := d.groupsOf(ctx, level)
		if err != nil {
			return false, err
		}
		if d.required(above) {
			return true, nil
		}
		level = nil
		for _, dn := range above {
			if key := strings.ToLower(dn); !seen[key] {
				seen[key] = true
				level = append(level, dn)
			}
		}
	}
	return false, nil
}

// required tells whether one of the DNs is a required group.
func (d *Directory) required(dns []string) bool {
	return slices.ContainsFunc(dns, func(text string) bool {
		dn, err := ldap.ParseDN(text)
		return err == nil && slices.ContainsFunc(d.groups, dn.EqualFold)
	})
}

// memberByRule has Active Directory go through the groups
// (LDAP_MATCHING_RULE_IN_CHAIN, [MS-ADTS], 3.1.1.3.4.4.3).
func (d *Directory) memberByRule(ctx context.Context, p *found) (is bool, err error) {
	var b strings.Builder
	for _, dn := range d.RequireGroup {
		b.WriteString("(memberOf:1.2.840.113556.1.4.1941:=" + ldap.EscapeFilter(dn) + ")")
	}
	dns, err := d.dns(ctx, p.dn, ldap.ScopeBaseObject, "(|"+b.String()+")", 1)
	return len(dns) == 1 && sameDN(dns[0], p.dn), err
}

func sameDN(a, b string) bool {
	x, err1 := ldap.ParseDN(a)
	y, err2 := ldap.ParseDN(b)
	return err1 == nil && err2 == nil && x.EqualFold(y)
}

// groupsOf gives the groups that have one of members, at most maxGroups.
func (d *Directory) groupsOf(ctx context.Context, members []string) ([]string, error) {
	var all []string
	for some := range slices.Chunk(members, 50) {
		var b strings.Builder
		for _, dn := range some {
			v := ldap.EscapeFilter(dn)
			b.WriteString("(member=" + v + ")(uniqueMember=" + v + ")")
		}
		dns, err := d.dns(ctx, d.GroupBase, ldap.ScopeWholeSubtree, "(|"+b.String()+")", maxGroups)
		if err != nil {
			return nil, err
		}
		if all = append(all, dns...); len(all) > maxGroups {
			break
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
