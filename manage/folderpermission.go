package manage

import (
	"context"
	"slices"
	"strings"

	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/settings"
	"github.com/postern-mail/postern/store"
)

// Folders is what the cmdlets of folder permissions and of the server's entries need; a
// *store.Store.
type Folders interface {
	// Account opens an account; KindNotFound.
	Account(ctx context.Context, id mail.AccountID) (*store.Account, error)
	// Grants tells whether any mailbox gives rights to a grantee.
	Grants(ctx context.Context, g mail.Grantee) (bool, error)
	// ServerMetadata gives the entries of the server that all users see.
	ServerMetadata(ctx context.Context) ([]store.MetadataEntry, error)
	// SetServerMetadata changes some of them; KindLimit.
	SetServerMetadata(ctx context.Context, changes []store.MetadataEntry) error
}

// folderRole is a row of the table of AccessRights: Exchange's names, and the rights of
// RFC 4314 that they stand for. IMAP4 knows no rights on "one's own items" alone: those
// that have them in Exchange may add here, and not delete.
type folderRole struct {
	name   string
	rights string
	help   string
}

// folderRoles are the roles, which are shown by their names too: each has other rights.
var folderRoles = []folderRole{
	{"None", "", "nothing"},
	{"Contributor", "lip", "adds messages, and sees none"},
	{"Reviewer", "lrs", "reads"},
	{"NonEditingAuthor", "lrsip", "reads and adds messages"},
	{"Author", "lrswip", "reads, adds messages and changes their flags"},
	{"PublishingAuthor", "lrswipk", "as Author, and makes folders below"},
	{"Editor", "lrswipte", "as Author, and deletes"},
	{"PublishingEditor", "lrswipkte", "as Editor, and makes folders below"},
	{"Owner", "lrswipkxtean", "all that the owner may, giving rights to others too"},
}

// FolderRoles are the roles that give something, with what each may do, in English.
func FolderRoles() (choices []settings.Choice) {
	for _, r := range folderRoles {
		if r.rights != "" {
			choices = append(choices, settings.Choice{Name: r.name, Help: r.help})
		}
	}
	return choices
}

// folderRights are single rights, which are put together.
var folderRights = []folderRole{
	{"FolderVisible", "l", ""},
	{"ReadItems", "rs", ""},
	{"CreateItems", "ip", ""},
	{"EditAllItems", "w", ""},
	{"DeleteAllItems", "te", ""},
	{"CreateSubfolders", "k", ""},
	{"FolderOwner", "xa", ""},
}

// folderRightNames are all names that AccessRights takes.
func folderRightNames() (names []string) {
	for _, r := range slices.Concat(folderRoles, folderRights) {
		names = append(names, r.name)
	}
	return names
}

// readFolderRights reads AccessRights: names of the tables, or letters of RFC 4314,
// separated by commas or spaces.
func readFolderRights(text string) (mail.Rights, error) {
	var all mail.Rights
	words := strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' })
	if len(words) == 0 {
		return 0, wrong("AccessRights", "AccessRights is not empty; None takes all rights away")
	}
	for _, word := range words {
		i := slices.IndexFunc(slices.Concat(folderRoles, folderRights), func(r folderRole) bool { return strings.EqualFold(r.name, word) })
		letters := word
		if i >= 0 {
			letters = slices.Concat(folderRoles, folderRights)[i].rights
		}
		rights, err := mail.ParseRights(letters)
		if err != nil {
			return 0, wrong("AccessRights", "AccessRights has %q, which is neither one of %s nor letters of RFC 4314", word, strings.Join(folderRightNames(), ", "))
		}
		all |= rights
	}
	return all, nil
}

// folderRightsText shows rights by the name of a role, or by their letters.
func folderRightsText(r mail.Rights) string {
	for _, role := range folderRoles {
		if role.rights == r.String() {
			return role.name
		}
	}
	return r.String()
}

