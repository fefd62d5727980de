package message

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"
)

func TestSurrogate(t *testing.T) {
	for _, c := range []struct{ name, message, want string }{
		{"plain", "Subject: x\n\nGrüße", ""},
		{"old 8-bit mail", "Subject: Gr\xfc\xdfe\r\nFrom: a@b\r\n\r\n", ""},
		{"subject", "From: a@b\r\nSubject: Grüße =?utf-8?q?=C3=A4?=\r\n\r\nGrüße\r\n", "From: a@b\r\nSubject: =?utf-8?b?R3LDvMOfZSDDpA==?=\r\n\r\nGrüße\r\n"},
		{"only what is UTF-8", "Subject: Grüße\r\nX-Old: Gr\xfc\r\nX-New: ü\r\n\r\n", "Subject: =?utf-8?b?R3LDvMOfZQ==?=\r\nX-Old: Gr\xfc\r\n\r\n"},
		{"names", "From: Jürgen <j@example.org>,\r\n \"Doe, J.\" <d@example.org>, k@example.org (ü)\r\n\r\n",
			"From: =?utf-8?b?SsO8cmdlbg==?= <j@example.org>,\r\n \"Doe, J.\" <d@example.org>,\r\n =?utf-8?b?w7w=?= <k@example.org>\r\n\r\n"},
		{"addresses", "To: Fred <früd@example.org>, plain@example.org, =?utf-8?q?=C3=A4?= <a@exämple.org>, ü@example.org\r\n\r\n",
			"To: =?utf-8?b?RnJlZCA8ZnLDvGRAZXhhbXBsZS5vcmc+?= " + nobody + ",\r\n plain@example.org,\r\n =?utf-8?b?w6QgPGFAZXjDpG1wbGUub3JnPg==?= " + nobody + ",\r\n =?utf-8?b?w7xAZXhhbXBsZS5vcmc=?= " + nobody + "\r\n\r\n"},
		{"a group", "Cc: Fründe: a@b, c@d;, e@f\r\n\r\n", "Cc: =?utf-8?b?RnLDvG5kZQ==?=: a@b,\r\n c@d;,\r\n e@f\r\n\r\n"},
		{"no line of its own", "From: =?utf-8?b?w7wNClgtRXZpbDogMQ==?= ü <a@b>\r\n\r\n", "From: =?utf-8?b?w7wgIFgtRXZpbDogMSDDvA==?= <a@b>\r\n\r\n"},
		{"quoted", "From: \"a\\\"b ü\" <a@b>, \"x (y)\" <\"a b\"@c>\r\n\r\n", "From: =?utf-8?b?YSJiIMO8?= <a@b>,\r\n \"x (y)\" <\"a b\"@c>\r\n\r\n"},
		{"parameters", "Content-Type: application/pdf; name=\"Grüße.pdf\"; x=1\r\nContent-Disposition: attachment; filename=ü; filename*=utf-8''%C3%BC\r\n\r\n",
			"Content-Type: application/pdf;\r\n name*=utf-8''Gr%C3%BC%C3%9Fe.pdf;\r\n x=\"1\"\r\nContent-Disposition: attachment;\r\n filename*=utf-8''%C3%BC\r\n\r\n"},
		{"parts", "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Description: ü\r\n\r\nü\r\n--b\r\nContent-Type: message/global\r\n\r\nSubject: ü\r\n\r\nü\r\n--b--\r\n",
			"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Description: =?utf-8?b?w7w=?=\r\n\r\nü\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: =?utf-8?b?w7w=?=\r\n\r\nü\r\n--b--\r\n"},
		{"signed", "Subject: ü\r\nContent-Type: multipart/signed; boundary=b\r\n\r\n--b\r\nContent-Description: ü\r\n\r\nü\r\n--b--\r\n",
			"Subject: =?utf-8?b?w7w=?=\r\nContent-Type: multipart/signed; boundary=b\r\n\r\n--b\r\nContent-Description: ü\r\n\r\nü\r\n--b--\r\n"},
		{"an encoded message/global", "Content-Type: message/global\r\nContent-Transfer-Encoding: base64\r\n\r\nw7w=\r\n", ""},
		{"no field", "Subject: x\r\nü is no field\r\nFrom: a@b\r\n\r\n", "Subject: x\r\nFrom: a@b\r\n\r\n"},
		{"nothing is left", "From: ,ü\r\nContent-Type: ü/x\r\n\r\n", "From: =?utf-8?b?w7w=?= " + nobody + "\r\n\r\n"},
	} {
		m := Parse([]byte(c.message), DefaultLimits)
		got := m.Surrogate()
		if string(got) != c.want {
			t.Errorf("%s: gives\n%q and not\n%q", c.name, got, c.want)
		}
		if is := m.Summary().Internationalized(); is != (c.want != "") {
			t.Errorf("%s: the summary says %v", c.name, is)
		}
	}
}

