package console

import "github.com/postern-mail/postern/settings"

// Page is one row of the table. The page has its path and all below it.
type Page struct {
	Path     string // such as "/mailboxes"
	Title    string // English; in the navigation and as the heading
	Lead     string // English; one sentence below the heading
	Group    string // English; the heading in the navigation that it stands under
	Icon     string // a file of icons/, without .svg
	Template string // a file of pages/, without .html; it defines "content"

	// Show runs the cmdlets whose results the page shows, puts what the template
	// needs into v.Data and adds its forms with v.Add. It is called for GET, and
	// for POST before the form that was sent is looked at. An error is shown in
	// place of the page.
	Show func(v *Visit) error
	// Follow says what the page follows for console.js, nil for nothing.
	Follow func(v *Visit) Following
}

// The groups of the navigation, in their order.
const (
	groupServer   = "This server"
	groupServices = "Services"
	groupPeople   = "People and mail"
	groupRecords  = "Records"
)

// Pages gives the table, in the order of the navigation.
func Pages() []*Page {
	return []*Page{
		{Path: "/", Title: "Overview", Group: groupServer, Icon: "overview", Template: "overview", Show: overview,
			Lead: "What runs, who comes, and what needs attention."},
		{Path: "/test", Title: "Test", Group: groupServer, Icon: "test", Template: "test", Show: tests,
			Lead: "Whether the server is set up well, and what mail programs meet."},
		{Path: certificatesPath, Title: "Certificates", Group: groupServer, Icon: "certificates", Template: "certificates", Show: certificates,
			Lead: "What this server shows to prove who it is."},
		{Path: "/administrators", Title: "Administrators", Group: groupServer, Icon: "administrators", Template: "administrators", Show: administrators,
			Lead: "Who may see and change what."},
		{Path: "/pop3", Title: "POP3", Group: groupServices, Icon: "pop3", Template: "settings", Show: settingsPage(settings.POP3),
			Lead: "Clients that fetch mail and keep it themselves."},
		{Path: "/imap4", Title: "IMAP4", Group: groupServices, Icon: "imap4", Template: "settings", Show: settingsPage(settings.IMAP4),
			Lead: "Clients that work with the mail on the server."},
		{Path: "/lmtp", Title: "LMTP", Group: groupServices, Icon: "lmtp", Template: "settings", Show: settingsPage(settings.LMTP),
			Lead: "The way by which mail arrives."},
		{Path: "/console", Title: "Console", Group: groupServices, Icon: "console", Template: "settings", Show: settingsPage(settings.Console),
			Lead: "This console and the management API."},
		{Path: mailboxesPath, Title: "Mailboxes", Group: groupPeople, Icon: "mailboxes", Template: "mailboxes", Show: mailboxes,
			Lead: "Whose mail is here, how much of it, and who may sign in how."},
		{Path: policiesPath, Title: tabPolicies, Group: groupPeople, Icon: "login-policies", Template: "login-policies", Show: loginPolicies,
			Lead: "Who may sign in how, from where and when, beyond what the services' settings say."},
		{Path: "/sessions", Title: "Sessions", Group: groupPeople, Icon: "sessions", Template: "sessions", Show: sessionsPage,
			Lead: "Who is connected at this moment, and what they do."},
		{Path: "/protocol-log", Title: "Protocol log", Group: groupRecords, Icon: "protocol-log", Template: "protocol-log", Show: protocolLog, Follow: followProtocolLog,
			Lead: "What mail programs say and how they are answered, never passwords or mail."},
		{Path: "/audit", Title: "Audit", Group: groupRecords, Icon: "audit", Template: "audit", Show: auditPage, Follow: followAudit,
			Lead: "Who changed what, from where, and what was refused."},
		{Path: "/events", Title: "Events", Group: groupRecords, Icon: "events", Template: "events", Show: events,
			Lead: "What the server has to tell: warnings, errors, and what happened."},
	}
}
