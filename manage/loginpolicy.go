package manage

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/sasl"
	"github.com/postern-mail/postern/settings"
	"github.com/postern-mail/postern/statistics"
)

// Bounds of login policies and of the groups that they name.
const (
	maxLoginPolicies = 200
	maxLoginGroups   = 200
	maxGroupMembers  = 5000
	maxPolicyList    = 500 // entries of one list of a policy
	maxPolicyName    = 64
)

// LoginPolicyKind and LoginGroupKind are the kinds of the records that LoadLoginPolicy
// reads.
const (
	LoginPolicyKind = "loginpolicy"
	LoginGroupKind  = "logingroup"
)

// loginPolicies are all policies, by name. They are the organization's: servers that
// share a store share them.
func (s *Server) loginPolicies() keptList[auth.LoginRule] {
	return keptList[auth.LoginRule]{records: s.Records, kind: LoginPolicyKind, key: "policies"}
}

// LoadLoginPolicy makes the policies hold that are kept. Nobody may sign in before.
func (s *Server) LoadLoginPolicy(ctx context.Context) error {
	s.policies.Lock()
	defer s.policies.Unlock()
	p, err := s.keptPolicy(ctx)
	if err != nil {
		return err
	}
	s.SetLoginPolicy(p)
	return nil
}

// keptPolicy reads the policies and groups that are kept.
func (s *Server) keptPolicy(ctx context.Context) (*auth.Policy, error) {
	rules, _, err := s.loginPolicies().load(ctx)
	if err != nil {
		return nil, err
	}
	groups, _, err := s.loginGroups().load(ctx)
	if err != nil {
		return nil, err
	}
	return newPolicy(rules, groups), nil
}

func newPolicy(rules []auth.LoginRule, groups []loginGroup) *auth.Policy {
	p := &auth.Policy{Rules: rules, Groups: map[string][]string{}}
	for _, g := range groups {
		p.Groups[g.Name] = g.Members
	}
	return p
}

// publish keeps a change and makes it hold.
func (s *Server) publish(ctx context.Context, change func(context.Context) error) error {
	if err := change(ctx); err != nil {
		return err
	}
	return s.LoadLoginPolicy(context.WithoutCancel(ctx))
}

func loginPolicyObject(r auth.LoginRule) Object {
	login := "None"
	if r.LoginType != 0 {
		login = r.LoginType.String()
	}
	return Object{
		{"Name", r.Name}, {"Mailboxes", addresses(r.Users)}, {"Groups", addresses(r.Groups)},
		{"From", texts(r.From)}, {"ExceptFrom", texts(r.ExceptFrom)}, {"Services", texts(r.Services)},
		{"LoginType", login}, {"AuthMechanisms", addresses(r.Mechanisms)}, {"Hours", texts(r.Hours)},
		{"AppPasswordsOnly", r.AppPasswordsOnly}, {"Block", r.Block},
	}
}

// texts gives a list as its texts.
func texts[T any](list []T) []string {
	out := []string{}
	for _, v := range list {
		out = append(out, fmt.Sprint(v))
	}
	return out
}

func policyTarget(name string) string { return "login policy " + name }

// getLoginPolicy shows one object a policy, in the order in which they are asked.
func getLoginPolicy(ctx context.Context, c *Call) (func(context.Context) error, error) {
	rules, _, err := c.loginPolicies().load(ctx)
	if err != nil {
		return nil, err
	}
	for _, r := range rules {
		if matches(c.Text("Name"), r.Name) {
			c.Add(loginPolicyObject(r))
		}
	}
	return nil, nil
}

// shortName reads a name that an administrator gives to a thing.
func (c *Call) shortName() (string, error) {
	name := strings.TrimSpace(c.Text("Name"))
	if n := len(name); n == 0 || n > maxPolicyName || strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) || r == '*' || r == '?' }) {
		return "", wrong("Name", "Name has 1 to %d bytes without control characters, * and ?", maxPolicyName)
	}
	return name, nil
}

