package role

import (
	"context"
	"encoding/json"
	"path/filepath"

	"github.com/postern-mail/postern/audit"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
)

// openAudit opens the audit log, in the folder "audit" of the data folder.
func (s *Server) openAudit(ctx context.Context) (err error) {
	s.audit, err = audit.Open(ctx, audit.Options{
		Dir: filepath.Join(s.config.Data, auditFolder), Server: s.config.Name, Keeper: &auditHead{store: s.store, key: s.config.Name}, Log: s.log,
	})
	return err
}

// auditHead keeps the head of the audit log as a record of the store, one a
// server.
type auditHead struct {
	store    *store.Store
	key      string
	revision uint64 // of the record; only the log, one at a time, touches it
}

const auditKind = "audit"

// LoadHead implements audit.Keeper.
func (a *auditHead) LoadHead(ctx context.Context) (audit.Head, error) {
	records, err := a.store.Records(ctx, auditKind, a.key)
	if err != nil {
		return audit.Head{}, err
	}
	var head audit.Head
	for _, r := range records {
		if r.Key != a.key { // a longer name
			continue
		}
		a.revision = r.Revision
		if json.Unmarshal(r.Value, &head) != nil {
			head = audit.Head{} // the log notes that the store knew nothing
		}
	}
	return head, nil
}

// SaveHead implements audit.Keeper.
func (a *auditHead) SaveHead(ctx context.Context, h audit.Head) error {
	text, err := json.Marshal(h)
	if err != nil {
		return mail.Wrap(mail.KindServerBug, err)
	}
	err = a.store.PutRecords(ctx, []store.Record{{Kind: auditKind, Key: a.key, Value: text, Revision: a.revision}})
	if err == nil {
		a.revision++
	}
	return err
}
