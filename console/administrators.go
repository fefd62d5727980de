package console

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/postern-mail/postern/manage"
	"github.com/postern-mail/postern/settings"
	"github.com/postern-mail/postern/shell"
)

// administratorsData is what the pages of administrators show.
type administratorsData struct {
	Tabs    []Tab
	Tab     string
	Rows    []grant
	Form    *Form // adds one
	Roles   []manage.Role
	Cmdlets []right
}

// grant is a role, a membership or a token, and the form that takes it away.
type grant struct {
	Name, Role, Owner string
	Scope             []string
	Doubt             string // why the name may not be the holder's, "" when it is
	Local             bool   // administrator
	Source            string
	Made, Until, Used time.Time
	Over              bool
	Remove            *Form
}

// right is one row of the rights: what a cmdlet needs.
type right struct {
	Name, Synopsis string
	Local          bool
	May            []bool // as administratorsData.Roles
}

// roleHelp says what a role is for.
var roleHelp = map[manage.Role]settings.Choice{
	manage.OrganizationAdministrator: {Help: "Everything, roles too."},
	manage.ServerAdministrator:       {Help: "The configuration of this server, or of the servers named. Must be a local administrator there, too."},
	manage.RecipientAdministrator:    {Help: "Mailboxes: make, change and delete them."},
	manage.ViewOnlyAdministrator:     {Help: "Sees everything and changes nothing."},
}

// holderDoubt says what a name in Get-Administrator does not mean.
var holderDoubt = map[string]settings.Choice{
	"Renamed":  {Help: "the name is somebody else's now"},
	"Missing":  {Help: "nobody has the name now"},
	"NameOnly": {Help: "whoever has the name"},
	"Unknown":  {Help: "the directory does not answer"},
}

func roleChoices() []settings.Choice {
	var list []settings.Choice
	for _, r := range manage.Roles {
		list = append(list, settings.Choice{Name: string(r), Label: string(r), Help: roleHelp[r].Help})
	}
	return list
}

// administrators shows who may do what.
func administrators(v *Visit) (err error) {
	data := &administratorsData{}
	v.Data = data
	if data.Tabs, data.Tab, err = v.tabs("", "Administrators", "Local administrators", "API tokens", "Rights"); err != nil {
		return err
	}
	switch data.Tab {
	case "Administrators":
		return v.administratorRows(data)
	case "Local administrators":
		return v.localRows(data)
	case "API tokens":
		return v.tokenRows(data)
	}
	v.rights(data)
	return nil
}

// mailboxNames suggests whose names may be typed.
func (v *Visit) mailboxNames() []string {
	result, err := v.run("Get-Mailbox", []shell.Argument{{Name: "ResultSize", Value: 200}})
	if err != nil {
		return nil
	}
	var names []string
	for _, o := range result.Objects {
		names = append(names, textOf(o, "Name"))
	}
	return names
}

func (v *Visit) administratorRows(data *administratorsData) error {
	result, err := v.Run("Get-Administrator")
	if err != nil {
		return err
	}
	for _, o := range result.Objects {
		g := grant{Name: textOf(o, "Identity"), Role: textOf(o, "Role"), Scope: listOf(o, "Scope"), Doubt: holderDoubt[textOf(o, "Holder")].Help, Local: boolOf(o, "LocalAdministrator")}
		g.Remove = v.Add(&Form{ID: formID("remove", g.Name, g.Role), Title: "Role taken away", Submit: "Remove", Cmdlet: "Remove-Administrator", Danger: true,
			Fixed: []shell.Argument{{Name: "Identity", Value: g.Name}, {Name: "Role", Value: g.Role}},
			Help:  "It acts with the next request: sessions and API tokens that rest on the role end."})
		data.Rows = append(data.Rows, g)
	}
	data.Form = v.Add(&Form{ID: "add", Title: "Add an administrator", Done: "Administrator added", Submit: "Review the change", Cmdlet: "Add-Administrator",
		Fields: []*Field{
			{Name: "Identity", Label: v.T("Who"), Help: v.T("A mailbox, or unix:NAME for a user of the operating system."), Kind: Text, Required: true, Suggest: v.mailboxNames()},
			{Name: "Role", Label: v.T("Role"), Kind: Choice, Choices: roleChoices(), Required: true},
			{Name: "Scope", Label: v.T("Servers"), Help: v.T("For a Server Administrator: the servers. Empty means all."), Kind: List},
		}})
	return nil
}

