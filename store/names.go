package store

import (
	"context"
	"sort"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/postern-mail/postern/mail"
)

const (
	// Delimiter stands between the levels of a mailbox name.
	Delimiter = "/"
	// Inbox is the mailbox that every account has; its name is not case-sensitive
	// (RFC 3501, 5.1).
	Inbox = "INBOX"

	// MaxMailboxes is how many mailboxes an account has at most.
	MaxMailboxes = 10000

	maxNameLen    = 1000  // bytes
	maxDepth      = 50    // levels
	maxSubscribed = 10000 // names in an account
)

// CleanName checks a mailbox name, UTF-8 with Delimiter between levels, and gives
// the form under which it is kept: Unicode NFC, INBOX in capitals where it is the
// first level. KindCannot with the reason when it cannot be a name. Names are
// keys and never reach a file system.
func CleanName(name string) (string, error) {
	cannot := func(why string) (string, error) {
		return "", mail.Errorf(mail.KindCannot, "A mailbox name %s.", why)
	}
	if name == "" {
		return cannot("is not empty")
	}
	if !utf8.ValidString(name) {
		return cannot("is valid UTF-8")
	}
	if len(name) > maxNameLen {
		return cannot("has at most 1,000 bytes")
	}
	name = norm.NFC.String(name)
	if len(name) > maxNameLen {
		return cannot("has at most 1,000 bytes")
	}
	levels := strings.Split(name, Delimiter)
	if len(levels) > maxDepth {
		return cannot("has at most 50 levels")
	}
	for _, level := range levels {
		if level == "" {
			return cannot("has no empty level")
		}
		if strings.TrimSpace(level) != level {
			return cannot("neither begins nor ends a level with a space")
		}
	}
	for _, r := range name {
		// Controls and direction marks would deceive whoever reads the name.
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029' {
			return cannot("has no control characters")
		}
		if r == '%' || r == '*' {
			return cannot("has no wildcard")
		}
	}
	if strings.HasPrefix(name, "#") {
		return cannot("does not begin with #, which names a namespace")
	}
	if strings.EqualFold(levels[0], Inbox) {
		levels[0] = Inbox
		name = strings.Join(levels, Delimiter)
	}
	return name, nil
}

// specialUses are the attributes that say what a mailbox is for (RFC 6154, 2; RFC 8457,
// 3; RFC 9979, 8), and whether a client can make a mailbox for it.
var specialUses = []struct {
	name string
	made bool
}{
	{`\All`, false}, {`\Flagged`, false}, // views, which Postern does not have
	{`\Scheduled`, false}, {`\Snoozed`, false}, // a server that has them takes messages out in time
	{`\Archive`, true}, {`\Drafts`, true}, {`\Important`, true}, {`\Junk`, true}, {`\Memos`, true}, {`\Sent`, true}, {`\Trash`, true},
}

// SpecialUse gives the canonical spelling of a special-use attribute that a
// mailbox can be created with.
func SpecialUse(attribute string) (string, bool) {
	for _, u := range specialUses {
		if strings.EqualFold(u.name, attribute) {
			return u.name, u.made
		}
	}
	return "", false
}

// CreateMailbox makes a mailbox. name is clean. specialUse is "" or an attribute
// that SpecialUse accepts and no other mailbox has. KindAlreadyExists, KindCannot,
// KindLimit. A level above that does not exist is not made: it is shown as
// \NonExistent while something stands below it. Others have the rights on it that they
// have on the nearest mailbox above.
func (a *Account) CreateMailbox(ctx context.Context, name, specialUse string) (MailboxRecord, error) {
	return a.createMailbox(ctx, a.Own(), name, specialUse)
}

func (a *Account) createMailbox(ctx context.Context, v Visit, name, specialUse string) (MailboxRecord, error) {
	var made MailboxRecord
	_, err := a.change(ctx, func(c *change) error {
		if err := v.mayCreate(name); err != nil {
			return err
		}
		if _, err := c.named(name); err == nil {
			return mail.Errorf(mail.KindAlreadyExists, "The mailbox %q exists already.", name)
		}
		if len(a.boxes) >= MaxMailboxes {
			return mail.Errorf(mail.KindLimit, "An account has at most %d mailboxes.", MaxMailboxes)
		}
		if specialUse != "" {
			for _, b := range a.boxes {
				if b.record.SpecialUse == specialUse {
					return mail.Errorf(mail.KindCannot, "The mailbox %q is used as %s already.", b.record.Name, specialUse)
				}
			}
		}
		bc := c.create(name, specialUse)
		// RFC 4314, 4.
		if above := a.nearestAbove(name); above != nil && len(above.record.Grants) > 0 {
			c.grant(bc, above.record.Grants)
		}
		made = bc.record
		return nil
	})
	return made, err
}

var errInboxStays = mail.Errorf(mail.KindCannot, "INBOX cannot be deleted.")

// DeleteMailbox removes a mailbox with its messages. Mailboxes below it stay. A
// name that only has mailboxes below it gives KindHasChildren (RFC 3501, 6.3.4).
func (a *Account) DeleteMailbox(ctx context.Context, name string) error {
	return a.deleteMailbox(ctx, a.Own(), name)
}

