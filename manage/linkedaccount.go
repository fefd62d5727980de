package manage

import (
	"context"
	"slices"
	"strings"

	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/settings"
)

// linkedAccounts gives who a mailbox's owner is in directories that prove others'
// people, each as DIRECTORY:IDENTIFIER; nil when no directory does.
func (s *Server) linkedAccounts(ctx context.Context, e *directory.Entry) ([]string, error) {
	d, ok := s.Directory.(directory.Linker)
	if !ok {
		return nil, nil
	}
	list, err := d.LinkedAccounts(ctx, e)
	var texts []string
	for _, l := range list {
		texts = append(texts, l.Directory+":"+l.ID)
	}
	return texts, err
}

func linkedAccount(text string) (string, error) {
	dir, id, _ := strings.Cut(text, ":")
	if dir == "" || id == "" {
		return "", mail.Errorf(mail.KindBadArgument, "contains %q, which is not DIRECTORY:IDENTIFIER", text)
	}
	return text, nil
}

// editLinks makes -LinkedAccounts of what the mailbox has now, and gives what does it.
func (c *Call) editLinks(ctx context.Context, e *directory.Entry) (func(context.Context) error, error) {
	d, ok := c.Directory.(directory.Linker)
	if !ok {
		return nil, wrong("LinkedAccounts", "LinkedAccounts needs a directory that proves people of another one (docs/directories.md)")
	}
	now, err := c.linkedAccounts(ctx, e)
	if err != nil {
		return nil, err
	}
	next, err := settings.ApplyListEdit(c.List("LinkedAccounts"), now, linkedAccount)
	if err != nil {
		return nil, wrong("LinkedAccounts", "LinkedAccounts %s", mail.TextOf(err))
	}
	linked := map[string]string{} // identifier by directory
	for _, text := range next {
		dir, id, _ := strings.Cut(text, ":")
		if linked[dir] != "" {
			return nil, wrong("LinkedAccounts", "LinkedAccounts has two accounts of the directory %s, and a mailbox has one", dir)
		}
		linked[dir] = id
	}
	if !slices.Equal(now, next) {
		c.Change(e.Name, "LinkedAccounts", addresses(now), addresses(next))
	}
	for _, text := range next {
		if dir, id, _ := strings.Cut(text, ":"); !slices.Contains(now, text) {
			if err := c.losesLink(ctx, d, dir, id); err != nil {
				return nil, err
			}
		}
	}
	return func(ctx context.Context) error {
		for _, text := range now {
			if dir, _, _ := strings.Cut(text, ":"); linked[dir] == "" {
				if err := d.Unlink(ctx, e, dir); err != nil && mail.KindOf(err) != mail.KindNotFound {
					return err
				}
			}
		}
		for dir, id := range linked {
			if slices.Contains(now, dir+":"+id) {
				continue
			}
			if err := d.Link(ctx, e, directory.LinkedAccount{Directory: dir, ID: id}); err != nil {
				return about("LinkedAccounts", err)
			}
		}
		return nil
	}, nil
}

// losesLink says from whom a link takes an account, and keeps an administrator's from
// those who hold less: without it whoever is proved next under the name would get in.
func (c *Call) losesLink(ctx context.Context, d directory.Linker, dir, id string) error {
	other, err := d.LinkedTo(ctx, dir, id)
	if err != nil || other == nil {
		return err
	}
	if err := c.guardAdministrator(ctx, holderOf(other)); err != nil {
		return about("LinkedAccounts", err)
	}
	had, err := c.linkedAccounts(ctx, other)
	if err != nil {
		return err
	}
	left := slices.DeleteFunc(slices.Clone(had), func(text string) bool { return text == dir+":"+id })
	c.Change(other.Name, "LinkedAccounts", addresses(had), addresses(left))
	return nil
}
