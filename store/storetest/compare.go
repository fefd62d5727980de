package storetest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"reflect"
	"slices"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
)

// Everything gives all that an engine has of an account, in a form to compare:
// maps and slices of plain values. nil when there is no such account.
func Everything(e store.Engine, id mail.AccountID) (map[string]any, error) {
	ctx := context.Background()
	s, err := e.Account(ctx, id)
	if err != nil {
		if mail.KindOf(err) == mail.KindNotFound {
			err = nil
		}
		return nil, err
	}
	all := map[string]any{"head": s.Account, "mailboxes": s.Mailboxes, "subscriptions": append([]string{}, s.Subscriptions...)}
	for _, m := range s.Mailboxes {
		for _, since := range []mail.ModSeq{0, s.Account.ModSeq / 2, s.Account.ModSeq - 1, s.Account.ModSeq} {
			list, err := e.Messages(ctx, id, m.ID, since)
			if err != nil {
				return nil, err
			}
			all[fmt.Sprintf("messages %v since %d", m.ID, since)] = append([]store.Message{}, list...)
			gone, complete, err := e.Vanished(ctx, id, m.ID, since)
			if err != nil {
				return nil, err
			}
			all[fmt.Sprintf("vanished %v since %d", m.ID, since)] = gone.String()
			all[fmt.Sprintf("complete %v since %d", m.ID, since)] = complete
		}
	}
	var ids []mail.EmailID
	var keys []store.ThreadKey
	for i := range s.Account.NextEmail + 1 {
		ids = append(ids, i)
		keys = append(keys, key(uint64(i)))
	}
	for _, part := range []struct {
		name string
		read func(context.Context, mail.AccountID, []mail.EmailID, func(int, []byte) error) error
	}{{"summary", e.Summaries}, {"text", e.Texts}, {"filter", e.Filters}} {
		next := 0
		err := part.read(ctx, id, ids, func(i int, v []byte) error {
			if i != next {
				return fmt.Errorf("%s %d where %d was expected", part.name, i, next)
			}
			next++
			if v != nil {
				all[fmt.Sprintf("%s %v", part.name, ids[i])] = string(v)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		if next != len(ids) {
			return nil, fmt.Errorf("%d of %d of %s", next, len(ids), part.name)
		}
	}
	for _, m := range ids {
		body, err := readBody(e, id, m)
		if mail.KindOf(err) == mail.KindExpunged && err != nil {
			continue
		}
		if err != nil {
			return nil, err
		}
		all[fmt.Sprintf("body %v", m)] = body
	}
	if all["threads"], err = e.Threads(ctx, id, keys); err != nil {
		return nil, err
	}
	records, err := e.Records(ctx, keptKind, id.String()+"/")
	if err != nil {
		return nil, err
	}
	for _, r := range records {
		all["kept "+r.Key] = string(r.Value)
	}
	return all, nil
}

// readBody reads a body in both ways.
func readBody(e store.Engine, id mail.AccountID, m mail.EmailID) (string, error) {
	b, err := e.Body(context.Background(), id, m)
	if err != nil {
		return "", err
	}
	defer b.Close()
	text, err := io.ReadAll(io.NewSectionReader(b, 0, b.Size()+1))
	if err != nil {
		return "", err
	}
	if whole := b.Bytes(); whole != nil && !bytes.Equal(whole, text) || int64(len(text)) != b.Size() {
		return "", fmt.Errorf("body %v: Bytes, ReadAt and Size differ", m)
	}
	return string(text), nil
}

// Compare says how got differs from want in what they have of an account.
func Compare(want, got store.Engine, id mail.AccountID) error {
	w, err := Everything(want, id)
	if err != nil {
		return fmt.Errorf("of the first: %w", err)
	}
	g, err := Everything(got, id)
	if err != nil {
		return fmt.Errorf("of the second: %w", err)
	}
	var differences []string
	for k := range w {
		if !reflect.DeepEqual(w[k], g[k]) {
			differences = append(differences, fmt.Sprintf("%s: %.300v, not %.300v", k, g[k], w[k]))
		}
	}
	for k := range g {
		if _, ok := w[k]; !ok {
			differences = append(differences, fmt.Sprintf("%s: %.300v, not expected", k, g[k]))
		}
	}
	if (w == nil) != (g == nil) {
		differences = append(differences, "only one has the account")
	}
	if len(differences) > 0 {
		slices.Sort(differences)
		return fmt.Errorf("account %v: %d differences, such as %s", id, len(differences), differences[0])
	}
	return nil
}
