package embedded

import (
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// scheduler says when Pebble may compact: as many at once as Pebble itself asks
// for, but none for a while after one failed. Pebble's own scheduler lets a
// compaction that meets a damaged block fail again and again at full speed, and
// keeps its goroutine when Pebble's Open fails.
type scheduler struct {
	db   pebble.DBForCompaction // set by Register
	poke chan struct{}          // of one: there may be something to grant
	stop chan struct{}
	done chan struct{} // nil before Register

	mu       sync.Mutex
	running  int
	closed   bool
	failures int
	paused   time.Time // nothing is granted before
}

var (
	_ pebble.CompactionScheduler   = (*scheduler)(nil)
	_ pebble.CompactionGrantHandle = grant{}
)

const (
	// grantEvery is how often the scheduler looks without being poked.
	grantEvery = 100 * time.Millisecond
	// firstPause after a failure doubles with each further one, up to lastPause.
	firstPause = 10 * time.Millisecond
	lastPause  = time.Minute
	// startPause is how long nothing is compacted at first: a server that starts, with what
	// was left to do when it was ended, has its first clients to answer.
	startPause = time.Second
)

func newScheduler() *scheduler {
	return &scheduler{poke: make(chan struct{}, 1), stop: make(chan struct{})}
}

// grant is the leave to run one compaction.
type grant struct{ s *scheduler }

func (grant) Started()                                          {}
func (grant) MeasureCPU(pebble.CompactionGoroutineKind)         {}
func (grant) CumulativeStats(pebble.CompactionGrantHandleStats) {}

// Done ends a compaction.
func (g grant) Done() {
	g.s.mu.Lock()
	g.s.running--
	g.s.mu.Unlock()
	g.s.wake()
}

func (s *scheduler) wake() {
	select {
	case s.poke <- struct{}{}:
	default:
	}
}

// Register begins the work.
func (s *scheduler) Register(_ int, db pebble.DBForCompaction) {
	s.db = db
	s.done = make(chan struct{})
	s.mu.Lock()
	s.paused = time.Now().Add(startPause)
	s.mu.Unlock()
	go s.run()
}

// Unregister ends it and waits. It may be called again.
func (s *scheduler) Unregister() {
	s.mu.Lock()
	first := !s.closed
	s.closed = true
	s.mu.Unlock()
	if first {
		close(s.stop)
	}
	if s.done != nil {
		<-s.done
	}
}

func (s *scheduler) run() {
	defer close(s.done)
	tick := time.NewTicker(grantEvery)
	defer tick.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-tick.C:
		case <-s.poke:
		}
		for s.allowed(0) {
			if waiting, _ := s.db.GetWaitingCompaction(); !waiting {
				break
			}
			if !s.allowed(1) {
				break
			}
			if !s.db.Schedule(grant{s}) {
				s.mu.Lock()
				s.running--
				s.mu.Unlock()
				break
			}
		}
	}
}

// allowed tells whether one more may run, and adds n to those that do if so.
func (s *scheduler) allowed(n int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.running >= s.db.GetAllowedWithoutPermission() || time.Now().Before(s.paused) {
		return false
	}
	s.running += n
	return true
}

// TrySchedule grants at once if it can.
func (s *scheduler) TrySchedule() (bool, pebble.CompactionGrantHandle) {
	if !s.allowed(1) {
		return false, nil
	}
	return true, grant{s}
}

// UpdateGetAllowedWithoutPermission looks whether more may run now.
func (s *scheduler) UpdateGetAllowedWithoutPermission() { s.wake() }

// failed makes the next compaction wait; first tells that the one before worked.
func (s *scheduler) failed() (first bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.paused = time.Now().Add(min(lastPause, firstPause<<min(s.failures, 16)))
	s.failures++
	return s.failures == 1
}

// worked ends that.
func (s *scheduler) worked() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failures, s.paused = 0, time.Time{}
}
