package auth

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/sasl"
	"github.com/postern-mail/postern/settings"
)

// Step is one rule on the way in and what it says.
type Step struct {
	Step   string
	Result Result
	Detail string
}

// Result is what a step means for the login.
type Result string

// The results.
const (
	Pass Result = "Pass"
	Fail Result = "Fail" // nobody gets past this step
	Note Result = "Note" // says more, decides nothing
)

// Explain says for an administrator which rule decides when user signs in on c: the
// first step that says Fail. It proves nothing, counts nothing and waits for
// nothing. For a connection that is only imagined, an empty tls.ConnectionState in
// c.TLS means "encrypted" and c.Remote may be left out.
func (a *Authenticator) Explain(ctx context.Context, c Conn, user string) []Step {
	return a.ExplainFor(ctx, c, user, "", "")
}

// ExplainFor is Explain for a user who wants to act for another mailbox, "" for its own,
// by a SASL mechanism, "" for any. Where it is EXTERNAL c.Client is the certificate.
func (a *Authenticator) ExplainFor(ctx context.Context, c Conn, user, actFor, mechanism string) []Step {
	var e explanation
	a.explainPolicy(&e, c)
	entry := a.explainUser(ctx, &e, c, user)
	if actFor != "" && entry != nil {
		a.explainActing(ctx, &e, c, entry, actFor)
	}
	if m, ok := sasl.Find(mechanism); ok && entry != nil {
		a.explainMechanism(&e, c, m, entry)
	}

	for _, s := range e.steps {
		if s.Result == Fail {
			e.add("Login", Fail, "Refused at the step "+s.Step+".")
			return e.steps
		}
	}
	e.add("Login", Pass, "A right password or proof signs in.")
	return e.steps
}

type explanation struct{ steps []Step }

func (e *explanation) add(step string, r Result, detail string) {
	e.steps = append(e.steps, Step{step, r, detail})
}

func (e *explanation) check(step string, ok bool, yes, no string) {
	if ok {
		e.add(step, Pass, yes)
	} else {
		e.add(step, Fail, no)
	}
}

func (a *Authenticator) explainPolicy(e *explanation, c Conn) {
	state := "not encrypted"
	if c.TLS != nil {
		state = "encrypted"
	}
	e.add("Connection", Note, fmt.Sprintf("%s, LoginType %s, %s", c.Service, c.LoginType, state))

	for _, class := range sasl.Classes {
		e.add("Policy for "+class.String(), Note, a.verdicts(c, class, nil))
	}
	e.check("Policy", a.open(c, nil), "There is a way to sign in on this connection.", a.decide(c, passwordCommand(c), sasl.Password).Text)
}

// explainMechanism says whether a mechanism is accepted on c from who entry is.
func (a *Authenticator) explainMechanism(e *explanation, c Conn, m sasl.Mechanism, entry *directory.Entry) {
	w := a.wanted(c, m.Name, m.Class)
	w.User, w.Groups, w.Legacy = entry.Name, entry.Groups, entry.LegacyMechanisms
	d := a.policy.Load().Decide(w)
	e.check("Mechanism", d.OK, m.Name+" is accepted: "+d.Why()+".", m.Name+" is refused: "+d.Why()+".")
	has := a.means(c.Service) | sasl.NeedsBinding
	if c.Client != nil {
		has |= sasl.NeedsCertificate
	}
	if m.Needs&^has != 0 {
		e.add("Mechanism", Fail, "The server, or the client, does not have what "+m.Name+" needs: SCRAM keys, a provider of tokens, a Kerberos key, a certificate that is trusted.")
	}
	if m.Needs&sasl.NeedsCertificate == 0 || c.Client == nil {
		return
	}
	names := namesOf(c.Client)
	mine := append([]string{entry.Name}, entry.Aliases...)
	switch i := slices.IndexFunc(names, func(name string) bool { return slices.Contains(mine, name) }); {
	case len(names) == 0:
		e.add("Certificate", Fail, "The certificate has no name that a mailbox could have.")
	case i < 0:
		e.add("Certificate", Fail, "The certificate is for "+strings.Join(names, ", ")+".")
	case i > 0:
		e.add("Certificate", Pass, "The certificate is for "+strings.Join(names, ", ")+"; the client must say "+names[i]+".")
	default:
		e.add("Certificate", Pass, "The certificate is for "+names[0]+", until "+c.Client.NotAfter.UTC().Format(time.RFC3339)+".")
	}
}

