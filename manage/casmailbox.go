package manage

import (
	"context"

	"github.com/postern-mail/postern/directory"
)

// getCASMailbox shows one object a mailbox: what it may use.
func getCASMailbox(ctx context.Context, c *Call) (func(context.Context) error, error) {
	entries, err := c.entries(ctx)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		c.Add(casObject(e))
	}
	return nil, nil
}

func casObject(e directory.Entry) Object {
	return Object{
		{"Name", e.Name},
		{"DisplayName", e.DisplayName},
		{"Enabled", e.Enabled},
		{"PopEnabled", e.PopEnabled},
		{"ImapEnabled", e.ImapEnabled},
	}
}

// setCASMailbox changes what a mailbox may use; it acts on the next log-in.
func setCASMailbox(ctx context.Context, c *Call) (func(context.Context) error, error) {
	e, err := c.entry(ctx)
	if err != nil {
		return nil, err
	}
	if err := hasMailbox(e); err != nil {
		return nil, err
	}
	change := func(e *directory.Entry) error {
		if err := c.expected(ctx, e.Name, casObject(*e)); err != nil {
			return err
		}
		if c.Given("PopEnabled") {
			e.PopEnabled = c.Bool("PopEnabled")
		}
		if c.Given("ImapEnabled") {
			e.ImapEnabled = c.Bool("ImapEnabled")
		}
		return nil
	}
	next := *e
	if err := change(&next); err != nil {
		return nil, err
	}
	old := casObject(*e)
	for _, p := range casObject(next) {
		if before, _ := old.Value(p.Name); !equal(before, p.Value) {
			c.Change(e.Name, p.Name, before, p.Value)
		}
	}
	if len(c.result.Changes) == 0 {
		return nil, c.nothing("PopEnabled", "ImapEnabled")
	}
	return func(ctx context.Context) error { return c.Directory.Change(ctx, e.Name, change) }, nil
}
