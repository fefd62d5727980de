package console

import (
	"strconv"
	"time"

	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/manage"
	"github.com/postern-mail/postern/settings"
	"github.com/postern-mail/postern/shell"
)

// The paths of the pages of the own account.
const (
	accountPath  = "/account"
	passwordPath = accountPath + "/password"
)

const groupAccount = "My account"

// AccountPages gives the table of the pages on which people see and change what is their
// own. What they do there are cmdlets, too, with the rights of the column Owner.
func AccountPages() []*Page {
	return []*Page{
		{Path: accountPath, Title: "App passwords", Group: groupAccount, Icon: "app-passwords", Template: "account-app-passwords", Show: ownAppPasswords,
			Lead: "A password of its own for each of your mail programs and devices. One that is lost is taken away, and the others work on."},
		{Path: passwordPath, Title: "Password", Group: groupAccount, Icon: "password", Template: "account-password", Show: ownPassword,
			Lead: "With it you sign in here, and mail programs do."},
		{Path: accountPath + "/second-factor", Title: "Second factor", Group: groupAccount, Icon: "second-factor", Template: "account-second-factor", Show: ownSecondFactor,
			Lead: "A program on your phone shows a code that these pages ask for beside your password."},
		{Path: accountPath + "/activity", Title: "Activity", Group: groupAccount, Icon: "sessions", Template: "account-activity", Show: ownActivity,
			Lead: "Who is connected to your mailbox, and who signed in or tried to."},
	}
}

// ownMailbox gives the visitor's own. It also tells who must change the password first
// from everybody else: then the other pages give KindExpired.
func (v *Visit) ownMailbox() (manage.Object, error) {
	if v.Rest != "" {
		return nil, noPage()
	}
	result, err := v.Run("Get-Mailbox")
	if err == nil && len(result.Objects) != 1 {
		err = noPage()
	}
	if err != nil {
		return nil, err
	}
	return result.Objects[0], nil
}

// appPasswordsData is what the page of app passwords shows.
type appPasswordsData struct {
	Rows     []appPasswordRow
	New      *Form
	Name     string // of the mailbox: what a program calls the user
	Programs []programSettings
}

type appPasswordRow struct {
	Name                   string
	Services, From         []string
	ReadOnly, Over         bool
	Created, Expires, Used time.Time
	Remove                 *Form
}

// programSettings are what is typed into a mail program for a service.
type programSettings struct {
	Service, Server, Port string
	Security              string // as programs call it
}

// ownAppPasswords shows the app passwords and makes one.
func ownAppPasswords(v *Visit) error {
	mailbox, err := v.ownMailbox()
	if err != nil {
		return err
	}
	result, err := v.Run("Get-AppPassword")
	if err != nil {
		return err
	}
	data := &appPasswordsData{Name: textOf(mailbox, "Name"), Programs: v.programs()}
	v.Data = data
	for _, o := range result.Objects {
		row := appPasswordRow{Name: textOf(o, "Name"), Services: listOf(o, "Services"), From: listOf(o, "From"), ReadOnly: boolOf(o, "ReadOnly"),
			Created: timeOf(o, "WhenCreated"), Expires: timeOf(o, "Expires"), Used: timeOf(o, "LastUsed")}
		row.Over = !row.Expires.IsZero() && !row.Expires.After(v.Now())
		row.Remove = v.Add(&Form{ID: formID("remove", row.Name), Title: "App password removed", Submit: "Remove", Cmdlet: "Remove-AppPassword", Danger: true,
			Fixed: []shell.Argument{{Name: "Name", Value: row.Name}},
			Help:  "The program that has it is signed out, and does not get in again."})
		data.Rows = append(data.Rows, row)
	}
	data.New = v.Add(&Form{ID: "new", Title: "New app password", Done: "App password made", Submit: "Make the app password", Cmdlet: "New-AppPassword", Direct: true, Once: "Password",
		Help: "It is shown once. You type it into the program in place of your password.",
		Fields: []*Field{
			{Name: "Name", Label: v.T("Name"), Help: v.T("What it is for, such as the program or the device."), Kind: Text, Required: true},
			{Name: "Services", Label: v.T("Protocols"), Help: v.T("What the program may use. None ticked is both."), Kind: Set, Choices: services(settings.IMAP4, settings.POP3)},
			{Name: "ReadOnly", Label: v.T("Read only"), Help: v.T("The program reads mail and changes nothing: it cannot delete, move or mark as read."), Kind: Bool},
			{Name: "From", Label: v.T("Networks"), Help: v.T("Only from these, such as 192.0.2.0/24 or one address. Empty is from everywhere."), Kind: List},
			{Name: "Expires", Label: v.T("Ends"), Help: v.T("A date such as 2027-01-31, or a time span such as 30.00:00:00 for 30 days."), Default: v.T("never"), Kind: Text},
		}})
	return nil
}