// everyone is who has Anyone's rights, as Exchange's Default.
var everyone = []string{"Anyone", "Default"}

// folderCall is what a call of the cmdlets is about.
type folderCall struct {
	owner   *directory.Entry
	folder  string // "" when it was not named
	grantee mail.Grantee
	user    string // the grantee as it is shown, "" when it was not given
}

// groupUser stands before the name of a group.
const groupUser = "group:"

// readFolder reads -Identity and -User.
func (c *Call) readFolder(ctx context.Context) (f folderCall, err error) {
	mailbox, folder, named := strings.Cut(c.Text("Identity"), ":")
	name, err := directory.PrepareName(mailbox)
	if err == nil {
		f.owner, err = c.Directory.Lookup(ctx, name)
	}
	if err != nil {
		if mail.KindOf(err) == mail.KindNotFound {
			err = hinted(mail.Errorf(mail.KindNotFound, "there is no mailbox %q", mailbox), `The identity is MAILBOX:\FOLDER, such as alice@example.org:\INBOX.`)
		}
		return f, about("Identity", err)
	}
	if err := hasMailbox(f.owner); err != nil {
		return f, err
	}
	if folder = strings.Trim(strings.ReplaceAll(folder, `\`, "/"), "/"); named && folder != "" {
		if f.folder, err = store.CleanName(folder); err != nil {
			return f, about("Identity", err)
		}
	}
	if !c.Given("User") {
		return f, nil
	}
	text := c.Text("User")
	switch {
	case slices.ContainsFunc(everyone, func(s string) bool { return strings.EqualFold(s, text) }):
		f.user = everyone[0]
	case len(text) > len(groupUser) && strings.EqualFold(text[:len(groupUser)], groupUser):
		group, err := c.knownGroup(ctx)(text[len(groupUser):])
		if err != nil {
			return f, wrong("User", "User %s", mail.TextOf(err))
		}
		f.grantee.Group, f.user = group, groupUser+group
	default:
		e, err := c.lookup(ctx, "User")
		if err != nil {
			return f, err
		}
		if err := hasMailbox(e); err != nil {
			return f, about("User", err)
		}
		if e.Name == f.owner.Name {
			return f, wrong("User", "%s always has all rights on its own folders", e.Name)
		}
		f.grantee.Account, f.user = e.Account, e.Name
	}
	return f, nil
}

// shown gives a folder as -Identity takes it.
func (f folderCall) shown(folder string) string {
	return f.owner.Name + `:\` + strings.ReplaceAll(folder, "/", `\`)
}

// folderUser names a grantee, "" for an account that nobody has any more.
func (c *Call) folderUser(ctx context.Context, g mail.Grantee) (string, error) {
	switch {
	case g.Group != "":
		return groupUser + g.Group, nil
	case g.Account == 0:
		return everyone[0], nil
	}
	named, ok := c.Directory.(directory.Named)
	if !ok {
		return "", nil
	}
	return named.NameOf(ctx, g.Account)
}

func folderObject(f folderCall, folder, user string, g mail.Grant) Object {
	return Object{
		{"Identity", f.shown(folder)}, {"FolderName", folder}, {"User", user},
		{"AccessRights", folderRightsText(g.Rights)}, {"Rights", g.Rights.String()}, {"Deny", g.Negative},
	}
}

// getFolderPermission shows one object for each folder and user with rights beside the
// owner.
func getFolderPermission(ctx context.Context, c *Call) (func(context.Context) error, error) {
	f, err := c.readFolder(ctx)
	if err != nil {
		return nil, err
	}
	a, err := c.Folders.Account(ctx, f.owner.Account)
	if err != nil {
		return nil, err
	}
	defer a.Close()
	found := false
	for _, m := range a.Mailboxes() {
		if f.folder != "" && m.Name != f.folder {
			continue
		}
		found = true
		for _, g := range m.Grants {
			user, err := c.folderUser(ctx, g.Grantee)
			if err != nil {
				return nil, err
			}
			if user == "" || f.user != "" && g.Grantee != f.grantee {
				continue
			}
			c.Add(folderObject(f, m.Name, user, g))
		}
	}
	if !found {
		return nil, f.missing()
	}
	return nil, nil
}

func (f folderCall) missing() error {
	return about("Identity", mail.Errorf(mail.KindNotFound, "%s has no folder %q", f.owner.Name, f.folder))
}

// addFolderPermission gives rights to somebody who has none on the folder yet,
// setFolderPermission changes what somebody has, removeFolderPermission takes it away.
func addFolderPermission(ctx context.Context, c *Call) (func(context.Context) error, error) {
	return c.changeFolder(ctx, func(had bool, who string) error {
		if had {
			return about("User", hinted(mail.Errorf(mail.KindAlreadyExists, "%s has rights on the folder already", who), "Set-MailboxFolderPermission changes them."))
		}
		return nil
	})
}

func setFolderPermission(ctx context.Context, c *Call) (func(context.Context) error, error) {
	return c.changeFolder(ctx, hasFolderRights)
}

func removeFolderPermission(ctx context.Context, c *Call) (func(context.Context) error, error) {
	return c.changeFolder(ctx, hasFolderRights)
}

func hasFolderRights(had bool, who string) error {
	if !had {
		return about("User", hinted(mail.Errorf(mail.KindNotFound, "%s has no rights on the folder", who), "Get-MailboxFolderPermission lists the rights."))
	}
	return nil
}

// changeFolder replaces the rights of a user on a folder by -AccessRights, none when that
// is no parameter; check is told whether there are any.
func (c *Call) changeFolder(ctx context.Context, check func(had bool, who string) error) (func(context.Context) error, error) {
	f, err := c.readFolder(ctx)
	if err != nil {
		return nil, err
	}
	if f.folder == "" {
		return nil, wrong("Identity", `name the folder, too: MAILBOX:\FOLDER, such as %s:\INBOX`, f.owner.Name)
	}
	// Who reads an administrator's mail may get in as one.
	if err := c.guardAdministrator(ctx, holderOf(f.owner)); err != nil {
		return nil, err
	}
	g := mail.Grant{Grantee: f.grantee, Negative: c.Bool("Deny")}
	if c.Given("AccessRights") {
		if g.Rights, err = readFolderRights(c.Text("AccessRights")); err != nil {
			return nil, err
		}
	}
	a, err := c.Folders.Account(ctx, f.owner.Account)
	if err != nil {
		return nil, err
	}
	defer a.Close()
	m, ok := a.Mailbox(f.folder)
	if !ok {
		return nil, f.missing()
	}
	i := slices.IndexFunc(m.Grants, func(h mail.Grant) bool { return h.Grantee == g.Grantee && h.Negative == g.Negative })
	if err := check(i >= 0, f.user); err != nil {
		return nil, err
	}
	if i < 0 && g.Rights == 0 {
		return nil, c.nothing("AccessRights")
	}
	var before, after any
	if i >= 0 {
		before = folderRightsText(m.Grants[i].Rights)
	}
	if g.Rights != 0 {
		after = folderRightsText(g.Rights)
	}
	if before == after {
		return nil, c.nothing("AccessRights")
	}
	name := f.user
	if g.Negative {
		name = "-" + name
	}
	c.Change(f.shown(f.folder), name, before, after)
	if g.Account == 0 && g.Group == "" && !g.Negative && g.Rights != 0 {
		c.Warn("Everybody with a mailbox on this server has these rights then.")
	}
	return func(ctx context.Context) error {
		a, err := c.Folders.Account(ctx, f.owner.Account)
		if err != nil {
			return err
		}
		defer a.Close()
		if _, _, err := a.Own().SetGrant(ctx, f.folder, store.GrantSet, g); err != nil {
			return err
		}
		if g.Rights != 0 {
			c.Add(folderObject(f, f.folder, f.user, g))
		}
		return nil
	}, nil
}
