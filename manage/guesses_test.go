package manage

import (
	"encoding/binary"
	"net/netip"
	"strconv"
	"testing"
	"time"
)

// TestGuessesAreBounded: a guesser with many networks fills no memory.
func TestGuessesAreBounded(t *testing.T) {
	var g guesses
	now := time.Unix(1_800_000_000, 0)
	for i := range uint32(3 * maxGuessRows) {
		var a [4]byte
		binary.BigEndian.PutUint32(a[:], 0x0a000000+i)
		if _, err := g.begin("sign-in", netip.AddrFrom4(a), now); err != nil {
			t.Fatal(err)
		}
		if len(g.rows) > maxGuessRows {
			t.Fatal(len(g.rows))
		}
	}
	// What is forgiven goes first.
	for i := 0; len(g.rows) < maxGuessRows; i++ {
		g.rows[guessKey{purpose: strconv.Itoa(i)}] = guessRow{since: now}
	}
	if _, err := g.begin("link", netip.IPv6Loopback(), now.Add(time.Hour)); err != nil || len(g.rows) != 1 {
		t.Error(len(g.rows), err)
	}
}

// TestGuessesForgive: one failure each half minute, and what went well counts for
// nothing.
func TestGuessesForgive(t *testing.T) {
	var g guesses
	now, here := time.Unix(1_800_000_000, 0), netip.MustParseAddr("192.0.2.1")
	fail := func(times int) (refused int) {
		for range times {
			if _, err := g.begin("sign-in", here, now); err != nil {
				refused++
			}
		}
		return refused
	}
	if n := fail(guessesFree + 3); n != 3 {
		t.Error("refused:", n)
	}
	now = now.Add(2*guessForget - time.Second)
	if n := fail(3); n != 2 {
		t.Error("refused:", n)
	}
	now = now.Add(time.Second)
	if n := fail(2); n != 1 {
		t.Error("refused:", n)
	}
	now = now.Add(time.Hour)
	for range 10 * guessesFree {
		done, err := g.begin("sign-in", here, now)
		if err != nil {
			t.Fatal(err)
		}
		done(true)
	}
	if n := fail(guessesFree); n != 0 {
		t.Error("refused:", n)
	}
}
