package main

import (
	"runtime"
	"testing"
)

var kept []byte

func TestThrift(t *testing.T) {
	var th thrift
	th.look() // what the tests before have left
	th.look()
	if th.look() {
		t.Error("memory was given back twice")
	}
	for range 64 {
		kept = make([]byte, 1<<20)
	}
	if th.look() {
		t.Error("the server was not at rest")
	}
	if !th.look() {
		t.Error("nothing was given back")
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	if held := m.HeapIdle - m.HeapReleased; held > 8<<20 {
		t.Errorf("%d bytes are held that nothing uses", held)
	}
	if th.look() {
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
