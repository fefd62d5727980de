package acme

import (
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"

	"github.com/mholt/acmez/v3"
	rfc8555 "github.com/mholt/acmez/v3/acme"

	"github.com/postern-mail/postern/certificate"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
)

// Records keeps accounts; all servers of a store share them. store.Store does.
type Records interface {
	Records(ctx context.Context, kind, prefix string) ([]store.Record, error)
	PutRecords(ctx context.Context, records []store.Record) error
}

// recordKind is the kind of the records of accounts.
const recordKind = "acme"

// account is what is kept of an account at an ACME server.
type account struct {
	Directory string `json:"directory"`
	Email     string `json:"email,omitempty"`
	Key       []byte `json:"key"`                // PKCS#8
	Location  string `json:"location,omitempty"` // URL; "" before it is registered
}

func accountKey(directory, email string) string {
	sum := sha256.Sum256([]byte(directory + "\n" + email))
	return "account/" + hex.EncodeToString(sum[:])
}

// account gives the registered account for the directory and address, which it
// registers when there is none. again registers one anew that the server has
// forgotten. The key is kept before the server hears of it, so that it is never lost.
func (c *Client) account(ctx context.Context, client *acmez.Client, email string, again bool) (rfc8555.Account, error) {
	name := accountKey(client.Directory, email)
	kept, revision, err := c.keptAccount(ctx, name)
	if err != nil {
		return rfc8555.Account{}, err
	}
	if kept == nil {
		key, err := certificate.NewKey(certificate.ECDSA, 0)
		if err != nil {
			return rfc8555.Account{}, err
		}
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			return rfc8555.Account{}, mail.Wrap(mail.KindServerBug, err)
		}
		kept = &account{Directory: client.Directory, Email: email, Key: der}
		if err := c.keepAccount(ctx, name, kept, revision); err != nil {
			return rfc8555.Account{}, err
		}
		revision++
	}
	parsed, err := x509.ParsePKCS8PrivateKey(kept.Key)
	key, ok := parsed.(crypto.Signer)
	if err != nil || !ok {
		return rfc8555.Account{}, &mail.Error{Kind: mail.KindCorrupt, Text: "the key of the account at the ACME server cannot be read", Cause: err}
	}
	a := rfc8555.Account{Status: rfc8555.StatusValid, TermsOfServiceAgreed: true, PrivateKey: key, Location: kept.Location}
	if email != "" {
		a.Contact = []string{"mailto:" + email}
	}
	if kept.Location != "" && !again {
		return a, nil
	}
	a.Location = ""
	if a, err = client.NewAccount(ctx, a); err != nil {
		return a, c.refusal(client.Directory, err)
	}
	kept.Location = a.Location
	if err := c.keepAccount(ctx, name, kept, revision); err != nil && mail.KindOf(err) != mail.KindConflict {
		return a, err // a conflict: another server has just registered the same key
	}
	return a, nil
}

func (c *Client) keptAccount(ctx context.Context, name string) (*account, uint64, error) {
	records, err := c.Records.Records(ctx, recordKind, name)
	if err != nil {
		return nil, 0, err
	}
	for _, r := range records {
		if r.Key != name {
			continue
		}
		var a account
		if err := json.Unmarshal(r.Value, &a); err != nil {
			return nil, 0, &mail.Error{Kind: mail.KindCorrupt, Text: "the account at the ACME server cannot be read", Cause: err}
		}
		return &a, r.Revision, nil
	}
	return nil, 0, nil
}

func (c *Client) keepAccount(ctx context.Context, name string, a *account, revision uint64) error {
	value, err := json.Marshal(a)
	if err != nil {
		return mail.Wrap(mail.KindServerBug, err)
	}
	return c.Records.PutRecords(ctx, []store.Record{{Kind: recordKind, Key: name, Value: value, Revision: revision}})
}

// forgotten tells whether the ACME server does not know our account any more.
func forgotten(err error) bool {
	var problem rfc8555.Problem
	return errors.As(err, &problem) && problem.Type == rfc8555.ProblemTypeAccountDoesNotExist
}
