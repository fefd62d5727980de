package console

import (
	"cmp"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/postern-mail/postern/manage"
	"github.com/postern-mail/postern/settings"
	"github.com/postern-mail/postern/shell"
)

// mailboxesData is what the list of mailboxes shows.
type mailboxesData struct {
	Search   *Search
	Rows     []*mailbox
	Pager    Pager
	Warnings []string
	New      string // where mailboxes are made
	Several  bool   // directories: each mailbox says whose it is
}

// mailbox is one of the list, or the one that a page is about.
type mailbox struct {
	Name, DisplayName, Path string
	Directory               string
	Addresses               []string
	Enabled, Pop, Imap      bool
	Use                     Usage
	Items                   int64
	object, protocols       manage.Object
}

// Usage is how much of a quota is used.
type Usage struct {
	Bytes, Quota int64 // Quota 0 is none
}

// Percent is how much of the quota is used, at most 100.
func (u Usage) Percent() int {
	if u.Quota <= 0 {
		return 0
	}
	return int(min(float64(u.Bytes)/float64(u.Quota)*100, 100))
}

// Class tells how near the quota is.
func (u Usage) Class() string {
	switch p := u.Percent(); {
	case p >= 95:
		return "bad"
	case p >= 80:
		return "warn"
	}
	return "good"
}

// mailboxesAtOnce is how many mailboxes are on one page.
const mailboxesAtOnce = 50

// The pages below /mailboxes.
const (
	mailboxesPath = "/mailboxes"
	newMailbox    = "new"
	ofMailbox     = "mailbox"
)

func mailboxPath(part, name string) string {
	path := mailboxesPath + "/" + ofMailbox
	if part != "" {
		path += "/" + part
	}
	return path + "?" + url.Values{"name": {name}}.Encode()
}

// mailboxes shows the list, the form for a new one, or one mailbox.
func mailboxes(v *Visit) error {
	switch v.Rest {
	case "":
		return v.mailboxList()
	case newMailbox:
		return v.newMailbox()
	}
	return v.mailboxPage()
}

func (v *Visit) mailboxList() error {
	data := &mailboxesData{New: mailboxesPath + "/" + newMailbox}
	v.Data = data
	data.Search = v.search(&Input{Name: "q", Label: "Name, display name or address", Parameter: "Anr", Hint: "alice"})
	if data.Several = len(v.Manage.Directories) > 1; data.Several {
		data.Search = v.search(data.Search.Inputs[0], &Input{Name: "directory", Label: "Directory", Parameter: "Directory", Choices: v.directoryChoices()})
	}
	arguments := append(data.Search.Arguments(), shell.Argument{Name: "ResultSize", Value: mailboxesAtOnce})
	if from := v.Request.URL.Query().Get("from"); from != "" {
		arguments = append(arguments, shell.Argument{Name: "After", Value: from})
	}
	result, err := v.Run("Get-Mailbox", arguments...)
	if err != nil {
		if data.Search.fault(v, err) {
			return nil
		}
		return err
	}
	protocols, err := v.Run("Get-CASMailbox", arguments...)
	if err != nil {
		return err
	}
	byName := map[string]manage.Object{}
	for _, o := range protocols.Objects {
		byName[textOf(o, "Name")] = o
	}
	for _, o := range result.Objects {
		data.Rows = append(data.Rows, mailboxOf(o, byName[textOf(o, "Name")]))
	}
	next := ""
	data.Warnings = slices.DeleteFunc(result.Warnings, func(w string) bool {
		if w == manage.MoreMailboxes && len(data.Rows) > 0 {
			next = data.Rows[len(data.Rows)-1].Name
			return true
		}
		return false
	})
	data.Pager = data.Search.pager(v, next)
	return nil
}

// directoryChoices are the directories by the names that Get-Mailbox shows.
func (v *Visit) directoryChoices() (list []settings.Choice) {
	for _, d := range v.Manage.Directories {
		name := d.Name
		if !d.External {
			name = "embedded"
		}
		list = append(list, settings.Choice{Name: name})
	}
	return list
}

