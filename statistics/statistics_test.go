package statistics

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/sasl"
	"github.com/postern-mail/postern/settings"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func from(address string) netip.AddrPort { return netip.MustParseAddrPort(address) }

func let(user, mechanism string, class sasl.Class, tls bool, remote string) auth.Attempt {
	return auth.Attempt{Service: settings.IMAP4, Remote: from(remote), TLS: tls, Mechanism: mechanism, Class: class, Name: user, User: user}
}

func refused(name, remote string) auth.Attempt {
	return auth.Attempt{
		Service: settings.IMAP4, Remote: from(remote), TLS: true, Mechanism: "PLAIN", Class: sasl.Password, Name: name,
		Err: mail.Errorf(mail.KindAuthenticationFailed, ""),
	}
}

// open makes a History that runs. stop ends and closes it.
func open(t *testing.T, o Options) (h *History, stop func()) {
	h = Open(o)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		h.Run(ctx)
	}()
	return h, func() {
		t.Helper()
		cancel()
		<-done
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestRefused: what each LoginType would have refused, by user and client.
func TestRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, stop := open(t, Options{})
		defer stop()
		h.Observe(let("old", "PLAIN", sasl.Password, false, "10.0.0.9:1"))
		time.Sleep(7*24*time.Hour + Slot)
		for port := range 42 {
			remote := fmt.Sprintf("10.0.0.5:%d", 1000+port)
			h.Observe(let("alice", "LOGIN command", sasl.Password, false, remote))
			h.Identify(from(remote), "Thunder\x1bbird")
		}
		h.Observe(let("bob", "SCRAM-SHA-256", sasl.Challenge, false, "[2001:db8::7]:1"))
		h.Observe(let("bob", "PLAIN", sasl.Password, true, "[2001:db8::7]:2"))
		h.Observe(refused("carol", "10.0.0.6:1"))
		pop := let("dave", "USER command", sasl.Password, false, "10.0.0.7:1")
		pop.Service = settings.POP3
		h.Observe(pop)

		week := 7 * 24 * time.Hour
		for login, want := range map[mail.LoginType]string{
			mail.PlainTextLogin:          "0 of 0:",
			mail.PlainTextAuthentication: "42 of 1: alice (Thunder?bird, 10.0.0.5) 42",
			mail.SecureLogin:             "43 of 2: alice (Thunder?bird, 10.0.0.5) 42 bob (, 2001:db8::/64) 1",
		} {
			i := h.Refused(Filter{Service: settings.IMAP4}, refusedBy(login), week)
			got := fmt.Sprintf("%d of %d:", i.SignIns, i.Users)
			for _, a := range i.Affected {
				got += fmt.Sprintf(" %s (%s, %s) %d", a.User, a.Client, a.Address, a.Count)
				if a.Last.IsZero() {
					t.Error("no last time")
				}
			}
			if got != want {
				t.Errorf("%v: %s, want %s", login, got, want)
			}
		}
		if i := h.Refused(Filter{Service: settings.IMAP4}, refusedBy(mail.SecureLogin), 30*24*time.Hour); i.SignIns != 44 {
			t.Error("the last 8 days:", i.SignIns)
		}
		time.Sleep(SignInsKept + Slot)
		if left := h.SignIns(time.Time{}, Filter{}); len(left) != 0 {
			t.Error("still known:", left)
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		if n := h.signIns; len(n.rows) != 0 || len(n.users) != 0 || n.all != (side{}) {
			t.Error("not forgotten:", len(n.rows), len(n.users), n.all)
		}
	})
}

// TestBounds: hostile names and addresses fill what they may and no more; those who
// do sign in stay known, and nothing is lost from the sums.
func TestBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, stop := open(t, Options{})
		defer stop()
		h.Observe(let("alice", "PLAIN", sasl.Password, true, "10.0.0.5:1"))
		const flood = 3 * maxRows
		for i := range flood {
			a := netip.AddrFrom4([4]byte{11, byte(i >> 16), byte(i >> 8), byte(i)})
			h.Observe(refused(fmt.Sprintf("nobody%d\n\xff", i), netip.AddrPortFrom(a, 1).String()))
		}
		for i := range 2 * maxPerUser {
			h.Observe(refused("alice", fmt.Sprintf("12.0.0.%d:1", i)))
			remote := fmt.Sprintf("13.0.0.%d:1", i)
			h.Observe(let("alice", "PLAIN", sasl.Password, true, remote))
			h.Identify(from(remote), strings.Repeat("é", i))
		}
		var strangers, wrong, in int64
		var anybody bool
		for _, r := range h.SignIns(time.Time{}, Filter{}) {
			switch {
			case r.User == "alice" && r.Outcome == OK:
				in += r.Count
			case r.User == "alice":
				wrong += r.Count
			default:
				strangers += r.Count
				anybody = anybody || r.User == "" && r.Others && r.Address() == "others"
			}
			if len(r.User) > maxName || len(r.Client) > maxClient || strings.ContainsAny(r.User+r.Client, "\n\xff") {
				t.Errorf("%q %q", r.User, r.Client)
			}
		}
		if strangers != flood || wrong != 2*maxPerUser || in != 2*maxPerUser+1 || !anybody {
			t.Error(strangers, wrong, in, anybody)
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		if n := len(h.signIns.rows); n > maxStrange+4*maxPerUser {
			t.Error("rows:", n)
		}
		if n := len(h.signIns.recent); n > maxRecent {
			t.Error("recent:", n)
		}
	})
}

