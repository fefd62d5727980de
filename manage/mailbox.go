package manage

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/sasl"
	"github.com/postern-mail/postern/settings"
)

// Bounds of what one cmdlet shows and one mailbox has.
const (
	standardResults = 1000
	maxAddresses    = 100
	maxDisplayName  = 256
	unlimited       = "unlimited"
)

// MoreMailboxes is the warning that not all mailboxes are shown.
const MoreMailboxes = "There are more mailboxes than are shown; -ResultSize unlimited shows all."

// mentions tells whether a part, in lower case, stands in an entry's sign-in name,
// display name or addresses.
func mentions(e directory.Entry, part string) bool {
	return slices.ContainsFunc(append([]string{e.Name, e.DisplayName}, e.Aliases...), func(text string) bool {
		return strings.Contains(strings.ToLower(text), part)
	})
}

// entries gives the directory entries that -Identity means, all when it was left
// out, at most -ResultSize of them.
func (c *Call) entries(ctx context.Context) ([]directory.Entry, error) {
	pattern := c.Text("Identity")
	if c.own() || pattern != "" && !strings.ContainsAny(pattern, "*?") {
		e, err := c.entry(ctx)
		if err != nil {
			return nil, err
		}
		return []directory.Entry{*e}, nil
	}
	all, err := c.Directory.List(ctx)
	if err != nil {
		return nil, err
	}
	part, after, from := strings.ToLower(c.Text("Anr")), c.Text("After"), c.Text("Directory")
	all = slices.DeleteFunc(all, func(e directory.Entry) bool {
		if from != "" && !strings.EqualFold(from, directoryOf(e)) {
			return true
		}
		return e.Name <= after && after != "" || pattern != "" && !Like(pattern, e.Name) || part != "" && !mentions(e, part)
	})
	most := standardResults
	if c.Given("ResultSize") {
		most = int(c.Number("ResultSize"))
	}
	if most > 0 && len(all) > most {
		all = all[:most]
		c.Warn(MoreMailboxes)
	}
	return all, nil
}

// entry finds the one mailbox that -Identity means, or at the pages of one's own account
// the caller's.
func (c *Call) entry(ctx context.Context) (*directory.Entry, error) {
	if !c.own() {
		return c.lookup(ctx, "Identity")
	}
	e, err := c.Directory.Lookup(ctx, c.Caller.Name)
	if err == nil && e.Account != c.Caller.owner.account {
		return nil, errNoSession() // somebody else has the name now
	}
	return e, err
}

// lookup finds the one mailbox that a parameter means.
func (c *Call) lookup(ctx context.Context, parameter string) (*directory.Entry, error) {
	given := c.Text(parameter)
	name, err := directory.PrepareName(given)
	if err != nil {
		return nil, about(parameter, err)
	}
	e, err := c.Directory.Lookup(ctx, name)
	if err != nil && mail.KindOf(err) == mail.KindNotFound {
		return nil, about(parameter, hinted(mail.Errorf(mail.KindNotFound, "there is no mailbox %q", given), "Get-Mailbox lists the mailboxes."))
	}
	return e, err
}

// getMailbox shows one object a mailbox.
func getMailbox(ctx context.Context, c *Call) (func(context.Context) error, error) {
	entries, err := c.entries(ctx)
	if err != nil {
		return nil, err
	}
	c.result.Units = mailboxUnits()
	if len(c.Directories) > 1 {
		c.result.Columns = append(slices.Clone(c.result.Columns), "Directory")
	}
	for _, e := range entries {
		usage, err := c.Mail.Usage(ctx, e.Account)
		if err != nil && mail.KindOf(err) != mail.KindNotFound {
			return nil, err
		}
		switch {
		case err == nil:
		case e.Account == 0:
			c.Note(e.Name + " is known to the directory " + e.Directory + " and has no mailbox yet.")
		default:
			c.Warn(e.Name + ": the mail store does not know its account.")
		}
		if e.Gone {
			c.Warn("The directory " + e.Directory + " does not know " + e.Name + " any more: nobody signs in and no mail arrives. Remove-Mailbox deletes the mail.")
		}
		linked, err := c.linkedAccounts(ctx, &e)
		if err != nil {
			return nil, err
		}
		kind, err := c.mailboxType(ctx, e.Account)
		if err != nil && mail.KindOf(err) != mail.KindNotFound {
			return nil, err
		}
		kept, err := c.kept(ctx, e.Account)
		if err != nil {
			return nil, err
		}
		o := append(mailboxObject(e, usage), Property{"Type", kind}, Property{"LinkedAccounts", addresses(linked)})
		o = append(o, c.keepObject(kept.Own)...)
		c.Add(append(o, Property{"DeletedItemCount", kept.Messages}, Property{"TotalDeletedItemSize", kept.Bytes}))
	}
	return nil, nil
}

