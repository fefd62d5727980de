package pop3

import (
	"context"
	"io"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/message"
	"github.com/postern-mail/postern/settings"
	"github.com/postern-mail/postern/store"
)

// utf8Mode = "UTF8" (RFC 6856, 2.1)
//
// DEVIATES: RFC 6856, 2.1: a message whose header has bytes outside ASCII is sent
// as it is stored also without UTF8, unless MessageDowngradeEnabled is set. Nearly all
// of them are old 8-bit mail that every client has always been given; refusing them
// would hide mail (docs/decisions/downgrade.md).
func (x *session) utf8Mode(context.Context, string) {
	x.utf8 = true
	x.ok("UTF-8 mode is on")
}

// downgraded gives what is sent of a message without UTF8 mode where
// MessageDowngradeEnabled is set (RFC 6858); nil when that is the message as it is
// stored. LIST, STAT and UIDL are about the stored one (RFC 6858, 4). Its memory is
// counted until done.
func (x *session) downgraded(ctx context.Context, m *store.Message, body store.Body) (text []byte, done func(), err error) {
	done = func() {}
	if x.utf8 || !settings.MessageDowngradeEnabled.Of(x.Settings()) {
		return nil, done, nil
	}
	wide := false
	err = x.drop.mailbox.Summaries(ctx, []mail.EmailID{m.Email}, func(_ int, sum message.Summary) error {
		wide = sum.Internationalized()
		return nil
	})
	if err != nil || !wide {
		return nil, done, err
	}
	if done, err = x.Store.Reserve(ctx, min(2*body.Size(), x.Store.MaxMessage())); err != nil {
		return nil, func() {}, err
	}
	raw := body.Bytes()
	if raw == nil {
		if raw, err = io.ReadAll(io.NewSectionReader(body, 0, body.Size())); err != nil {
			done()
			return nil, func() {}, mail.Wrap(mail.KindCorrupt, err)
		}
	}
	return message.Parse(raw, message.DefaultLimits).Surrogate(), done, nil
}
