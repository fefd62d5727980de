package language

import (
	"errors"
	"testing"
	"testing/fstest"

	"github.com/postern-mail/postern/mail"
)

func TestWords(t *testing.T) {
	w := Read(fstest.MapFS{"words/de.json": {Data: []byte(`{"Hello.":"Hallo.","%d of %s":"%d von %s"}`)}}, "de")
	for got, want := range map[string]string{
		w.Say("Hello."): "Hallo.", w.Say("%d of %s", 2, "x"): "2 von x", w.Say("Other."): "Other.", Words(nil).Say("%d of %s", 2, "x"): "2 of x",
		w.SayError(mail.Errorf(mail.KindLimit, "%d of %s", 3, "y")): "3 von y", Words(nil).SayError(mail.Errorf(mail.KindLimit, "Hello.")): "Hello.",
		w.SayError(errors.New("a cause")): w.Say(mail.KindServerBug.Answer().Text),
	} {
		if got != want {
			t.Errorf("says %q and not %q", got, want)
		}
	}
}

func TestMatch(t *testing.T) {
	for wanted, tag := range map[string]string{"de": "de", "DE-AT": "de", "de-x-y": "de", "deu": "", "": "", "-": "", "x-de": "", "*": "*"} {
		if got := Match(wanted, "*", "en", "de"); got != tag {
			t.Errorf("%q: %q, want %q", wanted, got, tag)
		}
	}
}