// mailboxUnits says which properties of a mailbox are numbers of bytes.
func mailboxUnits() map[string]string {
	return map[string]string{"TotalItemSize": "bytes", "ProhibitSendReceiveQuota": "bytes", "RecoverableItemsQuota": "bytes", "TotalDeletedItemSize": "bytes"}
}

func mailboxObject(e directory.Entry, usage Usage) Object {
	return Object{
		{"Name", e.Name},
		{"DisplayName", e.DisplayName},
		{"EmailAddresses", addresses(e.Aliases)},
		{"Enabled", e.Enabled},
		{"ResetPasswordOnNextLogon", e.ResetPassword},
		{"ItemCount", usage.Messages},
		{"TotalItemSize", usage.Bytes},
		{"ProhibitSendReceiveQuota", limit(usage.QuotaBytes)},
		{"MaxMessages", limit(usage.QuotaMessages)},
		{"WhenCreated", moment(e.Created)},
		{"PasswordLastSet", moment(e.PasswordChanged)},
		{"ReadablePassword", e.ReadablePassword},
		{"Account", e.Account.String()},
		{"Directory", directoryOf(e)},
	}
}

// OwnDirectory is what Postern's own directory is called.
const OwnDirectory = "embedded"

// directoryOf names the directory that knows a mailbox.
func directoryOf(e directory.Entry) string {
	if e.Directory == "" {
		return OwnDirectory
	}
	return e.Directory
}

// The types of mailboxes: a shared one belongs to nobody, and its folders stand below
// Shared for those who have rights on them.
const (
	regularType = "Regular"
	sharedType  = "Shared"
)

// mailboxType tells which type a mailbox is of; KindNotFound with "".
func (c *Call) mailboxType(ctx context.Context, id mail.AccountID) (string, error) {
	a, err := c.Folders.Account(ctx, id)
	if err != nil {
		return "", err
	}
	defer a.Close()
	if a.Shared() {
		return sharedType, nil
	}
	return regularType, nil
}

// ownHere refuses to change what an external directory says of a mailbox.
func (c *Call) ownHere(e *directory.Entry, parameters ...string) error {
	if e.Directory == "" {
		return nil
	}
	for _, p := range parameters {
		if c.Given(p) {
			return about(p, mail.Errorf(mail.KindCannot, "%s of %s is kept by the directory %s and is changed there", p, e.Name, e.Directory))
		}
	}
	return nil
}

// hasMailbox refuses somebody whom an external directory knows and who has no mailbox
// yet.
func hasMailbox(e *directory.Entry) error {
	if e.Account != 0 || e.Directory == "" {
		return nil
	}
	return about("Identity", hinted(mail.Errorf(mail.KindNotFound, "%s of the directory %s has no mailbox yet", e.Name, e.Directory), "Enable-Mailbox makes it."))
}