func mailboxOf(o, protocols manage.Object) *mailbox {
	m := &mailbox{
		Name: textOf(o, "Name"), DisplayName: textOf(o, "DisplayName"), Addresses: listOf(o, "EmailAddresses"), Enabled: boolOf(o, "Enabled"),
		Use: Usage{Bytes: intOf(o, "TotalItemSize"), Quota: intOf(o, "ProhibitSendReceiveQuota")}, Items: intOf(o, "ItemCount"),
		Pop: boolOf(protocols, "PopEnabled"), Imap: boolOf(protocols, "ImapEnabled"), object: o, protocols: protocols,
	}
	m.Path, m.Directory = mailboxPath("", m.Name), textOf(o, "Directory")
	return m
}

// mailboxFields are the fields that a new mailbox and one that there is have in
// common.
func (v *Visit) mailboxFields(o manage.Object) []*Field {
	value := func(name string) any { x, _ := o.Value(name); return x }
	return []*Field{
		{Name: "DisplayName", Label: v.T("Display name"), Help: v.T("The person's name."), Kind: Text, Value: value("DisplayName")},
		{Name: "EmailAddresses", Label: v.T("Further addresses"), Help: v.T("Addresses that reach the mailbox, beside its name. With them one can sign in, too."), Kind: List, Value: value("EmailAddresses")},
		{Name: "ProhibitSendReceiveQuota", Label: v.T("Storage limit"), Help: v.T("How much mail it may hold. Beyond it nothing more is delivered."),
			Limits: v.T("a size such as 500MB or 2GB, or unlimited"), Kind: Size, Value: value("ProhibitSendReceiveQuota")},
		{Name: "MaxMessages", Label: v.T("Message limit"), Help: v.T("How many messages it may hold."), Limits: v.T("a number, or unlimited"), Kind: Number, Value: value("MaxMessages")},
	}
}

// newMailbox shows the form for a new mailbox.
func (v *Visit) newMailbox() error {
	v.Title = v.T("New mailbox")
	f := &Form{ID: "new", Title: "Properties", Done: "Mailbox created", Submit: "Create the mailbox", Cmdlet: "New-Mailbox", Direct: true}
	f.Fields = append([]*Field{
		{Name: "Name", Label: v.T("Name"), Help: v.T("The name to sign in with; with an @ it is the address, too."), Kind: Text, Required: true},
		{Name: "Password", Label: v.T("Password"), Help: v.T("Leave it empty, and a strong one is made and shown to you once."), Kind: Secret, Generate: true},
	}, v.mailboxFields(nil)...)
	f.Then = func(r *manage.Result) string {
		if len(r.Objects) == 0 {
			return mailboxesPath
		}
		return mailboxPath("", textOf(r.Objects[0], "Name"))
	}
	data := &mailboxData{New: v.Add(f)}
	v.Data = data
	if slices.ContainsFunc(v.Manage.Directories, func(d manage.DirectoryRow) bool { return d.External }) {
		both := v.mailboxFields(nil)
		data.Enable = v.Add(&Form{ID: "enable", Title: "Somebody whom a directory knows", Done: "Mailbox created", Submit: "Create the mailbox", Cmdlet: "Enable-Mailbox", Direct: true, Then: f.Then,
			Help: "Name, password and addresses stay the directory's. Unless its settings say otherwise the first sign-in or message makes the mailbox, too.",
			Fields: []*Field{
				{Name: "Identity", Label: v.T("Name"), Help: v.T("The sign-in name or address that the directory knows."), Kind: Text, Required: true},
				both[2], both[3],
			}})
	}
	return nil
}

// mailboxData is what the page of one mailbox shows.
type mailboxData struct {
	New     *Form // on the page for a new one
	Enable  *Form // the same for people of external directories, nil without one
	Mailbox *mailbox
	Tabs    []Tab
	Tab     string

	Created, PasswordSet     any
	General, Access, Removal *Form
	Password                 *Form
	FactorSince              time.Time // of the second factor
	Factor                   *Form     // takes it away; nil when there is none
	AppPasswords             []*appPassword
	NewAppPassword           *Form
	Openers                  []*opener
	NewOpener                *Form
	Folders                  []*folderRight
	NewFolder                *Form // gives rights, or changes those that the address names
	AllFolders               string
	Ways                     string // where the ways to sign in are shown
	Directory                string // that has the mailbox's password, "" for Postern's own
	SignIns                  *Table
	Sessions                 []*session
	EndAll                   *Form
	Search                   *Search // among Deleted
	Deleted                  []*recoverable
	MoreDeleted              bool
	Keeps                    string // for how long, a time span
	WhyNoSignIns             string // in the visitor's language
	Test                     string // where a sign-in is explained
	Warnings                 []string
}