// programs gives what is typed into a mail program, for each service that is open: the
// port with TLS from the first byte where there is one.
func (v *Visit) programs() []programSettings {
	var list []programSettings
	for _, s := range []settings.Service{settings.IMAP4, settings.POP3} {
		if v.Manage.Services.Status(s).State != manage.Running {
			continue
		}
		now := v.Manage.Settings.Current(s)
		p := programSettings{Service: string(s), Server: settings.X509CertificateName.Of(now)}
		bindings := settings.SSLBindings.Of(now)
		if p.Security = "SSL/TLS"; len(bindings) == 0 {
			bindings, p.Security = settings.UnencryptedOrTLSBindings.Of(now), "STARTTLS"
		}
		if len(bindings) == 0 {
			continue
		}
		p.Port = strconv.Itoa(int(bindings[0].Port()))
		list = append(list, p)
	}
	return list
}

// ownPasswordData is what the page of the password shows.
type ownPasswordData struct {
	Set       any    // when
	Directory string // where it is changed, "" for here
	Due       bool   // it must be changed
	Form      *Form
}

// ownPassword changes the password, or tells where that is done.
func ownPassword(v *Visit) error {
	mailbox, err := v.ownMailbox()
	if err != nil {
		return err
	}
	data := &ownPasswordData{Due: boolOf(mailbox, "ResetPasswordOnNextLogon")}
	data.Set, _ = mailbox.Value("PasswordLastSet")
	v.Data = data
	if d := textOf(mailbox, "Directory"); d != manage.OwnDirectory {
		data.Directory = d
		return nil
	}
	entry := directory.Entry{Name: textOf(mailbox, "Name"), DisplayName: textOf(mailbox, "DisplayName"), Aliases: listOf(mailbox, "EmailAddresses")}
	data.Form = v.Add(&Form{ID: "password", Title: "Change the password", Done: "Password changed", Submit: "Change the password", Cmdlet: "Set-Mailbox",
		Help: "Other sign-ins at these pages end. Sessions of mail programs that are open stay open; they ask for the new password when they connect again.",
		Strength: func(password string) *Strength {
			s := &Strength{}
			s.Score, s.Weak = manage.Strength(password, entry)
			return s
		},
		Fields: []*Field{
			{Name: "OldPassword", Label: v.T("Password until now"), Kind: Secret, Autocomplete: "current-password", Required: true},
			{Name: "Password", Label: v.T("New password"), Help: v.T("Long is better than intricate: four words that have nothing to do with each other."), Kind: Secret, Required: true},
			{Name: "Again", Label: v.T("New password again"), Kind: Secret, Repeats: "Password", Required: true},
		}})
	return nil
}

// Strength is how good a password is that is being typed.
type Strength struct {
	Score int    // 0 to manage.MaxStrength
	Weak  string // why it is weak, "" when it is not
}