func (v *Visit) localRows(data *administratorsData) error {
	result, err := v.Run("Get-LocalGroupMember")
	if err != nil {
		return err
	}
	for _, o := range result.Objects {
		g := grant{Name: textOf(o, "Name"), Role: textOf(o, "ObjectClass"), Source: textOf(o, "PrincipalSource")}
		if g.Source == "Directory" {
			g.Remove = v.Add(&Form{ID: formID("remove", g.Name), Title: "Local administrator removed", Submit: "Remove", Cmdlet: "Remove-LocalGroupMember", Danger: true,
				Fixed: []shell.Argument{{Name: "Group", Value: "Administrators"}, {Name: "Member", Value: g.Name}}})
		}
		data.Rows = append(data.Rows, g)
	}
	data.Form = v.Add(&Form{ID: "add", Title: "Add a local administrator", Done: "Local administrator added", Submit: "Review the change", Cmdlet: "Add-LocalGroupMember", Fixed: []shell.Argument{{Name: "Group", Value: "Administrators"}},
		Fields: []*Field{{Name: "Member", Label: v.T("Mailbox"), Help: v.T("Its owner may change this server's configuration, with the role for it."), Kind: Text, Required: true, Suggest: v.mailboxNames()}}})
	return nil
}

func (v *Visit) tokenRows(data *administratorsData) error {
	result, err := v.Run("Get-ApiToken")
	if err != nil {
		return err
	}
	for _, o := range result.Objects {
		g := grant{Name: textOf(o, "Name"), Owner: textOf(o, "Owner"), Role: textOf(o, "Role"), Scope: listOf(o, "Scope"),
			Made: timeOf(o, "WhenCreated"), Until: timeOf(o, "Expires"), Used: timeOf(o, "LastUsed")}
		g.Over = !g.Until.After(v.Now())
		g.Remove = v.Add(&Form{ID: formID("remove", g.Owner, g.Name), Title: "API token removed", Submit: "Remove", Cmdlet: "Remove-ApiToken", Danger: true,
			Fixed: []shell.Argument{{Name: "Name", Value: g.Name}, {Name: "Owner", Value: g.Owner}},
			Help:  "Whatever signs in with it is refused from now on."})
		data.Rows = append(data.Rows, g)
	}
	data.Form = v.Add(&Form{ID: "add", Title: "New API token", Done: "API token made", Submit: "Make the token", Cmdlet: "New-ApiToken", Direct: true, Once: "Token",
		Help: "A script shows it to call the management API. It may do what its role allows and you may do, both.",
		Fields: []*Field{
			{Name: "Name", Label: v.T("Name"), Help: v.T("What it is for."), Kind: Text, Required: true},
			{Name: "Role", Label: v.T("Role"), Kind: Choice, Choices: roleChoices(), Required: true},
			{Name: "Scope", Label: v.T("Servers"), Help: v.T("For a Server Administrator: the servers. Empty means all."), Kind: List},
			{Name: "Expires", Label: v.T("Ends"), Help: v.T("A date such as 2027-01-31, or a time span such as 30.00:00:00 for 30 days."), Default: v.T("in 90 days"), Kind: Text},
		}})
	return nil
}

// rights asks for each role what it may run.
func (v *Visit) rights(data *administratorsData) {
	v.Lines = append(v.Lines, "Get-Command")
	data.Roles = manage.Roles
	for _, c := range manage.Cmdlets() {
		r := right{Name: c.Name, Synopsis: c.Synopsis, Local: c.Local}
		for _, role := range manage.Roles {
			r.May = append(r.May, v.Manage.May(manage.Caller{Roles: []manage.Role{role}, Local: true}, c.Name) == nil)
		}
		data.Cmdlets = append(data.Cmdlets, r)
	}
	slices.SortStableFunc(data.Cmdlets, func(a, b right) int { return cmp.Compare(noun(a.Name), noun(b.Name)) })
}

func noun(cmdlet string) string {
	_, noun, _ := strings.Cut(cmdlet, "-")
	return noun
}
