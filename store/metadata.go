package store

import (
	"context"
	"encoding/binary"
	"slices"
	"strings"

	"github.com/postern-mail/postern/mail"
)

// Metadata are the named texts of RFC 5464 that clients keep with a mailbox, or with the
// account as such. Each mailbox has those that all share, and each person has private
// ones. They are records beside the mailbox, by its id: a RENAME does not touch them. They
// change by batches of the account that the mailbox is in.

const (
	// metadataKind is the kind of their records. The key is account/mailbox/ and the
	// person, or "-" for what is shared; the value has all entries. The account as such
	// is mailbox 0.
	metadataKind = "metadata"

	// MaxMetadataValue is how many bytes the value of an entry may have.
	MaxMetadataValue = 16 << 10
	// MaxMetadataName is how many bytes the name of an entry may have.
	MaxMetadataName = 250

	maxMetadataEntries = 100       // of one person, or shared, with one mailbox
	maxMetadataBytes   = 256 << 10 // of these, in one record
	maxMetadataTotal   = 8 << 20   // in an account
	maxMetadataGuests  = 4 << 20   // in an account, before guests may add no more
)

// specialUseEntry is the owner's private entry that is the special use of a mailbox, and no
// text of its own (RFC 6154, 4).
const specialUseEntry = "/private/specialuse"

// MetadataEntry is a named text.
type MetadataEntry struct {
	Name  string
	Value []byte // nil: there is none
}

// The scopes of entries (RFC 5464, 3.2).
const (
	PrivateEntries = "/private"
	SharedEntries  = "/shared"
)

// CleanEntry checks the name of an entry, or of what stands above entries, and gives it in
// lower case, under which it is kept (RFC 5464, 3.2). KindBadArgument.
func CleanEntry(name string) (string, error) {
	for i := range len(name) {
		if c := name[i]; c < 0x20 || c >= 0x7f || c == '*' || c == '%' {
			return "", mail.Errorf(mail.KindBadArgument, "The name of an entry has a character that it cannot have.")
		}
	}
	name = strings.ToLower(name)
	scope, _, _ := strings.Cut(strings.TrimPrefix(name, "/"), "/")
	switch {
	case strings.Contains(name, "//"), strings.HasSuffix(name, "/"):
		return "", mail.Errorf(mail.KindBadArgument, "The name of an entry has no empty part.")
	case name[:min(1, len(name))] != "/", "/"+scope != PrivateEntries && "/"+scope != SharedEntries:
		return "", mail.Errorf(mail.KindBadArgument, "The name of an entry begins with /private or /shared.")
	case len(name) > MaxMetadataName:
		return "", mail.Errorf(mail.KindBadArgument, "The name of an entry is too long.")
	}
	return name, nil
}

// SharedEntry tells whether an entry of that clean name is everybody's.
func SharedEntry(name string) bool { return strings.HasPrefix(name, SharedEntries+"/") }

// SettableEntry gives an error unless an entry of that clean name can have a value: names
// have at least two parts, those of vendors four (RFC 5464, 3.2).
func SettableEntry(name string) error {
	parts := strings.Split(name[1:], "/")
	least := 2
	if len(parts) > 1 && parts[1] == "vendor" {
		least = 4
	}
	if len(parts) < least {
		return mail.Errorf(mail.KindBadArgument, "This entry has too few parts to have a value.")
	}
	return nil
}

// metadataOf is how the keys of all metadata of a mailbox begin.
func metadataOf(account mail.AccountID, mailbox mail.MailboxID) string {
	return marksOf(account, mailbox)
}

// metadataKey is the key of what is shared, or the visitor's own.
func (v Visit) metadataKey(mailbox mail.MailboxID, shared bool) string {
	prefix := metadataOf(v.account.id, mailbox)
	switch {
	case shared:
		return prefix + "-"
	case v.guest != nil:
		return prefix + v.guest.Account.String()
	}
	return prefix + v.account.id.String()
}

// mayMetadata gives an error unless the visitor may read, or change, a mailbox's metadata
// (RFC 5464, 3.3): the right l and one that is about messages; w to change what others
// see.
func (v Visit) mayMetadata(r *MailboxRecord, changesShared bool) error {
	const any = mail.RightRead | mail.RightSeen | mail.RightWrite | mail.RightInsert | mail.RightPost
	if err := v.may(r, mail.RightLookup); err != nil {
		return err
	}
	if v.rights(r)&any == 0 {
		return errNoRight
	}
	if changesShared {
		return v.may(r, mail.RightWrite)
	}
	return nil
}