func newLoginPolicy(ctx context.Context, c *Call) (func(context.Context) error, error) {
	name, err := c.shortName()
	if err != nil {
		return nil, err
	}
	return c.changeLoginPolicies(ctx, name, func(rules []auth.LoginRule) ([]auth.LoginRule, error) {
		if i := policyIndex(rules, name); i >= 0 {
			return nil, about("Name", hinted(mail.Errorf(mail.KindAlreadyExists, "there is a login policy %q", rules[i].Name), "Set-LoginPolicy changes it."))
		}
		if len(rules) >= maxLoginPolicies {
			return nil, mail.Errorf(mail.KindLimit, "there are at most %d login policies", maxLoginPolicies)
		}
		r, err := c.editLoginPolicy(ctx, auth.LoginRule{Name: name})
		if err != nil {
			return nil, err
		}
		rules = append(slices.Clone(rules), r)
		slices.SortFunc(rules, func(a, b auth.LoginRule) int { return strings.Compare(a.Name, b.Name) })
		return rules, nil
	})
}

func setLoginPolicy(ctx context.Context, c *Call) (func(context.Context) error, error) {
	return c.changeLoginPolicies(ctx, c.Text("Name"), func(rules []auth.LoginRule) ([]auth.LoginRule, error) {
		i, err := findPolicy(rules, c.Text("Name"))
		if err != nil {
			return nil, err
		}
		if err := c.expected(ctx, policyTarget(rules[i].Name), loginPolicyObject(rules[i])); err != nil {
			return nil, err
		}
		rules = slices.Clone(rules)
		rules[i], err = c.editLoginPolicy(ctx, rules[i])
		return rules, err
	})
}

func removeLoginPolicy(ctx context.Context, c *Call) (func(context.Context) error, error) {
	return c.changeLoginPolicies(ctx, c.Text("Name"), func(rules []auth.LoginRule) ([]auth.LoginRule, error) {
		i, err := findPolicy(rules, c.Text("Name"))
		if err != nil {
			return nil, err
		}
		return slices.Delete(slices.Clone(rules), i, i+1), nil
	})
}

func policyIndex(rules []auth.LoginRule, name string) int {
	return slices.IndexFunc(rules, func(r auth.LoginRule) bool { return strings.EqualFold(r.Name, name) })
}

func findPolicy(rules []auth.LoginRule, name string) (int, error) {
	i := policyIndex(rules, name)
	if i < 0 {
		return i, about("Name", hinted(mail.Errorf(mail.KindNotFound, "there is no login policy %q", name), "Get-LoginPolicy lists them."))
	}
	return i, nil
}

// changeLoginPolicies says what compute changes of the policy of that name, and whom
// it would have refused of late.
func (c *Call) changeLoginPolicies(ctx context.Context, name string, compute func([]auth.LoginRule) ([]auth.LoginRule, error)) (func(context.Context) error, error) {
	old, err := c.keptPolicy(ctx)
	if err != nil {
		return nil, err
	}
	rules, err := compute(old.Rules)
	if err != nil {
		return nil, err
	}
	next := &auth.Policy{Rules: rules, Groups: old.Groups}
	var before, after Object
	if i := policyIndex(old.Rules, name); i >= 0 {
		name, before = old.Rules[i].Name, loginPolicyObject(old.Rules[i])
	}
	if i := policyIndex(next.Rules, name); i >= 0 {
		after = loginPolicyObject(next.Rules[i])
	}
	for _, p := range loginPolicyObject(auth.LoginRule{}) {
		was, _ := before.Value(p.Name)
		is, _ := after.Value(p.Name)
		if was == nil {
			was = p.Value
		}
		if is == nil {
			is = p.Value
		}
		if !equal(was, is) {
			c.Change(policyTarget(name), p.Name, was, is)
		}
	}
	if len(c.result.Changes) == 0 {
		return nil, c.nothing(policyParameters...)
	}
	c.policyImpact(old, next)
	if next.NamesDirectories() {
		c.Note("Groups of directories are not known of past sign-ins: whom policies for them would have refused is not counted.")
	}
	return func(ctx context.Context) error {
		return c.publish(ctx, func(ctx context.Context) error { return c.loginPolicies().change(ctx, compute) })
	}, nil
}

