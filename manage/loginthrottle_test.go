package manage_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/manage"
	"github.com/postern-mail/postern/manage/managetest"
	"github.com/postern-mail/postern/settings"
)

// guess signs in with a password that is wrong unless it is the one that was set.
func guess(t *testing.T, f *managetest.Fake, remote, name, password string) error {
	t.Helper()
	c := auth.Conn{Service: settings.IMAP4, LoginType: mail.PlainTextLogin, Remote: netip.MustParseAddrPort(remote)}
	_, err := f.Auth.Password(t.Context(), c, name, password)
	return err
}

func TestLoginThrottleCmdlets(t *testing.T) {
	f, client, _ := managetest.Serve(t)
	run(t, f, "Set-Mailbox", args{"Identity": "alice@example.org", "Password": "correct horse battery"})
	for _, remote := range []string{"192.0.2.7:1", "[2001:db8::5]:1"} {
		if err := guess(t, f, remote, "alice@example.org", "correct horse battery"); err != nil {
			t.Fatal(err)
		}
	}
	if err := guess(t, f, "192.0.2.7:1", "a.example@example.org", "correct horse battery"); err != nil {
		t.Fatal(err)
	}
	for range 2 { // at a known network, and elsewhere
		guess(t, f, "192.0.2.7:1", "alice@example.org", "wrong")
		guess(t, f, "198.51.100.1:1", "nobody", "wrong")
	}
	play(t, client, []call{
		{"Get-LoginThrottle", nil, `"UserName":"alice@example.org","Network":"192.0.2.7","Delay":"500ms","Ends":"2026-11-23T09:32:00Z" "UserName":"nobody","Network":"","Delay":"500ms"`},
		{"Get-LoginThrottle", args{"Identity": "al*"}, `"objects":[{"UserName":"alice@example.org"`},
		{"Get-LoginThrottle", args{"ResultSize": 1}, `-ResultSize unlimited shows all`},
		{"Get-LoginThrottle", args{"Identity": "zoe"}, `"objects":[] Nobody's sign-ins wait.`},
		{"Clear-LoginThrottle", nil, "!BadArgument"},
		{"Clear-LoginThrottle", args{"Network": "here"}, "!BadArgument"},
		{"Clear-LoginThrottle", args{"Identity": "NOBODY", "WhatIf": true}, `"whatIf":true "target":"failed sign-ins of nobody"`},
		{"Clear-LoginThrottle", args{"Identity": "nobody"}, `"target":"failed sign-ins of nobody"`},
		{"Clear-LoginThrottle", args{"Identity": "nobody", "Network": ""}, `There were none that are not forgotten already.`},
		{"Clear-LoginThrottle", args{"Identity": "alice@example.org", "Network": "192.0.2.7"}, `"target":"failed sign-ins of alice@example.org from 192.0.2.7"`},
		{"Clear-LoginThrottle", args{"Network": "198.51.100.1"}, `"target":"failed sign-ins from 198.51.100.1"`},
		{"Get-LoginThrottle", nil, `"objects":[]`},

		{"Get-KnownNetwork", args{"Identity": "zoe"}, "!NotFound"},
		{"Get-KnownNetwork", args{"Identity": "bob@example.org"}, `"objects":[]`},
		{"Get-KnownNetwork", args{"Identity": "alice@example.org"},
			`"Mailbox":"alice@example.org","UserName":"alice@example.org","Network":"192.0.2.7","FirstLogonTime":"2026-11-23T09:30:00Z" "Network":"2001:db8::/64" "UserName":"a.example@example.org"`},
		{"Remove-KnownNetwork", args{"Identity": "alice@example.org", "Network": "10.0.0.1"}, "!NotFound"},
		{"Remove-KnownNetwork", args{"Identity": "alice@example.org", "Network": "2001:db8::77"}, `"name":"KnownNetworks","old":"2001:db8::/64","new":null`},
		{"Remove-KnownNetwork", args{"Identity": "alice@example.org"}, `"old":"192.0.2.7,192.0.2.7","new":null`},
		{"Get-KnownNetwork", args{"Identity": "alice@example.org"}, `"objects":[]`},
	})

	// A removed mailbox leaves nothing to who has the name next.
	guess(t, f, "192.0.2.7:1", "alice@example.org", "correct horse battery")
	run(t, f, "Remove-Mailbox", args{"Identity": "alice@example.org", "Confirm": false})
	if kept, err := f.Records.Records(t.Context(), "known-network", ""); len(kept) != 0 || err != nil {
		t.Errorf("left behind: %v, %v", kept, err)
	}
}

// TestKnownAdministratorSignsIn: guesses in the network of an administrator do not keep
// that one out of the console.
func TestKnownAdministratorSignsIn(t *testing.T) {
	f := newFake(t, "")
	run(t, f, "Set-Mailbox", args{"Identity": "alice@example.org", "Password": "correct horse battery"})
	run(t, f, "Add-Administrator", args{"Identity": "alice@example.org", "Role": manage.OrganizationAdministrator})
	office := netip.MustParseAddrPort("192.0.2.7:1")
	signIn := func(name string, password manage.Secret, from netip.AddrPort) error {
		_, err := f.Server.SignIn(t.Context(), name, password, from)
		return err
	}
	if err := guess(t, f, office.String(), "alice@example.org", "correct horse battery"); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		signIn("bob@example.org", "wrong", office)
	}
	if err := signIn("bob@example.org", "wrong", office); mail.KindOf(err) != mail.KindLimit || !strings.Contains(mail.TextOf(err), "seconds") {
		t.Errorf("who guesses there: %v", err)
	}
	if err := signIn("alice@example.org", "correct horse battery", office); err != nil {
		t.Errorf("the administrator: %v", err)
	}
}
