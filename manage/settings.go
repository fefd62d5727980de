package manage

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/settings"
)

type work = func(ctx context.Context, c *Call) (do func(context.Context) error, err error)

// getSettings shows one object: the service's settings in the table's order.
func getSettings(s settings.Service) work { return getNoun(s, "Settings") }

// setSettings changes the settings that were given, all or none.
func setSettings(s settings.Service) work { return setNoun(s, "Settings") }

// getNoun shows the settings of one noun.
func getNoun(s settings.Service, noun string) work {
	return func(_ context.Context, c *Call) (func(context.Context) error, error) {
		values := c.Settings.Current(s)
		c.Add(append(Object{{"Server", c.Settings.Server()}, {"Service", string(s)}}, settingsObject(s, noun, values)...))
		for _, r := range settings.Of(s, noun) {
			c.Warn(r.Warning(values))
		}
		for _, w := range c.Settings.Warnings() {
			if strings.HasPrefix(w, string(s)+":") {
				c.Warn(w)
			}
		}
		if err := c.certificate(values); err != nil {
			c.Warn(mail.TextOf(err))
		} else if c.Pairs != nil {
			if shown := c.Pairs.ShownFor(settings.X509CertificateName.Of(values)); shown != nil {
				c.Warn(shown.Warning(c.Now()))
			}
		}
		return nil, nil
	}
}

// settingsObject gives the settings of a service and noun, in the table's order.
func settingsObject(s settings.Service, noun string, values *settings.Values) Object {
	var o Object
	for _, r := range settings.Of(s, noun) {
		o = append(o, Property{r.Name, r.Show(values)})
	}
	return o
}

// setNoun changes the settings of one noun that were given, all or none.
func setNoun(s settings.Service, noun string) work {
	return func(ctx context.Context, c *Call) (func(context.Context) error, error) {
		edits := c.edits(s, noun)
		if len(edits) == 0 {
			return nil, hinted(mail.Errorf(mail.KindBadArgument, "%s needs a setting to change", c.Cmdlet.Name), "Get-Help "+c.Cmdlet.Name+" lists them.")
		}
		return c.changeSettings(ctx, s, edits, func(old, new *settings.Values) error {
			if err := c.expected(ctx, string(s), settingsObject(s, noun, old)); err != nil {
				return err
			}
			return c.acceptable(old, new)
		})
	}
}

// edits gathers the settings that were given, in the table's order.
func (c *Call) edits(s settings.Service, noun string) []settings.Edit {
	var edits []settings.Edit
	for _, r := range settings.Of(s, noun) {
		switch v := c.arguments[r.Name].(type) {
		case json.RawMessage:
			edits = append(edits, settings.Edit{Name: r.Name, Value: v})
		case bool:
			edits = append(edits, settings.Edit{Name: r.Name, Value: fmt.Append(nil, v)})
		}
	}
	return edits
}

// changeSettings plans a change of settings and gives the function that makes it.
// check is asked both times.
func (c *Call) changeSettings(ctx context.Context, s settings.Service, edits []settings.Edit, check func(old, new *settings.Values) error) (func(context.Context) error, error) {
	old, new, err := c.Settings.Plan(s, edits)
	if err == nil && check != nil {
		err = check(old, new)
	}
	if err != nil {
		return nil, err
	}
	c.settingChanges(s, old.Diff(new))
	for _, e := range edits {
		r := settings.Find(e.Name)
		c.Warn(r.Warning(new))
		c.Note(r.Note(new))
	}
	if err := c.impact(ctx, old, new); err != nil {
		return nil, err
	}
	if len(old.Diff(new)) == 0 {
		c.Note("Nothing is different from what was set already.")
	}
	return func(ctx context.Context) error {
		diff, err := c.Settings.Change(ctx, s, edits, check)
		if err != nil {
			return err
		}
		// Somebody may have been faster: the record says what was changed.
		c.result.Changes = nil
		c.settingChanges(s, diff)
		if address := c.ConsoleURL(); s == settings.Console && address != "" && slices.ContainsFunc(diff, func(d settings.Change) bool { return d.Name == settings.SSLBindings.Name }) {
			c.Note("The console is at " + address + " now.")
		}
		return nil
	}, nil
}

func (c *Call) settingChanges(s settings.Service, diff settings.Diff) {
	for _, d := range diff {
		c.Change(string(s), d.Name, d.Old, d.New)
	}
}

// acceptable refuses what would lock everybody out: a certificate name that no
// certificate covers, and SecureLogin or required channel binding without a
// certificate that works.
func (c *Call) acceptable(old, new *settings.Values) error {
	diff := old.Diff(new)
	changed := func(name string) bool {
		return slices.ContainsFunc(diff, func(d settings.Change) bool { return d.Name == name })
	}
	name := settings.X509CertificateName.Of(new)
	switch {
	case changed("X509CertificateName"):
		if err := c.Certificates.Usable(name); err != nil {
			return c.certificateRefusal("X509CertificateName", fmt.Sprintf("no usable certificate covers %q: %s", name, mail.TextOf(err)))
		}
	case changed("LoginType") && settings.LoginType.Of(new) == mail.SecureLogin:
		if err := c.Certificates.Usable(name); err != nil {
			return c.certificateRefusal("LoginType", fmt.Sprintf("SecureLogin needs TLS, and no usable certificate covers %q: nobody could log in: %s", name, mail.TextOf(err)))
		}
	case changed("ExtendedProtectionPolicy") && settings.ExtendedProtectionPolicy.Of(new) == settings.RequireProtection:
		if err := c.Certificates.Usable(name); err != nil {
			return c.certificateRefusal("ExtendedProtectionPolicy", fmt.Sprintf("ExtendedProtectionPolicy Require needs TLS, and no usable certificate covers %q: nobody could log in: %s", name, mail.TextOf(err)))
		}
	}
	return nil
}

func (c *Call) certificateRefusal(parameter, text string) error {
	hint := "There are no certificates."
	if names := c.Certificates.Names(); len(names) > 0 {
		hint = "There are certificates for " + strings.Join(names[:min(len(names), 20)], ", ") + "."
	}
	return about(parameter, hinted(mail.Errorf(mail.KindBadArgument, "%s", text), hint))
}

// certificate tells what is wrong with the certificate of settings as they stand.
func (c *Call) certificate(v *settings.Values) error {
	name := settings.X509CertificateName.Of(v)
	if err := c.Certificates.Usable(name); err != nil {
		return mail.Errorf(mail.KindUnavailable, "No usable certificate covers X509CertificateName %q: %s", name, mail.TextOf(err))
	}
	return nil
}

// defaultText gives a setting's default in words.
func defaultText(r *settings.Row, s settings.Service) string {
	if r.Name == settings.X509CertificateName.Name {
		return "the server's name"
	}
	switch v := r.Default(s, "").(type) {
	case []string:
		return strings.Join(v, ", ")
	case bool:
		return fmt.Sprintf("$%t", v)
	default:
		return fmt.Sprint(v)
	}
}
