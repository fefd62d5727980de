package main

import (
	"context"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// thrift gives memory back to the system when the server has come to rest. By itself
// Go collects what a burst left behind only when the heap has grown again, or after two
// minutes, and gives it back some minutes later; it would be counted as the sessions' that
// have only been opened. Where and how much: docs/decisions/speed.md.
type thrift struct {
	renew     func() int // has sessions wait on stacks of the size of now; gives how many
	allocated uint64     // bytes since the start, when it last looked
	spent     uint64     // bytes since it last gave back
	calm      int        // looks in a row at which the server was at rest
	begun     bool       // it has given back what the start left
}

const (
	// thriftEvery is how often it looks.
	thriftEvery = 2 * time.Second
	// calmFor is how many looks in a row must find the server at rest: then the sessions
	// that have been opened are parked, too (listener.Conn.Park).
	calmFor = 4
	// atRest is the most that a server allocates in that time that has nothing to do.
	atRest = 1 << 20
	// worthwhile is the least that must have been allocated to collect it; with a large
	// heap, which costs more to look through, it is an eighth of it.
	worthwhile = 4 << 20
	// renewTime is what sessions have to change their stacks.
	renewTime = 200 * time.Millisecond
)

// run looks until ctx ends.
func (t *thrift) run(ctx context.Context) {
	tick := time.NewTicker(thriftEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			t.look()
		}
	}
}

// look gives memory back, and tells so, if the server is at rest and was not.
func (t *thrift) look() bool {
	now := [2]metrics.Sample{{Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/heap/live:bytes"}}
	metrics.Read(now[:])
	allocated, live := now[0].Value.Uint64(), now[1].Value.Uint64()
	grown := allocated - t.allocated
	t.allocated = allocated
	t.spent += grown
	if t.calm++; grown > atRest {
		t.calm = 0
	}
	if t.calm == 0 || t.begun && (t.calm < calmFor || t.spent < max(worthwhile, live/8)) {
		return false
	}
	runtime.GC() // what pools hold goes with the second
	if t.renew() > 0 {
		time.Sleep(renewTime)
	}
	debug.FreeOSMemory()
	unmapProgram()
	t.spent, t.begun = 0, true
	return true
}

// startThrift starts it and gives what ends it, and waits. renew is of thrift.
func startThrift(ctx context.Context, renew func() int) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		(&thrift{renew: renew}).run(ctx)
	}()
	return func() { cancel(); <-ended }
}