func (a *Account) deleteMailbox(ctx context.Context, v Visit, name string) error {
	_, err := a.change(ctx, func(c *change) error {
		bc, err := c.named(name)
		if err != nil {
			if v.guest == nil && a.hasBelow(name) {
				return mail.Errorf(mail.KindHasChildren, "%q is no mailbox itself and has mailboxes below it.", name)
			}
			return err
		}
		if err := v.may(&bc.record, mail.RightDelete); err != nil {
			return err
		}
		if name == Inbox {
			return errInboxStays
		}
		if err := a.open(ctx, bc.box); err != nil {
			return err
		}
		c.remove(bc)
		if err := c.dropRecords(ctx, metadataKind, metadataOf(a.id, bc.box.id)); err != nil {
			return err
		}
		if err := c.dropAnnotations(ctx, bc.box.id, func(string) bool { return true }); err != nil {
			return err
		}
		return c.dropRecords(ctx, marksKind, marksOf(a.id, bc.box.id))
	})
	return err
}

// hasBelow tells whether a mailbox stands below name; a.mu is held.
func (a *Account) hasBelow(name string) bool {
	below := name + Delimiter
	i := sort.Search(len(a.names), func(i int) bool { return a.names[i].name >= below })
	return i < len(a.names) && strings.HasPrefix(a.names[i].name, below)
}

// RenameMailbox gives a mailbox, and all below it, another name. UIDs and
// UIDVALIDITY stay. Renaming INBOX makes a new mailbox with INBOX's messages and
// leaves INBOX empty (RFC 3501, 6.3.5).
func (a *Account) RenameMailbox(ctx context.Context, from, to string) error {
	return a.renameMailbox(ctx, a.Own(), from, to)
}

func (a *Account) renameMailbox(ctx context.Context, v Visit, from, to string) error {
	if to == Inbox || strings.HasPrefix(to, Inbox+Delimiter) && from == Inbox {
		return mail.Errorf(mail.KindCannot, "%q cannot become %q.", from, to)
	}
	if strings.HasPrefix(to, from+Delimiter) {
		return mail.Errorf(mail.KindCannot, "A mailbox cannot be moved below itself.")
	}
	_, err := a.change(ctx, func(c *change) error {
		if v.guest != nil {
			bc, err := c.named(from)
			if err == nil {
				err = v.may(&bc.record, mail.RightDelete)
			}
			if err == nil {
				err = v.mayCreate(to)
			}
			if err != nil {
				return err
			}
		}
		if _, err := c.named(to); err == nil {
			return mail.Errorf(mail.KindAlreadyExists, "The mailbox %q exists already.", to)
		}
		if from == Inbox {
			in, err := c.named(Inbox)
			if err != nil {
				return err
			}
			if err := a.open(ctx, in.box); err != nil {
				return err
			}
			dest := c.create(to, "")
			dest.record.Keywords, dest.instead = in.record.Keywords, Inbox
			if err := c.copyMetadata(ctx, in.record.ID, dest.record.ID); err != nil { // RFC 5464, 4.1
				return err
			}
			return c.transfer(ctx, a.Own(), in, dest, in.box.index.UIDsOf(in.box.index.All()), true, nil)
		}
		n := 0
		for _, b := range a.boxes {
			old := b.record.Name
			if old != from && !strings.HasPrefix(old, from+Delimiter) {
				continue
			}
			if err := v.may(&b.record, mail.RightDelete); err != nil {
				return err
			}
			name := to + strings.TrimPrefix(old, from)
			if _, err := CleanName(name); err != nil {
				return err
			}
			if _, taken := lookup(a.names, name); taken {
				return mail.Errorf(mail.KindAlreadyExists, "The mailbox %q exists already.", name)
			}
			bc := c.use(b)
			bc.record.Name, bc.touched, c.naming = name, true, true
			n++
		}
		if n == 0 {
			return noMailbox(from)
		}
		return nil
	})
	return err
}

// Subscribe enters name, which need not exist, among the subscriptions.
func (a *Account) Subscribe(ctx context.Context, name string) error {
	_, err := a.change(ctx, func(c *change) error {
		next := insertName(c.subscriptions, name)
		if len(next) == len(c.subscriptions) {
			return nil
		}
		if len(next) > maxSubscribed {
			return mail.Errorf(mail.KindLimit, "An account has at most %d subscriptions.", maxSubscribed)
		}
		c.subscriptions, c.naming, c.batch.Subscribe = next, true, []string{name}
		c.news = append(c.news, Event{What: SubscriptionChanged, Account: a.id, Name: name})
		return nil
	})
	return err
}

// Unsubscribe takes name from the subscriptions, if it is there.
func (a *Account) Unsubscribe(ctx context.Context, name string) error {
	_, err := a.change(ctx, func(c *change) error {
		next := removeName(c.subscriptions, name)
		if len(next) == len(c.subscriptions) {
			return nil
		}
		c.subscriptions, c.naming, c.batch.Unsubscribe = next, true, []string{name}
		c.news = append(c.news, Event{What: SubscriptionChanged, Account: a.id, Name: name})
		return nil
	})
	return err
}
