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

// MetadataEntry is a named text.
type MetadataEntry struct {
	Name  string
	Value []byte // nil: there is none
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
// ascending by name. "" is the account as such: the owner's alone, private only.
// KindNotFound, KindNoPermission.
func (v Visit) Metadata(ctx context.Context, mailbox string, shared bool) ([]MetadataEntry, error) {
	a := v.account
	a.mu.Lock()
	list, err := func() ([]MetadataEntry, error) {
		if a.removed {
			return nil, mail.Errorf(mail.KindNotFound, "The account was removed.")
		}
		var id mail.MailboxID
		if mailbox != "" {
			b, err := a.find(mailbox)
			if err != nil {
				return nil, v.shown(err)
			}
			if err := v.mayMetadata(&b.record, false); err != nil {
				return nil, err
			}
			id = b.id
		} else if shared || v.guest != nil {
			return nil, nil
		}
		return a.metadata(ctx, v.metadataKey(id, shared))
	}()
	if err != nil {
		a.mu.Unlock()
		return nil, err
	}
	return list, a.settle()
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
// visitor. "" is as of Metadata. KindTooBig for a Value above MaxMetadataValue, KindLimit
// when there are too many, KindNotFound, KindNoPermission.
func (v Visit) SetMetadata(ctx context.Context, mailbox string, shared, private []MetadataEntry) error {
	for _, e := range slices.Concat(shared, private) {
		if len(e.Value) > MaxMetadataValue {
			return mail.Errorf(mail.KindTooBig, "A value has at most %d bytes.", MaxMetadataValue)
		}
		if len(e.Name) > MaxMetadataName {
			return mail.Errorf(mail.KindBadArgument, "The name of an entry has at most %d bytes.", MaxMetadataName)
		}
	}
	_, err := v.account.change(ctx, func(c *change) error {
		var id mail.MailboxID
		if mailbox != "" {
			bc, err := c.named(mailbox)
			if err != nil {
				return err
			}
			if err := v.mayMetadata(&bc.record, len(shared) > 0); err != nil {
				return err
			}
			id = bc.record.ID
		} else if len(shared) > 0 || v.guest != nil {
			return mail.Errorf(mail.KindNoPermission, "Shared entries of the server cannot be changed here.")
		}
		if err := c.edit(ctx, v.metadataKey(id, true), shared); err != nil {
			return err
		}
		if err := c.edit(ctx, v.metadataKey(id, false), private); err != nil {
			return err
		}
		return c.boundMetadata(ctx, v.guest != nil)
	})
	return v.shown(err)
}

// edit changes the entries of one record.
func (c *change) edit(ctx context.Context, key string, changes []MetadataEntry) error {
	if len(changes) == 0 {
		return nil
	}
	list, err := c.a.metadata(ctx, key)
	if err != nil {
		return err
	}
	changed := false
	for _, e := range changes {
		i, there := slices.BinarySearchFunc(list, e.Name, func(x MetadataEntry, name string) int { return strings.Compare(x.Name, name) })
		switch {
		case e.Value == nil && !there:
			continue
		case e.Value == nil:
			list = slices.Delete(list, i, i+1)
		case there:
			list[i].Value = e.Value
		default:
			list = slices.Insert(list, i, e)
		}
		changed = true
	}
	if !changed {
		return nil
	}
	r := Record{Kind: metadataKind, Key: key}
	if len(list) > 0 {
		r.Value = appendMetadata([]byte{}, list)
	}
	if len(list) > maxMetadataEntries || len(r.Value) > maxMetadataBytes {
		return errMetadata
	}
	c.batch.Records = append(c.batch.Records, r)
	return nil
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