// verdicts says of the methods of a class which are accepted and which are not, and
// why; of somebody when of is not nil.
func (a *Authenticator) verdicts(c Conn, class sasl.Class, of *directory.Entry) string {
	var order []string
	methods := map[string][]string{}
	why := map[string]string{}
	for _, m := range Methods(c.Service, class) {
		if row, ok := sasl.Find(m); ok && row.Needs&^(a.means(c.Service)|sasl.NeedsBinding|sasl.NeedsCertificate|sasl.NeedsTimestamp) != 0 {
			continue // no directory could serve it
		}
		d := a.policy.Load().Decide(a.wantedBy(c, m, class, of))
		if row, _ := sasl.Find(m); row.Legacy() && d.Rule == RuleNotNamed {
			continue // as nearly everywhere
		}
		verdict := "refused: "
		if d.OK {
			verdict = "accepted: "
		}
		key := verdict + d.Why()
		if methods[key] == nil {
			order = append(order, key)
			why[key] = " (" + d.Why() + ")"
			methods[key] = []string{verdict + m}
			continue
		}
		methods[key] = append(methods[key], m)
	}
	var texts []string
	for _, key := range order {
		texts = append(texts, strings.Join(methods[key], ", ")+why[key])
	}
	return strings.Join(texts, "; ")
}

// wantedBy is wanted by somebody, who is nobody in particular when of is nil.
func (a *Authenticator) wantedBy(c Conn, method string, class sasl.Class, of *directory.Entry) Wanted {
	w := a.wanted(c, method, class)
	if of != nil {
		w.User, w.Groups, w.Legacy = of.Name, of.Groups, of.LegacyMechanisms
	}
	return w
}

// open tells whether there is any way to sign in on c, for somebody when of is not nil.
func (a *Authenticator) open(c Conn, of *directory.Entry) bool {
	return a.accepts(c, of, UnknownSecret, sasl.Classes...)
}

// accepts tells whether a method of the classes is accepted with a secret. Legacy
// mechanisms, which have secrets of their own, are looked at for no particular one only.
func (a *Authenticator) accepts(c Conn, of *directory.Entry, secret Secret, classes ...sasl.Class) bool {
	return slices.ContainsFunc(classes, func(class sasl.Class) bool {
		return slices.ContainsFunc(Methods(c.Service, class), func(method string) bool {
			w := a.wantedBy(c, method, class, of)
			w.Secret = secret
			m, _ := sasl.Find(method)
			if secret != UnknownSecret && (m.Legacy() || !slices.Contains(secretOf(method), secret)) {
				return false
			}
			return a.policy.Load().Decide(w).OK
		})
	})
}

// Cell is a way to sign in, and what the policy says to it.
type Cell struct {
	Method     string // as in Identity.Mechanism
	Secret     Secret
	Clear, TLS Decision // without encryption, and with it
}

// Matrix gives every way to sign in to c's service, with what would decide for somebody
// at c's address and moment, encrypted or not. of is nil for nobody in particular; actFor is
// the mailbox for which they act, nil their own. Their Groups are those that count
// (directory.Groups).
func (a *Authenticator) Matrix(c Conn, of, actFor *directory.Entry) []Cell {
	var cells []Cell
	for _, class := range sasl.Classes {
		for _, method := range Methods(c.Service, class) {
			for _, secret := range secretOf(method) {
				w := a.wantedBy(c, method, class, of)
				if actFor != nil {
					w.For, w.ForGroups = actFor.Name, actFor.Groups
				}
				w.Secret, w.TLS = secret, false
				cell := Cell{Method: method, Secret: secret, Clear: a.policy.Load().Decide(w)}
				w.TLS = true
				cell.TLS = a.policy.Load().Decide(w)
				cells = append(cells, cell)
			}
		}
	}
	return cells
}

