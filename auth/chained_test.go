package auth

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/krb5"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/settings"
)

// outside is a directory whose people are others', with accounts that are made when
// they are needed.
type outside struct {
	directory.Directory
	asked, provided int
	err             error
}

func (o *outside) CheckPassword(_ context.Context, name, password string) (*directory.Entry, error) {
	o.asked++
	if password != "right" {
		return nil, &mail.Error{Kind: mail.KindAuthenticationFailed, Cause: errors.New("locked out")}
	}
	return o.Lookup(context.Background(), name)
}

func (o *outside) Lookup(_ context.Context, name string) (*directory.Entry, error) {
	return &directory.Entry{Name: name, Directory: "company", ID: "1", Enabled: name != "off", PopEnabled: true, ImapEnabled: true}, nil
}

func (o *outside) ScramKeys(context.Context, string, directory.Hash) (*directory.Entry, directory.ScramKeys, error) {
	return nil, directory.ScramKeys{}, mail.Errorf(mail.KindNotFound, "")
}

func (o *outside) Provide(_ context.Context, e *directory.Entry) (*directory.Entry, error) {
	if o.err != nil {
		return nil, o.err
	}
	o.provided++
	next := *e
	next.Account = 7
	return &next, nil
}

func (o *outside) CheckToken(context.Context, string, string) (*directory.Entry, time.Time, error) {
	return nil, time.Time{}, mail.Errorf(mail.KindAuthenticationFailed, "")
}

func (o *outside) Proved(context.Context, string, *directory.Person) (*directory.Entry, error) {
	return nil, mail.Errorf(mail.KindAuthenticationFailed, "")
}

func (o *outside) Issuer(string) (string, string) { return "", "" }

func (o *outside) HasKeys() bool { return false }

func (o *outside) HasTokens() bool { return false }

func (o *outside) CheckTicket(context.Context, string, []byte) (*directory.Entry, *krb5.Context, error) {
	return nil, nil, mail.Errorf(mail.KindAuthenticationFailed, "")
}

func (o *outside) HasTickets(string) bool { return false }

var _ directory.Chained = (*outside)(nil)

func (o *outside) Asked(context.Context, string) []directory.Answer {
	return []directory.Answer{{Directory: "company", Text: "The directory company knows the name."}}
}

func TestOutside(t *testing.T) {
	o := &outside{}
	a := New(Options{Directory: o, Limits: Limits{FirstDelay: -1}})
	c := Imagined(settings.Defaults(settings.IMAP4, "localhost"), true)
	if offered := strings.Join(a.Offered(c), " "); offered != "PLAIN LOGIN" {
		t.Errorf("offered where nobody has keys: %s", offered)
	}
	if _, err := a.Begin(t.Context(), c, "SCRAM-SHA-256"); err == nil || mail.KindOf(err) != mail.KindCannot {
		t.Errorf("SCRAM where nobody has keys: %v", err)
	}
	for i := range 2 {
		id, err := a.Password(t.Context(), c, "anna", "right")
		if err != nil || id.Entry.Account != 7 {
			t.Fatalf("%+v, %v", id, err)
		}
		// Nothing says when this password changes, so nothing is remembered of it.
		if o.asked != i+1 {
			t.Errorf("the directory was asked %d times in %d sign-ins", o.asked, i+1)
		}
	}
	made := o.provided
	for name, kind := range map[string]mail.Kind{"anna": mail.KindAuthenticationFailed, "off": mail.KindDisabled} {
		password := "right"
		if name == "anna" {
			password = "wrong"
		}
		_, err := a.Password(t.Context(), c, name, password)
		if err == nil || mail.KindOf(err) != kind || strings.Contains(mail.TextOf(err), "locked") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if o.provided != made {
		t.Error("who does not get in got a mailbox")
	}
	o.err = mail.Errorf(mail.KindUnavailable, "")
	if _, err := a.Password(t.Context(), c, "anna", "right"); err == nil || mail.KindOf(err) != mail.KindUnavailable {
		t.Errorf("no mailbox can be made: %v", err)
	}
	var said []string
	for _, s := range a.Explain(t.Context(), c, "anna") {
		said = append(said, s.Detail)
	}
	for _, want := range []string{"The directory company knows the name.", "The directory company checks it."} {
		if !strings.Contains(strings.Join(said, "\n"), want) {
			t.Errorf("Explain does not say %q", want)
		}
	}
}
