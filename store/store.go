package store

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"log/slog"
	"math"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/postern-mail/postern/mail"
)

// Options of a Store; zero values take the defaults.
type Options struct {
	// MaxMessage is the largest message that is kept, in bytes; 64 MiB. It is what
	// APPENDLIMIT (RFC 7889) and LMTP's SIZE announce.
	MaxMessage int64
	// Memory bounds the bytes of all messages that are arriving at one time;
	// 256 MiB, and never less than MaxMessage.
	Memory int64
	// Cache bounds the bytes of indexes kept in memory for accounts that nobody
	// uses at the moment; 64 MiB.
	Cache int64
	// Columns bounds the bytes of what SORT and THREAD compare that are kept in
	// memory for the next time; 32 MiB.
	Columns int64
	// Recovery says for how long expunged messages can be brought back until SetRecovery
	// says something else; the zero value: they cannot.
	Recovery Recovery
	Clock    func() time.Time
	Log      *slog.Logger
	// Changed is told of the kinds of records that other servers changed, "" when
	// something may have been missed; nil: nobody is. It must not wait: the mail of
	// other servers comes after it.
	Changed func(kind string)
}

// reserveWait is how long an arriving message waits for memory.
const reserveWait = 20 * time.Second

// Store serves the mail of all accounts over one engine. Its methods are called
// from many goroutines.
type Store struct {
	engine Engine
	opt    Options
	memory *semaphore.Weighted
	texts  *semaphore.Weighted // bounds the messages of which search texts are made, as memory does arriving ones

	columns  columns
	watched  watches // of the rights on any mailbox
	sessions watches // all

	recovery atomic.Pointer[Recovery] // what holds; never nil
	sweeping sweeping

	mu     sync.Mutex
	live   map[mail.AccountID]*Account // in use or idle
	idle   idleList                    // those that nobody uses, oldest first
	closed bool

	heard chan struct{}  // closed when the goroutine that follows announcements has ended
	later sync.WaitGroup // changes that nobody waits for
	stop  context.CancelFunc
}

