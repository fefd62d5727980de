package manage

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/postern-mail/postern/audit"
	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/settings"
	"github.com/postern-mail/postern/store"
)

// The rights to act for others at POP3 and IMAP4.
const (
	fullAccess    = "FullAccess"    // for one mailbox
	impersonation = "Impersonation" // for every one
)

var accessRights = []string{fullAccess, impersonation}

// Bounds of mailbox permissions.
const (
	permissionKind    = "mailboxpermission"
	maxPermissions    = 1000  // of one user
	maxAllPermissions = 20000 // of all together
	everyMailbox      = "*"   // where a mailbox would be named
	everyAccount      = mail.AccountID(0)
)

// permission is the right of one account to act for another. Accounts are never used
// again, so whoever is renamed keeps it, and whoever gets an old name does not.
type permission struct {
	User    mail.AccountID `json:"user"`
	Mailbox mail.AccountID `json:"mailbox,omitempty"` // everyAccount: every one
	Created time.Time      `json:"created"`

	record store.Record // its key begins with the user
}

func (p permission) right() string {
	if p.Mailbox == everyAccount {
		return impersonation
	}
	return fullAccess
}

func permissionKey(user, mailbox mail.AccountID) string {
	return user.String() + "/" + mailbox.String()
}

// permissionsOf gives the permissions whose key begins with prefix, by key.
func (s *Server) permissionsOf(ctx context.Context, prefix string) ([]permission, error) {
	return keptUnder(ctx, s.Records, permissionKind, prefix, func(p *permission, r store.Record) any {
		p.record = r
		return p
	})
}

// ActsFor implements auth.Delegation. It is asked at every sign-in that is for another
// and keeps nothing in memory: what is taken away is gone at once.
func (s *Server) ActsFor(ctx context.Context, user mail.AccountID) (auth.Acting, error) {
	var rights auth.Acting
	list, err := s.permissionsOf(ctx, user.String()+"/")
	for _, p := range list {
		if p.Mailbox == everyAccount {
			rights.Everybody = true
		} else {
			rights.Mailboxes = append(rights.Mailboxes, p.Mailbox)
		}
	}
	return rights, err
}

// Acted implements auth.Delegation: it writes the audit record.
func (s *Server) Acted(ctx context.Context, t auth.Attempt) error {
	from := unixAddress
	if t.Remote.IsValid() {
		from = t.Remote.Addr().String()
	}
	r := Record{Cmdlet: audit.ActFor, Parameters: map[string]string{
		"Mailbox": t.For, "Service": string(t.Service), "Mechanism": t.Mechanism, "Tls": fmt.Sprint(t.TLS),
	}}
	return s.record(ctx, Caller{Name: t.Name, From: from}, r, t.Err)
}

// permissionCall is what a call of the three cmdlets is about.
type permissionCall struct {
	user, mailbox *directory.Entry // nil: not named
	right         string           // "" when it was not given
}

// everywhere tells whether the call is about the right for every mailbox.
func (p permissionCall) everywhere() bool { return p.right == impersonation }

// readPermission reads -Identity, -User and -AccessRights.
func (c *Call) readPermission(ctx context.Context) (p permissionCall, err error) {
	if c.Given("AccessRights") {
		i := slices.IndexFunc(accessRights, func(r string) bool { return strings.EqualFold(r, c.Text("AccessRights")) })
		if i < 0 {
			return p, wrong("AccessRights", "AccessRights is %s or %s, not %q", fullAccess, impersonation, c.Text("AccessRights"))
		}
		p.right = accessRights[i]
	}
	if c.Given("User") {
		if p.user, err = c.lookup(ctx, "User"); err != nil {
			return p, err
		}
	}
	if c.Given("Identity") && c.Text("Identity") != everyMailbox {
		p.mailbox, err = c.lookup(ctx, "Identity")
	}
	return p, err
}

