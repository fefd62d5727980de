package manage

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/sasl"
	"github.com/postern-mail/postern/settings"
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
		{"LegacyMechanisms", addresses(e.LegacyMechanisms)},
		{"DisabledCapabilities", addresses(e.DisabledCapabilities)},
		{"ImapReferralUrl", e.ImapReferralURL},
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
	if c.Given("LegacyMechanisms") {
		if err := c.guardAdministrator(ctx, holderOf(e)); err != nil {
			return nil, err
		}
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
		if c.Given("LegacyMechanisms") {
			list, err := c.legacyMechanisms(e)
			if err != nil {
				return err
			}
			e.LegacyMechanisms = list
		}
		if c.Given("DisabledCapabilities") {
			list, err := edited(c.List("DisabledCapabilities"), e.DisabledCapabilities, settings.AnyCapability)
			if err != nil {
				return wrong("DisabledCapabilities", "DisabledCapabilities %s", mail.TextOf(err))
			}
			slices.Sort(list)
			e.DisabledCapabilities = list
		}
		if c.Given("ImapReferralUrl") {
			u := c.Text("ImapReferralUrl")
			if u != "" {
				var err error
				if u, err = settings.ReferralURL(u, false); err != nil {
					return wrong("ImapReferralUrl", "ImapReferralUrl %s, or empty", mail.TextOf(err))
				}
			}
			e.ImapReferralURL = u
		}
		return nil
	}
	next := *e
	next.LegacyMechanisms = slices.Clone(e.LegacyMechanisms)
	next.DisabledCapabilities = slices.Clone(e.DisabledCapabilities)
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
		return nil, c.nothing("PopEnabled", "ImapEnabled", "LegacyMechanisms", "DisabledCapabilities", "ImapReferralUrl")
	}
	c.warnOfLegacy(e, next.LegacyMechanisms)
	if next.ImapReferralURL != "" && next.ImapReferralURL != e.ImapReferralURL {
		c.Note("Its IMAP4 clients are sent there at their next log-in. Mail still arrives here, and POP3 still reads it, until that is changed elsewhere.")
	}
	return func(ctx context.Context) error { return c.Directory.Change(ctx, e.Name, change) }, nil
}

// legacyMechanisms makes -LegacyMechanisms of what the mailbox has now, in the table's
// order.
func (c *Call) legacyMechanisms(e *directory.Entry) ([]string, error) {
	all := sasl.Legacy()
	list, err := edited(c.List("LegacyMechanisms"), e.LegacyMechanisms, func(text string) (string, error) {
		i := slices.IndexFunc(all, func(name string) bool { return strings.EqualFold(name, text) })
		if i < 0 {
			return "", mail.Errorf(mail.KindBadArgument, "contains %q; the legacy mechanisms are %s", text, strings.Join(all, ", "))
		}
		return all[i], nil
	})
	if err != nil {
		return nil, wrong("LegacyMechanisms", "LegacyMechanisms %s", mail.TextOf(err))
	}
	if e.Directory != "" && sasl.NeedReadable(list) {
		return nil, about("LegacyMechanisms", hinted(mail.Errorf(mail.KindCannot, "the password of %s is kept by the directory %s, and this server cannot read it", e.Name, e.Directory),
			"CRAM-MD5 and APOP are for passwords that this server keeps itself."))
	}
	slices.SortFunc(list, func(a, b string) int { return slices.Index(all, a) - slices.Index(all, b) })
	return list, nil
}

// warnOfLegacy says what a mailbox's legacy mechanisms cost, and what they still lack.
func (c *Call) warnOfLegacy(e *directory.Entry, next []string) {
	had, needs := sasl.NeedReadable(e.LegacyMechanisms), sasl.NeedReadable(next)
	fresh := slices.DeleteFunc(slices.Clone(next), func(name string) bool { return slices.Contains(e.LegacyMechanisms, name) })
	if len(fresh) > 0 {
		c.Warn("Such proofs are weak: whoever reads one along can guess the password at leisure. Prefer SCRAM, or an app password over TLS.")
	}
	switch {
	case needs && !had:
		c.Warn("CRAM-MD5 and APOP need the password itself: from its next change on the server keeps it encrypted, under a key beside the store. Who has both can read it.")
		c.Note("The password that is set now cannot be read: Set-Mailbox -Password sets one that these mechanisms can use.")
	case had && !needs && e.ReadablePassword:
		c.Note("The readable password is forgotten; the password stays.")
	}
	for _, name := range fresh {
		var lack []string
		for _, s := range []settings.Service{settings.POP3, settings.IMAP4} {
			if slices.Contains(settings.AuthMechanisms.Completions(s), name) && !slices.Contains(settings.AuthMechanisms.Of(c.Settings.Current(s)), name) {
				lack = append(lack, string(s))
			}
		}
		if len(lack) > 0 {
			c.Note(fmt.Sprintf("AuthMechanisms of %s does not name %s yet.", strings.Join(lack, " and of "), name))
		}
	}
}