func addresses(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

// limit gives a limit, of which 0 is none, for output.
func limit(n int64) any {
	if n == 0 {
		return unlimited
	}
	return n
}

// moment gives a time in UTC for output, nil for never.
func moment(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Format(time.RFC3339)
}

// alias prepares a further address.
func alias(text string) (string, error) {
	name, err := directory.PrepareName(text)
	if err != nil {
		return "", mail.Errorf(mail.KindBadArgument, "contains %q, which is no address: %s", text, mail.TextOf(err))
	}
	return name, nil
}

// aliases makes -EmailAddresses of what the mailbox has now.
func (c *Call) aliases(now []string) ([]string, error) {
	list, err := settings.ApplyListEdit(c.List("EmailAddresses"), now, alias)
	if err == nil && len(list) > maxAddresses {
		err = mail.Errorf(mail.KindBadArgument, "has at most %d entries", maxAddresses)
	}
	if err != nil {
		return nil, wrong("EmailAddresses", "EmailAddresses %s", mail.TextOf(err))
	}
	return list, nil
}

// texts checks -DisplayName and -Password.
func (c *Call) texts() error {
	if len(c.Text("DisplayName")) > maxDisplayName {
		return wrong("DisplayName", "DisplayName has at most %d bytes", maxDisplayName)
	}
	if n := len(c.Secret("Password")); c.Given("Password") && (n == 0 || n > directory.MaxPassword) {
		return wrong("Password", "Password has 1 to %d bytes", directory.MaxPassword)
	}
	return nil
}

// newMailbox makes the account first and the sign-in last, so that a sign-in
// without an account never exists.
func newMailbox(ctx context.Context, c *Call) (func(context.Context) error, error) {
	name, err := directory.PrepareName(c.Text("Name"))
	if err == nil {
		err = reserved(name)
	}
	if err != nil {
		return nil, about("Name", err)
	}
	e := directory.Entry{Name: name, DisplayName: c.Text("DisplayName"), Enabled: true, PopEnabled: true, ImapEnabled: true, Created: c.Now()}
	if c.Given("Enabled") {
		e.Enabled = c.Bool("Enabled")
	}
	e.ResetPassword = c.Bool("ResetPasswordOnNextLogon")
	if e.Aliases, err = c.aliases(nil); err != nil {
		return nil, err
	}
	if err := c.texts(); err != nil {
		return nil, err
	}
	if err := c.judge(e); err != nil {
		return nil, err
	}
	taken := func(parameter, address string) error {
		known, err := c.Directory.Lookup(ctx, address)
		switch {
		case err == nil && known.Account == 0:
			return about(parameter, hinted(mail.Errorf(mail.KindAlreadyExists, "%q is %s of the directory %s", address, known.Name, known.Directory), "Enable-Mailbox makes the mailbox."))
		case err == nil && known.Gone:
			return about(parameter, hinted(mail.Errorf(mail.KindAlreadyExists, "the mailbox of %q, who was in the directory %s, is still here", address, known.Directory), "Remove-Mailbox deletes it."))
		case err == nil:
			return about(parameter, mail.Errorf(mail.KindAlreadyExists, "a mailbox with the name or address %q exists", address))
		case mail.KindOf(err) == mail.KindNotFound:
			return nil
		}
		return err
	}
	if err := taken("Name", name); err != nil {
		return nil, err
	}
	if err := c.guardAdministrator(ctx, Holder{Identity: name}); err != nil {
		return nil, err
	}
	for _, alias := range e.Aliases {
		if err := taken("EmailAddresses", alias); err != nil {
			return nil, err
		}
	}
	c.result.Units = mailboxUnits()
	quota, messages := c.Number("ProhibitSendReceiveQuota"), c.Number("MaxMessages")
	for _, p := range mailboxObject(e, Usage{QuotaBytes: quota, QuotaMessages: messages}) {
		if slices.Contains([]string{"Name", "DisplayName", "EmailAddresses", "Enabled", "ProhibitSendReceiveQuota", "MaxMessages"}, p.Name) &&
			p.Value != "" && !equal(p.Value, []string{}) {
			c.Change(name, p.Name, nil, p.Value)
		}
	}
	if e.ResetPassword {
		c.Change(name, "ResetPasswordOnNextLogon", nil, true)
	}
	return func(ctx context.Context) error {
		account, err := c.Mail.CreateAccount(ctx, quota, messages)
		if err != nil {
			return err
		}
		e.Account = account
		if err := c.Directory.Create(ctx, e, string(c.Secret("Password"))); err != nil {
			return errors.Join(err, c.Mail.RemoveAccount(context.WithoutCancel(ctx), account))
		}
		// The directory has added what it knows: when the password was set.
		if made, err := c.Directory.Lookup(ctx, name); err == nil {
			e = *made
		}
		c.Add(mailboxObject(e, Usage{QuotaBytes: quota, QuotaMessages: messages}))
		return nil
	}, nil
}

// enableMailbox makes the mailbox of somebody whom an external directory knows.
func enableMailbox(ctx context.Context, c *Call) (func(context.Context) error, error) {
	e, err := c.entry(ctx)
	if err != nil {
		return nil, err
	}
	if e.Account != 0 {
		return nil, about("Identity", mail.Errorf(mail.KindAlreadyExists, "%s has a mailbox", e.Name))
	}
	quota, messages := c.Number("ProhibitSendReceiveQuota"), c.Number("MaxMessages")
	said := func(parameter string, given int64, says *int64) int64 {
		if says != nil && !c.Given(parameter) {
			return *says
		}
		return given
	}
	quota, messages = said("ProhibitSendReceiveQuota", quota, e.QuotaBytes), said("MaxMessages", messages, e.QuotaMessages)
	c.result.Units = mailboxUnits()
	c.Change(e.Name, "Directory", nil, e.Directory)
	c.Change(e.Name, "ProhibitSendReceiveQuota", nil, limit(quota))
	c.Change(e.Name, "MaxMessages", nil, limit(messages))
	return func(ctx context.Context) error {
		account, err := c.Mail.CreateAccount(ctx, quota, messages)
		if err != nil {
			return err
		}
		if err := c.Directory.Create(ctx, directory.Entry{Name: e.Name, Account: account}, ""); err != nil {
			return errors.Join(err, c.Mail.RemoveAccount(context.WithoutCancel(ctx), account))
		}
		if made, err := c.Directory.Lookup(ctx, e.Name); err == nil {
			e = made
		}
		c.Add(mailboxObject(*e, Usage{QuotaBytes: quota, QuotaMessages: messages}))
		return nil
	}, nil
}

// setMailbox changes the entry, then the password, then the quota: the first may
// be refused by the directory, and then nothing has changed.
func setMailbox(ctx context.Context, c *Call) (func(context.Context) error, error) {
	if c.own() {
		return setOwnPassword(ctx, c)
	}
	if c.Given("OldPassword") {
		return nil, wrong("OldPassword", "OldPassword is for people themselves, at /account of the console")
	}
	e, err := c.entry(ctx)
	if err != nil {
		return nil, err
	}
	if err := c.texts(); err != nil {
		return nil, err
	}
	if err := errors.Join(hasMailbox(e), c.ownHere(e, "Password", "ResetPasswordOnNextLogon", "DisplayName", "EmailAddresses")); err != nil {
		return nil, err
	}
	// A client's certificate, a token or a ticket signs in by any of the addresses.
	if slices.ContainsFunc([]string{"Password", "ResetPasswordOnNextLogon", "Enabled", "LinkedAccounts", "EmailAddresses"}, c.Given) {
		if err := c.guardAdministrator(ctx, holderOf(e)); err != nil {
			return nil, err
		}
	}
	if c.Given("Enabled") && !c.Bool("Enabled") {
		if err := c.keepsAdministrator(ctx, holderOf(e)); err != nil {
			return nil, err
		}
	}
	usage, err := c.Mail.Usage(ctx, e.Account)
	if err != nil {
		return nil, err
	}
	old := mailboxObject(*e, usage)
	c.result.Units = mailboxUnits()
	stored := usage
	kind, err := c.mailboxType(ctx, e.Account)
	if err != nil && mail.KindOf(err) != mail.KindNotFound {
		return nil, err
	}
	kept, err := c.kept(ctx, e.Account)
	if err != nil {
		return nil, err
	}
	keep, err := c.keep(kept.Own)
	if err != nil {
		return nil, err
	}
	change := func(e *directory.Entry) error {
		if err := c.expected(ctx, e.Name, append(append(mailboxObject(*e, stored), Property{"Type", kind}), c.keepObject(kept.Own)...)); err != nil {
			return err
		}
		if c.Given("EmailAddresses") {
			list, err := c.aliases(e.Aliases)
			if err != nil {
				return err
			}
			e.Aliases = list
		}
		if c.Given("DisplayName") {
			e.DisplayName = c.Text("DisplayName")
		}
		if c.Given("Enabled") {
			e.Enabled = c.Bool("Enabled")
		}
		if c.Given("ResetPasswordOnNextLogon") {
			e.ResetPassword = c.Bool("ResetPasswordOnNextLogon")
		}
		return nil
	}
	next := *e
	next.Aliases = slices.Clone(e.Aliases)
	if err := change(&next); err != nil {
		return nil, err
	}
	if err := c.judge(next); err != nil {
		return nil, err
	}
	if c.Given("ProhibitSendReceiveQuota") {
		usage.QuotaBytes = c.Number("ProhibitSendReceiveQuota")
	}
	if c.Given("MaxMessages") {
		usage.QuotaMessages = c.Number("MaxMessages")
	}
	for _, p := range mailboxObject(next, usage) {
		if before, _ := old.Value(p.Name); !equal(before, p.Value) {
			c.Change(e.Name, p.Name, before, p.Value)
		}
	}
	if c.Given("Password") {
		c.Change(e.Name, "Password", Secret(""), Secret(""))
		if sasl.NeedReadable(e.LegacyMechanisms) {
			c.Warn("The password is kept so that the server can read it, for legacy mechanisms of the mailbox. Set-CASMailbox -LegacyMechanisms $null ends that.")
		}
	}
	var link func(context.Context) error
	if c.Given("LinkedAccounts") {
		if link, err = c.editLinks(ctx, e); err != nil {
			return nil, err
		}
	}
	shared := strings.EqualFold(c.Text("Type"), sharedType)
	if c.Given("Type") {
		if !shared && !strings.EqualFold(c.Text("Type"), regularType) {
			return nil, wrong("Type", "Type is Regular or Shared, not %q", c.Text("Type"))
		}
		is := regularType
		if shared {
			is = sharedType
		}
		if kind != is {
			c.Change(e.Name, "Type", kind, is)
		}
	}
	for i, p := range c.keepObject(keep) {
		if before := c.keepObject(kept.Own)[i].Value; before != p.Value {
			c.Change(e.Name, p.Name, before, p.Value)
		}
	}
	if len(c.result.Changes) == 0 {
		return nil, c.nothing("RetainDeletedItemsFor", "RecoverableItemsQuota", "Type", "Password", "DisplayName", "EmailAddresses", "ProhibitSendReceiveQuota", "MaxMessages", "Enabled", "LinkedAccounts", "ResetPasswordOnNextLogon")
	}
	// The directory and the store keep these apart, so not all can be one change.
	parts := []struct {
		name  string
		given bool
		do    func(context.Context) error
	}{
		{"the entry", c.Given("EmailAddresses") || c.Given("DisplayName") || c.Given("Enabled") || c.Given("ResetPasswordOnNextLogon"), func(ctx context.Context) error {
			return c.Directory.Change(ctx, e.Name, change)
		}},
		{"the password", c.Given("Password"), func(ctx context.Context) error {
			return c.Directory.SetPassword(ctx, e.Name, string(c.Secret("Password")))
		}},
		{"the quota", c.Given("ProhibitSendReceiveQuota") || c.Given("MaxMessages"), func(ctx context.Context) error {
			return c.Mail.SetQuota(ctx, e.Account, usage.QuotaBytes, usage.QuotaMessages)
		}},
		{"the linked accounts", link != nil, link},
		{"what is kept of deleted messages", keep != kept.Own, func(ctx context.Context) error {
			a, err := c.Folders.Account(ctx, e.Account)
			if err != nil {
				return err
			}
			defer a.Close()
			return a.SetKeep(ctx, keep)
		}},
		{"the type", c.Given("Type"), func(ctx context.Context) error {
			a, err := c.Folders.Account(ctx, e.Account)
			if err != nil {
				return err
			}
			defer a.Close()
			return a.SetShared(ctx, shared)
		}},
	}
	return func(ctx context.Context) error {
		var done []string
		for _, p := range parts {
			if !p.given {
				continue
			}
			if err := p.do(ctx); err != nil {
				if len(done) == 0 {
					return err
				}
				return &mail.Error{Kind: mail.KindOf(err), Cause: err,
					Text: strings.Join(done, " and ") + " changed, but " + p.name + " could not be changed: " + mail.TextOf(err)}
			}
			done = append(done, p.name)
		}
		return nil
	}, nil
}

// nothing says that there is nothing to change: an error when none of the
// parameters was given.
func (c *Call) nothing(parameters ...string) error {
	if !slices.ContainsFunc(parameters, c.Given) {
		return hinted(mail.Errorf(mail.KindBadArgument, "%s needs something to change", c.Cmdlet.Name), "Get-Help "+c.Cmdlet.Name+" lists its parameters.")
	}
	c.Note("Nothing is different from what was set already.")
	return nil
}

func equal(a, b any) bool {
	x, ok := a.([]string)
	y, both := b.([]string)
	if ok && both {
		return slices.Equal(x, y)
	}
	return !ok && !both && a == b
}

// removeMailbox takes the sign-in away first, so that nobody reads a mailbox
// while it goes.
func removeMailbox(ctx context.Context, c *Call) (func(context.Context) error, error) {
	e, err := c.entry(ctx)
	if err != nil {
		return nil, err
	}
	if err := c.guardAdministrator(ctx, holderOf(e)); err != nil {
		return nil, err
	}
	if err := c.keepsAdministrator(ctx, holderOf(e)); err != nil {
		return nil, err
	}
	usage, err := c.Mail.Usage(ctx, e.Account)
	if err != nil && mail.KindOf(err) != mail.KindNotFound {
		return nil, err
	}
	if err := hasMailbox(e); err != nil {
		return nil, err
	}
	if e.Directory != "" && !e.Gone {
		c.Warn("The directory " + e.Directory + " knows " + e.Name + ": a new, empty mailbox is made at the next sign-in or message if it makes mailboxes by itself.")
	}
	c.Change(e.Name, "Name", e.Name, nil)
	c.Change(e.Name, "ItemCount", usage.Messages, nil)
	return func(ctx context.Context) error {
		if err := c.Directory.Remove(ctx, e.Name); err != nil {
			return err
		}
		if err := c.dropAppPasswords(context.WithoutCancel(ctx), e.Account.String()+"/"); err != nil {
			c.Log.WarnContext(ctx, "app passwords of a removed mailbox cannot be removed", "account", e.Account, "error", err)
		}
		if err := c.dropPermissionsOf(context.WithoutCancel(ctx), e.Account); err != nil {
			c.Log.WarnContext(ctx, "rights of a removed mailbox cannot be removed", "account", e.Account, "error", err)
		}
		if err := c.forgetNetworks(context.WithoutCancel(ctx), e, netip.Prefix{}); err != nil {
			c.Log.WarnContext(ctx, "known networks of a removed mailbox cannot be removed", "account", e.Account, "error", err)
		}
		if err := c.dropSecondFactor(context.WithoutCancel(ctx), e.Account, nil); err != nil {
			c.Log.WarnContext(ctx, "the second factor of a removed mailbox cannot be removed", "account", e.Account, "error", err)
		}
		err := c.Mail.RemoveAccount(context.WithoutCancel(ctx), e.Account)
		if err != nil && mail.KindOf(err) != mail.KindNotFound {
			return &mail.Error{Kind: mail.KindOf(err), Cause: err,
				Text: "the sign-in of " + e.Name + " is removed, but its mail (account " + e.Account.String() + ") could not be deleted: " + mail.TextOf(err)}
		}
		return nil
	}, nil
}
