package main

import (
	"runtime"
	"testing"
)

var kept []byte

func TestThrift(t *testing.T) {
	th := thrift{renew: func() int { return 0 }}
	// calm looks until memory is given back or the server has been at rest for long.
	calm := func() bool {
		for range calmFor + 1 {
			if th.look() {
				return true
			}
		}
		return false
	}
	calm() // what the tests before have left
	if calm() {
		t.Error("memory was given back twice")
	}
	for range 64 {
		kept = make([]byte, 1<<20)
	}
	if th.look() {
		t.Error("the server was not at rest")
	}
	if !calm() {
		t.Error("nothing was given back")
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	if held := m.HeapIdle - m.HeapReleased; held > 8<<20 {
		t.Errorf("%d bytes are held that nothing uses", held)
	}
	if calm() {
		t.Error("memory was given back twice")
	}
}

// TestUnmapProgram: code and constants are there again when they are used.
func TestUnmapProgram(t *testing.T) {
	n := unmapProgram()
	if runtime.GOOS == "linux" && n < 1<<20 {
		t.Errorf("%d bytes", n)
	}
	runtime.GC()
	if text := run; text == nil {
		t.Error("lost")
	}
}