// changedPermission reads and checks a call that gives or takes a right.
func (c *Call) changedPermission(ctx context.Context) (p permissionCall, err error) {
	if p, err = c.readPermission(ctx); err != nil {
		return p, err
	}
	if p.right == "" {
		p.right = fullAccess
	}
	switch {
	case p.everywhere() && p.mailbox != nil:
		return p, wrong("Identity", "%s is for every mailbox: leave -Identity out", impersonation)
	case p.everywhere() && !holds(c.Caller.Roles, OrganizationAdministrator):
		return p, about("AccessRights", hinted(mail.Errorf(mail.KindNoPermission, "only an %s gives and takes the right to act for everybody", OrganizationAdministrator),
			fullAccess+" is for one mailbox."))
	case !p.everywhere() && p.mailbox == nil:
		return p, wrong("Identity", "%s is for one mailbox: name it with -Identity; %s is for every one", fullAccess, impersonation)
	case !p.everywhere() && p.mailbox.Name == p.user.Name:
		return p, wrong("User", "%s opens its own mailbox without a right", p.user.Name)
	}
	if err := hasMailbox(p.user); err != nil {
		return p, about("User", err)
	}
	if p.mailbox != nil {
		if err := hasMailbox(p.mailbox); err != nil {
			return p, err
		}
		// Who reads an administrator's mail may get in as one.
		if err := c.guardAdministrator(ctx, holderOf(p.mailbox)); err != nil {
			return p, err
		}
	}
	return p, nil
}

// account gives the mailbox that the right is for.
func (p permissionCall) account() mail.AccountID {
	if p.mailbox == nil {
		return everyAccount
	}
	return p.mailbox.Account
}

// target names the mailbox in changes and questions.
func (p permissionCall) target() string {
	if p.mailbox == nil {
		return "every mailbox"
	}
	return p.mailbox.Name
}

func permissionObject(mailbox, user string, p permission) Object {
	return Object{{"Identity", mailbox}, {"User", user}, {"AccessRights", p.right()}, {"WhenCreated", moment(p.Created)}}
}

// getMailboxPermission shows one object a right, by the names of mailbox and user.
func getMailboxPermission(ctx context.Context, c *Call) (func(context.Context) error, error) {
	p, err := c.readPermission(ctx)
	if err != nil {
		return nil, err
	}
	prefix := ""
	if p.user != nil {
		prefix = p.user.Account.String() + "/"
	}
	list, err := c.permissionsOf(ctx, prefix)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	entries, err := c.Directory.List(ctx)
	if err != nil {
		return nil, err
	}
	names := map[mail.AccountID]string{everyAccount: everyMailbox}
	for _, e := range entries {
		if e.Account != 0 {
			names[e.Account] = e.Name
		}
	}
	slices.SortFunc(list, func(a, b permission) int {
		return cmp.Or(strings.Compare(names[a.Mailbox], names[b.Mailbox]), strings.Compare(names[a.User], names[b.User]))
	})
	for _, have := range list {
		switch {
		case p.right != "" && have.right() != p.right,
			p.mailbox != nil && have.Mailbox != everyAccount && have.Mailbox != p.mailbox.Account,
			names[have.User] == "" || names[have.Mailbox] == "": // gone meanwhile
			continue
		}
		c.Add(permissionObject(names[have.Mailbox], names[have.User], have))
	}
	return nil, nil
}

// addMailboxPermission gives a right.
func addMailboxPermission(ctx context.Context, c *Call) (func(context.Context) error, error) {
	p, err := c.changedPermission(ctx)
	if err != nil {
		return nil, err
	}
	all, err := c.permissionsOf(ctx, "")
	if err != nil {
		return nil, err
	}
	key, own := permissionKey(p.user.Account, p.account()), 0
	for _, have := range all {
		if have.record.Key == key {
			c.Note(p.user.Name + " has the right already.")
			return nil, nil
		}
		if have.User == p.user.Account {
			own++
		}
	}
	if own >= maxPermissions || len(all) >= maxAllPermissions {
		return nil, about("User", hinted(mail.Errorf(mail.KindLimit, "a user has at most %d rights on mailboxes, and all users together %d", maxPermissions, maxAllPermissions),
			impersonation+" is one right for every mailbox."))
	}
	c.Change(p.target(), p.right, nil, p.user.Name)
	if p.everywhere() {
		c.Warn(p.user.Name + " may then read and change all mail over POP3 and IMAP4: give it a long password of its own, and bind it to the networks of its program with a login policy.")
	}
	given := permission{User: p.user.Account, Mailbox: p.account(), Created: c.Now().UTC()}
	return func(ctx context.Context) error {
		value, err := json.Marshal(given)
		if err != nil {
			return mail.Wrap(mail.KindServerBug, err)
		}
		if err := c.Records.PutRecords(ctx, []store.Record{{Kind: permissionKind, Key: key, Value: value}}); err != nil {
			return err
		}
		name := everyMailbox
		if p.mailbox != nil {
			name = p.mailbox.Name
		}
		c.Add(permissionObject(name, p.user.Name, given))
		return nil
	}, nil
}

