package imap

import (
	"testing"

	"github.com/postern-mail/postern/imap/wire"
)

// FuzzFilter reads texts of filters, as they are checked and as they are searched for.
func FuzzFilter(f *testing.F) {
	for _, seed := range []string{
		"SEEN", `OR SMALLER 5000 FROM "boss@example.com"`, "(SUBJECT {1}\r\nx)", "FILTER other NOT FILTER other", "OR FILTER a", "FROM {100}", "SEEN\r\nSEEN",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		keys, err := new(searchReader).readFilter(text, wire.LimitsAfterLogin(), nil)
		if err == nil && len(keys) == 0 {
			t.Error("no fault and no key")
		}
		named := &filters{values: map[string]string{"self": text, "other": "SEEN DRAFT"}, s: &session{}}
		q, _, err := readSearch(decoderOf(t, " OR FILTER self FILTER other UNSEEN\r\n"), named)
		if err == nil && q.key == nil {
			t.Error("no fault and no key")
		}
	})
}