// Open makes a Store over engine, which it closes when it is closed.
func Open(engine Engine, opt Options) (*Store, error) {
	if opt.MaxMessage <= 0 {
		opt.MaxMessage = 64 << 20
	}
	if opt.Memory <= 0 {
		opt.Memory = 256 << 20
	}
	opt.Memory = max(opt.Memory, opt.MaxMessage)
	if opt.Cache <= 0 {
		opt.Cache = 64 << 20
	}
	if opt.Columns <= 0 {
		opt.Columns = 32 << 20
	}
	if opt.Clock == nil {
		opt.Clock = time.Now
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &Store{
		engine: engine,
		opt:    opt,
		memory: semaphore.NewWeighted(opt.Memory),
		texts:  semaphore.NewWeighted(opt.Memory),
		live:   map[mail.AccountID]*Account{},
		heard:  make(chan struct{}),
		stop:   cancel,

		sweeping: sweeping{ctx: ctx, soon: make(chan struct{}, 1), crowded: map[mail.AccountID]bool{}},
	}
	s.recovery.Store(&opt.Recovery)
	s.columns.most = opt.Columns
	if err := s.finishMoves(ctx); err != nil {
		cancel()
		s.later.Wait()
		engine.Close()
		return nil, err
	}
	go s.follow(ctx)
	if err := s.sweepLeft(ctx); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// Close ends the store and its engine. Sessions must have ended before.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.live = nil
	s.mu.Unlock()
	s.stop()
	<-s.heard
	s.later.Wait()
	return s.engine.Close()
}

// Now is the time by the store's clock.
func (s *Store) Now() time.Time { return s.opt.Clock() }

// MaxMessage is the largest message that is accepted, in bytes.
func (s *Store) MaxMessage() int64 { return s.opt.MaxMessage }

// Reserve takes n bytes of the memory for arriving messages. It waits for others
// to finish, for some seconds, then gives KindUnavailable; KindTooBig when n is
// more than MaxMessage. release may be called more than once.
func (s *Store) Reserve(ctx context.Context, n int64) (release func(), err error) {
	if n > s.opt.MaxMessage {
		return nil, mail.Errorf(mail.KindTooBig, "The message has %d bytes; at most %d are accepted.", n, s.opt.MaxMessage)
	}
	ctx, cancel := context.WithTimeout(ctx, reserveWait)
	defer cancel()
	if err := s.memory.Acquire(ctx, n); err != nil {
		return nil, mail.Errorf(mail.KindUnavailable, "The server is busy receiving other messages; try again later.")
	}
	var once sync.Once
	return func() { once.Do(func() { s.memory.Release(n) }) }, nil
}

// defaultMailboxes are what a new account has, with their special uses (RFC 6154).
var defaultMailboxes = []struct{ name, specialUse string }{
	{Inbox, ""}, {"Archive", `\Archive`}, {"Drafts", `\Drafts`}, {"Junk", `\Junk`}, {"Sent", `\Sent`}, {"Trash", `\Trash`},
}

// CreateAccount makes an account with the usual mailboxes, subscribed, and returns
// its id. quotaBytes 0 means no quota.
func (s *Store) CreateAccount(ctx context.Context, quotaBytes int64) (mail.AccountID, error) {
	now := s.opt.Clock().Round(0).UTC()
	next, err := s.nextUIDValidity(ctx, now)
	if err != nil {
		return 0, err
	}
	for {
		// Random ids need no counter that several servers would have to share.
		var raw [8]byte
		rand.Read(raw[:])
		id := mail.AccountID(binary.BigEndian.Uint64(raw[:]) &^ (1 << 63))
		if id == 0 {
			continue
		}
		b := &Batch{Create: true, Account: AccountRecord{
			ID: id, ModSeq: 1, NextMailbox: 1, NextEmail: 1,
			NextUIDValidity: next,
			QuotaBytes:      quotaBytes,
		}}
		for _, d := range defaultMailboxes {
			b.Mailboxes = append(b.Mailboxes, MailboxRecord{
				ID: b.Account.NextMailbox, Name: d.name, UIDValidity: b.Account.NextUIDValidity,
				SpecialUse: d.specialUse, Created: now, UIDNext: 1, HighestModSeq: 1, RecentFrom: 1,
			})
			b.Account.NextMailbox++
			b.Account.NextUIDValidity++
			b.Subscribe = append(b.Subscribe, d.name)
		}
		wait, err := s.engine.Commit(context.WithoutCancel(ctx), b)
		if err != nil && mail.KindOf(err) == mail.KindAlreadyExists {
			continue
		}
		if err != nil {
			return 0, err
		}
		return id, wait()
	}
}

// Mailboxes of an account that is made again under the same name must have a UIDVALIDITY
// that they never had: time gives one, and what the removed accounts came to, because a
// clock may be set back.
const uidValidityKind = "uidvalidity"

// nextUIDValidity gives the first UIDVALIDITY of a new account.
func (s *Store) nextUIDValidity(ctx context.Context, now time.Time) (mail.UIDValidity, error) {
	// A clock from before 1970, or after 2106, gives none.
	next := mail.UIDValidity(min(max(now.Unix(), 1), math.MaxUint32-1<<24))
	_, used, err := s.usedUIDValidity(ctx)
	return max(next, used), err
}

// usedUIDValidity gives what removed accounts would have given out next, and the record
// that says so.
func (s *Store) usedUIDValidity(ctx context.Context) (r Record, used mail.UIDValidity, err error) {
	return readUIDValidity(ctx, s.engine)
}

func readUIDValidity(ctx context.Context, e Engine) (r Record, used mail.UIDValidity, err error) {
	r = Record{Kind: uidValidityKind, Key: "next"}
	records, err := e.Records(ctx, r.Kind, r.Key)
	if err != nil {
		return r, 0, err
	}
	for _, x := range records {
		if n, err := strconv.ParseUint(string(x.Value), 10, 32); x.Key == r.Key && err == nil {
			r, used = x, mail.UIDValidity(n)
		}
	}
	return r, used, nil
}

// useUpUIDValidity says that an account that will be removed would have given out next.
func (s *Store) useUpUIDValidity(ctx context.Context, next mail.UIDValidity) error {
	for try := 0; ; try++ {
		r, used, err := s.usedUIDValidity(ctx)
		if err != nil || used >= next {
			return err
		}
		r.Value = strconv.AppendUint(nil, uint64(next), 10)
		err = s.PutRecords(ctx, []Record{r})
		if !tryAgain(err, try) {
			return err
		}
	}
}

// RemoveAccount deletes an account with all its mail. Sessions that use it find
// their mailboxes deleted.
func (s *Store) RemoveAccount(ctx context.Context, id mail.AccountID) error {
	a, err := s.Account(ctx, id)
	if err != nil {
		return err
	}
	defer a.Close()
	if err := a.remove(ctx); err != nil {
		return err
	}
	// Ids are never given again: if this ends half way, what is left means nobody.
	owners, err := s.sharedTo(ctx, mail.Grantee{Account: id})
	for _, owner := range owners {
		err = errors.Join(err, s.forgetGuest(ctx, owner, id))
	}
	if err != nil {
		s.opt.Log.Warn("rights of a removed account stay behind", "account", id, "error", err)
	}
	return nil
}

func (s *Store) forgetGuest(ctx context.Context, owner, guest mail.AccountID) error {
	a, err := s.Account(ctx, owner)
	if err != nil {
		return err
	}
	defer a.Close()
	return a.forgetGuest(ctx, guest)
}

// Accounts lists the ids of all accounts, ascending.
func (s *Store) Accounts(ctx context.Context) ([]mail.AccountID, error) {
	return s.engine.Accounts(ctx)
}

// Records reads small named things; see Engine.Records.
func (s *Store) Records(ctx context.Context, kind, prefix string) ([]Record, error) {
	return s.engine.Records(ctx, kind, prefix)
}

// PutRecords writes small named things; see Engine.PutRecords.
func (s *Store) PutRecords(ctx context.Context, records []Record) error {
	return s.engine.PutRecords(context.WithoutCancel(ctx), records)
}

// follow takes over what other servers change.
func (s *Store) follow(ctx context.Context) {
	defer close(s.heard)
	heard := s.engine.Announcements()
	if heard == nil {
		return
	}
	for {
		select {
		case <-ctx.Done():
			return
		case n, ok := <-heard:
			if !ok {
				return
			}
			if s.opt.Changed != nil && (n.All || n.Kind != "") {
				s.opt.Changed(n.Kind)
			}
			if n.All || n.Kind == serverMetadataKind {
				s.tellServerMetadata(ctx)
			}
			s.mu.Lock()
			var stale []*Account
			for id, a := range s.live {
				if n.All || n.Account == id {
					a.uses++
					stale = append(stale, a)
				}
			}
			s.mu.Unlock()
			for _, a := range stale {
				if err := a.refresh(ctx, n.ModSeq); err != nil {
					s.opt.Log.Warn("an announced change could not be read", "account", a.id, "error", err)
				}
				a.Close()
			}
		}
	}
}
