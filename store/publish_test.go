package store

import (
	"testing"

	"github.com/postern-mail/postern/mail"
)

// TestPublishKeepsMarks: a state that was computed before a guest's marks were read, and
// comes after the one with them, does not take them away again.
func TestPublishKeepsMarks(t *testing.T) {
	b := newBox(MailboxRecord{ID: 1, UIDNext: 1}, 4)
	b.index = newSnapshot(b.record, nil)
	late := b.state(5)
	b.setMarks(7, &marks{modSeq: 3})
	b.publish(b.state(5))
	b.publish(late)
	if b.published.Load().marks[mail.AccountID(7)] == nil {
		t.Error("the marks are gone")
	}
}
