package manage

import (
	"context"
	"slices"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
)

// The entries of the server that all users see through IMAP4 (RFC 5464, 3.2.1.1).

// getServerMetadata shows one object an entry.
func getServerMetadata(ctx context.Context, c *Call) (func(context.Context) error, error) {
	list, err := c.Folders.ServerMetadata(ctx)
	if err != nil {
		return nil, err
	}
	for _, e := range list {
		if matches(c.Text("Name"), e.Name) {
			c.Add(Object{{"Name", e.Name}, {"Value", string(e.Value)}})
		}
	}
	return nil, nil
}

// setServerMetadata gives an entry a value.
func setServerMetadata(ctx context.Context, c *Call) (func(context.Context) error, error) {
	name, old, _, err := c.serverEntry(ctx)
	if err != nil {
		return nil, err
	}
	value := c.Text("Value")
	if len(value) > store.MaxMetadataValue {
		return nil, wrong("Value", "a value has at most %d bytes", store.MaxMetadataValue)
	}
	return c.changeServerEntry(name, old, store.MetadataEntry{Name: name, Value: append([]byte{}, value...)}), nil
}

// removeServerMetadata takes an entry away.
func removeServerMetadata(ctx context.Context, c *Call) (func(context.Context) error, error) {
	name, old, there, err := c.serverEntry(ctx)
	if err != nil {
		return nil, err
	}
	if !there {
		return nil, about("Name", hinted(mail.Errorf(mail.KindNotFound, "there is no entry %s", name), "Get-ServerMetadata lists them."))
	}
	return c.changeServerEntry(name, old, store.MetadataEntry{Name: name}), nil
}

// serverEntry gives the entry that Name means and the value that it has.
func (c *Call) serverEntry(ctx context.Context) (name, value string, there bool, err error) {
	if name, err = store.CleanEntry(c.Text("Name")); err == nil {
		err = store.SettableEntry(name)
	}
	if err == nil && !store.SharedEntry(name) {
		err = mail.Errorf(mail.KindBadArgument, "The name of an entry that all users see begins with /shared.")
	}
	if err != nil {
		return "", "", false, about("Name", err)
	}
	list, err := c.Folders.ServerMetadata(ctx)
	if err != nil {
		return "", "", false, err
	}
	i := slices.IndexFunc(list, func(e store.MetadataEntry) bool { return e.Name == name })
	if i < 0 {
		return name, "", false, nil
	}
	return name, string(list[i].Value), true, nil
}

func (c *Call) changeServerEntry(name, old string, e store.MetadataEntry) func(context.Context) error {
	shown := func(text string, is bool) any {
		if !is {
			return nil
		}
		return text
	}
	c.Change(name, "Value", shown(old, old != ""), shown(string(e.Value), e.Value != nil))
	return func(ctx context.Context) error { return c.Folders.SetServerMetadata(ctx, []store.MetadataEntry{e}) }
}
