package manage_test

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/manage"
	"github.com/postern-mail/postern/manage/managetest"
)

// TestEveryCmdletDeclaresItsRole: a row without a role, or with one that does not
// fit what it does, does not build.
func TestEveryCmdletDeclaresItsRole(t *testing.T) {
	for _, c := range manage.Cmdlets() {
		switch {
		case c.Role == manage.OwnerOnly && c.Owner != nil && c.Changes && !c.Local:
		case !slices.Contains(manage.Roles, c.Role):
			t.Errorf("%s declares the role %q", c.Name, c.Role)
		case c.Name == "Get-RecoverableItem" && c.Role == manage.RecipientAdministrator && !c.Changes: // it shows subjects of people's mail
		case strings.HasPrefix(c.Name, "Get-") && (c.Role != manage.ViewOnlyAdministrator || c.Local || c.Changes):
			t.Errorf("%s only shows, and needs more than View-Only", c.Name)
		case c.Own && (!c.Changes || c.Role != manage.ViewOnlyAdministrator):
			t.Errorf("%s changes what is the caller's own; every role may", c.Name)
		case c.Changes && c.Role == manage.ViewOnlyAdministrator && !c.Own:
			t.Errorf("%s changes something, and View-Only may run it", c.Name)
		case !c.Changes && c.Role != manage.ViewOnlyAdministrator && !c.Local:
			t.Errorf("%s changes nothing, and needs %s", c.Name, c.Role)
		}
	}
}

// may is the rights table told a second time, not taken from the code under test.
func may(roles []manage.Role, local bool, c *manage.Cmdlet) bool {
	if c.Local && !local || c.Role == manage.OwnerOnly {
		return false
	}
	for _, r := range roles {
		switch r {
		case manage.OrganizationAdministrator:
			return true
		case manage.ServerAdministrator, manage.RecipientAdministrator, manage.ViewOnlyAdministrator:
			if r == c.Role || c.Role == manage.ViewOnlyAdministrator {
				return true
			}
		}
	}
	return false
}

// owners are the cmdlets that people may run at the pages of their own account, and how,
// not taken from the code under test either.
var owners = map[string]string{
	"Get-Mailbox": " (expired)", "Set-Mailbox": ": Password, OldPassword (expired)",
	"Get-AppPassword": "", "New-AppPassword": ": Name, Services, From, Expires, ReadOnly", "Remove-AppPassword": ": Name",
	"Get-SecondFactor": "", "New-SecondFactor": "", "Enable-SecondFactor": ": Code", "Disable-SecondFactor": ": Code",
	"Get-Session": "", "Remove-Session": ": Identity", "Get-LogonStatistics": ": Detailed",
}

// roleSets are all sets of roles.
func roleSets() [][]manage.Role {
	var sets [][]manage.Role
	for bits := range 1 << len(manage.Roles) {
		var set []manage.Role
		for i, r := range manage.Roles {
			if bits&(1<<i) != 0 {
				set = append(set, r)
			}
		}
		sets = append(sets, set)
	}
	return append(sets, []manage.Role{""}, []manage.Role{"Domain Administrator"})
}

// TestRights tries every cmdlet with every set of roles, as a local administrator
// and not, with -WhatIf and without. A parameter that no cmdlet has keeps what is
// permitted from being done.
func TestRights(t *testing.T) {
	f, _, _ := managetest.Serve(t)
	for _, c := range manage.Cmdlets() {
		for _, roles := range roleSets() {
			for _, local := range []bool{true, false} {
				for _, body := range []string{`{"NoSuchParameter":1}`, `{"WhatIf":true,"NoSuchParameter":1}`} {
					caller := manage.Caller{Name: "unix:test", Roles: roles, Local: local}
					_, err := f.Run(context.Background(), caller, c.Name, []byte(body))
					if permitted := mail.KindOf(err) == mail.KindBadArgument; permitted != may(roles, local, c) || !permitted && mail.KindOf(err) != mail.KindNoPermission {
						t.Errorf("%s as %q, local %v, %s: %v", c.Name, roles, local, body, err)
					}
				}
			}
		}
	}
}

// TestRightsTable: the page and Get-ManagementRole say what is enforced.
func TestRightsTable(t *testing.T) {
	f := newFake(t, "")
	var b bytes.Buffer
	if err := manage.WriteRights(&b); err != nil {
		t.Fatal(err)
	}
	shown := run(t, f, "Get-ManagementRole", nil).Objects
	for i, c := range manage.Cmdlets() {
		row := "| [`" + c.Name + "`](cmdlets.md#" + strings.ToLower(c.Name) + ") |"
		var names []string
		for _, r := range manage.Roles {
			cell := " no |"
			if may([]manage.Role{r}, true, c) {
				names = append(names, string(r))
				cell = " yes |"
				if c.Own && r != manage.OrganizationAdministrator {
					cell = " own |"
				}
			}
			if may([]manage.Role{r}, true, c) && !may([]manage.Role{r}, false, c) {
				cell = " yes, local |"
			}
			row += cell
		}
		if cell, ok := owners[c.Name]; ok {
			row += " own" + cell + " |"
		} else {
			row += " no |"
		}
		if !strings.Contains(b.String(), "\n"+row+"\n") {
			t.Errorf("the page has no row %s", row)
		}
		if roles, _ := shown[i].Value("Roles"); plainJSON(t, roles) != plainJSON(t, names) {
			t.Errorf("%s: %v", c.Name, shown[i])
		}
	}
	if text := plainJSON(t, run(t, f, "Get-ManagementRole", args{"Cmdlet": "*-PopSettings", "Role": "ViewOnlyAdmin"})); !strings.Contains(text, "Get-PopSettings") || strings.Contains(text, "Set-PopSettings") {
		t.Error(text)
	}
	view := manage.Caller{Name: "unix:eve", Roles: []manage.Role{manage.ViewOnlyAdministrator}}
	r, err := f.Run(context.Background(), view, "Get-ManagementRole", []byte(`{"Cmdlet":"Set-Mailbox"}`))
	if err != nil || !strings.Contains(plainJSON(t, r), `"MayRun":false`) {
		t.Error(plainJSON(t, r), err)
	}
	if _, err := f.Run(context.Background(), view, "Get-ManagementRole", []byte(`{"Cmdlet":"x"}`)); mail.KindOf(err) != mail.KindNotFound {
		t.Error(err)
	}
}
