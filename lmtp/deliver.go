package lmtp

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
)

// traceLines are put before the message (RFC 5321, 4.4). The protocol's name in
// Received is that of RFC 3848 or RFC 6531, 4.3.
func (x *session) traceLines() string {
	x.count++
	with := "LMTP"
	if x.envelope.utf8 {
		with = "UTF8LMTP"
	}
	if x.conn.TLS() != nil {
		with += "S"
	}
	client := x.client
	if a := x.conn.Remote().Addr(); a.IsValid() {
		literal := a.String()
		if a.Is6() {
			literal = "IPv6:" + literal
		}
		client += " ([" + literal + "])"
	}
	return fmt.Sprintf("Return-Path: %s\r\nReceived: from %s\r\n\tby %s with %s id %x.%x;\r\n\t%s\r\n",
		angle(x.envelope.from), client, x.Hostname, with, x.conn.ID(), x.count, x.now().Format(time.RFC1123Z))
}

// delivery is one message for one mailbox.
type delivery struct {
	account *store.Account
	mailbox string
	began   time.Time
	took    time.Duration
	err     error
}

// finish delivers the message, answers for each recipient in their order
// (RFC 2033, 4.2) and ends the transaction.
func (x *session) finish(ctx context.Context) {
	e := x.envelope
	defer x.reset()
	if e.body.err != nil {
		for _, r := range e.recipients {
			x.observe(Delivery{Began: x.now(), Err: e.body.err})
			x.answer(angle(r.address)+" ", e.body.err)
		}
		return
	}
	arrival := store.Arrival{Prepared: x.Store.Prepare(e.body.buf[:e.body.used:e.body.used]), InternalDate: x.now()}

	// Two addresses that mean one mailbox get one copy and two answers.
	type place struct {
		account mail.AccountID
		mailbox string
	}
	places := map[place]*delivery{}
	all := make([]*delivery, len(e.recipients))
	var todo []*delivery
	for i, r := range e.recipients {
		p := place{r.account.ID(), r.mailbox}
		if places[p] == nil {
			places[p] = &delivery{account: r.account, mailbox: r.mailbox}
			todo = append(todo, places[p])
		}
		all[i] = places[p]
	}
	deliver(ctx, todo, arrival)
	for _, d := range todo {
		x.observe(Delivery{Bytes: arrival.Size(), Began: d.began, Took: d.took, Err: d.err})
	}

	for i, d := range all {
		address := e.recipients[i].address
		if d.err != nil {
			x.conn.Log().Warn("message not delivered", "recipient", address, "error", d.err)
			x.answer(angle(address)+" ", d.err)
			continue
		}
		x.reply(250, "2.0.0", angle(address)+" delivered")
	}
	x.conn.Log().Info("message delivered", "from", e.from, "recipients", len(all), "bytes", arrival.Size())
}

func (x *session) observe(d Delivery) {
	if x.Observe != nil {
		d.Conn = x.conn
		x.Observe(d)
	}
}

// deliver appends to all mailboxes, some at a time so that they share syncs.
func deliver(ctx context.Context, todo []*delivery, arrival store.Arrival) {
	if len(todo) == 1 {
		todo[0].deliver(ctx, arrival)
		return
	}
	work := make(chan *delivery)
	var workers sync.WaitGroup
	for range min(deliveries, len(todo)) {
		workers.Go(func() {
			for d := range work {
				d.deliver(ctx, arrival)
			}
		})
	}
	for _, d := range todo {
		work <- d
	}
	close(work)
	workers.Wait()
}

// deliver never panics: the message has other recipients, who are served by other
// goroutines, and the client must hear that this one did not get it.
func (d *delivery) deliver(ctx context.Context, arrival store.Arrival) {
	d.began = time.Now()
	defer func() {
		d.took = time.Since(d.began)
		if p := recover(); p != nil {
			d.err = mail.Wrap(mail.KindServerBug, fmt.Errorf("panic: %v\n%s", p, debug.Stack()))
		}
	}()
	_, d.err = d.account.Append(ctx, d.mailbox, arrival)
	if d.mailbox != store.Inbox && d.err != nil && mail.KindOf(d.err) == mail.KindNotFound {
		// The mailbox was deleted since RCPT.
		_, d.err = d.account.Append(ctx, store.Inbox, arrival)
	}
}
