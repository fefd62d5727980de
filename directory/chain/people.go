package chain

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
)

// RecordKind is the kind of the records that Refresh reads: the key is directory and identifier, so
// that the store itself gives each person one account, also when several servers
// write at once.
const RecordKind = "directory-person"

// record is what Postern keeps of a person of an external directory.
type record struct {
	directory, id string // the key
	revision      uint64

	Account mail.AccountID `json:"account"`
	Created time.Time      `json:"created"`

	// What the directory said last.
	Name        string   `json:"name,omitempty"` // "" once somebody else has it
	Aliases     []string `json:"aliases,omitempty"`
	DisplayName string   `json:"displayName,omitempty"`
	HomeServer  string   `json:"homeServer,omitempty"`
	QuotaBytes  *int64   `json:"quotaBytes,omitempty"`
	Messages    *int64   `json:"quotaMessages,omitempty"`
	Groups      []string `json:"groups,omitempty"`

	// What administrators set here; nil follows the directory.
	Off  bool  `json:"off,omitempty"` // no sign-in and no mail, whatever the directory says
	Pop  *bool `json:"pop,omitempty"`
	Imap *bool `json:"imap,omitempty"`
	// Legacy are the legacy mechanisms that are switched on.
	Legacy   []string `json:"legacyMechanisms,omitempty"`
	Disabled []string `json:"disabledCapabilities,omitempty"`
	Referral string   `json:"imapReferral,omitempty"`
}

func keyOf(dir, id string) string { return dir + "/" + id }

func (r *record) key() string { return keyOf(r.directory, r.id) }

func (r *record) encode() (store.Record, error) {
	b, err := json.Marshal(r)
	return store.Record{Kind: RecordKind, Key: r.key(), Value: b, Revision: r.revision}, mail.Wrap(mail.KindServerBug, err)
}

func decode(s store.Record) (*record, error) {
	r := &record{revision: s.Revision}
	var ok bool
	r.directory, r.id, ok = strings.Cut(s.Key, "/")
	if err := json.Unmarshal(s.Value, r); err != nil || !ok || r.Account == 0 {
		return nil, &mail.Error{Kind: mail.KindCorrupt, Text: "A stored person of a directory cannot be read.", Cause: err}
	}
	return r, nil
}

// display is the name by which the mailbox is known: of somebody whose name another
// one has now, what tells them apart.
func (r *record) display() string {
	if r.Name != "" {
		return r.Name
	}
	name, err := directory.PrepareName(r.id + "@" + r.directory)
	if err != nil {
		return r.Account.String() + "@" + r.directory
	}
	return name
}

// entry is the entry as the record knows it.
func (r *record) entry() directory.Entry {
	e := directory.Entry{
		Name: r.display(), Aliases: slices.Clone(r.Aliases), Account: r.Account, Directory: r.directory, ID: r.id, HomeServer: r.HomeServer,
		QuotaBytes: r.QuotaBytes, QuotaMessages: r.Messages, Groups: groupsIn(r.directory, r.Groups),
		DisplayName: r.DisplayName, Enabled: !r.Off, PopEnabled: true, ImapEnabled: true, Created: r.Created,
	}
	r.override(&e)
	return e
}

// override puts what administrators set over what the directory says: it can switch
// an account off, but not on.
func (r *record) override(e *directory.Entry) {
	if r.Off {
		e.Enabled = false
	}
	if r.Pop != nil {
		e.PopEnabled = *r.Pop
	}
	if r.Imap != nil {
		e.ImapEnabled = *r.Imap
	}
	e.LegacyMechanisms = slices.Clone(r.Legacy)
	e.DisabledCapabilities, e.ImapReferralURL = slices.Clone(r.Disabled), r.Referral
}

// people are the records in memory, written through. A record is never changed, only
// replaced.
type people struct {
	records Records
	writing sync.Mutex // one change at a time

	mu        sync.RWMutex
	byKey     map[string]*record
	byName    map[string][]*record // by name, alias and display
	byAccount map[mail.AccountID]*record
}

