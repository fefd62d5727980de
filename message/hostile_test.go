package message

import (
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/test/stopwatch"
)

// TestHostileFields: fields that were made to be read again and again, or by calls within
// calls until the stack is full, are read once.
func TestHostileFields(t *testing.T) {
	const n = 9 << 20
	stopwatch.Within(t, 15*time.Second, "fields that were made to be slow", func() {
		raw := []byte("From: a@b " + strings.Repeat("<c@d>", n/5) + "\r\n\r\nx")
		if got := string(Parse(raw, DefaultLimits).Summary().Envelope()); !strings.Contains(got, `(("a@b" NIL "c" "d"))`) {
			t.Errorf("%.200s", got)
		}
		for name, header := range map[string]string{
			"quotes that do not end":    "References: <\"" + strings.Repeat("<a\\\"", n/4) + "\r\n",
			"some within":               "References: " + strings.Repeat("<a\\\" <a@b>", n/10) + "\r\n",
			"a Message-ID without end":  "Message-ID: " + strings.Repeat("<\\\"", n/3) + "\r\n",
			"an In-Reply-To without it": "In-Reply-To: " + strings.Repeat("<\\\"", n/3) + "\r\n",
		} {
			if got := AppendSortField(nil, SortReferences, []byte(header)); len(got) > 8*(MaxReferences+1) {
				t.Errorf("%s: %d bytes", name, len(got))
			}
		}
		if _, err := RecodeHeader([]byte("Subject: "+strings.Repeat("x=?utf-8?q?=C3=A9?=", 1<<20/19)+"\r\n"), "iso-8859-1", "?"); err != nil {
			t.Error(err)
		}
	})
}
