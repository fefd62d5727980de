package manage

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/postern-mail/postern/mail"
)

// TestFileParameter: a file's content comes as text or in base64, bounded, and the
// audit record has its digest only.
func TestFileParameter(t *testing.T) {
	p := &Parameter{Name: "Path", Type: TypeFile}
	big, _ := json.Marshal(FileContent{bytes.Repeat([]byte{0}, MaxFile+1)})
	full, _ := json.Marshal(FileContent{bytes.Repeat([]byte{0}, MaxFile)})
	for _, c := range []struct {
		raw, want string
		kind      mail.Kind
	}{
		{`"-----BEGIN\nx"`, "-----BEGIN\nx", 0},
		{`{"base64":"AAEC"}`, "\x00\x01\x02", 0},
		{string(full), strings.Repeat("\x00", MaxFile), 0},
		{string(big), "", mail.KindTooBig},
		{`""`, "", mail.KindBadArgument},
		{`{}`, "", mail.KindBadArgument},
		{`{"base64":"??"}`, "", mail.KindBadArgument},
		{`{"path":"/etc/shadow"}`, "", mail.KindBadArgument},
		{`7`, "", mail.KindBadArgument},
		{`["a"]`, "", mail.KindBadArgument},
	} {
		got, err := p.read(json.RawMessage(c.raw))
		if c.kind != 0 {
			if mail.KindOf(err) != c.kind {
				t.Errorf("%.40s: %v", c.raw, err)
			}
			continue
		}
		if err != nil || string(got.([]byte)) != c.want {
			t.Errorf("%.40s: %.40q, %v", c.raw, got, err)
		}
	}
	if text := argumentText([]byte("secret key")); strings.Contains(text, "secret") || !strings.HasPrefix(text, "10 bytes, SHA-256 ") {
		t.Error(text)
	}
}