// Metadata gives the entries of a mailbox that all share, or those of the visitor alone,
// ascending by name. "" is the account as such, the owner's alone, and what all share of
// it is the server's. KindNotFound, KindNoPermission.
func (v Visit) Metadata(ctx context.Context, mailbox string, shared bool) ([]MetadataEntry, error) {
	a := v.account
	if mailbox == "" && shared && v.guest == nil {
		return a.store.ServerMetadata(ctx)
	}
	a.mu.Lock()
	list, err := func() ([]MetadataEntry, error) {
		if a.removed {
			return nil, mail.Errorf(mail.KindNotFound, "The account was removed.")
		}
		var id mail.MailboxID
		specialUse := ""
		if mailbox != "" {
			b, err := a.find(mailbox)
			if err != nil {
				return nil, v.shown(err)
			}
			if err := v.mayMetadata(&b.record, false); err != nil {
				return nil, err
			}
			id = b.id
			if !shared && v.guest == nil {
				specialUse = b.record.SpecialUse
			}
		} else if v.guest != nil {
			return nil, nil
		}
		list, err := a.metadata(ctx, v.metadataKey(id, shared))
		if i, ok := findMetadata(list, specialUseEntry); specialUse != "" && !ok {
			list = slices.Insert(list, i, MetadataEntry{specialUseEntry, []byte(specialUse)})
		}
		return list, err
	}()
	if err != nil {
		a.mu.Unlock()
		return nil, err
	}
	return list, a.settle()
}

func findMetadata(list []MetadataEntry, name string) (int, bool) {
	return slices.BinarySearchFunc(list, name, func(x MetadataEntry, name string) int { return strings.Compare(x.Name, name) })
}

// metadata reads a record; a.mu is held.
func (a *Account) metadata(ctx context.Context, key string) ([]MetadataEntry, error) {
	records, err := a.store.engine.Records(ctx, metadataKind, key)
	if err != nil || len(records) == 0 {
		return nil, err
	}
	return readMetadata(records[0])
}

// SetMetadata changes entries, all or none: a nil Value removes one. Those of which shared
// is true are seen by everybody who may read the mailbox's, the others only by the
// visitor. "" is the account as such, the owner's alone, and private only. KindTooBig for a
// Value above MaxMetadataValue, KindLimit when there are too many, KindNotFound,
// KindNoPermission.
func (v Visit) SetMetadata(ctx context.Context, mailbox string, shared, private []MetadataEntry) error {
	if err := checkMetadata(slices.Concat(shared, private)); err != nil {
		return err
	}
	_, err := v.account.change(ctx, func(c *change) error {
		var id mail.MailboxID
		private := private // which may be asked for again
		if mailbox != "" {
			bc, err := c.named(mailbox)
			if err != nil {
				return err
			}
			if err := v.mayMetadata(&bc.record, len(shared) > 0); err != nil {
				return err
			}
			id = bc.record.ID
			if i := slices.IndexFunc(private, func(e MetadataEntry) bool { return e.Name == specialUseEntry }); i >= 0 {
				if err := c.setSpecialUse(v, bc, private[i].Value); err != nil {
					return err
				}
				// It is kept in the mailbox's record; what stood there before goes.
				private = slices.Clone(private)
				private[i].Value = nil
			}
		} else if len(shared) > 0 || v.guest != nil {
			return mail.Errorf(mail.KindNoPermission, "Shared entries of the server cannot be changed here.")
		}
		person := v.account.id
		if v.guest != nil {
			person = v.guest.Account
		}
		e := Event{What: MetadataChanged, Account: v.account.id, Mailbox: id, Name: mailbox}
		if err := c.edit(ctx, v.metadataKey(id, true), shared, e); err != nil {
			return err
		}
		e.Private = person
		if err := c.edit(ctx, v.metadataKey(id, false), private, e); err != nil {
			return err
		}
		return c.boundMetadata(ctx, v.guest != nil)
	})
	return v.shown(err)
}

// setSpecialUse gives a mailbox the special uses of value, of which there may be one. The
// mailbox that had it before has none then (RFC 6154, 4).
func (c *change) setSpecialUse(v Visit, bc *boxChange, value []byte) error {
	use := ""
	for _, attribute := range strings.Fields(string(value)) {
		canonical, ok := SpecialUse(attribute)
		switch {
		case v.guest != nil:
			return mail.Errorf(mail.KindCannot, "A special use is for one's own mailboxes.")
		case !ok:
			return mail.Errorf(mail.KindCannot, "No mailbox can have that special use.")
		case use != "" && use != canonical:
			return mail.Errorf(mail.KindCannot, "A mailbox has one special use.")
		}
		use = canonical
	}
	if v.guest != nil || bc.record.SpecialUse == use {
		return nil
	}
	for _, b := range c.a.boxes {
		if other := b.record.SpecialUse; use != "" && other == use && b != bc.box {
			c.giveUse(c.use(b), "")
		}
	}
	c.giveUse(bc, use)
	return nil
}

func (c *change) giveUse(bc *boxChange, use string) {
	bc.record.SpecialUse, bc.touched = use, true
	c.news = append(c.news, Event{
		What: MetadataChanged, Account: c.a.id, Mailbox: bc.record.ID, Name: bc.record.Name, Entries: []string{specialUseEntry}, Private: c.a.id,
	})
}

