package imap

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/postern-mail/postern/store"
	"github.com/postern-mail/postern/store/memory"
)

// samples are a use of each command of the table after login; one that always changes
// the account changes it here, too.
var samples = map[string]string{
	"SETACL": "SETACL INBOX bob lr", "DELETEACL": "DELETEACL Other bob", "GETACL": "GETACL INBOX", "LISTRIGHTS": "LISTRIGHTS INBOX bob", "MYRIGHTS": "MYRIGHTS INBOX",
	"GETMETADATA": "GETMETADATA INBOX /private/comment", "SETMETADATA": "SETMETADATA INBOX (/private/comment x)",
	"RESETKEY": "RESETKEY INBOX", "GENURLAUTH": `GENURLAUTH "imap://alice@h/INBOX/;UID=1;URLAUTH=anonymous" INTERNAL`, "URLFETCH": "URLFETCH imap://alice@h/INBOX/;UID=1;URLAUTH=anonymous:internal:00112233445566778899aabbccddeeff",
	"GETJMAPACCESS": "GETJMAPACCESS", "CONVERT": `CONVERT 1 ("text/plain" ("charset" "utf-8")) BINARY[1]`, "CONVERSIONS": `CONVERSIONS "*" "*"`, "RLIST": `RLIST "" *`, "RLSUB": `RLSUB "" *`,
	"GETQUOTA": `GETQUOTA "#user/alice"`, "GETQUOTAROOT": "GETQUOTAROOT INBOX", "SETQUOTA": "SETQUOTA none (STORAGE 1)",
	"NOTIFY":     "NOTIFY SET STATUS (personal (MessageNew MessageExpunge))",
	"COMPRESS":   "COMPRESS GZIP",
	"UIDBATCHES": "UIDBATCHES 500",
	"CAPABILITY": "CAPABILITY", "NOOP": "NOOP", "LOGOUT": "LOGOUT", "ID": "ID NIL", "ENABLE": "ENABLE CONDSTORE",
	"UNAUTHENTICATE": "UNAUTHENTICATE x",
	"SELECT":         "SELECT INBOX", "EXAMINE": "EXAMINE INBOX", "CREATE": "CREATE New", "DELETE": "DELETE Other", "RENAME": "RENAME Other Else",
	"SUBSCRIBE": "SUBSCRIBE INBOX", "UNSUBSCRIBE": "UNSUBSCRIBE Other", "LIST": `LIST "" *`, "LSUB": `LSUB "" *`, "NAMESPACE": "NAMESPACE",
	"STATUS": "STATUS INBOX (MESSAGES)", "APPEND": "APPEND INBOX {1+}\r\nx", "IDLE": "IDLE\r\nDONE",
	"REPLACE": "REPLACE 1 INBOX {1+}\r\nx",
	"CHECK":   "CHECK", "FETCH": "FETCH 1:* BODY[]", "SEARCH": "SEARCH ALL", "SORT": "SORT (DATE) UTF-8 ALL", "LANGUAGE": "LANGUAGE de", "COMPARATOR": "COMPARATOR i;octet", "THREAD": "THREAD REFS UTF-8 ALL", "STORE": `STORE 1 +FLAGS (\Answered)`, "COPY": "COPY 1 Other", "MOVE": "MOVE 1 Other",
	"EXPUNGE": "EXPUNGE", "CLOSE": "CLOSE", "UNSELECT": "UNSELECT", "CANCELUPDATE": `CANCELUPDATE "a"`, "ESEARCH": "ESEARCH IN (personal) ALL",
}

// TestReadOnly plays each command of the table after LOGIN and SELECT, with a password
// for reading only and with one that may all, and looks at what is in the store.
func TestReadOnly(t *testing.T) {
	for i := range table {
		row := &table[i]
		if row.states&loggedIn == 0 {
			continue
		}
		sample, ok := samples[row.name]
		if !ok {
			t.Errorf("%s has no sample", row.name)
			continue
		}
		t.Run(row.name, func(t *testing.T) {
			changed, _ := playSample(t, "secret", sample)
			if row.changes && !changed {
				t.Error("it changes nothing with a password that may all")
			}
			changed, answer := playSample(t, reader, sample)
			if changed {
				t.Error("it changes something with a password for reading")
			}
			if refused := strings.HasPrefix(answer, "x NO [NOPERM] "); refused != row.changes {
				t.Errorf("the answer is %q", answer)
			}
			if row.name == "SELECT" && !strings.HasPrefix(answer, "x OK [READ-ONLY] ") {
				t.Errorf("the answer is %q", answer)
			}
		})
	}
}

// playSample signs alice in, selects her INBOX, whose one message is not \Seen and
// \Deleted, and sends a command. It tells whether that changed her account, and the
// tagged answer.
func playSample(t *testing.T, password, command string) (changed bool, answer string) {
	ts := newServer(t, memory.New())
	account, err := ts.Store.Account(t.Context(), ts.alice)
	if err != nil {
		t.Fatal(err)
	}
	defer account.Close()
	mailbox := func() *store.Mailbox {
		m, err := account.Select(t.Context(), store.Inbox, true)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	first, done := ts.pipe()
	speak(t, first, []string{"a LOGIN alice secret", "b CREATE Other", "c SUBSCRIBE Other", "d APPEND INBOX (\\Deleted) {1+}\r\nx", "x LOGOUT"})
	<-done
	state := func() string {
		m := mailbox()
		defer m.Close()
		var flags []string
		m.View().EachSeq(m.View().All(), func(_ uint32, message *store.Message) bool {
			flags = append(flags, fmt.Sprint(message.UID, message.Flags))
			return true
		})
		metadata, err := account.Own().Metadata(t.Context(), store.Inbox, false)
		if err != nil {
			t.Fatal(err)
		}
		keys, err := account.URLKeys(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(account.Mailboxes(), account.Subscriptions(), flags, metadata, keys.Of(account.ID(), 1))
	}
	before := state()
	client, done := ts.pipe()
	answer = speak(t, client, []string{"a LOGIN alice " + password, "b SELECT INBOX", "x " + command})
	client.Close()
	<-done
	return state() != before, answer
}

// speak sends commands one after the other and gives the tagged answer to the last.
func speak(t *testing.T, conn net.Conn, commands []string) (answer string) {
	t.Helper()
	r := bufio.NewReader(conn)
	for i, c := range commands {
		if i == 0 {
			r.ReadString('\n')
		}
		// Lines of one command go out one after the other, as IDLE wants it.
		tag, lines := c[:1], strings.Split(c, "\r\n")
		go func() { // a pipe holds nothing
			for _, line := range lines {
				fmt.Fprintf(conn, "%s\r\n", line)
			}
		}()
		for !strings.HasPrefix(answer, tag+" ") {
			line, err := r.ReadString('\n')
			if err != nil {
				t.Fatalf("after %q: %v", c, err)
			}
			answer = strings.TrimRight(line, "\r\n")
		}
		if i < len(commands)-1 && !strings.HasPrefix(answer, tag+" OK") {
			t.Fatalf("%q: %s", c, answer)
		}
	}
	return answer
}
