package console

import (
	"net/url"
	"strings"

	"github.com/postern-mail/postern/manage"
	"github.com/postern-mail/postern/settings"
	"github.com/postern-mail/postern/shell"
)

// The pages below /login-policies, beside its tabs.
const (
	policiesPath = "/login-policies"
	newPolicy    = "new"
	ofPolicy     = "policy"
	ofGroup      = "group"
)

// The tabs of /login-policies.
const (
	tabPolicies = "Login policies"
	tabGroups   = "Groups"
	tabWays     = "Ways to sign in"
)

// policiesData is what the pages of login policies show.
type policiesData struct {
	Tabs     []Tab
	Tab      string
	New      string // where policies are made
	Policies []*loginPolicy
	Groups   []*policyGroup
	Form     *Form // makes one, or changes the one that the page is about
	TooMany  int   // members of a group that are too many for a form
	Removal  *Form
	Search   *Search
	Ways     []*ways
	Warnings []string
	Notes    []string
}

// loginPolicy is one of the list.
type loginPolicy struct {
	Name, Path         string
	Mailboxes, Groups  []string
	From, Except, Only []string // networks, and services
	Permits            []string // alone, in the visitor's language
}

// policyGroup is a group of mailboxes.
type policyGroup struct {
	Name, Path string
	Members    []string
	More       int // members that are not shown
}

// maxMembersShown bounds the members in the list, maxMembersTyped those in a form.
const (
	maxMembersShown = 8
	maxMembersTyped = maxFields - 100
)

// ways are the ways to sign in to a service.
type ways struct {
	Service string
	Rows    []way
}

// way is a way to sign in, and what the policy says to it: in the server's words.
type way struct {
	Method, Credential string
	Clear, TLS         bool
	ClearRule, TLSRule string
}

// loginPolicies shows what is forbidden on top of the services' settings.
func loginPolicies(v *Visit) (err error) {
	data := &policiesData{New: policiesPath + "/" + newPolicy}
	v.Data = data
	name := v.Request.URL.Query().Get("name")
	switch v.Rest {
	case newPolicy:
		return v.policyForm(data, nil)
	case ofPolicy:
		o, err := v.named("Get-LoginPolicy", name)
		if err != nil {
			return err
		}
		return v.policyForm(data, o)
	case ofGroup:
		return v.groupPage(data, name)
	}
	if data.Tabs, data.Tab, err = v.tabs("", tabPolicies, tabGroups, tabWays); err != nil {
		return err
	}
	switch data.Tab {
	case tabGroups:
		return v.groupList(data)
	case tabWays:
		return v.waysToSignIn(data)
	}
	return v.policyList(data)
}

// policyTabs are the tabs of a page below the one of them.
func (v *Visit) policyTabs(current string) (tabs []Tab) {
	for i, title := range []string{tabPolicies, tabGroups, tabWays} {
		tab := Tab{Title: title, Path: policiesPath, Current: title == current}
		if i > 0 {
			tab.Path += "/" + slugOf(settings.Page(title))
		}
		tabs = append(tabs, tab)
	}
	return tabs
}

// named gives the one object whose name was asked for.
func (v *Visit) named(cmdlet, name string) (manage.Object, error) {
	if strings.ContainsAny(name, "*?") {
		return nil, noPage()
	}
	result, err := v.Run(cmdlet, shell.Argument{Name: "Name", Value: name})
	if err == nil && len(result.Objects) != 1 {
		err = noPage()
	}
	if err != nil {
		return nil, err
	}
	return result.Objects[0], nil
}

func policyPath(part, name string) string {
	return policiesPath + "/" + part + "?" + url.Values{"name": {name}}.Encode()
}

func (v *Visit) policyList(data *policiesData) error {
	result, err := v.Run("Get-LoginPolicy")
	if err != nil {
		return err
	}
	data.Notes = result.Notes
	for _, o := range result.Objects {
		p := &loginPolicy{
			Name: textOf(o, "Name"), Mailboxes: listOf(o, "Mailboxes"), Groups: listOf(o, "Groups"),
			From: listOf(o, "From"), Except: listOf(o, "ExceptFrom"), Only: listOf(o, "Services"), Permits: v.permits(o),
		}
		p.Path = policyPath(ofPolicy, p.Name)
		data.Policies = append(data.Policies, p)
	}
	return nil
}

