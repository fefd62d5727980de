package imap

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"github.com/postern-mail/postern/imap/wire"
	"github.com/postern-mail/postern/store"
	"github.com/postern-mail/postern/test/imapview"
)

// decoderOf reads one command's text.
func decoderOf(t testing.TB, text string) *wire.Decoder {
	t.Helper()
	d := wire.NewDecoder(strings.NewReader(text), func() error { return nil })
	d.SetLimits(wire.LimitsAfterLogin())
	if err := d.Next(); err != nil {
		t.Fatal(err)
	}
	return d
}

// oddMessages are the test messages of package message.
func oddMessages(t testing.TB) (names []string, messages [][]byte) {
	files, err := filepath.Glob("../message/testdata/*.eml")
	if err != nil || len(files) < 20 {
		t.Fatal("there are no test messages", err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if len(b) > 0 {
			names, messages = append(names, filepath.Base(f)), append(messages, b)
		}
	}
	return names, messages
}

// items fetches items of one message.
func items(t testing.TB, c *imapview.Client, seq int, what string) map[string]imapview.Value {
	t.Helper()
	reply := must(t, c, "FETCH %d (%s)", seq, what)
	out := map[string]imapview.Value{}
	for _, u := range reply.Untagged {
		rest, ok := bytes.CutPrefix(u, fmt.Appendf(nil, "* %d FETCH ", seq))
		if !ok {
			t.Fatalf("unexpected %q", u)
		}
		list, err := imapview.ParseFetch(rest)
		if err != nil {
			t.Fatalf("%q: %v", u, err)
		}
		for _, item := range list {
			out[item.Name] = item.Value
		}
	}
	return out
}

// TestOddMessages fetches every section of messages that are hard to read: pieces
// make up the whole, and partial fetches cover it.
func TestOddMessages(t *testing.T) {
	for engine, open := range engines {
		t.Run(engine, func(t *testing.T) {
			ts := newServer(t, open(t))
			names, messages := oddMessages(t)
			for _, m := range messages {
				ts.deliver(t, store.Arrival{Prepared: ts.Store.Prepare(m)})
			}
			c := ts.session(t)
			must(t, c, "SELECT INBOX")
			for i, m := range messages {
				checkSections(t, c, names[i], i+1, m)
			}
		})
	}
}

func checkSections(t *testing.T, c *imapview.Client, name string, seq int, m []byte) {
	// What cannot be in a literal is replaced, BINARY has it all.
	want := strings.ReplaceAll(string(m), "\x00", "?")
	got := items(t, c, seq, "BODY.PEEK[] BODY.PEEK[HEADER] BODY.PEEK[TEXT] RFC822.HEADER RFC822.SIZE BINARY.PEEK[] BODYSTRUCTURE BODY ENVELOPE "+
		"BODY.PEEK[HEADER.FIELDS (X-None-Of-These)] BODY.PEEK[HEADER.FIELDS.NOT (X-None-Of-These)]")
	if got["BODY[]"].Text != want {
		t.Errorf("%s: BODY[] is %q, want %q", name, got["BODY[]"].Text, want)
	}
	if got["BINARY[]"].Text != string(m) {
		t.Errorf("%s: BINARY[] is %q", name, got["BINARY[]"].Text)
	}
	if whole := got["BODY[HEADER]"].Text + got["BODY[TEXT]"].Text; whole != want {
		t.Errorf("%s: HEADER and TEXT make up %q", name, whole)
	}
	if got["RFC822.HEADER"].Text != got["BODY[HEADER]"].Text || got["RFC822.SIZE"].Text != fmt.Sprint(len(m)) {
		t.Errorf("%s: RFC822.HEADER or RFC822.SIZE are of another message", name)
	}
	if n := len(got["ENVELOPE"].List); n != 10 {
		t.Errorf("%s: ENVELOPE has %d elements", name, n)
	}
	// From the summary, and from the header because of a name that no summary keeps.
	fields := items(t, c, seq, "BODY.PEEK[HEADER.FIELDS (from SUBJECT To)] BODY.PEEK[HEADER.FIELDS (from SUBJECT To X-Zz)]")
	if a, b := fields["BODY[HEADER.FIELDS (from SUBJECT To)]"], fields["BODY[HEADER.FIELDS (from SUBJECT To X-Zz)]"]; a.Text != b.Text || !strings.HasSuffix(a.Text, "\r\n") {
		t.Errorf("%s: fields are %q from the summary and %q from the header", name, a.Text, b.Text)
	}
	checkParts(t, c, name, seq, "", got["BODYSTRUCTURE"], 0)
	for _, size := range []int{1, 7, 1000} {
		if len(m)/size > 400 {
			continue
		}
		var whole strings.Builder
		for at := 0; at <= len(m); at += size {
			what := fmt.Sprintf("BODY.PEEK[]<%d.%d>", at, size)
			whole.WriteString(items(t, c, seq, what)[fmt.Sprintf("BODY[]<%d>", at)].Text)
		}
		if whole.String() != want {
			t.Errorf("%s: pieces of %d bytes do not make up the message", name, size)
		}
	}
}

// checkParts compares the sizes that BODYSTRUCTURE names with those of the parts.
func checkParts(t *testing.T, c *imapview.Client, name string, seq int, path string, structure imapview.Value, depth int) {
	if depth > 5 || len(structure.List) == 0 {
		return
	}
	if structure.List[0].Quote == '(' { // multipart
		for i, sub := range structure.List {
			if sub.Quote != '(' || i > 8 {
				break
			}
			checkParts(t, c, name, seq, strings.TrimPrefix(fmt.Sprintf("%s.%d", path, i+1), "."), sub, depth+1)
		}
		return
	}
	if path == "" {
		path = "1"
	}
	what := "BODY[" + path + "]"
	got := items(t, c, seq, strings.Replace(what, "BODY", "BODY.PEEK", 1)+" BODY.PEEK["+path+".MIME]")
	if size := fmt.Sprint(len(got[what].Text)); size != structure.List[6].Text {
		t.Errorf("%s: part %s has %s bytes, BODYSTRUCTURE says %s", name, path, size, structure.List[6].Text)
	}
	if strings.EqualFold(structure.List[0].Text+"/"+structure.List[1].Text, "message/rfc822") && len(structure.List) > 8 {
		inner := items(t, c, seq, fmt.Sprintf("BODY.PEEK[%s.HEADER] BODY.PEEK[%s.TEXT]", path, path))
		if whole := inner["BODY["+path+".HEADER]"].Text + inner["BODY["+path+".TEXT]"].Text; whole != got[what].Text {
			t.Errorf("%s: header and text of part %s are %q, not %q", name, path, whole, got[what].Text)
		}
	}
}

// TestLargeBody has a message larger than every buffer go through, whole and
// decoded.
func TestLargeBody(t *testing.T) {
	for engine, open := range engines {
		t.Run(engine, func(t *testing.T) {
			ts := newServer(t, open(t))
			content := make([]byte, 700<<10)
			rand.Read(content)
			content[3] = 0
			var b bytes.Buffer
			b.WriteString("Subject: large\r\nContent-Transfer-Encoding: base64\r\nContent-Type: application/octet-stream\r\n\r\n")
			e := base64Lines(content)
			b.Write(e)
			ts.deliver(t, store.Arrival{Prepared: ts.Store.Prepare(b.Bytes())})
			c := ts.session(t)
			must(t, c, "SELECT INBOX")
			got := items(t, c, 1, "BODY.PEEK[] BODY.PEEK[1] BINARY.PEEK[1] BINARY.SIZE[1] BINARY.PEEK[1]<600000.200000>")
			switch {
			case got["BODY[]"].Text != b.String():
				t.Error("BODY[] differs")
			case got["BODY[1]"].Text != string(e):
				t.Error("BODY[1] differs")
			case got["BINARY[1]"].Text != string(content) || got["BINARY[1]"].Quote != '~':
				t.Error("BINARY[1] differs")
			case got["BINARY.SIZE[1]"].Text != fmt.Sprint(len(content)):
				t.Error("BINARY.SIZE[1] differs")
			case got["BINARY[1]<600000>"].Text != string(content[600000:]):
				t.Error("a part of BINARY[1] differs")
			}
		})
	}
}

// TestLargeSummaries fetches messages of which only a few summaries fit into memory
// at once: all are answered, in order.
func TestLargeSummaries(t *testing.T) {
	for engine, open := range engines {
		t.Run(engine, func(t *testing.T) {
			ts := newServer(t, open(t))
			var b bytes.Buffer
			b.WriteString("Content-Type: multipart/mixed; boundary=x\r\n\r\n")
			for i := range 2000 {
				fmt.Fprintf(&b, "--x\r\nContent-Type: text/plain; name=\"part number %d\"\r\n\r\n%d\r\n", i, i)
			}
			large := ts.Store.Prepare(b.Bytes())
			if n := len(large.Summary()); n < fetchLate/10 {
				t.Fatalf("the summary has only %d bytes", n)
			}
			var arrivals []store.Arrival
			for i := range 24 {
				a := store.Arrival{Prepared: large}
				if i%5 == 0 {
					a = ts.note(i)
				}
				arrivals = append(arrivals, a)
			}
			ts.deliver(t, arrivals...)
			c := ts.session(t)
			must(t, c, "SELECT INBOX")
			reply := must(t, c, "FETCH 1:* (BODYSTRUCTURE BODY.PEEK[2000])")
			if len(reply.Untagged) != 24 {
				t.Fatalf("%d responses", len(reply.Untagged))
			}
			for i, u := range reply.Untagged {
				want := "BODY[2000] {6}\r\n1999\r\n)"
				if i%5 == 0 {
					want = "BODY[2000] NIL)"
				}
				if !bytes.HasPrefix(u, fmt.Appendf(nil, "* %d FETCH ", i+1)) || !bytes.HasSuffix(u, []byte(want)) {
					t.Errorf("response %d is %.50q … %q", i+1, u, u[max(len(u)-30, 0):])
				}
			}
		})
	}
}

// TestPipelined sends commands while others are at work.
func TestPipelined(t *testing.T) {
	ts := newServer(t, slowEngine{engines["memory"](t), 10 * time.Millisecond})
	ts.deliver(t, ts.note(1), ts.note(2), ts.note(3))
	ts.listen(t)
	for _, mode := range []string{"", "ssl"} {
		conn, err := ts.dial(mode)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		c, err := imapview.NewClient(conn)
		if err != nil {
			t.Fatal(err)
		}
		must(t, c, "LOGIN alice secret")
		must(t, c, "SELECT INBOX")
		var tags []string
		for range 3 {
			tags = append(tags, c.Send("SEARCH BODY note"), c.Send("FETCH 1:3 UID"))
			time.Sleep(time.Millisecond)
		}
		for i, tag := range tags {
			reply, err := c.Wait(tag)
			if want := 1 + i%2*2; err != nil || reply.Condition != "OK" || len(reply.Untagged) != want {
				t.Errorf("command %d: %+v, %v", i, reply, err)
			}
		}
	}
}

// TestImapclient has another implementation read our responses.
func TestImapclient(t *testing.T) {
	ts := newServer(t, engines["memory"](t))
	names, messages := oddMessages(t)
	for _, m := range messages {
		ts.deliver(t, store.Arrival{Prepared: ts.Store.Prepare(m)})
	}
	conn, done := ts.pipe()
	c := imapclient.New(conn, nil)
	defer func() {
		c.Close()
		<-done
	}()
	if err := c.Login("alice", "secret").Wait(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Select("INBOX", nil).Wait(); err != nil {
		t.Fatal(err)
	}
	section := &imap.FetchItemBodySection{Peek: true}
	fields := &imap.FetchItemBodySection{Peek: true, Specifier: imap.PartSpecifierHeader, HeaderFields: []string{"From", "Subject"}}
	list, err := c.Fetch(imap.SeqSet{imap.SeqRange{Start: 1, Stop: 0}}, &imap.FetchOptions{
		Envelope: true, BodyStructure: &imap.FetchItemBodyStructure{Extended: true}, Flags: true, InternalDate: true,
		RFC822Size: true, UID: true, BodySection: []*imap.FetchItemBodySection{section, fields},
	}).Collect()
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != len(messages) {
		t.Fatalf("%d messages, want %d", len(list), len(messages))
	}
	for i, m := range list {
		want := bytes.ReplaceAll(messages[i], []byte{0}, []byte("?"))
		if got := m.FindBodySection(section); !bytes.Equal(got, want) {
			t.Errorf("%s: BODY[] is %q", names[i], got)
		}
		if m.UID != imap.UID(i+1) || m.RFC822Size != int64(len(want)) || m.Envelope == nil || m.BodyStructure == nil {
			t.Errorf("%s: %+v", names[i], m)
		}
	}
	found, err := c.UIDSearch(&imap.SearchCriteria{Body: []string{"e"}, Not: []imap.SearchCriteria{{Larger: 5000}}}, &imap.SearchOptions{ReturnAll: true, ReturnCount: true}).Wait()
	if err != nil || int(found.Count) != len(found.AllUIDs()) {
		t.Errorf("SEARCH: %+v, %v", found, err)
	}
	stored, err := c.Store(imap.SeqSetNum(1, 3), &imap.StoreFlags{Op: imap.StoreFlagsAdd, Flags: []imap.Flag{imap.FlagDeleted}}, nil).Collect()
	if err != nil || len(stored) != 2 {
		t.Errorf("STORE: %v, %v", stored, err)
	}
	if seqs, err := c.Expunge().Collect(); err != nil || len(seqs) != 2 {
		t.Errorf("EXPUNGE: %v, %v", seqs, err)
	}
	if copied, err := c.Copy(imap.SeqSetNum(1, 2), "Sent").Wait(); err != nil || len(copied.SourceUIDs) == 0 {
		t.Errorf("COPY: %+v, %v", copied, err)
	}
	if moved, err := c.Move(imap.SeqSetNum(1), "Trash").Wait(); err != nil || moved.UIDValidity == 0 {
		t.Errorf("MOVE: %+v, %v", moved, err)
	}
}

func FuzzFetchArguments(f *testing.F) {
	for _, seed := range []string{
		"1 (FLAGS BODY.PEEK[1.2.HEADER.FIELDS.NOT (a \"b c\")]<0.5>)", "1:* ALL", "$ PREVIEW (LAZY) (CHANGEDSINCE 5 VANISHED)",
		"2 BINARY.SIZE[1.2]", "1 BODY[MIME]", "1 (PREVIEW (LAZY) UID RFC822)",
		"1:* (FLAGS ANNOTATION ((/% \"/1.2/*\" /comment) (value size.priv)))", "1 ANNOTATION (/vendor/x/y value.shared) (CHANGEDSINCE 5)",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, arguments string) {
		r, err := readFetch(decoderOf(t, " "+arguments+"\r\n"))
		if err != nil {
			return
		}
		if len(r.items) == 0 || len(r.items) > maxFetchItems {
			t.Errorf("%d items", len(r.items))
		}
		for _, item := range r.items {
			if _, err := imapview.ParseFetch([]byte("(" + item.label + "NIL)")); err != nil && !strings.Contains(item.label, "}\r\n") {
				t.Errorf("the label %q: %v", item.label, err)
			}
		}
	})
}

func FuzzStoreArguments(f *testing.F) {
	f.Add("1:* (UNCHANGEDSINCE 5) +FLAGS.SILENT (\\Seen $Work)")
	f.Add("$ -FLAGS a b")
	f.Add("1 (UNCHANGEDSINCE 5) ANNOTATION (/comment (value.priv \"x\" value.shared NIL) /1/flags/seen (value.priv ~{1+}\r\n1))")
	f.Fuzz(func(t *testing.T, arguments string) {
		readStore(decoderOf(t, " "+arguments+"\r\n"))
	})
}

func base64Lines(b []byte) []byte {
	var out bytes.Buffer
	for len(b) > 0 {
		n := min(57, len(b))
		out.WriteString(base64.StdEncoding.EncodeToString(b[:n]) + "\r\n")
		b = b[n:]
	}
	return out.Bytes()
}
