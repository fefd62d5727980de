package manage

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/mail"
)

// Holder is whom a right was given to. A mailbox is told by what outlives its name, so
// that nobody gets a right with somebody else's name; an operating-system user is
// told by the name.
type Holder struct {
	Identity string `json:"identity"` // the name when the right was given
	// Account is that of a mailbox of Postern's own directory; Directory and ID are
	// whom an external one knows. All are zero for an operating-system user, and for
	// a mailbox in a record of a version that kept the name alone.
	Account   mail.AccountID `json:"account,omitempty"`
	Directory string         `json:"directory,omitempty"`
	ID        string         `json:"id,omitempty"`
}

// localMember is a local administrator of a server. It reads the name alone, too,
// which is what earlier versions kept.
type localMember struct{ Holder }

// UnmarshalJSON implements json.Unmarshaler.
func (m *localMember) UnmarshalJSON(raw []byte) error {
	if json.Unmarshal(raw, &m.Identity) == nil {
		return nil
	}
	return json.Unmarshal(raw, &m.Holder)
}

// holderOf gives an entry as a holder of rights.
func holderOf(e *directory.Entry) Holder {
	h := Holder{Identity: e.Name, Directory: e.Directory, ID: e.ID}
	if e.ID == "" {
		h.Account = e.Account
	}
	return h
}

// named tells whether nothing but the name says who the holder is.
func (h Holder) named() bool { return h.Account == 0 && h.ID == "" }

// is tells whether a right that h holds is who's.
func (h Holder) is(who Holder) bool {
	switch {
	case h.ID != "":
		return h.Directory == who.Directory && h.ID == who.ID
	case h.Account != 0:
		return h.Account == who.Account
	}
	return h.Identity == who.Identity
}

// holder gives who an identity is now; of somebody unknown the name alone. The errors
// are the directory's.
func (s *Server) holder(ctx context.Context, identity string) (Holder, error) {
	if strings.HasPrefix(identity, unixPrefix) {
		return Holder{Identity: identity}, nil
	}
	e, err := s.Directory.Lookup(ctx, identity)
	switch {
	case err == nil && e.Name == identity:
		return holderOf(e), nil
	case err != nil && mail.KindOf(err) != mail.KindNotFound:
		return Holder{}, err
	}
	return Holder{Identity: identity}, nil
}

// standing says of the holder of a right whether it still can be used, and whether
// the name still is theirs.
func (s *Server) standing(ctx context.Context, h Holder) string {
	if strings.HasPrefix(h.Identity, unixPrefix) {
		return "OperatingSystem"
	}
	who, err := s.holder(ctx, h.Identity)
	switch {
	case err != nil:
		return "Unknown" // the directory does not answer
	case who.named():
		return "Missing"
	case h.named():
		return "NameOnly"
	case !h.is(who):
		return "Renamed"
	}
	return "Mailbox"
}

// BindRights makes rights that a name holds alone, in records of earlier versions,
// those of the mailbox that has the name now. Those whose mailbox is unknown, or whose
// directory does not answer, stay as they are. It is asked before anybody signs in.
func (s *Server) BindRights(ctx context.Context) error {
	if err := bindRights(ctx, s, s.assignments(), func(a *Assignment) *Holder { return &a.Holder }); err != nil {
		return err
	}
	return bindRights(ctx, s, s.localMembers(), func(m *localMember) *Holder { return &m.Holder })
}

func bindRights[T any](ctx context.Context, s *Server, kept keptList[T], holder func(*T) *Holder) error {
	list, _, err := kept.load(ctx)
	if err != nil {
		return err
	}
	found := map[string]Holder{}
	for i := range list {
		if h := holder(&list[i]); h.named() && !strings.HasPrefix(h.Identity, unixPrefix) {
			if who, err := s.holder(ctx, h.Identity); err == nil && !who.named() {
				found[h.Identity] = who
			}
		}
	}
	if len(found) == 0 {
		return nil
	}
	return kept.change(ctx, func(list []T) ([]T, error) {
		list = append([]T{}, list...)
		for i := range list {
			h := holder(&list[i])
			if who, ok := found[h.Identity]; ok && h.named() {
				*h = who
				s.Log.InfoContext(ctx, "a right that a name held is its mailbox's now", "name", who.Identity, "directory", who.Directory)
			}
		}
		return list, nil
	})
}