// removeMailboxPermission takes a right away, and ends the sessions that rest on it.
func removeMailboxPermission(ctx context.Context, c *Call) (func(context.Context) error, error) {
	p, err := c.changedPermission(ctx)
	if err != nil {
		return nil, err
	}
	key := permissionKey(p.user.Account, p.account())
	list, err := c.permissionsOf(ctx, key)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, about("User", hinted(mail.Errorf(mail.KindNotFound, "%s does not have the right %s on %s", p.user.Name, p.right, p.target()),
			"Get-MailboxPermission lists the rights."))
	}
	c.Change(p.target(), p.right, p.user.Name, nil)
	return func(ctx context.Context) error {
		if err := c.dropPermissions(ctx, list); err != nil {
			return err
		}
		rights, err := c.ActsFor(ctx, p.user.Account)
		if err != nil {
			return err
		}
		ended := 0
		for _, service := range settings.Services {
			for _, session := range c.Sessions.Sessions(service) {
				if session.ActedBy == p.user.Name && !rights.Covers(session.Account) && c.Sessions.EndSession(session.ID) {
					ended++
				}
			}
		}
		if ended > 0 {
			c.Note("Sessions that rested on it were ended.")
		}
		return nil
	}, nil
}

func (s *Server) dropPermissions(ctx context.Context, list []permission) error {
	var records []store.Record
	for _, p := range list {
		p.record.Value = nil
		records = append(records, p.record)
	}
	if len(records) == 0 {
		return nil
	}
	return s.Records.PutRecords(ctx, records)
}

// dropPermissionsOf takes away what an account had, and what others had on it.
func (s *Server) dropPermissionsOf(ctx context.Context, account mail.AccountID) error {
	all, err := s.permissionsOf(ctx, "")
	if err != nil {
		return err
	}
	return s.dropPermissions(ctx, slices.DeleteFunc(all, func(p permission) bool {
		return p.User != account && p.Mailbox != account
	}))
}

// guardActing keeps the sign-in of somebody who may act for everybody, or for an
// administrator, from those who may not read an administrator's mail.
func (c *Call) guardActing(ctx context.Context, name string, list []Assignment) error {
	e, err := c.Directory.Lookup(ctx, name)
	if mail.KindOf(err) == mail.KindNotFound {
		return nil
	}
	if err != nil || e.Account == 0 {
		return err
	}
	rights, err := c.ActsFor(ctx, e.Account)
	if err != nil || rights.Nobody() {
		return err
	}
	const hint = "An Organization Administrator can do this, or take the right away first: Remove-MailboxPermission."
	if rights.Everybody {
		return about("Identity", hinted(mail.Errorf(mail.KindNoPermission, "%s may act for every mailbox: only an %s changes how it signs in", name, OrganizationAdministrator), hint))
	}
	entries, err := c.Directory.List(ctx)
	if err != nil {
		return err
	}
	for _, other := range entries {
		if !rights.Covers(other.Account) {
			continue
		}
		if i := slices.IndexFunc(list, func(a Assignment) bool { return a.is(holderOf(&other)) }); i >= 0 {
			return about("Identity", hinted(mail.Errorf(mail.KindNoPermission, "%s may act for %s, who holds the role %s: only an %s changes how it signs in",
				name, other.Name, list[i].Role, OrganizationAdministrator), hint))
		}
	}
	return nil
}
