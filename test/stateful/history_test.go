package stateful

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/postern-mail/postern/test/history"
)

// FuzzHistory has sessions of IMAP, POP3 and LMTP, one that never logs in, and a guest do
// what the input chooses, in every state, and asks package history whether it can be.
func FuzzHistory(f *testing.F) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 0))
		var script []byte
		for range 60 {
			script = binary.LittleEndian.AppendUint64(script, rng.Uint64())
		}
		f.Add(script)
	}
	f.Fuzz(func(t *testing.T, script []byte) {
		if len(script) > 4<<10 {
			return
		}
		replay(t, script)
	})
}

// full is how many messages alice may have where she has little room.
const full = 20

// replay plays a script on a server of its own and gives the figures. The first byte says
// whether there is room.
func replay(t testing.TB, script []byte) history.Figures {
	var most int64
	if len(script) > 0 {
		if script[0]&1 == 1 {
			most = full
		}
		script = script[1:]
	}
	s := newServer(t, most)
	h := history.New(history.Target{
		IMAP: "imap", POP3: "pop3", LMTP: "lmtp", Dial: s.dial,
		Accounts: []history.Account{{Name: "alice", Password: "secret"}, {Name: "bob", Password: "secret"}},
	}, history.Options{Seed: 1, Sessions: 2, Messages: 30, Quotas: map[string]history.Quota{"alice": {Messages: most}}})
	faults, err := h.Replay(t.Context(), script, 2)
	if err != nil {
		t.Fatal(err)
	}
	for _, fault := range faults {
		t.Error(fault)
	}
	return h.Figures()
}

// TestHistory plays scripts at random, and says how fast. POSTERN_FUZZ_TIME is for how long.
func TestHistory(t *testing.T) {
	began, sum := time.Now(), history.Figures{}
	limit := 2 * time.Second
	if s := os.Getenv("POSTERN_FUZZ_TIME"); s != "" {
		var err error
		if limit, err = time.ParseDuration(s); err != nil {
			t.Fatal(err)
		}
	}
	seed, scripts := uint64(began.UnixNano()), 0
	if s := os.Getenv("POSTERN_SEED"); s != "" { // as a failed test names it: seed,script
		if _, err := fmt.Sscanf(s, "%d,%d", &seed, &scripts); err != nil {
			t.Fatal(err)
		}
	}
	for ; time.Since(began) < limit && !t.Failed(); scripts++ {
		rng := rand.New(rand.NewPCG(seed, uint64(scripts)))
		script := make([]byte, 1+rng.IntN(2000))
		for i := range script {
			script[i] = byte(rng.Uint32())
		}
		// A server of its own ends with its script, and not with the test.
		t.Run("script", func(t *testing.T) {
			f := replay(t, script)
			sum.Commands += f.Commands
			sum.Operations += f.Operations
			sum.Acknowledged += f.Acknowledged
			sum.Read += f.Read
		})
	}
	if t.Failed() {
		t.Logf("POSTERN_SEED=%d,%d", seed, scripts-1)
	}
	t.Logf("%.0f commands a second", float64(sum.Commands)/time.Since(began).Seconds())
	t.Logf("prove: command sequences played: %d", scripts)
	t.Logf("prove: commands of them: %d", sum.Commands)
	t.Logf("prove: operations of them checked: %d", sum.Operations)
	t.Logf("prove: messages of them read and compared: %d", sum.Read)
}
