package ntlm

import (
	"bufio"
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/test/stopwatch"
)

// The test's own program is the helper, when it is started with HELP and what it shall
// do.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "HELP" {
		help(os.Args[2])
		return
	}
	goleak.VerifyTestMain(m)
}

var type2 = base64.StdEncoding.EncodeToString([]byte("NTLMSSP\x00\x02\x00\x00\x00"))

// help answers lines. A KK is let in as what its message says behind "as ".
func help(how string) {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		word, rest, _ := strings.Cut(lines.Text(), " ")
		message, _ := base64.StdEncoding.DecodeString(rest)
		said := string(message)
		switch {
		case how == "dies":
			fmt.Fprintln(os.Stderr, "I cannot go on")
			os.Exit(1)
		case how == "sleeps", said == "sleep":
			time.Sleep(time.Minute)
		case how == "talks":
			fmt.Print("TT " + type2 + "\nAF EXAMPLE\\anna\n")
		case how == "garbles":
			fmt.Println(strings.Repeat("x", 2*maxLine))
		case said == "die":
			os.Exit(1)
		case strings.HasPrefix(said, "say "):
			fmt.Println(said[len("say "):])
		case word == "YR":
			fmt.Println("TT " + type2)
		case strings.HasPrefix(said, "as "):
			fmt.Println("AF " + said[len("as "):])
		default:
			fmt.Println("NA NT_STATUS_LOGON_FAILURE")
		}
	}
}

// open opens a pool of this program.
func open(t *testing.T, how string, change func(*Options)) *Helper {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Helper: self, Arguments: []string{"HELP", how}, Processes: 2, Timeout: "00:00:05", Domains: map[string]string{"EXAMPLE": "example.org"}}
	if change != nil {
		change(&o)
	}
	h, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

// signIn plays a whole conversation.
func signIn(ctx context.Context, h *Helper, first, second string) (string, error) {
	c, err := h.Begin(ctx)
	if err != nil {
		return "", err
	}
	defer c.Close()
	if _, err := c.Challenge(ctx, []byte(first)); err != nil {
		return "", err
	}
	return c.Prove(ctx, []byte(second))
}

func TestAnswers(t *testing.T) {
	h := open(t, "", nil)
	for _, c := range []struct {
		first, second, want string
		kind                mail.Kind
	}{
		{"hello", `as EXAMPLE\anna`, `EXAMPLE\anna`, -1},
		{"hello", "wrong", "", mail.KindAuthenticationFailed},
		{"hello", "say AF ", "", mail.KindUnavailable},
		{"hello", "say NA NT_STATUS_ACCOUNT_LOCKED_OUT", "", mail.KindAuthenticationFailed},
		{"hello", "say NA NT_STATUS_NO_LOGON_SERVERS", "", mail.KindUnavailable},
		{"hello", "say NA NT_STATUS_ACCESS_DENIED", "", mail.KindUnavailable},
		{"hello", "say NA", "", mail.KindAuthenticationFailed},
		{"hello", "say BH NT_STATUS_UNSUCCESSFUL", "", mail.KindUnavailable},
		{"hello", "say BH NT_STATUS_INVALID_PARAMETER", "", mail.KindAuthenticationFailed},
		{"hello", "say TT " + type2, "", mail.KindUnavailable},
		{"hello", "say AF EXAMPLE\\an\x01na", "", mail.KindUnavailable},
		{"say TT not*base64", "", "", mail.KindUnavailable},
		{"say TT YQ", "", "", mail.KindUnavailable},
		{"say TT " + base64.StdEncoding.EncodeToString([]byte("NTLMSSP\x00\x03\x00\x00\x00")), "", "", mail.KindUnavailable},
		{"say NA NT_STATUS_INVALID_PARAMETER", "", "", mail.KindAuthenticationFailed},
		{"say ", "", "", mail.KindUnavailable},
	} {
		h.failed = time.Time{} // a fault before this one keeps nobody waiting
		got, err := signIn(t.Context(), h, c.first, c.second)
		if got != c.want || (err == nil) != (c.kind == -1) || err != nil && mail.KindOf(err) != c.kind {
			t.Errorf("%q, %q: %q, %v", c.first, c.second, got, err)
		}
	}
}