// checkMetadata refuses entries that are too long.
func checkMetadata(list []MetadataEntry) error {
	for _, e := range list {
		if len(e.Value) > MaxMetadataValue {
			return mail.Errorf(mail.KindTooBig, "A value has at most %d bytes.", MaxMetadataValue)
		}
		if len(e.Name) > MaxMetadataName {
			return mail.Errorf(mail.KindBadArgument, "The name of an entry has at most %d bytes.", MaxMetadataName)
		}
	}
	return nil
}

// edit changes the entries of one record, of which e tells.
func (c *change) edit(ctx context.Context, key string, changes []MetadataEntry, e Event) error {
	if len(changes) == 0 {
		return nil
	}
	list, err := c.a.metadata(ctx, key)
	if err != nil {
		return err
	}
	list, e.Entries = editMetadata(list, changes)
	if len(e.Entries) == 0 {
		return nil
	}
	r := Record{Kind: metadataKind, Key: key}
	if r.Value, err = metadataValue(list); err != nil {
		return err
	}
	c.batch.Records = append(c.batch.Records, r)
	c.news = append(c.news, e)
	return nil
}

// editMetadata changes the entries of list and gives the names of those that it changed.
func editMetadata(list, changes []MetadataEntry) (edited []MetadataEntry, names []string) {
	for _, entry := range changes {
		i, there := findMetadata(list, entry.Name)
		switch {
		case entry.Value == nil && !there:
			continue
		case entry.Value == nil:
			list = slices.Delete(list, i, i+1)
		case there:
			list[i].Value = entry.Value
		default:
			list = slices.Insert(list, i, entry)
		}
		if !slices.Contains(names, entry.Name) {
			names = append(names, entry.Name)
		}
	}
	return list, names
}

// metadataValue is the value of the record of entries, nil of none.
func metadataValue(list []MetadataEntry) (value []byte, err error) {
	if len(list) > 0 {
		value = appendMetadata([]byte{}, list)
	}
	if len(list) > maxMetadataEntries || len(value) > maxMetadataBytes {
		err = errMetadata
	}
	return value, err
}

var errMetadata = mail.Errorf(mail.KindLimit, "No more metadata can be kept.")

// boundMetadata refuses a change that leaves more metadata in the account than it may
// have. What makes it less is always permitted. Guests cannot take all of the room.
func (c *change) boundMetadata(ctx context.Context, guest bool) error {
	stored, err := c.a.store.engine.Records(ctx, metadataKind, c.a.id.String()+"/")
	if err != nil {
		return err
	}
	before, grown := 0, 0
	for _, r := range stored {
		before += len(r.Value)
	}
	for _, r := range c.batch.Records {
		if r.Kind != metadataKind {
			continue
		}
		grown += len(r.Value)
		if i := slices.IndexFunc(stored, func(s Record) bool { return s.Key == r.Key }); i >= 0 {
			grown -= len(stored[i].Value)
		}
	}
	most := maxMetadataTotal
	if guest {
		most = maxMetadataGuests
	}
	if grown > 0 && before+grown > most {
		return errMetadata
	}
	return nil
}

// copyMetadata gives a mailbox the metadata of another.
func (c *change) copyMetadata(ctx context.Context, from, to mail.MailboxID) error {
	prefix := metadataOf(c.a.id, from)
	records, err := c.a.store.engine.Records(ctx, metadataKind, prefix)
	if err != nil || len(records) == 0 {
		return err
	}
	for _, r := range records {
		c.batch.Records = append(c.batch.Records, Record{
			Kind: metadataKind, Key: metadataOf(c.a.id, to) + strings.TrimPrefix(r.Key, prefix), Value: r.Value,
		})
	}
	return c.boundMetadata(ctx, false)
}

// appendMetadata is the value of a record.
func appendMetadata(dst []byte, list []MetadataEntry) []byte {
	for _, e := range list {
		dst = append(binary.AppendUvarint(dst, uint64(len(e.Name))), e.Name...)
		dst = append(binary.AppendUvarint(dst, uint64(len(e.Value))), e.Value...)
	}
	return dst
}

// readMetadata gives the entries of a record. Their values share its bytes.
func readMetadata(r Record) ([]MetadataEntry, error) {
	b, bad := r.Value, false
	next := func() []byte {
		n, size := binary.Uvarint(b)
		if bad = bad || size <= 0 || n > uint64(len(b)-size); bad {
			return nil
		}
		part := b[size : size+int(n) : size+int(n)]
		b = b[size+int(n):]
		return part
	}
	var list []MetadataEntry
	for len(b) > 0 && !bad {
		name := string(next())
		value := next()
		bad = bad || len(list) > 0 && list[len(list)-1].Name >= name
		list = append(list, MetadataEntry{name, value})
	}
	if bad {
		return nil, mail.Errorf(mail.KindCorrupt, "the metadata %s are damaged in the store", r.Key)
	}
	return list, nil
}