// permits says what a policy leaves, one text a kind.
func (v *Visit) permits(o manage.Object) (list []string) {
	if boolOf(o, "Block") {
		list = append(list, v.T("nothing"))
	}
	if boolOf(o, "AppPasswordsOnly") {
		list = append(list, v.T("app passwords, tokens, tickets and certificates"))
	}
	if text := textOf(o, "LoginType"); text != noLoginType {
		list = append(list, v.T("what %s permits", text))
	}
	if names := listOf(o, "AuthMechanisms"); len(names) > 0 {
		list = append(list, strings.Join(names, ", "))
	}
	if hours := listOf(o, "Hours"); len(hours) > 0 {
		list = append(list, strings.Join(hours, ", "))
	}
	return list
}

// noLoginType is what a policy without a LoginType shows.
const noLoginType = "None"

// policyForm shows the form for a new policy, or for the one that o is.
func (v *Visit) policyForm(data *policiesData, o manage.Object) error {
	groups, err := v.run("Get-LoginGroup", nil)
	if err != nil {
		return err
	}
	var choices []settings.Choice
	for _, g := range groups.Objects {
		choices = append(choices, settings.Choice{Name: textOf(g, "Name")})
	}
	value := func(name string) any { x, _ := o.Value(name); return x }
	f := &Form{
		ID: "policy", Title: "Login policy", Submit: "Review the change", Next: policiesPath,
		Help: "It holds for a sign-in that all of its conditions fit, and only forbids. Sessions that are open go on. Before anything is saved you see whom of the last 7 days it would have refused.",
	}
	f.Fields = []*Field{
		{Name: "Mailboxes", Label: v.T("Mailboxes"), Help: v.T("Whom it is for. Neither mailboxes nor groups: everybody."), Kind: List, Value: value("Mailboxes")},
		{Name: "Groups", Label: v.T("Groups"), Help: v.T("Groups of mailboxes that it is for."), Kind: Set, Choices: choices, Value: value("Groups")},
		{Name: "From", Label: v.T("From networks"), Help: v.T("Only clients in these networks, such as 192.0.2.0/24. None: everywhere."), Kind: List, Value: value("From")},
		{Name: "ExceptFrom", Label: v.T("Except from networks"), Help: v.T("Clients in these networks are not meant."), Kind: List, Value: value("ExceptFrom")},
		{Name: "Services", Label: v.T("Services"), Help: v.T("None ticked: both."), Kind: Set, Choices: services(settings.POP3, settings.IMAP4), Value: value("Services")},
		{Name: "LoginType", Label: v.T("At least as strict as"), Help: v.T("Forbids what a service of this LoginType would."), Kind: Choice, Value: value("LoginType"), Choices: []settings.Choice{
			{Name: noLoginType, Label: "Nothing more"},
			{Name: "PlainTextAuthentication", Help: "A password that the server can read needs TLS."},
			{Name: "SecureLogin", Help: "No sign-in before TLS."},
		}},
		{Name: "AuthMechanisms", Label: v.T("Only these mechanisms"), Help: v.T("None ticked: every one. PLAIN is also the commands LOGIN of IMAP4 and USER of POP3."), Kind: Set, Choices: settings.AuthMechanisms.Choices, Value: value("AuthMechanisms")},
		{Name: "Hours", Label: v.T("Only at these hours"), Help: v.T("Such as Mon-Fri 08:00-18:00 or 22:00-06:00, in the time zone of the server: %s. None: always.", v.Zone()), Kind: List, Value: value("Hours")},
		{Name: "AppPasswordsOnly", Label: v.T("App passwords only"), Help: v.T("Not with the mailbox's own password, sent or proved: with app passwords, tokens, tickets and certificates."), Kind: Bool, Value: value("AppPasswordsOnly")},
		{Name: "Block", Label: v.T("Block"), Help: v.T("Whom it means does not sign in at all."), Kind: Bool, Value: value("Block")},
	}
	if len(choices) == 0 {
		f.Fields = append(f.Fields[:1], f.Fields[2:]...)
	}
	data.Tabs, data.Tab = v.policyTabs(tabPolicies), ofPolicy
	if o == nil {
		v.Title = v.T("New login policy")
		f.Field("LoginType").Default = v.T("Nothing more")
		f.Cmdlet, f.Done = "New-LoginPolicy", "Login policy made"
		f.Fields = append([]*Field{{Name: "Name", Label: v.T("Name"), Help: v.T("What it is called."), Kind: Text, Required: true}}, f.Fields...)
		data.Form = v.Add(f)
		return nil
	}
	v.Title = textOf(o, "Name")
	f.Cmdlet, f.Done, f.Fixed = "Set-LoginPolicy", "Login policy changed", []shell.Argument{{Name: "Name", Value: v.Title}}
	data.Form = v.Add(f)
	data.Removal = v.Add(&Form{ID: "remove", Title: "Login policy removed", Submit: "Remove the policy", Cmdlet: "Remove-LoginPolicy", Danger: true, Next: policiesPath,
		Fixed: []shell.Argument{{Name: "Name", Value: v.Title}}, Help: "What it alone forbade is permitted at once."})
	return nil
}

