package manage

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/postern-mail/postern/mail"
)

// getCommand lists cmdlets.
func getCommand(_ context.Context, c *Call) (func(context.Context) error, error) {
	for _, cmdlet := range c.cmdlets {
		verb, noun, _ := strings.Cut(cmdlet.Name, "-")
		if matches(c.Text("Name"), cmdlet.Name) && matches(c.Text("Verb"), verb) && matches(c.Text("Noun"), noun) {
			c.Add(Object{{"Name", cmdlet.Name}, {"Synopsis", cmdlet.Synopsis}, {"Role", string(cmdlet.Role)}})
		}
	}
	if c.Given("Name") && len(c.result.Objects) == 0 {
		return nil, about("Name", mail.Errorf(mail.KindNotFound, "there is no cmdlet %q", c.Text("Name")))
	}
	return nil, nil
}

// matches: "" matches everything.
func matches(pattern, name string) bool { return pattern == "" || Like(pattern, name) }

// getHelp shows a help page, or the list of cmdlets.
func getHelp(ctx context.Context, c *Call) (func(context.Context) error, error) {
	if !c.Given("Name") {
		c.result.View = ViewTable
		c.result.Columns = []string{"Name", "Synopsis"}
		c.Note("Get-Help and a cmdlet's name explain it; Get-Help about_* lists topics. Parameters may be shortened; Tab completes them.")
		return getCommand(ctx, c)
	}
	if strings.HasPrefix(strings.ToLower(c.Text("Name")), "about_") {
		return nil, c.topic(c.Text("Name"))
	}
	cmdlet := c.Server.Cmdlet(c.Text("Name"))
	if cmdlet == nil {
		return nil, about("Name", hinted(mail.Errorf(mail.KindNotFound, "there is no cmdlet %q", c.Text("Name")), "Get-Command lists the cmdlets."))
	}
	var parameters []Object
	for _, p := range cmdlet.Parameters {
		if matches(c.Text("Parameter"), p.Name) {
			parameters = append(parameters, parameterHelp(p))
		}
	}
	if c.Given("Parameter") && len(parameters) == 0 {
		return nil, about("Parameter", mail.Errorf(mail.KindNotFound, "%s has no parameter %q", cmdlet.Name, c.Text("Parameter")))
	}
	var examples []Object
	for _, e := range cmdlet.Examples {
		examples = append(examples, Object{{"Line", e.Line}, {"Help", e.Help}})
	}
	help := Object{{"Name", cmdlet.Name}}
	if !c.Given("Parameter") {
		help = append(help, Property{"Synopsis", cmdlet.Synopsis}, Property{"Syntax", Syntax(cmdlet)},
			Property{"Description", cmdlet.Help}, Property{"Aliases", addresses(cmdlet.Aliases)}, Property{"Role", roleText(cmdlet)})
	}
	help = append(help, Property{"Parameters", parameters})
	if !c.Given("Parameter") {
		help = append(help, Property{"Examples", examples})
	}
	c.Add(help)
	return nil, nil
}

// Offline runs a cmdlet that needs no server, Get-Help or Get-Command, from this
// program's own table; ok is false for any other. The parameters are Client.Run's,
// and so is the result.
func Offline(ctx context.Context, name string, parameters map[string]any) (r *Result, ok bool, err error) {
	s := &Server{cmdlets: Cmdlets()}
	cmdlet := s.Cmdlet(name)
	if cmdlet == nil || cmdlet.Name != "Get-Help" && cmdlet.Name != "Get-Command" {
		return nil, false, nil
	}
	raw, err := json.Marshal(parameters)
	if err != nil {
		return nil, true, mail.Wrap(mail.KindBadArgument, err)
	}
	c := &Call{Server: s, Cmdlet: cmdlet, result: &Result{View: cmdlet.View, Columns: cmdlet.Columns, Objects: []Object{}}}
	if c.arguments, err = readArguments(cmdlet, raw); err != nil {
		return nil, true, err
	}
	if _, err = cmdlet.Run(ctx, c); err != nil {
		return nil, true, err
	}
	raw, err = json.Marshal(c.result)
	r = &Result{}
	if err == nil {
		err = json.Unmarshal(raw, r)
	}
	return r, true, mail.Wrap(mail.KindServerBug, err)
}

func roleText(c *Cmdlet) string {
	if c.Local {
		return string(c.Role) + " who is a local administrator of the server"
	}
	return string(c.Role)
}

func parameterHelp(p Parameter) Object {
	return Object{
		{"Name", p.Name},
		{"Type", typeText(p)},
		{"Mandatory", p.Mandatory},
		{"Default", p.Default},
		{"Values", addresses(p.Values)},
		{"Aliases", addresses(p.Aliases)},
		{"Pipeline", p.Pipeline},
		{"Help", p.Help},
	}
}

func typeText(p Parameter) string {
	if p.TypeName != "" {
		return p.TypeName
	}
	return string(p.Type)
}

// Syntax writes a cmdlet's parameters on one line: [ ] may be left out.
func Syntax(c *Cmdlet) string {
	var b strings.Builder
	b.WriteString(c.Name)
	for _, p := range c.Parameters {
		text := "-" + p.Name
		if p.Position > 0 {
			text = "[" + text + "]"
		}
		if p.Type.Takes() {
			text += " <" + typeText(p) + ">"
		}
		if !p.Mandatory {
			text = "[" + text + "]"
		}
		b.WriteString(" " + text)
	}
	return b.String()
}
