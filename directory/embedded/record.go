package embedded

import (
	"encoding/json"
	"time"

	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/sasl"
	"github.com/postern-mail/postern/store"
)

// Names and aliases are keys of one kind of record, so that the store itself keeps
// them unique, also when several servers write at once: a name's record has the
// account, an alias's record has the name.
const (
	// RecordKind is the kind of the records that Refresh reads.
	RecordKind = "account"

	secretKind = "directory-secret"
	secretKey  = "scram"
)

// value is a record's JSON. Exactly one of Alias and Account is set.
type value struct {
	Alias   string   `json:"alias,omitempty"` // of this name
	Account *account `json:"account,omitempty"`
}

// account is an entry as it is stored.
type account struct {
	ID          mail.AccountID `json:"id"`
	Aliases     []string       `json:"aliases,omitempty"`
	DisplayName string         `json:"displayName,omitempty"`
	Enabled     bool           `json:"enabled"`
	Pop         bool           `json:"pop"`
	Imap        bool           `json:"imap"`
	Created     time.Time      `json:"created"`
	Changed     time.Time      `json:"passwordChanged,omitzero"`
	Reset       bool           `json:"resetPassword,omitempty"`
	Password    string         `json:"password,omitempty"` // PHC
	Scram       []scramKeys    `json:"scram,omitempty"`
	Legacy      []string       `json:"legacyMechanisms,omitempty"`
	Disabled    []string       `json:"disabledCapabilities,omitempty"`
	Referral    string         `json:"imapReferral,omitempty"`
	Sealed      []byte         `json:"sealedPassword,omitempty"` // sealed with Options.Key
}

type scramKeys struct {
	Hash       directory.Hash `json:"hash"`
	Salt       []byte         `json:"salt"`
	Iterations int            `json:"iterations"`
	StoredKey  []byte         `json:"storedKey"`
	ServerKey  []byte         `json:"serverKey"`
}

// held is an account in memory. It is never changed, only replaced.
type held struct {
	account
	name     string
	revision uint64
}

func (h *held) entry() *directory.Entry {
	return &directory.Entry{
		Name: h.name, Aliases: append([]string(nil), h.Aliases...), Account: h.ID,
		DisplayName: h.DisplayName, Enabled: h.Enabled, PopEnabled: h.Pop, ImapEnabled: h.Imap,
		LegacyMechanisms: append([]string(nil), h.Legacy...), ReadablePassword: len(h.Sealed) > 0,
		DisabledCapabilities: append([]string(nil), h.Disabled...), ImapReferralURL: h.Referral,
		ResetPassword: h.Reset, Created: h.Created, PasswordChanged: h.Changed,
	}
}

// with gives the account with what Change may change.
func (h *held) with(e directory.Entry) account {
	a := h.account
	a.Aliases = append([]string(nil), e.Aliases...)
	a.DisplayName, a.Enabled, a.Pop, a.Imap, a.Reset = e.DisplayName, e.Enabled, e.PopEnabled, e.ImapEnabled, e.ResetPassword
	a.Legacy = append([]string(nil), e.LegacyMechanisms...)
	a.Disabled, a.Referral = append([]string(nil), e.DisabledCapabilities...), e.ImapReferralURL
	if !sasl.NeedReadable(a.Legacy) {
		a.Sealed = nil
	}
	return a
}

func encode(kind, key string, revision uint64, v value) (store.Record, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return store.Record{}, mail.Wrap(mail.KindServerBug, err)
	}
	return store.Record{Kind: kind, Key: key, Value: b, Revision: revision}, nil
}

func decode(r store.Record) (value, error) {
	var v value
	if err := json.Unmarshal(r.Value, &v); err != nil || (v.Account == nil) == (v.Alias == "") {
		return value{}, &mail.Error{Kind: mail.KindCorrupt, Text: "A stored account cannot be read.", Cause: err}
	}
	return v, nil
}
