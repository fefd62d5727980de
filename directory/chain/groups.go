package chain

import (
	"context"
	"slices"

	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/mail"
)

// groupsIn gives groups of a directory as login policies name them.
func groupsIn(dir string, groups []string) []string {
	var list []string
	for _, g := range groups {
		list = append(list, dir+`\`+g)
	}
	return list
}

// IsExternal is part of directory.Grouped.
func (d *Directory) IsExternal(name string) bool {
	l := d.link(name)
	return l != nil && l.Source != nil
}

// Groups is part of directory.Grouped.
func (d *Directory) Groups(ctx context.Context, e *directory.Entry) ([]string, error) {
	groups := slices.Clone(e.Groups)
	l := d.link(e.Directory)
	if l == nil {
		return groups, nil
	}
	source, ok := l.Source.(directory.Grouper)
	if !ok {
		return groups, nil
	}
	list, err := source.Groups(ctx, &directory.Person{ID: e.ID, Name: e.Name})
	if err == nil {
		l.seen.inGroups(e.ID, list)
		return append(groups, groupsIn(l.Name, list)...), nil
	}
	if list, ok := l.seen.groupsOf(e.ID); ok && ctx.Err() == nil && mail.KindOf(err) == mail.KindUnavailable {
		return append(groups, groupsIn(l.Name, list)...), nil
	}
	return nil, l.unavailable(err)
}
