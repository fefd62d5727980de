package store

import (
	"context"
)

// The server's entries that all users see (RFC 5464, 3.2.1.1) are one record for all
// accounts and all servers. Only administrators change them.

const (
	serverMetadataKind = "servermetadata"
	serverMetadataKey  = "shared"
)

// ServerMetadata gives the entries, ascending by name.
func (s *Store) ServerMetadata(ctx context.Context) ([]MetadataEntry, error) {
	list, _, err := s.serverMetadata(ctx)
	return list, err
}

func (s *Store) serverMetadata(ctx context.Context) ([]MetadataEntry, Record, error) {
	r := Record{Kind: serverMetadataKind, Key: serverMetadataKey}
	records, err := s.engine.Records(ctx, serverMetadataKind, serverMetadataKey)
	if err != nil || len(records) == 0 {
		return nil, r, err
	}
	list, err := readMetadata(records[0])
	return list, records[0], err
}

// SetServerMetadata changes entries, all or none: a nil Value removes one. Errors as of
// Visit.SetMetadata.
func (s *Store) SetServerMetadata(ctx context.Context, changes []MetadataEntry) error {
	if err := checkMetadata(changes); err != nil {
		return err
	}
	for try := 0; ; try++ {
		list, r, err := s.serverMetadata(ctx)
		if err != nil {
			return err
		}
		list, names := editMetadata(list, changes)
		if len(names) == 0 {
			return nil
		}
		if r.Value, err = metadataValue(list); err != nil {
			return err
		}
		switch err = s.PutRecords(ctx, []Record{r}); {
		case err == nil:
			s.sessions.tell(&Event{What: MetadataChanged, Entries: names}, nil)
			return nil
		case !tryAgain(err, try):
			return err
		}
	}
}

// tellServerMetadata tells that another server changed entries; which, it does not know.
func (s *Store) tellServerMetadata(ctx context.Context) {
	if s.sessions.empty() {
		return
	}
	list, err := s.ServerMetadata(ctx)
	if err != nil {
		s.opt.Log.Warn("the server's entries could not be read", "error", err)
		return
	}
	e := Event{What: MetadataChanged}
	for _, entry := range list {
		e.Entries = append(e.Entries, entry.Name)
	}
	if len(e.Entries) > 0 {
		s.sessions.tell(&e, nil)
	}
}