func (v *Visit) groupList(data *policiesData) error {
	result, err := v.Run("Get-LoginGroup")
	if err != nil {
		return err
	}
	for _, o := range result.Objects {
		g := &policyGroup{Name: textOf(o, "Name"), Members: listOf(o, "Members")}
		g.Path = policyPath(ofGroup, g.Name)
		if n := len(g.Members); n > maxMembersShown {
			g.More, g.Members = n-maxMembersShown, g.Members[:maxMembersShown]
		}
		data.Groups = append(data.Groups, g)
	}
	data.Form = v.Add(&Form{ID: "group", Title: "New group", Done: "Group made", Submit: "Review the change", Cmdlet: "New-LoginGroup",
		Fields: []*Field{
			{Name: "Name", Label: v.T("Name"), Help: v.T("What it is called."), Kind: Text, Required: true},
			v.membersField(nil),
		}})
	return nil
}

func (v *Visit) membersField(members any) *Field {
	return &Field{Name: "Members", Label: v.T("Members"), Help: v.T("Mailboxes by their names or addresses."), Kind: List, Value: members}
}

// groupPage shows one group.
func (v *Visit) groupPage(data *policiesData, name string) error {
	o, err := v.named("Get-LoginGroup", name)
	if err != nil {
		return err
	}
	v.Title = textOf(o, "Name")
	data.Tabs, data.Tab = v.policyTabs(tabGroups), ofGroup
	fixed := []shell.Argument{{Name: "Name", Value: v.Title}}
	members, _ := o.Value("Members")
	if n := len(listOf(o, "Members")); n > maxMembersTyped {
		data.TooMany = n
	} else {
		data.Form = v.Add(&Form{ID: "group", Title: "Group", Done: "Group changed", Submit: "Review the change", Cmdlet: "Set-LoginGroup", Fixed: fixed,
			Next: policiesPath + "/" + slugOf(tabGroups), Help: "Login policies for the group hold for whom is in it, at once.", Fields: []*Field{v.membersField(members)}})
	}
	data.Removal = v.Add(&Form{ID: "remove", Title: "Group removed", Submit: "Remove the group", Cmdlet: "Remove-LoginGroup", Danger: true, Fixed: fixed,
		Next: policiesPath + "/" + slugOf(tabGroups)})
	return nil
}

// waysToSignIn shows what decides about a mailbox, at an address and a moment.
func (v *Visit) waysToSignIn(data *policiesData) error {
	data.Search = v.search(
		&Input{Name: "identity", Label: "Mailbox", Parameter: "Identity", Hint: "everybody"},
		&Input{Name: "address", Label: "The client's address", Parameter: "From", Hint: "192.0.2.7"},
		&Input{Name: "at", Label: "At", Parameter: "At", Type: "datetime-local"},
		&Input{Name: "protocol", Label: "Protocol", Parameter: "Protocol", Choices: services(settings.POP3, settings.IMAP4)},
	)
	result, err := v.Run("Get-EffectiveLoginPolicy", data.Search.Arguments()...)
	if err != nil {
		if data.Search.fault(v, err) {
			return nil
		}
		return err
	}
	data.Warnings, data.Notes = result.Warnings, result.Notes
	for _, o := range result.Objects {
		service := textOf(o, "Protocol")
		if n := len(data.Ways); n == 0 || data.Ways[n-1].Service != service {
			data.Ways = append(data.Ways, &ways{Service: service})
		}
		last := data.Ways[len(data.Ways)-1]
		last.Rows = append(last.Rows, way{
			Method: textOf(o, "Mechanism"), Credential: textOf(o, "Credential"), Clear: boolOf(o, "Plaintext"), TLS: boolOf(o, "Tls"),
			ClearRule: textOf(o, "PlaintextRule"), TLSRule: textOf(o, "TlsRule"),
		})
	}
	return nil
}
