package manage

import (
	"context"

	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/settings"
)

// testLogin shows one object a rule, in the order in which the rules are asked.
func testLogin(ctx context.Context, c *Call) (func(context.Context) error, error) {
	name, err := directory.PrepareName(c.Text("Identity"))
	if err != nil {
		return nil, about("Identity", err)
	}
	s, err := settings.ParseService(c.Text("Protocol"))
	if err != nil || s != settings.POP3 && s != settings.IMAP4 {
		return nil, wrong("Protocol", "Protocol is POP3 or IMAP4, not %q", c.Text("Protocol"))
	}
	connection := Plaintext
	if c.Given("ConnectionType") {
		if connection, err = c.connection(); err != nil {
			return nil, err
		}
	}
	steps, err := c.Explain(ctx, Login{Identity: name, Service: s, Connection: connection})
	if err != nil {
		return nil, err
	}
	for _, step := range steps {
		c.Add(Object{{"Step", step.Step}, {"Result", step.Result}, {"Detail", step.Detail}})
	}
	return nil, nil
}