// policyImpact says which sign-ins of late a change of the policies would have
// refused.
func (c *Call) policyImpact(old, next *auth.Policy) {
	if c.Statistics == nil {
		return
	}
	accepts := func(p *auth.Policy) func(auth.Wanted) bool {
		return func(w auth.Wanted) bool { return p.Decide(under(w, c.Settings.Current(w.Service))).OK }
	}
	c.noteImpact("", c.refused(statistics.Filter{}, accepts(old), accepts(next)))
}

// policyParameters are those that say what a policy is.
var policyParameters = []string{"Mailboxes", "Groups", "From", "ExceptFrom", "Services", "LoginType", "AuthMechanisms", "Hours", "AppPasswordsOnly", "Block"}

// editLoginPolicy puts in what the call gives, and checks the whole.
func (c *Call) editLoginPolicy(ctx context.Context, r auth.LoginRule) (auth.LoginRule, error) {
	var err error
	list := func(parameter string, edit func() error) {
		if err == nil && c.Given(parameter) {
			if e := edit(); e != nil {
				err = wrong(parameter, "%s %s", parameter, mail.TextOf(e))
			}
		}
	}
	list("Mailboxes", func() (e error) {
		r.Users, e = edited(c.List("Mailboxes"), r.Users, c.member(ctx, r.Users))
		return e
	})
	list("Groups", func() (e error) { r.Groups, e = edited(c.List("Groups"), r.Groups, c.knownGroup(ctx)); return e })
	list("From", func() (e error) { r.From, e = edited(c.List("From"), r.From, settings.ParseNetwork); return e })
	list("ExceptFrom", func() (e error) {
		r.ExceptFrom, e = edited(c.List("ExceptFrom"), r.ExceptFrom, settings.ParseNetwork)
		return e
	})
	list("Services", func() (e error) { r.Services, e = edited(c.List("Services"), r.Services, mailService); return e })
	list("AuthMechanisms", func() (e error) {
		r.Mechanisms, e = edited(c.List("AuthMechanisms"), r.Mechanisms, knownMechanism)
		return e
	})
	list("Hours", func() (e error) { r.Hours, e = edited(c.List("Hours"), r.Hours, auth.ParseHours); return e })
	if err != nil {
		return r, err
	}
	if c.Given("LoginType") {
		r.LoginType = 0
		if text := c.Text("LoginType"); text != "" && !strings.EqualFold(text, "None") {
			if r.LoginType, err = mail.ParseLoginType(text); err != nil {
				return r, about("LoginType", err)
			}
		}
	}
	if c.Given("AppPasswordsOnly") {
		r.AppPasswordsOnly = c.Bool("AppPasswordsOnly")
	}
	if c.Given("Block") {
		r.Block = c.Bool("Block")
	}
	if !r.Narrows() {
		return r, hinted(mail.Errorf(mail.KindBadArgument, "a login policy forbids something: give -LoginType, -AuthMechanisms, -Hours, -AppPasswordsOnly or -Block"),
			"Remove-LoginPolicy removes one.")
	}
	return r, nil
}

// edited applies an edit to a list and bounds it; an empty list is nil.
func edited[T comparable](e settings.ListEdit, now []T, parse func(string) (T, error)) ([]T, error) {
	list, err := settings.ApplyListEdit(e, now, parse)
	if err == nil && len(list) > maxPolicyList {
		err = mail.Errorf(mail.KindBadArgument, "has at most %d entries", maxPolicyList)
	}
	if len(list) == 0 {
		list = nil
	}
	return list, err
}

// member gives the function that reads a mailbox; one that is gone can still be
// named when it is in the list now.
func (c *Call) member(ctx context.Context, now []string) func(string) (string, error) {
	return func(text string) (string, error) {
		name, err := directory.PrepareName(text)
		if err != nil {
			return "", mail.Errorf(mail.KindBadArgument, "contains %q, which is no sign-in name: %s", text, mail.TextOf(err))
		}
		e, err := c.Directory.Lookup(ctx, name)
		switch {
		case err == nil:
			return e.Name, nil
		case mail.KindOf(err) == mail.KindNotFound && slices.Contains(now, name):
			return name, nil
		case mail.KindOf(err) == mail.KindNotFound:
			return "", mail.Errorf(mail.KindNotFound, "contains %q, and there is no such mailbox", text)
		}
		return "", err
	}
}

