package clients

import (
	"strconv"
	"testing"

	"github.com/postern-mail/postern/test/server"
)

// TestCompress speaks compressed: zlib itself with each kind of flush, and
// Mail::IMAPClient. mbsync compresses wherever it can; see TestMbsync.
func TestCompress(t *testing.T) {
	s := serve(t, 3)
	port, err := strconv.Atoi(server.Port(s.IMAPS))
	if err != nil {
		t.Fatal(err)
	}
	for _, flush := range []string{"Z_SYNC_FLUSH", "Z_FULL_FLUSH", "Z_PARTIAL_FLUSH"} {
		t.Run(flush, func(t *testing.T) {
			out, code := script(t, "compress.py", map[string]any{
				"port": port, "ca": s.Certificate, "user": alice.Name, "password": alice.Password, "flush": flush,
			})
			if code != 0 {
				t.Errorf("exit code %d\n%s", code, out)
			}
		})
	}
	t.Run("Mail::IMAPClient", func(t *testing.T) {
		s.SetLoginType("PlainTextLogin")
		out, code := server.Run(t, limit, "testdata", nil, "", server.Program(t, "perl", "libmail-imapclient-perl"),
			"compress.pl", server.Port(s.IMAP), alice.Name, alice.Password)
		if code != 0 {
			t.Errorf("exit code %d\n%s", code, out)
		}
	})
}