// mailboxPage shows one mailbox.
func (v *Visit) mailboxPage() error {
	name := v.Request.URL.Query().Get("name")
	identity := []shell.Argument{{Name: "Identity", Value: name}}
	result, err := v.Run("Get-Mailbox", identity...)
	if err == nil && len(result.Objects) != 1 {
		err = noPage()
	}
	if err != nil {
		return err
	}
	protocols, err := v.Run("Get-CASMailbox", identity...)
	if err != nil {
		return err
	}
	if len(protocols.Objects) != 1 {
		return noPage()
	}
	m := mailboxOf(result.Objects[0], protocols.Objects[0])
	v.Title = m.Name
	data := &mailboxData{Mailbox: m, Warnings: result.Warnings, Test: "/test/sign-in?" + url.Values{"identity": {m.Name}}.Encode()}
	v.Data = data
	for _, part := range []struct{ title, slug string }{{"General", ""}, {"Sign-in", "sign-in"}, {"Folders", ofFolders}, {"Deleted mail", ofDeleted}, {"Activity", "activity"}} {
		if part.slug == ofDeleted && !v.Has("Get-RecoverableItem") {
			continue
		}
		rest := ofMailbox
		if part.slug != "" {
			rest += "/" + part.slug
		}
		tab := Tab{Title: part.title, Path: mailboxPath(part.slug, m.Name), Current: v.Rest == rest}
		if tab.Current {
			data.Tab = part.title
		}
		data.Tabs = append(data.Tabs, tab)
	}
	identity[0].Value = m.Name
	switch data.Tab {
	case "General":
		v.mailboxGeneral(data, identity)
	case "Sign-in":
		return v.mailboxSignIn(data, identity)
	case "Folders":
		return v.mailboxFolders(data, identity)
	case "Deleted mail":
		return v.mailboxDeleted(data, identity)
	case "Activity":
		v.mailboxActivity(data, identity)
	default:
		return noPage()
	}
	return nil
}

func (v *Visit) mailboxGeneral(data *mailboxData, identity []shell.Argument) {
	o := data.Mailbox.object
	data.Created, _ = o.Value("WhenCreated")
	enabled, _ := o.Value("Enabled")
	kind, _ := o.Value("Type")
	data.General = v.Add(&Form{ID: "mailbox", Title: "Properties", Submit: "Review the change", Cmdlet: "Set-Mailbox", Fixed: identity,
		Fields: append(v.mailboxFields(o), &Field{Name: "Type", Label: v.T("Whose it is"), Kind: Choice, Value: kind, Choices: mailboxTypes,
			Help: v.T("Where those who have rights on its folders find them.")}, &Field{Name: "Enabled", Label: v.T("Enabled"), Help: v.T("Off: nobody signs in and nothing is delivered; the mail stays."), Kind: Bool, Value: enabled})})
	data.Removal = v.Add(&Form{ID: "remove", Title: "Mailbox deleted", Submit: "Delete the mailbox", Cmdlet: "Remove-Mailbox", Fixed: identity, Danger: true,
		Help: "The mailbox is deleted with all its mail and folders. It cannot be undone.", Next: mailboxesPath})
}

// mailboxTypes are the values of Type.
var mailboxTypes = []settings.Choice{
	{Name: "Regular", Label: "A person's", Help: "Its folders stand below Other Users."},
	{Name: "Shared", Label: "Nobody's", Help: "Its folders stand below Shared, as of an office or a list."},
}

