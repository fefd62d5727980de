package demo

import (
	"bytes"
	"testing"
	"time"

	"github.com/postern-mail/postern/message"
)

func TestMail(t *testing.T) {
	got := Mail("alice@demo.example", "Alice", time.Now())
	if len(got) < 36 {
		t.Fatal(len(got), "messages are not some dozens")
	}
	ids := map[string]bool{}
	for i, m := range got {
		p := message.Parse(m.Raw, message.DefaultLimits)
		if err := p.Summary().Valid(); err != nil {
			t.Error(i, err)
		}
		if p.MessageID() == "" || ids[p.MessageID()] {
			t.Errorf("message %d: Message-ID %q", i, p.MessageID())
		}
		ids[p.MessageID()] = true
		if bytes.Count(m.Raw, []byte("\n")) != bytes.Count(m.Raw, []byte("\r\n")) {
			t.Error(i, "has bare line feeds")
		}
		if n := bytes.Count(m.Raw[:bytes.Index(m.Raw, []byte("\r\n\r\n"))], []byte("\r\nTo: ")); n != 1 {
			t.Errorf("message %d has %d To fields\n%s", i, n, m.Raw)
		}
	}
}