// TestManyUsers: beyond the bound the rest is counted together, and said to be.
func TestManyUsers(t *testing.T) {
	s := newSignIns(1000)
	k := key{service: settings.IMAP4, outcome: OK, mechanism: "PLAIN", class: sasl.Password}
	for i := range maxRows + 1000 {
		k.user = fmt.Sprint(i)
		s.add(k, 1000, 1, 1)
		s.remember(netip.AddrPortFrom(netip.AddrFrom4([4]byte{1, byte(i >> 16), byte(i >> 8), byte(i)}), 1), &row{key: k})
	}
	if len(s.rows) != maxRows+1 || len(s.recent) != maxRecent || len(s.order) != maxRecent {
		t.Error(len(s.rows), len(s.recent), len(s.order))
	}
	k.user, k.others = "", true
	if r := s.rows[k]; r == nil || r.since(0, 1000) != 1000 {
		t.Error(r)
	}
}

// TestSeries: a minute's values, several services together, hours, gaps of the
// server and of a machine that slept, and what a restart keeps.
func TestSeries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "statistics", "figures.gz")
		var bytesIn, conns atomic.Int64
		conns.Store(3)
		read := func(s settings.Service) (Reading, bool) {
			return Reading{Connections: int(conns.Load()), BytesIn: bytesIn.Load()}, s == settings.POP3 || s == settings.IMAP4
		}
		h, stop := open(t, Options{Path: path, Read: read})
		time.Sleep(time.Second)
		began := time.Now().Truncate(time.Hour)
		for range 90 {
			h.Observe(let("alice", "PLAIN", sasl.Password, true, "10.0.0.5:1"))
			h.Delivered(2)
			bytesIn.Add(100)
			time.Sleep(time.Minute)
		}
		conns.Store(1)
		time.Sleep(time.Minute + time.Second)
		h.Observe(let("alice", "PLAIN", sasl.Password, true, "10.0.0.5:1"))
		stop()
		time.Sleep(29 * time.Minute)
		bytesIn.Store(7)
		h, stop = open(t, Options{Path: path, Read: read})
		defer func() { stop() }()
		h.Observe(refused("alice", "10.0.0.5:1"))
		time.Sleep(2 * time.Minute)

		show := func(points []Point) string {
			var b strings.Builder
			for i, p := range points {
				if i > 0 && p.Time.Sub(points[i-1].Time) != points[1].Time.Sub(points[0].Time) {
					t.Error("steps of different length", points)
				}
				if p.Known {
					fmt.Fprintf(&b, " %v", p.Value)
				} else {
					b.WriteString(" -")
				}
			}
			return b.String()
		}
		for name, c := range map[string]struct {
			got  []Point
			want string
		}{
			"minutes":       {h.Series(SignIns, settings.IMAP4, began.Add(88*time.Minute), began.Add(96*time.Minute), time.Second), " 1 1 0 1 - - - -"},
			"half hours":    {h.Series(SignIns, settings.IMAP4, began, began.Add(2*time.Hour), 30*time.Minute), " 30 30 30 1"},
			"bytes of both": {h.Series(BytesIn, "", began, began.Add(30*time.Minute), 10*time.Minute), " 2000 2000 2000"},
			"connections":   {h.Series(Connections, settings.POP3, began.Add(89*time.Minute), began.Add(94*time.Minute), time.Minute), " 3 1 - - -"},
			"hours":         {h.Series(Deliveries, "", began.Add(-49*time.Hour), time.Now(), time.Minute)[47:], " - - 120 60 0"},
			"quarter day":   {h.Series(Deliveries, settings.LMTP, began.Add(-72*time.Hour), time.Now(), 6*time.Hour)[11:], " - 180"},
			"after":         {h.Series(Refusals, settings.IMAP4, began.Add(119*time.Minute), time.Now(), time.Minute), " - 1 0"},
			"not there":     {h.Series("Nothing", "", began, time.Now(), time.Minute), ""},
			"not its own":   {h.Series(SignIns, settings.LMTP, began, time.Now(), time.Minute), ""},
			"backwards":     {h.Series(SignIns, "", time.Now(), began, time.Minute), ""},
		} {
			if got := show(c.got); got != c.want {
				t.Errorf("%s: %s, want %s", name, got, c.want)
			}
		}
		if n := len(h.Series(SignIns, "", time.Time{}, time.Now().Add(time.Hour), 0)); n > MaxPoints || n < 700 {
			t.Error("points:", n)
		}
		if n := h.SignIns(time.Time{}, Filter{User: "alice"}); len(n) != 2 || n[0].Count != 91 || n[1].Outcome != "AuthenticationFailed" {
			t.Error(n)
		}
	})
}