func (v *Visit) mailboxSignIn(data *mailboxData, identity []shell.Argument) error {
	data.Ways = policiesPath + "/" + slugOf(tabWays) + "?" + url.Values{"identity": {data.Mailbox.Name}}.Encode()
	data.PasswordSet, _ = data.Mailbox.object.Value("PasswordLastSet")
	if data.Mailbox.Directory != manage.OwnDirectory {
		data.Directory = data.Mailbox.Directory
	} else {
		reset, _ := data.Mailbox.object.Value("ResetPasswordOnNextLogon")
		data.Password = v.Add(&Form{ID: "password", Title: "Password", Done: "Password set", Submit: "Set the password", Cmdlet: "Set-Mailbox", Fixed: identity,
			Help: "It holds from the next sign-in on. Sessions that are open stay open.",
			Fields: []*Field{
				{Name: "Password", Label: v.T("New password"), Help: v.T("Leave it empty, and a strong one is made and shown to you once."), Kind: Secret, Generate: true},
				{Name: "ResetPasswordOnNextLogon", Label: v.T("Its owner must change it"), Kind: Bool, Value: reset,
					Help: v.T("It opens nothing but the page /account of this console, until its owner has changed it. App passwords work on.")},
			}})
	}
	if result, _ := v.optional("Get-SecondFactor", identity...); result != nil && len(result.Objects) == 1 && textOf(result.Objects[0], "Status") == "Enabled" {
		data.FactorSince = timeOf(result.Objects[0], "WhenEnabled")
		data.Factor = v.Add(&Form{ID: "factor", Title: "Second factor taken away", Submit: "Take it away", Cmdlet: "Disable-SecondFactor", Fixed: identity, Danger: true,
			Help: "For who has lost the program and the recovery codes. The owner's sessions at the console and at /account end, and the password alone opens them again."})
	}
	field := func(name, label, help string) *Field {
		value, _ := data.Mailbox.protocols.Value(name)
		return &Field{Name: name, Label: label, Help: help, Kind: Bool, Value: value}
	}
	data.Access = v.Add(&Form{ID: "protocols", Title: "Protocols", Submit: "Review the change", Cmdlet: "Set-CASMailbox", Fixed: identity,
		Fields: []*Field{
			field("PopEnabled", "POP3", v.T("Whether the mailbox may be used over POP3.")),
			field("ImapEnabled", "IMAP4", v.T("Whether the mailbox may be used over IMAP4.")),
			v.legacyField(data),
			{Name: "ImapReferralUrl", Label: v.T("IMAP4 is at"), Kind: Text, Value: textOf(data.Mailbox.protocols, "ImapReferralUrl"),
				Help: v.T("The server that has the mailbox now, such as imap://mail2.example.org/: IMAP4 clients are sent there. Empty: here.")},
		}})
	if err := v.appPasswords(data, identity); err != nil {
		return err
	}
	return v.openers(data, identity)
}

// opener is somebody who may open a mailbox.
type opener struct {
	User, Path string
	Every      bool // every mailbox, not this one alone
	Since      time.Time
	Remove     *Form // nil for Every
}

// openers shows who may open the mailbox beside its owner, and the form that adds one.
func (v *Visit) openers(data *mailboxData, identity []shell.Argument) error {
	result, err := v.Run("Get-MailboxPermission", identity...)
	if err != nil {
		return err
	}
	for _, o := range result.Objects {
		p := &opener{User: textOf(o, "User"), Every: textOf(o, "Identity") == "*", Since: timeOf(o, "WhenCreated")}
		p.Path = mailboxPath("", p.User)
		if !p.Every {
			p.Remove = v.Add(&Form{ID: formID("opener", p.User), Title: "Right taken away", Submit: "Remove", Cmdlet: "Remove-MailboxPermission", Danger: true,
				Fixed: append(slices.Clone(identity), shell.Argument{Name: "User", Value: p.User}), Help: "It holds at once: sessions that rest on it end."})
		}
		data.Openers = append(data.Openers, p)
	}
	data.NewOpener = v.Add(&Form{ID: "opener", Title: "Let somebody open it", Done: "Right given", Submit: "Give the right", Cmdlet: "Add-MailboxPermission", Fixed: identity,
		Fields: []*Field{{Name: "User", Label: v.T("User"), Help: v.T("The mailbox that gets the right: it signs in with its own password."), Kind: Text, Required: true}}})
	return nil
}

// appPassword is one of a mailbox.
type appPassword struct {
	Name, Services, From string
	ReadOnly, Over       bool
	Made, Expires, Used  time.Time
	Remove               *Form
}