// mailService reads a service that login policies are for.
func mailService(text string) (settings.Service, error) {
	s, err := settings.ParseService(text)
	if err != nil || s != settings.POP3 && s != settings.IMAP4 {
		return s, mail.Errorf(mail.KindBadArgument, "contains %q; it is POP3 and IMAP4", text)
	}
	return s, nil
}

func knownMechanism(text string) (string, error) {
	m, ok := sasl.Find(text)
	if !ok {
		return "", mail.Errorf(mail.KindBadArgument, "contains %q; the mechanisms are %s", text, strings.Join(mechanismNames(), ", "))
	}
	return m.Name, nil
}

func mechanismNames() []string {
	var names []string
	for _, m := range sasl.Mechanisms {
		names = append(names, m.Name)
	}
	return names
}

// inGroups gives e with its groups of all kinds: those of external directories first.
// A directory that cannot say them now is an error: it would keep e out.
func (c *Call) inGroups(ctx context.Context, e *directory.Entry) (*directory.Entry, error) {
	in := *e
	var err error
	if in.Groups, err = directory.Groups(ctx, c.Directory, e); err != nil {
		return nil, hinted(mail.Errorf(mail.KindUnavailable, "the directory %s cannot say now which groups %s is in", e.Directory, e.Name), "Test-Login tells what each directory says.")
	}
	return &in, nil
}

// getEffectiveLoginPolicy shows one object a way to sign in.
func getEffectiveLoginPolicy(ctx context.Context, c *Call) (func(context.Context) error, error) {
	l := Login{At: c.Now().Local()}
	var err error
	if l.From, err = c.clientAddress(); err != nil {
		return nil, err
	}
	if c.Given("At") {
		l.At = c.Time("At").Local()
	}
	among := []settings.Service{settings.POP3, settings.IMAP4}
	if c.Given("Protocol") {
		s, err := mailService(c.Text("Protocol"))
		if err != nil {
			return nil, wrong("Protocol", "Protocol is POP3 or IMAP4, not %q", c.Text("Protocol"))
		}
		among = []settings.Service{s}
	}
	var e *directory.Entry
	if c.Given("Identity") {
		if e, err = c.entry(ctx); err != nil {
			return nil, err
		}
		if l.Entry, err = c.inGroups(ctx, e); err != nil {
			return nil, err
		}
		l.Identity = e.Name
		if !e.Enabled {
			c.Warn("The mailbox is switched off: nobody signs in.")
		}
	}
	if c.Given("ActFor") {
		if e == nil {
			return nil, wrong("ActFor", "ActFor needs -Identity: who acts")
		}
		mailbox, err := c.lookup(ctx, "ActFor")
		if err != nil {
			return nil, err
		}
		rights, err := c.ActsFor(ctx, e.Account)
		if err != nil {
			return nil, err
		}
		if !rights.Covers(mailbox.Account) {
			c.Warn(e.Name + " may not act for " + mailbox.Name + ": Add-MailboxPermission gives the right.")
		}
		if l.ForEntry, err = c.inGroups(ctx, mailbox); err != nil {
			return nil, err
		}
		l.For = mailbox.Name
	}
	for _, s := range among {
		if e != nil && (s == settings.POP3 && !e.PopEnabled || s == settings.IMAP4 && !e.ImapEnabled) {
			c.Warn(string(s) + " is switched off for this mailbox: nobody signs in with it.")
		}
		l.Service = s
		for _, cell := range c.Matrix(l) {
			c.Add(Object{
				{"Protocol", string(s)}, {"Mechanism", cell.Method}, {"Credential", cell.Secret.String()},
				{"Plaintext", cell.Clear.OK}, {"Tls", cell.TLS.OK}, {"PlaintextRule", cell.Clear.Why()}, {"TlsRule", cell.TLS.Why()},
			})
		}
	}
	if !l.From.IsValid() {
		c.Note("Policies for some networks hold only with -From.")
	}
	if l.Entry != nil && len(l.Entry.Groups) > 0 {
		c.Note("Groups: " + strings.Join(l.Entry.Groups, ", "))
	}
	return nil, nil
}