// TestSleep: a clock that jumps makes a gap, one that goes back spoils nothing.
func TestSleep(t *testing.T) {
	s := newSeries(1_000_000)
	s.count(SignIns, settings.POP3, 5)
	s.advance(1_000_001, nil)
	s.count(SignIns, settings.POP3, 7)
	s.advance(1_005_000, nil)
	if s.advance(900_000, nil) {
		t.Error("back in time")
	}
	l := s.lines[lineKey{SignIns, settings.POP3}]
	for n, want := range map[int64]int64{999_999: gap, 1_000_000: 5, 1_000_001: 7, 1_000_002: gap, 1_004_999: gap} {
		if got := l.minutes.get(n); got != want {
			t.Error(n, got, want)
		}
	}
	s.advance(1_005_001, nil)
	if l.minutes.get(1_000_001) != gap || l.minutes.get(1_005_000) != 0 {
		t.Error("what is too old is still there")
	}
}

// TestSaving: at most once in saveEvery, whole, for the owner alone; a damaged file
// does not keep the server from starting.
func TestSaving(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "figures.gz")
		h, stop := open(t, Options{Path: path})
		h.Observe(let("alice", "PLAIN", sasl.Password, true, "10.0.0.5:1"))
		time.Sleep(saveEvery - 2*time.Minute)
		if _, err := os.Stat(path); err == nil {
			t.Error("written too early")
		}
		time.Sleep(3 * time.Minute)
		if i, err := os.Stat(path); err != nil || i.Mode() != 0o600 {
			t.Error(i, err)
		}
		stop()
		if err := os.WriteFile(path, []byte("damaged"), 0o600); err != nil {
			t.Fatal(err)
		}
		h, stop = open(t, Options{Path: path})
		h.Observe(let("bob", "PLAIN", sasl.Password, true, "10.0.0.5:1"))
		stop()
		h, stop = open(t, Options{Path: path})
		defer func() { stop() }()
		if n := h.SignIns(time.Time{}, Filter{}); len(n) != 1 || n[0].User != "bob" || n[0].Address() != "10.0.0.5" {
			t.Error(n)
		}
	})
}

// TestNil: whoever has no History need not ask.
func TestNil(t *testing.T) {
	var h *History
	h.Observe(auth.Attempt{})
	h.Identify(from("10.0.0.5:1"), "x")
	h.Delivered(1)
	h.Run(t.Context())
	if h.Series(SignIns, "", time.Time{}, time.Now(), 0) != nil || h.SignIns(time.Time{}, Filter{}) != nil || h.Refused(Filter{}, refusedBy(mail.SecureLogin), time.Hour).SignIns != 0 || h.Close() != nil {
		t.Error("something of nothing")
	}
}

// FuzzFile: whatever the file holds, reading and writing it again ends, within the
// bounds, at what was read.
func FuzzFile(f *testing.F) {
	f.Add([]byte(`{"version":1,"signIns":[{"user":"alice","service":"IMAP4","mechanism":"PLAIN","class":1,"network":"10.0.0.5/32","outcome":"OK","last":5,"slots":[[0,1],[1,4294967299]]}],` +
		`"lines":[{"metric":"SignIns","service":"IMAP4","minuteHead":400,"minutes":[1,-1,2],"hourHead":6,"hours":[3]}]}`))
	f.Add([]byte(`{"version":1,"signIns":[{"service":"POP3","slots":[[-1,1]]}],"lines":[{"metric":"BytesIn","service":"POP3","minuteHead":9223372036854775807,"minutes":[1],"hourHead":-9223372036854775808,"hours":[1,2]}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var packed bytes.Buffer
		z := gzip.NewWriter(&packed)
		z.Write(text)
		z.Close()
		d, err := read(packed.Bytes())
		if err != nil {
			return
		}
		fresh := func() *History {
			return &History{signIns: newSignIns(2), series: newSeries(1000)}
		}
		h := fresh()
		h.take(d)
		if len(h.signIns.users) > 2*maxRows {
			t.Error("users:", len(h.signIns.users))
		}
		again := fresh()
		again.take(h.document())
		if !reflect.DeepEqual(h.signIns.rows, again.signIns.rows) {
			t.Errorf("%v\n%v", h.signIns.rows, again.signIns.rows)
		}
		for k, l := range h.series.lines {
			if !reflect.DeepEqual(l.minutes.known(), again.series.lines[k].minutes.known()) {
				t.Error(k, l.minutes.known(), again.series.lines[k].minutes.known())
			}
		}
	})
}

func BenchmarkObserve(b *testing.B) {
	h := Open(Options{})
	a := let("alice", "PLAIN", sasl.Password, true, "10.0.0.5:1")
	for b.Loop() {
		h.Observe(a)
	}
}

// refusedBy gives the function for Refused that tells what a LoginType refuses.
func refusedBy(t mail.LoginType) func(SignIn) bool {
	return func(s SignIn) bool { return !auth.Permits(t, s.Class, s.TLS).OK }
}