// explainRules says what the rules for the user add to those for everyone.
func (a *Authenticator) explainRules(e *explanation, c Conn, of *directory.Entry) {
	own := false
	for _, r := range a.policy.Load().Rules {
		w := a.wanted(c, "", 0)
		w.User, w.Groups = of.Name, append(a.policy.Load().GroupsOf(of.Name), of.Groups...)
		if r.holds(w) {
			own = own || !r.Everyone()
			e.add("Login policy", Note, fmt.Sprintf("%q holds for this sign-in.", r.Name))
		}
	}
	if !own {
		return
	}
	for _, class := range sasl.Classes {
		e.add("Policy for "+of.Name+", "+class.String(), Note, a.verdicts(c, class, of))
	}
	e.check("Login policy", a.open(c, of) || !a.open(c, nil), "There is a way to sign in for this user.",
		"No way to sign in is left for this user; the client hears what a wrong password would.")
}

// Methods lists all ways to sign in to a service that are of a class: the login
// command of the protocol, and the names of SASL mechanisms.
func Methods(s settings.Service, class sasl.Class) []string {
	var names []string
	if class == sasl.Password {
		names = append(names, rowOf(s).password)
	}
	for _, m := range sasl.Mechanisms {
		if m.Class == class && (!m.Command() || s == settings.POP3) {
			names = append(names, m.Name)
		}
	}
	return names
}

// explainUser gives the entry, nil when there is none.
func (a *Authenticator) explainUser(ctx context.Context, e *explanation, c Conn, user string) *directory.Entry {
	name, err := directory.PrepareName(user)
	if err != nil {
		e.add("Name", Fail, mail.TextOf(err))
		return nil
	}
	e.add("Name", Pass, name)

	if chained, ok := a.directory.(directory.Chained); ok {
		for _, answer := range chained.Asked(ctx, name) {
			e.add("Directory", Note, answer.Text)
		}
	}
	entry, err := a.directory.Lookup(ctx, name)
	switch {
	case err != nil && mail.KindOf(err) == mail.KindNotFound:
		e.add("User", Fail, "The directory knows no such name.")
		return nil
	case err != nil:
		e.add("User", Fail, "The directory cannot say now: "+err.Error())
		return nil
	case entry.Gone:
		e.add("User", Fail, "The directory "+entry.Directory+" does not know the name any more; its mail is still here.")
		return nil
	case entry.Name != name:
		e.add("User", Pass, name+" is an alias of "+entry.Name+".")
	default:
		e.add("User", Pass, "The directory knows the name.")
	}

	e.check("Account", entry.Enabled, "The account is enabled.", "The account is switched off.")
	e.check(string(c.Service), rowOf(c.Service).enabled(*entry),
		fmt.Sprintf("%s is enabled for this account.", c.Service), fmt.Sprintf("%s is switched off for this account.", c.Service))
	in, err := a.inGroups(ctx, entry)
	if err != nil {
		e.add("Groups", Fail, "A login policy is for groups of a directory, and the directory "+entry.Directory+" cannot say now who is in them: "+err.Error())
		return entry
	}
	if entry = in; len(entry.Groups) > 0 {
		e.add("Groups", Note, strings.Join(entry.Groups, ", "))
	}
	a.explainRules(e, c, entry)
	a.explainSecrets(ctx, e, c, name, entry)
	a.explainThrottle(ctx, e, c, name)
	return entry
}

