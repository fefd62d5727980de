package settings

import (
	"net/netip"
	"testing"
)

func TestCapabilityRuleHolds(t *testing.T) {
	address := netip.MustParseAddr("192.0.2.7")
	for text, want := range map[string]bool{
		"192.0.2.0/24: IDLE":          true,
		"192.0.2.7: IDLE":             true,
		"198.51.100.0/24: IDLE":       false,
		"2001:db8::/32: IDLE":         false,
		"old mail 3.*: IDLE, MOVE":    true,
		"Old Mail*: idle":             true,
		"*Mail*1: IDLE":               true,
		"Old Mail: IDLE":              false,
		"Old Mail 3.1: IDLE":          true,
		"*: CONDSTORE":                true,
		"*x*: CONDSTORE":              false,
		"Old*Old Mail 3.1: CONDSTORE": false,
	} {
		r, err := ParseCapabilityRule(IMAP4, text)
		if err != nil {
			t.Error(err)
			continue
		}
		if got := r.Holds(address, "Old Mail 3.1"); got != want {
			t.Errorf("%s: %t", text, got)
		}
	}
}
