package role

import (
	"context"
	"strings"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/settings"
	"github.com/postern-mail/postern/store"
)

// keeper keeps settings as records of the store, one a setting.
type keeper struct{ store *store.Store }

const settingKind = "setting"

// Load implements settings.Keeper.
func (k keeper) Load(ctx context.Context) ([]settings.Stored, error) {
	records, err := k.store.Records(ctx, settingKind, "")
	if err != nil {
		return nil, err
	}
	out := make([]settings.Stored, 0, len(records))
	for _, r := range records {
		// A server's name has no slash: see settingKey.
		f := strings.Split(r.Key, "/")
		if len(f) != 3 {
			continue
		}
		out = append(out, settings.Stored{Server: f[0], Service: settings.Service(f[1]), Name: f[2], Value: string(r.Value), Revision: r.Revision})
	}
	return out, nil
}

// Save implements settings.Keeper.
func (k keeper) Save(ctx context.Context, rows []settings.Stored) error {
	records := make([]store.Record, 0, len(rows))
	for _, row := range rows {
		if strings.Contains(row.Server, "/") {
			return mail.Errorf(mail.KindBadArgument, "A server's name has no slash.")
		}
		r := store.Record{Kind: settingKind, Key: row.Server + "/" + string(row.Service) + "/" + row.Name, Revision: row.Revision}
		if row.Value != "" {
			r.Value = []byte(row.Value)
		}
		records = append(records, r)
	}
	return k.store.PutRecords(ctx, records)
}