// explainSecrets asks whether what the account has fits what the connection accepts.
func (a *Authenticator) explainSecrets(ctx context.Context, e *explanation, c Conn, name string, entry *directory.Entry) {
	hasPassword := !entry.PasswordChanged.IsZero() || entry.Directory != ""
	if entry.Directory != "" {
		e.add("Password", Note, "The directory "+entry.Directory+" checks it.")
	} else if hasPassword {
		e.add("Password", Note, "Set on "+entry.PasswordChanged.UTC().Format(time.RFC3339)+".")
	} else {
		e.add("Password", Note, "The account has no password.")
	}
	expired := entry.ResetPassword && !c.Account
	if expired {
		e.add("Password change", Note, "The password must be changed before it is accepted again; app passwords, tokens and certificates are accepted.")
	}
	var keys []string
	for _, h := range sasl.Hashes {
		// Keys of somebody without keys come without an entry.
		if owner, _, err := a.directory.ScramKeys(ctx, name, directory.Hash(h)); err == nil && owner != nil {
			keys = append(keys, "SCRAM-"+h)
		}
	}
	if len(keys) > 0 {
		e.add("SCRAM keys", Note, strings.Join(keys, ", "))
	} else {
		e.add("SCRAM keys", Note, "The account has none.")
	}
	if entry.ReadablePassword {
		e.add("Readable password", Note, "The server can read the password, for "+strings.Join(entry.LegacyMechanisms, ", ")+".")
	}
	app, err := a.explainAppPasswords(ctx, e, c, entry)
	if err != nil {
		e.add("App passwords", Note, "They cannot be read now: "+mail.TextOf(err))
	}
	if !a.open(c, entry) {
		e.add("Credentials", Note, "No method is accepted on this connection that could check them.")
		return
	}
	usable := app || !expired && a.acceptsLegacy(c, entry) || hasPassword && !expired && a.accepts(c, entry, AccountPassword, sasl.Password) ||
		len(keys) > 0 && !expired && a.accepts(c, entry, AccountPassword, sasl.Challenge, sasl.TLSOnly) ||
		a.means(c.Service)&sasl.NeedsTokens != 0 && a.accepts(c, entry, OtherSecret, sasl.TLSOnly) ||
		a.means(c.Service)&sasl.NeedsTickets != 0 && a.accepts(c, entry, OtherSecret, sasl.Challenge, sasl.TLSOnly)
	e.check("Credentials", usable, "The account has what an accepted method needs.", "The account has nothing that an accepted method could check.")
}

// acceptsLegacy tells whether a legacy mechanism is accepted whose secret there is.
func (a *Authenticator) acceptsLegacy(c Conn, of *directory.Entry) bool {
	has := a.means(c.Service) | sasl.NeedsTimestamp
	if !of.ReadablePassword {
		has &^= sasl.NeedsReadable
	}
	return slices.ContainsFunc(Methods(c.Service, sasl.Challenge), func(method string) bool {
		m, _ := sasl.Find(method)
		return m.Legacy() && m.Needs&^has == 0 && a.policy.Load().Decide(a.wantedBy(c, method, m.Class, of)).OK
	})
}

// explainAppPasswords lists those that may be used on c, and tells whether there are any.
func (a *Authenticator) explainAppPasswords(ctx context.Context, e *explanation, c Conn, entry *directory.Entry) (bool, error) {
	if a.appPasswords == nil || entry.Account == 0 {
		return false, nil
	}
	all, err := a.appPasswords.AppPasswordsOf(ctx, entry.Account)
	if err != nil || len(all) == 0 {
		return false, err
	}
	w := a.wanted(c, passwordCommand(c), sasl.Password)
	var usable, others []string
	for _, p := range all {
		if why := p.Refuses(w); why != "" {
			others = append(others, p.Name+" is not accepted: "+why)
		} else {
			usable = append(usable, p.Name)
		}
	}
	if len(usable) > 0 {
		e.add("App passwords", Note, strings.Join(usable, ", "))
	}
	for _, other := range others {
		e.add("App passwords", Note, other+".")
	}
	return len(usable) > 0 && a.accepts(c, entry, AppSecret, sasl.Password), nil
}

func (a *Authenticator) explainThrottle(ctx context.Context, e *explanation, c Conn, name string) {
	s := signIn{conn: c}
	at := guess{place: place{name, c.network()}, exempt: s.exempt()}
	var err error
	if at.known, err = a.networks.Known(ctx, name, at.network); err != nil {
		e.add("Throttle", Note, "The known networks cannot be read now: "+mail.TextOf(err))
		return
	}
	from := "From a network that the account did not sign in from lately"
	switch {
	case at.exempt:
		from = "From this network, which is never slowed down"
	case at.known:
		from = "From this network, which the account signed in from lately"
	case c.Remote.IsValid():
		from = "From this network, which the account did not sign in from lately"
	}
	e.add("Throttle", Note, fmt.Sprintf("%s, an attempt waits %s now.", from, a.throttle.standing(at)))
}