func (p *people) refresh(ctx context.Context) error {
	p.writing.Lock()
	defer p.writing.Unlock()
	return p.reread(ctx)
}

func (p *people) reread(ctx context.Context) error {
	stored, err := p.records.Records(ctx, RecordKind, "")
	if err != nil {
		return mail.Wrap(mail.KindUnavailable, err)
	}
	byKey, byName, byAccount := map[string]*record{}, map[string][]*record{}, map[mail.AccountID]*record{}
	for _, s := range stored {
		r, err := decode(s)
		if err != nil {
			return err
		}
		byKey[s.Key] = r
		byAccount[r.Account] = r
		for _, name := range r.names() {
			byName[name] = append(byName[name], r)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.byKey, p.byName, p.byAccount = byKey, byName, byAccount
	return nil
}

func (r *record) names() []string { return append([]string{r.display()}, r.Aliases...) }

func (p *people) get(dir, id string) *record {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.byKey[keyOf(dir, id)]
}

// named gives who had a name last in a directory, in any when dir is "": nil for
// nobody. A name goes before an alias.
func (p *people) named(dir, name string) *record {
	p.mu.RLock()
	defer p.mu.RUnlock()
	var found *record
	for _, r := range p.byName[name] {
		if (dir == "" || r.directory == dir) && (found == nil || r.display() == name) {
			found = r
		}
	}
	return found
}

// holding gives who of a directory has a name, an alias apart, but for the person id; nil
// for nobody.
func (p *people) holding(dir, name, id string) *record {
	p.mu.RLock()
	defer p.mu.RUnlock()
	for _, r := range p.byName[name] {
		if r.directory == dir && r.id != id && r.Name == name {
			return r
		}
	}
	return nil
}

// all gives all records.
func (p *people) all() []*record {
	p.mu.RLock()
	defer p.mu.RUnlock()
	list := make([]*record, 0, len(p.byKey))
	for _, r := range p.byKey {
		list = append(list, r)
	}
	return list
}

// apply brings memory to what was written; is is nil for a removed record.
func (p *people) apply(was, is *record) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if was != nil {
		delete(p.byKey, was.key())
		delete(p.byAccount, was.Account)
		for _, name := range was.names() {
			left := slices.DeleteFunc(slices.Clone(p.byName[name]), func(r *record) bool { return r == was })
			if len(left) == 0 {
				delete(p.byName, name)
			} else {
				p.byName[name] = left
			}
		}
	}
	if is != nil {
		p.byKey[is.key()] = is
		p.byAccount[is.Account] = is
		for _, name := range is.names() {
			p.byName[name] = append(p.byName[name], is)
		}
	}
}

// tries bounds how often a change is computed again because another server was
// faster.
const tries = 10

// change writes the record that compute makes of the present one, which is nil when
// there is none; compute gives nil to remove it, or the very record to leave it. It
// is run again after a conflict.
func (p *people) change(ctx context.Context, dir, id string, compute func(r *record) (*record, error)) (*record, error) {
	p.writing.Lock()
	defer p.writing.Unlock()
	for range tries {
		was := p.get(dir, id)
		is, err := compute(was)
		if err != nil || is == was {
			return is, err
		}
		var s store.Record
		if is == nil {
			s = store.Record{Kind: RecordKind, Key: was.key(), Revision: was.revision}
		} else if s, err = is.encode(); err != nil {
			return nil, err
		}
		err = p.records.PutRecords(ctx, []store.Record{s})
		if err == nil {
			if is != nil {
				is.revision++
			}
			p.apply(was, is)
			return is, nil
		}
		if mail.KindOf(err) != mail.KindConflict {
			return nil, mail.Wrap(mail.KindUnavailable, err)
		}
		if err := p.reread(ctx); err != nil {
			return nil, err
		}
	}
	return nil, mail.Errorf(mail.KindConflict, "Somebody else keeps changing the entry; try again.")
}