// Most is the best Score.
func (s *Strength) Most() int { return manage.MaxStrength }

// secondFactorData is what the page of the second factor shows.
type secondFactorData struct {
	Status                 string // as in Get-SecondFactor
	Since, Used            time.Time
	Codes                  int64 // recovery codes that are left
	Begin, Enable, Disable *Form
}

// ownSecondFactor sets one up, or takes it away.
func ownSecondFactor(v *Visit) error {
	if _, err := v.ownMailbox(); err != nil {
		return err
	}
	result, err := v.Run("Get-SecondFactor")
	if err == nil && len(result.Objects) != 1 {
		err = noPage()
	}
	if err != nil {
		return err
	}
	o := result.Objects[0]
	data := &secondFactorData{Status: textOf(o, "Status"), Since: timeOf(o, "WhenEnabled"), Used: timeOf(o, "LastUsed"), Codes: intOf(o, "RecoveryCodes")}
	v.Data = data
	code := func(help string) []*Field {
		return []*Field{{Name: "Code", Label: v.T("Code"), Help: help, Kind: Text, Autocomplete: "one-time-code", Required: true}}
	}
	if data.Status == "Enabled" {
		data.Disable = v.Add(&Form{ID: "disable", Title: "Take the second factor away", Done: "Second factor taken away", Submit: "Take it away", Cmdlet: "Disable-SecondFactor", Direct: true, Danger: true,
			Help: "To set it up on another phone, take it away here first.", Fields: code(v.T("What the program shows now, or a recovery code."))})
		return nil
	}
	data.Begin = v.Add(&Form{ID: "begin", Title: "Set up", Submit: "Set it up", Cmdlet: "New-SecondFactor", Direct: true, Shows: true})
	data.Enable = v.Add(&Form{ID: "enable", Title: "Second factor set up", Submit: "Switch it on", Cmdlet: "Enable-SecondFactor", Direct: true, Shows: true,
		Fields: code(v.T("The six digits that the program shows now."))})
	return nil
}

// Code is the QR code of a second factor that is being set up, from what
// New-SecondFactor gave; nil when it cannot be made.
func (f *Form) Code() *QR {
	if f.Result == nil || len(f.Result.Objects) == 0 {
		return nil
	}
	code, err := newQR(textOf(f.Result.Objects[0], "Uri"))
	if err != nil {
		f.V.Log.ErrorContext(f.V.Request.Context(), "qr code", "error", err)
		return nil
	}
	return code
}

// Given gives the texts of a property of what the form's cmdlet has shown.
func (f *Form) Given(property string) []string {
	if f.Result == nil || len(f.Result.Objects) == 0 {
		return nil
	}
	return listOf(f.Result.Objects[0], property)
}

// activityData is what the page of the activity shows.
type activityData struct {
	Sessions []*session
	SignIns  *Table
	Why      string // there are no sign-ins to show, in the visitor's language
}

// ownActivity shows sessions and sign-ins.
func ownActivity(v *Visit) error {
	if _, err := v.ownMailbox(); err != nil {
		return err
	}
	sessions, err := v.Run("Get-Session")
	if err != nil {
		return err
	}
	data := &activityData{Sessions: v.sessionRows(sessions)}
	v.Data = data
	signIns, why := v.optional("Get-LogonStatistics", shell.Argument{Name: "Detailed", Value: true})
	data.Why = why
	if signIns != nil && len(signIns.Objects) > 0 {
		data.SignIns = v.Table(signIns, v.signInColumns()...)
	}
	return nil
}

// repeated tells of a field that is not typed as the one that it repeats.
func (f *Form) repeated() error {
	for _, field := range f.Fields {
		if of := f.Field(field.Repeats); field.Repeats != "" && of != nil && field.Text() != of.Text() {
			field.Error = f.V.T("This is not the same.")
			return mail.Errorf(mail.KindBadArgument, "This is not the same.")
		}
	}
	return nil
}