func TestNames(t *testing.T) {
	h := open(t, "", func(o *Options) {
		o.Domains = map[string]string{"EXAMPLE": "Example.ORG", "local": "", "": "home.example"}
	})
	for account, want := range map[string]string{
		`EXAMPLE\anna`: "anna@example.org", `example\Anna`: "Anna@example.org", `LOCAL\root`: "root", "anna": "anna@home.example", `\anna`: "anna@home.example",
		"anna@example.org": "anna@example.org", `\anna@HOME.example`: "anna@HOME.example", "anna@EXAMPLE": "",
		`OTHER\anna`: "", `EXAMPLE\`: "", "": "", `EXAMPLE\anna@other.example`: "", "anna@other.example": "", `EXAMPLE\a\b`: `a\b@example.org`,
	} {
		got, err := h.Name(account)
		if got != want || (err == nil) != (want != "") || err != nil && mail.KindOf(err) != mail.KindAuthenticationFailed {
			t.Errorf("%s: %q, %v", account, got, err)
		}
	}
	h = open(t, "", nil)
	if got, err := h.Name("anna"); err == nil {
		t.Errorf("without a domain: %q", got)
	}
}

func TestOpenRefuses(t *testing.T) {
	for what, change := range map[string]func(*Options){
		"helper is":    func(o *Options) { o.Helper = "ntlm_auth" },
		"processes is": func(o *Options) { o.Processes = 65 },
		"timeout is":   func(o *Options) { o.Timeout = "00:02:00" },
		"timeout":      func(o *Options) { o.Timeout = "soon" },
		"domains is":   func(o *Options) { o.Domains = nil },
		"domains: ":    func(o *Options) { o.Domains = map[string]string{"A": "no domain"} },
		"twice":        func(o *Options) { o.Domains = map[string]string{"A": "a.example", "a": "b.example"} },
		"is not a":     func(o *Options) { o.Domains = map[string]string{`A\B`: "a.example"} },
	} {
		o := Options{Helper: "/bin/false", Domains: map[string]string{"A": "a.example"}}
		change(&o)
		if _, err := Open(o); mail.KindOf(err) != mail.KindBadArgument || !strings.Contains(mail.TextOf(err), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// A process serves many, one after the other, and never more run than may.
func TestPool(t *testing.T) {
	h := open(t, "", nil)
	var wg sync.WaitGroup
	var failed atomic.Int64
	for i := range 20 {
		wg.Go(func() {
			name := fmt.Sprintf(`EXAMPLE\user%d`, i)
			if got, err := signIn(t.Context(), h, "hello", "as "+name); err != nil || got != name {
				failed.Add(1)
			}
		})
	}
	wg.Wait()
	if failed.Load() > 0 || len(h.free) != 2 {
		t.Errorf("%d failed, %d places are free", failed.Load(), len(h.free))
	}
	a, err := h.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b, err := h.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	was := a.process
	// Both are asked just now: nothing can be taken from them.
	for _, c := range []*Conversation{a, b} {
		c.mu.Lock()
		c.asking = true
		c.mu.Unlock()
	}
	began := time.Now()
	if _, err := h.Begin(t.Context()); mail.KindOf(err) != mail.KindUnavailable || time.Since(began) < turnWait/2 {
		t.Errorf("a third: %v after %v", err, time.Since(began))
	}
	for _, c := range []*Conversation{a, b} {
		c.mu.Lock()
		c.asking = false
		c.mu.Unlock()
	}
	// Who goes between the messages leaves the process to the next.
	if _, err := a.Challenge(t.Context(), []byte("hello")); err != nil {
		t.Fatal(err)
	}
	a.Close()
	a.Close()
	if _, err := a.Prove(t.Context(), []byte(`as EXAMPLE\anna`)); mail.KindOf(err) != mail.KindUnavailable {
		t.Errorf("after Close: %v", err)
	}
	c, err := h.Begin(t.Context())
	if err != nil || c.process != was {
		t.Errorf("the process is not used again, %v", err)
	}
	b.Close()
	c.Close()
	if len(h.free) != 2 {
		t.Errorf("%d places are free", len(h.free))
	}
}

// What crashes, sleeps, talks out of turn or garbles is ended and replaced, and nobody
// is let in or told that a password was wrong.
func TestFaults(t *testing.T) {
	for _, how := range []string{"dies", "sleeps", "garbles", "talks"} {
		now := time.Now()
		stopwatch.Within(t, 3*time.Second, how, func() {
			h := open(t, how, func(o *Options) { o.Timeout, o.Now = "00:00:01", func() time.Time { return now } })
			if _, err := signIn(t.Context(), h, "hello", `as EXAMPLE\anna`); mail.KindOf(err) != mail.KindUnavailable {
				t.Errorf("%s: %v", how, err)
			}
			if _, err := h.Begin(t.Context()); err == nil || !strings.Contains(err.Error(), "a moment ago") {
				t.Errorf("%s: started again at once: %v", how, err)
			}
		})
	}
	h := open(t, "", nil)
	for range 3 {
		h.failed = time.Time{}
		if _, err := signIn(t.Context(), h, "hello", "die"); mail.KindOf(err) != mail.KindUnavailable {
			t.Errorf("a crash: %v", err)
		}
		h.failed = time.Time{}
		if got, err := signIn(t.Context(), h, "hello", `as EXAMPLE\anna`); got != `EXAMPLE\anna` {
			t.Errorf("after a crash: %v", err)
		}
	}
	h = open(t, "", func(o *Options) { o.Helper = "/nonexistent/ntlm_auth" })
	if _, err := h.Begin(t.Context()); mail.KindOf(err) != mail.KindUnavailable {
		t.Errorf("no program: %v", err)
	}
}

// A client that goes ends what it waits for, and that is no fault of the helper.
func TestGone(t *testing.T) {
	h := open(t, "", nil)
	for _, how := range []string{"cancelled", "closed"} {
		ctx, cancel := context.WithCancel(t.Context())
		c, err := h.Begin(ctx)
		if err != nil {
			t.Fatal(err)
		}
		p := c.process
		go func() {
			time.Sleep(100 * time.Millisecond)
			if how == "closed" {
				c.Close()
			}
			cancel()
		}()
		if _, err := c.Challenge(ctx, []byte("sleep")); mail.KindOf(err) != mail.KindUnavailable {
			t.Errorf("%s: %v", how, err)
		}
		c.Close()
		select {
		case <-p.done:
		case <-time.After(30 * time.Second):
			t.Errorf("%s: the process goes on", how)
		}
		if got, err := signIn(t.Context(), h, "hello", `as EXAMPLE\anna`); got != `EXAMPLE\anna` {
			t.Errorf("%s: the next: %v", how, err)
		}
	}
}

// Clients that say nothing more keep nobody out: their processes are taken away.
func TestTakenAway(t *testing.T) {
	h := open(t, "", nil)
	var silent []*Conversation
	for range 2 {
		c, err := h.Begin(t.Context())
		if err == nil {
			_, err = c.Challenge(t.Context(), []byte("hello"))
		}
		if err != nil {
			t.Fatal(err)
		}
		silent = append(silent, c)
	}
	for range 2 {
		if got, err := signIn(t.Context(), h, "hello", `as EXAMPLE\anna`); err != nil || got != `EXAMPLE\anna` {
			t.Errorf("while others hold all processes: %q, %v", got, err)
		}
	}
	if _, err := silent[0].Prove(t.Context(), []byte(`as EXAMPLE\bert`)); mail.KindOf(err) != mail.KindLimit {
		t.Errorf("the first to be silent: %v", err)
	}
	if got, err := silent[1].Prove(t.Context(), []byte(`as EXAMPLE\bert`)); err != nil || got != `EXAMPLE\bert` {
		t.Errorf("the second, whose process nobody needed: %q, %v", got, err)
	}
	if len(h.free) != 2 || len(h.open) != 0 {
		t.Errorf("%d places are free, %d conversations open", len(h.free), len(h.open))
	}
}

func FuzzAnswer(f *testing.F) {
	for _, seed := range []string{"TT " + type2, `AF EXAMPLE\anna`, "NA NT_STATUS_NO_LOGON_SERVERS", "BH", "", "AF", "XX y", "AF a\x00b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, line string) {
		a, err := parse(line)
		if err != nil {
			return
		}
		if strings.ContainsAny(a.word+a.rest, "\r\n\x00") {
			t.Fatalf("%q gives %+v", line, a)
		}
		if k := mail.KindOf(a.refusal()); k != mail.KindUnavailable && k != mail.KindAuthenticationFailed {
			t.Fatalf("%q is %v", line, k)
		}
	})
}