// appPasswords shows those of the mailbox, and the form that makes one.
func (v *Visit) appPasswords(data *mailboxData, identity []shell.Argument) error {
	result, err := v.Run("Get-AppPassword", identity...)
	if err != nil {
		return err
	}
	for _, o := range result.Objects {
		p := &appPassword{
			Name: textOf(o, "Name"), Services: strings.Join(listOf(o, "Services"), ", "), From: strings.Join(listOf(o, "From"), ", "), ReadOnly: boolOf(o, "ReadOnly"),
			Made: timeOf(o, "WhenCreated"), Expires: timeOf(o, "Expires"), Used: timeOf(o, "LastUsed"),
		}
		p.Over = !p.Expires.IsZero() && !p.Expires.After(v.Now())
		p.Remove = v.Add(&Form{ID: formID("app", p.Name), Title: "App password removed", Submit: "Remove", Cmdlet: "Remove-AppPassword", Danger: true,
			Fixed: append(slices.Clone(identity), shell.Argument{Name: "Name", Value: p.Name}), Help: "The program that has it is refused at once, and its sessions end."})
		data.AppPasswords = append(data.AppPasswords, p)
	}
	data.NewAppPassword = v.Add(&Form{ID: "app", Title: "New app password", Done: "App password made", Submit: "Make the app password", Cmdlet: "New-AppPassword", Fixed: identity, Direct: true, Once: "Password",
		Help: "Its owner types it into one program in place of the mailbox's password. It is shown once.",
		Fields: []*Field{
			{Name: "Name", Label: v.T("Name"), Help: v.T("What it is for, such as a program or a device."), Kind: Text, Required: true},
			{Name: "Services", Label: v.T("Services"), Help: v.T("None ticked: both."), Kind: Set, Choices: services(settings.POP3, settings.IMAP4)},
			{Name: "From", Label: v.T("From networks"), Help: v.T("Only clients in these networks, such as 192.0.2.0/24. None: everywhere."), Kind: List},
			{Name: "Expires", Label: v.T("Ends"), Help: v.T("A date such as 2027-01-31, or a time span such as 30.00:00:00 for 30 days."), Default: v.T("never"), Kind: Text},
			{Name: "ReadOnly", Label: v.T("Reads only"), Help: v.T("Whoever signs in with it changes nothing: no message is removed, moved, added or marked as read."), Kind: Bool},
		}})
	return nil
}

// legacyField chooses the legacy mechanisms of a mailbox.
func (v *Visit) legacyField(data *mailboxData) *Field {
	value, _ := data.Mailbox.protocols.Value("LegacyMechanisms")
	f := &Field{Name: "LegacyMechanisms", Label: v.T("Legacy mechanisms"), Kind: Set, Value: value,
		Help: v.T("Weak ways to sign in, for programs that know nothing better. For CRAM-MD5 and APOP the server keeps the next password so that it can read it.")}
	for _, c := range settings.AuthMechanisms.Choices {
		if settings.LegacyMechanism(c.Name) {
			f.Choices = append(f.Choices, c)
		}
	}
	return f
}

func (v *Visit) mailboxActivity(data *mailboxData, identity []shell.Argument) {
	signIns, why := v.optional("Get-LogonStatistics", append(slices.Clone(identity), shell.Argument{Name: "Detailed", Value: true})...)
	data.WhyNoSignIns = why
	if signIns != nil && len(signIns.Objects) > 0 {
		data.SignIns = v.Table(signIns, v.signInColumns()...)
	}
	if sessions, _ := v.optional("Get-Session", shell.Argument{Name: "User", Value: data.Mailbox.Name}); sessions != nil {
		data.Sessions = v.sessionRows(sessions)
	}
	if len(data.Sessions) > 1 {
		data.EndAll = v.Add(&Form{ID: "end-all", Title: "Sessions ended", Submit: "End all", Cmdlet: "Remove-Session", Danger: true,
			Fixed: []shell.Argument{{Name: "User", Value: data.Mailbox.Name}}, Help: "The clients are told and may connect again. What they are doing at this moment is broken off."})
	}
}

// letIn says how a sign-in ended.
func (v *Visit) letIn(value any) string {
	text, _ := value.(string)
	if text == "OK" {
		return v.T("let in")
	}
	return v.T(cmp.Or(outcomeTexts[text].Text, text))
}

// signInColumns are those of Get-LogonStatistics -Detailed.
func (v *Visit) signInColumns() []Column {
	return []Column{
		{Property: "LastTime", Title: "Latest", Text: v.Moment},
		{Property: "Service"},
		{Property: "Result", Title: "Result", Text: v.letIn, Badge: badgeOf},
		{Property: "Count", Title: "Number", Number: true},
		{Property: "Mechanism", Text: v.said},
		{Property: "Tls", Title: "TLS"},
		{Property: "ClientAddress", Title: "Address"},
		{Property: "ClientName", Title: "Client"},
	}
}
