package imapview

import (
	"bufio"
	"strings"
	"testing"
)

// selected gives a view of n messages with UIDs 10, 20, …, all known.
func selected(n int) *View {
	v := &View{Keywords: map[string]bool{`\seen`: true, `\flagged`: true}}
	for i := 1; i <= n; i++ {
		v.Messages = append(v.Messages, Message{UID: uint32(10 * i), Known: true, ModSeq: 5})
	}
	return v
}

func TestUntagged(t *testing.T) {
	for _, test := range []struct {
		command, response string
		qresync           bool
		fault             string // part of the error; "" for none
		left              int
	}{
		{"NOOP", "* 2 EXPUNGE", false, "", 2},
		{"UID FETCH 1 FLAGS", "* 2 EXPUNGE", false, "", 2},
		{"FETCH 1 FLAGS", "* 2 EXPUNGE", false, "not during", 3},
		{"STORE 1 FLAGS ()", "* 2 EXPUNGE", false, "not during", 3},
		{"SEARCH ALL", "* 2 EXPUNGE", false, "not during", 3},
		{"", "* 2 EXPUNGE", false, "no command", 3},
		{"NOOP", "* 4 EXPUNGE", false, "there are 3", 3},
		{"NOOP", "* 0 EXPUNGE", false, "there are 3", 3},
		{"NOOP", "* 1 EXPUNGE", true, "VANISHED", 3},
		{"NOOP", "* VANISHED 10,20", true, "", 1},
		{"NOOP", "* VANISHED 10:20", true, "no message with UID 11", 2},
		{"NOOP", "* VANISHED 10,11", true, "no message with UID 11", 2},
		{"NOOP", "* VANISHED 10", false, "QRESYNC", 3},
		{"FETCH 1 FLAGS", "* VANISHED 10", true, "not during", 3},
		{"UID FETCH 1 FLAGS", "* VANISHED (EARLIER) 1:9,11", true, "", 3},
		{"UID FETCH 1 FLAGS", "* VANISHED (EARLIER) 1:10", true, "is in the mailbox", 3},
		{"NOOP", "* VANISHED (EARLIER) 1", true, "no place", 3},
		{"", "* 5 EXISTS", false, "", 5},
		{"NOOP", "* 2 EXISTS", false, "shrinks", 3},
		{"NOOP", "* 4 RECENT", false, "recent", 3},
		{"", "* 1 FETCH (FLAGS (\\Seen \\Recent) UID 10 MODSEQ (6))", false, "", 3},
		{"", "* 4 FETCH (FLAGS ())", false, "there are 3", 3},
		{"", "* 1 FETCH (UID 11)", false, "had UID 10", 3},
		{"", "* 1 FETCH (MODSEQ (4))", false, "falls", 3},
		{"", "* 1 FETCH (FLAGS ($New))", false, "not in the FLAGS", 3},
		{"", "* 1 FETCH (FLAGS (\\Seen \\seen))", false, "twice", 3},
		{"", "* 1 FETCH (FLAGS (\\Seen) )", false, "name", 3},
		{"", "* 1 FETCH FLAGS", false, "expected (", 3},
		{"", "* OK [ALERT] whatever", false, "", 3},
	} {
		v := selected(3)
		v.QResync = test.qresync
		v.Begin(test.command)
		err := v.Untagged([]byte(test.response))
		switch {
		case test.fault == "" && err != nil, test.fault != "" && (err == nil || !strings.Contains(err.Error(), test.fault)):
			t.Errorf("%s during %q: %v, want %q", test.response, test.command, err, test.fault)
		case len(v.Messages) != test.left:
			t.Errorf("%s during %q leaves %d messages, want %d", test.response, test.command, len(v.Messages), test.left)
		}
	}
}

func TestUIDsAscend(t *testing.T) {
	v := selected(2)
	for _, response := range []string{"* 4 EXISTS", "* 4 FETCH (UID 40)"} {
		if err := v.Untagged([]byte(response)); err != nil {
			t.Fatal(err)
		}
	}
	if err := v.Untagged([]byte("* 3 FETCH (UID 40)")); err == nil {
		t.Error("two messages with one UID pass")
	}
}

func TestReadResponse(t *testing.T) {
	text := "* 1 FETCH (BODY[HEADER.FIELDS (A \"b]\")]<0> {4}\r\na)\r\n BINARY[1] ~{2}\r\n\x00\x01 ENVELOPE (NIL \"x\\\"y\" ((NIL NIL \"a\" \"b\")(NIL NIL \"c\" \"d\"))))\r\nnext\n"
	r := bufio.NewReader(strings.NewReader(text))
	b, err := ReadResponse(r)
	if err != nil {
		t.Fatal(err)
	}
	items, err := ParseFetch(b[len("* 1 FETCH "):])
	if err != nil {
		t.Fatal(err)
	}
	if len(items) != 3 || items[0].Name != `BODY[HEADER.FIELDS (A "b]")]<0>` || items[0].Value.Text != "a)\r\n" ||
		items[1].Value.Quote != '~' || items[2].Value.List[1].Text != `x"y` || len(items[2].Value.List[2].List) != 2 {
		t.Errorf("got %+v", items)
	}
	if _, err := ReadResponse(r); err == nil {
		t.Error("a bare LF passes")
	}
	if _, err := ParseFetch([]byte("(BODY[] {1}\r\n\x00)")); err == nil {
		t.Error("a NUL in a literal passes")
	}
}

func FuzzUntagged(f *testing.F) {
	f.Add([]byte("* 1 FETCH (FLAGS (\\Seen) BODY[]<0> {2}\r\nab)"))
	f.Add([]byte("* VANISHED (EARLIER) 1:3,7"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 0 && strings.Contains(string(b), "EXISTS") {
			return // a large number is a large view
		}
		v := selected(3)
		v.QResync = true
		v.Begin("NOOP")
		v.Untagged(b)
	})
}