// TestOldSummary: a summary from before the flags goes by what it has of the header.
func TestOldSummary(t *testing.T) {
	for text, want := range map[string]bool{
		"Subject: x\r\nX-Note: ü\r\n\r\nü": false, "Subject: Grüße\r\n\r\n": true, "Subject: Gr\xfc\r\n\r\n": false, "List-Id: ü\r\n\r\n": Kept("List-Id"),
		"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: x/y; name=ü\r\n\r\n--b--\r\n": true,
	} {
		s := Parse([]byte(text), DefaultLimits).Summary()
		flags := binary.LittleEndian.Uint16(s[2:]) &^ (flagLooked | flagInternationalized | flagGlobal)
		binary.LittleEndian.PutUint16(s[2:], flags)
		binary.LittleEndian.PutUint32(s[4:], checksum(s))
		if err := s.Valid(); err != nil || s.Internationalized() != want || s.HasGlobal() {
			t.Errorf("%q: %v, %v", text, s.Internationalized(), err)
		}
	}
}

// TestManyAddresses: a header full of addresses does not fill the memory.
func TestManyAddresses(t *testing.T) {
	for _, text := range []string{
		"To: " + strings.Repeat("ü,", 2<<20) + "\r\nSubject: x\r\n\r\nbody",
		strings.Repeat("To: "+strings.Repeat("ü,", 1000)+"\r\n", 1500) + "Subject: x\r\n\r\nbody",
	} {
		m := Parse([]byte(text), DefaultLimits)
		s := m.Surrogate()
		if len(s) > 3*len(text)+2<<20 || !bytes.HasSuffix(s, []byte("\r\nSubject: x\r\n\r\nbody")) {
			t.Errorf("%d bytes become %d, which end %q", len(text), len(s), s[len(s)-40:])
		}
	}
}

// TestLongSubject: encoded words are no longer than RFC 2047, 2 permits, and say the
// same.
func TestLongSubject(t *testing.T) {
	text := strings.Repeat("Grüße aus Zürich ", 40) + "!"
	m := Parse(Parse([]byte("Subject: "+text+"\r\n\r\n"), DefaultLimits).Surrogate(), DefaultLimits)
	for line := range bytes.Lines(m.raw) {
		if len(line) > 76+2 {
			t.Errorf("a line of %d bytes", len(line))
		}
	}
	for v := range DecodedField(m.raw, "Subject") {
		if v != text {
			t.Errorf("says %q", v)
		}
	}
}

// FuzzSurrogate: a surrogate has no UTF-8 left outside what is signed, its lines are the
// fields that there were, and its own surrogate is none.
func FuzzSurrogate(f *testing.F) {
	for _, seed := range []string{
		"From: Jürgen <jü@example.org>, a: ;\r\nSubject: ü\r\nContent-Type: multipart/mixed; boundary=b; x*0*=''ü; x*1=y\r\n\r\n--b\r\nContent-Type: message/global\r\n\r\nTo: ü\r\n\r\n--b--\r\n",
		"Content-Type: multipart/signed; boundary=ü\r\n\r\n--ü\r\nX: ü\r\n", "ü\r\n: ü\r\nTo: =?utf-8?b?Cgo=?= \"ü\r\n ü", "Content-Type: message/global; ü=ü\r\n\r\nX: ü",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		m := Parse(raw, DefaultLimits)
		s := m.Surrogate()
		if (s != nil) != m.Summary().Internationalized() {
			t.Fatal("the summary does not agree")
		}
		if s == nil {
			return
		}
		if len(s) > 3*len(raw)+2<<20 {
			t.Errorf("%d bytes become %d", len(raw), len(s))
		}
		again := Parse(s, DefaultLimits)
		if header := again.raw[:again.parts[0].bodyStart]; hasUTF8(header) && !bytes.ContainsFunc(header, func(r rune) bool { return r == '\ufffd' }) {
			for off := 0; off < len(header); {
				f := nextField(header, off)
				if hasUTF8(header[f.start:f.end]) {
					t.Errorf("left: %q", header[f.start:f.end])
				}
				off = f.end
			}
		}
	})
}
