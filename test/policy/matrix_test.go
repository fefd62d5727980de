package policy

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/xdg-go/scram"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/sasl"
	"github.com/postern-mail/postern/statistics"
	"github.com/postern-mail/postern/test/authority"
)

// The dimensions of TestMatrix beside protocols and LoginTypes.
var (
	// matrixMechanisms are the rows of matrix.csv for each way of connecting.
	matrixMechanisms = []string{
		"(command)", "APOP", "PLAIN", "LOGIN", "CRAM-MD5", "NTLM", "SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-512",
		"SCRAM-SHA-1-PLUS", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-512-PLUS", "GSSAPI", "GS2-KRB5", "GS2-KRB5-PLUS", "GSS-SPNEGO",
		"OAUTHBEARER", "XOAUTH2", "EXTERNAL", "ANONYMOUS",
	}
	// unbuilt are those of them that Postern does not have, or that are not named here:
	// they are neither offered nor accepted anywhere.
	unbuilt = []string{"ANONYMOUS"}

	matrixWays = []way{{"clear", 0}, {"starttls", tls.VersionTLS13}, {"ssl", tls.VersionTLS13}}

	// another is the name of somebody else: as authorization identity, or instead of
	// one's own where a mechanism has none.
	matrixCredentials = []string{"right", "wrong-password", "unknown-user", "empty-password", "disabled", "protocol-disabled", "app-password", another}
)

const another = "another"

// state is what a connection is when the attempt is made.
type state struct {
	way way
	// used: before it, and before STARTTLS, an exchange was cancelled, a log-in failed,
	// and in the clear STARTTLS was refused for its argument.
	used bool
}

func (s state) String() string {
	if s.used {
		return s.way.name + " used"
	}
	return s.way.name + " fresh"
}

// spot is a cell of the table.
type spot struct {
	protocol    string
	state       state
	source      source
	login       mail.LoginType
	mechanism   string
	credentials string
}

func (s spot) String() string {
	return fmt.Sprintf("%s, %s, from %s, %s, %s, %s", s.protocol, s.state, s.source.name, s.login, s.mechanism, s.credentials)
}

// source is where a client is.
type source struct {
	name string
	ip   net.IP // nil: the server's own address
}

// sources are the server's own address, and one of this machine that is not a loopback
// address; without one, another loopback address.
func sources(t *testing.T) []source {
	t.Helper()
	list := []source{{"the server's address", nil}}
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addresses {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && !n.IP.IsLoopback() {
			return append(list, source{"another network", n.IP})
		}
	}
	t.Log("this machine has no address but loopback: 127.0.0.2 stands for another network")
	return append(list, source{"another address", net.IPv4(127, 0, 0, 2)})
}

// matrixMethod gives the method of a row, in one of its two forms: a SASL mechanism
// without and with an initial response, USER and PASS one by one and together, LOGIN
// with quoted strings and with literals. Where the server speaks first it is twice the
// same.
func matrixMethod(protocol, mechanism string, form int) (m method, initial, pipelined bool) {
	if mechanism == "(command)" {
		if protocol == "POP3" {
			return method{form: "USER+PASS", class: command}, false, form == 1
		}
		return method{form: []string{"quoted", "literal"}[form], class: command}, false, false
	}
	m = method{mechanism: mechanism}
	for _, known := range slices.Concat(mechanisms, byTicket, byDigest, []method{byDomain}) {
		if known.mechanism == mechanism {
			m = known
			break
		}
	}
	return m, form == 1 && !m.digest, false
}

// place is a row of matrix.csv with one of its LoginTypes.
type matrixPlace struct {
	protocol, way, mechanism string
	login                    mail.LoginType
}

// loadMatrix reads matrix.csv whole, and holds it against policy.csv, which says the
// same of classes.
func loadMatrix(t testing.TB) map[matrixPlace]string {
	t.Helper()
	m, policy := map[matrixPlace]string{}, loadPolicy(t)
	for _, row := range rows(t, "testdata/matrix.csv") {
		for _, l := range mail.LoginTypes {
			at := matrixPlace{row["protocol"], row["connection"], row["mechanism"], l}
			answer := row[l.String()]
			if m[at] != "" || !slices.Contains([]string{"yes", "no", "none", "absent"}, answer) {
				t.Fatalf("matrix.csv: %v is there twice, or is %q", at, answer)
			}
			m[at] = answer
			method, _, _ := matrixMethod(at.protocol, at.mechanism, 0)
			if p := policy[place{at.protocol, at.way, method.class, l}]; method.class != "" && p != answer && answer != "absent" && answer != "none" {
				t.Errorf("matrix.csv says %s of %v, policy.csv %s of %s", answer, at, p, method.class)
			}
		}
	}
	if want := len(protocols) * len(matrixWays) * len(mail.LoginTypes) * len(matrixMechanisms); len(m) != want {
		t.Fatalf("matrix.csv has %d places, want %d", len(m), want)
	}
	return m
}

// matrix is TestMatrix at work.
type matrix struct {
	*running
	t            *testing.T
	policy       map[matrixPlace]string
	answers      map[question]answer
	offers       map[string]map[string]string // rows of offers.csv
	certificates *certificates
	apps         []string // by worker
	tickets      *tickets

	domain atomic.Int64 // conversations that the helper for NTLM shall have been asked for

	mu    sync.Mutex
	wrong int
	made  map[[2]string]int64 // sign-ins by service and outcome, as they were expected
}

// TestMatrix makes every attempt of the table, each on a connection of its own and in
// two forms, and compares what is offered before it, the answer, whether anything was
// asked for or the directory was asked, whether the session has logged in afterwards,
// and the one record that there is of it. With -short one cell of 23 is tried; after 30
// that are wrong, no more.
func TestMatrix(t *testing.T) {
	m := newMatrix(t, workers)
	began := time.Now()
	cells, lists := 0, 0
	for _, login := range mail.LoginTypes {
		m.login(t, login)
		work := make(chan spot)
		var wg sync.WaitGroup
		for n := range workers {
			wg.Go(func() {
				s := &speaker{worker: n, clients: map[string]*scram.Client{}, app: m.apps[n], tickets: m.tickets, t: t}
				for at := range work {
					if at.mechanism == "" {
						m.list(s, at)
						continue
					}
					for form := range 2 {
						m.try(s, at, form)
					}
				}
			})
		}
		for _, at := range spots(login, sources(t)) {
			if at.mechanism == "" {
				lists++
			} else if cells++; testing.Short() && cells%23 != 0 || m.hopeless() {
				continue
			}
			work <- at
		}
		close(work)
		wg.Wait()
	}
	if !m.hopeless() {
		m.compareStatistics()
		if n := conversations(m.ntlm); int64(n) != m.domain.Load() {
			t.Errorf("the helper for NTLM was asked %d times, want %d", n, m.domain.Load())
		}
	}
	t.Logf("%d cells, each tried in two forms, and %d lists of capabilities: %d wrong, %v", cells, lists, m.wrong, time.Since(began).Round(time.Millisecond))
	if want := 2 * 6 * 2 * 3 * 20 * 8; cells != want || lists != 72 {
		t.Errorf("the table should have %d cells and 72 lists", want)
	}
}

// spots are the cells of a LoginType; those without a mechanism are of capabilities.
func spots(login mail.LoginType, from []source) (list []spot) {
	for _, protocol := range protocols {
		for _, w := range matrixWays {
			for _, used := range []bool{false, true} {
				for _, source := range from {
					at := spot{protocol: protocol, state: state{w, used}, source: source, login: login}
					list = append(list, at)
					for _, at.mechanism = range matrixMechanisms {
						for _, at.credentials = range matrixCredentials {
							list = append(list, at)
						}
					}
				}
			}
		}
	}
	return list
}

func newMatrix(t *testing.T, workers int) *matrix {
	t.Helper()
	m := &matrix{running: start(t, workers), t: t, policy: loadMatrix(t), answers: loadAnswers(t), offers: loadOffers(t), made: map[[2]string]int64{}}
	m.certificates, m.tickets = newCertificates(t, workers), newTickets(t, m.asked, workers)
	var named []string
	for _, mechanism := range matrixMechanisms[1:] {
		if !slices.Contains(unbuilt, mechanism) {
			named = append(named, mechanism)
		}
	}
	m.run(t, "Set-PopSettings", map[string]any{"ClientCertificateAuthorities": m.certificates.path, "AuthMechanisms": named})
	named = slices.DeleteFunc(named, func(mechanism string) bool { return mechanism == "APOP" })
	m.run(t, "Set-ImapSettings", map[string]any{"ClientCertificateAuthorities": m.certificates.path, "AuthMechanisms": named})
	for w := range workers {
		result := m.run(t, "New-AppPassword", map[string]any{"Identity": address(anna, w), "Name": "program"})
		secret, _ := result.Objects[0].Value("Password")
		m.apps = append(m.apps, secret.(string))
	}
	m.journal.secrets(m.apps...)
	return m
}

// certificates are what clients show: by credentials and worker.
type certificates struct {
	path string // of the authority that is trusted
	made map[string]*tls.Certificate
}

func newCertificates(t *testing.T, workers int) *certificates {
	t.Helper()
	ours, theirs := authority.New(t), authority.New(t)
	c := &certificates{path: writePEM(t, "CERTIFICATE", ours.Certificate.Raw), made: map[string]*tls.Certificate{}}
	for w := range workers {
		s := &speaker{worker: w}
		for _, protocol := range protocols {
			for _, credentials := range matrixCredentials {
				from, name := ours, ""
				switch credentials {
				case "app-password":
					continue // none
				case "wrong-password":
					from = theirs
				}
				if credentials != "empty-password" {
					name, _ = s.who(protocol, credentials)
				}
				made := from.Client(t, func(x *x509.Certificate) {
					if name != "" {
						x.EmailAddresses = []string{name}
					}
				})
				c.made[fmt.Sprint(protocol, credentials, w)] = &made
			}
		}
	}
	return c
}

// credentialsOf gives the row of answers.csv.
func credentialsOf(at spot, m method) string {
	if at.credentials != another {
		return at.credentials
	}
	if (cell{method: m, credentials: "foreign-authzid"}).exists() {
		return "foreign-authzid"
	}
	return "foreign-name"
}

// open makes the connection of a cell.
func (m *matrix) open(s *speaker, at spot) (*client, error) {
	config := &tls.Config{InsecureSkipVerify: true, ServerName: "localhost", MinVersion: at.state.way.version, MaxVersion: at.state.way.version}
	if c := m.certificates.made[fmt.Sprint(at.protocol, at.credentials, s.worker)]; c != nil && at.mechanism == "EXTERNAL" {
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return c, nil }
	}
	if !at.state.used {
		return m.dialFrom(at.source.ip, at.protocol, at.state.way, config)
	}
	first := at.state.way
	if first.name == "starttls" {
		first = way{"clear", 0}
	}
	c, err := m.dialFrom(at.source.ip, at.protocol, first, config)
	if err != nil {
		return nil, err
	}
	if err = m.use(s, c); err == nil && first != at.state.way {
		err = c.startTLS(config)
	}
	if err != nil {
		c.close()
		return nil, fmt.Errorf("using the connection: %w", err)
	}
	return c, nil
}

// use does on a connection what must count for nothing afterwards.
func (m *matrix) use(s *speaker, c *client) error {
	verb := map[string]string{"POP3": "AUTH ", "IMAP4": "AUTHENTICATE "}[c.protocol]
	wrong := encode("\x00" + address(anna, s.worker) + "\x00wrong-" + password)
	for _, d := range []dialogue{
		{opening: verb + "PLAIN", replies: []func(string) string{fixed("*")}},
		{opening: verb + "PLAIN " + wrong},
	} {
		o, err := c.attempt(d, false)
		if err != nil {
			return err
		}
		if o.in || good(o.status) {
			return fmt.Errorf("%s: %q", d.opening, o.status)
		}
	}
	if c.tls != nil {
		return nil
	}
	answer, err := c.command(map[string]string{"POP3": "STLS now", "IMAP4": "STARTTLS now"}[c.protocol])
	if err == nil && good(answer) {
		err = fmt.Errorf("STARTTLS with an argument: %q", answer)
	}
	return err
}

// expected is the policy's answer at a cell: yes, no, none (no such mechanism) or
// absent (no such command).
func (m *matrix) expected(at spot) string {
	answer := m.policy[matrixPlace{at.protocol, at.state.way.name, at.mechanism, at.login}]
	switch {
	case answer == "absent" || !slices.Contains(unbuilt, at.mechanism):
		return answer
	}
	return "none"
}

// offered compares what a connection offers with the table.
func (m *matrix) offered(c *client, at spot) error {
	names, mechanisms, err := c.capabilities()
	if err != nil {
		return err
	}
	row := m.offers[at.protocol+" "+at.state.way.name+" "+at.login.String()]
	for _, name := range strings.Fields(row["yes"]) {
		if !names[name] {
			return fmt.Errorf("%s is not offered", name)
		}
	}
	for _, name := range strings.Fields(row["no"]) {
		if names[name] {
			return fmt.Errorf("%s is offered", name)
		}
	}
	apop := at
	apop.mechanism = "APOP"
	if shown := strings.Contains(c.greeting, "<"); shown != (m.expected(apop) == "yes") {
		return fmt.Errorf("APOP is shown: %q", c.greeting)
	}
	var want []string
	trusted := at.mechanism == "EXTERNAL" && at.credentials != "wrong-password" && at.credentials != "app-password"
	for _, mechanism := range matrixMechanisms[2:] {
		each := at
		each.mechanism = mechanism
		if m.expected(each) == "yes" && (mechanism != "EXTERNAL" || trusted) {
			want = append(want, mechanism)
		}
	}
	slices.Sort(want)
	slices.Sort(mechanisms)
	if !slices.Equal(mechanisms, want) {
		return fmt.Errorf("offered are %q, want %q", mechanisms, want)
	}
	return nil
}

// list is a cell of capabilities.
func (m *matrix) list(s *speaker, at spot) {
	c, err := m.open(s, at)
	if err != nil {
		m.report(at, "%v", err)
		return
	}
	defer c.close()
	if err := m.offered(c, at); err != nil {
		m.report(at, "%v", err)
	}
	m.count(m.journal.take(c))
}

// try makes the attempt of a cell in one form.
func (m *matrix) try(s *speaker, at spot, form int) {
	c, err := m.open(s, at)
	if err != nil {
		m.report(at, "%v", err)
		return
	}
	defer c.close()
	if err := m.offered(c, at); err != nil {
		m.report(at, "%v", err)
		return
	}
	how, initial, pipelined := matrixMethod(at.protocol, at.mechanism, form)
	attempt := cell{protocol: at.protocol, login: at.login, way: at.state.way, method: how, spelling: "upper",
		initial: initial, credentials: credentialsOf(at, how), pipelined: pipelined}
	d, err := s.dialogue(attempt, c)
	if err != nil {
		m.report(at, "%v", err)
		return
	}
	m.count(m.journal.take(c)) // of what was done before
	m.asked.take(s.worker)
	if how == byDomain && m.expected(at) == "yes" {
		m.domain.Add(1)
	}
	o, err := c.attempt(d, pipelined)
	asks, list := m.asked.take(s.worker), m.journal.take(c)
	m.count(list)
	if err != nil {
		m.report(at, "%v", err)
		return
	}

	var want answer
	records := 1
	switch m.expected(at) {
	case "yes":
		ok := false
		if want, ok = m.answers[question{at.protocol, attempt.credentials, how.family()}]; !ok {
			m.report(at, "answers.csv has no row %s, %s", attempt.credentials, how.family())
			return
		}
	case "no":
		want = answer{begins: []string{map[string]string{"POP3": "-ERR [AUTH]", "IMAP4": "NO [PRIVACYREQUIRED]"}[at.protocol]}, recorded: []string{"PrivacyRequired"}}
		if pipelined {
			records = 2 // USER and PASS
		}
	case "none":
		want = answer{begins: []string{map[string]string{"POP3": "-ERR ", "IMAP4": "NO [CANNOT]"}[at.protocol]}, recorded: []string{"Cannot"}}
	case "absent":
		want, records = answer{begins: []string{map[string]string{"POP3": "-ERR ", "IMAP4": "BAD "}[at.protocol]}}, 0
	}
	switch forbidden := m.expected(at) != "yes"; {
	case !want.is(o.status):
		m.report(at, "answered %q, want %q", o.status, want.begins)
	case forbidden && o.asks > 0:
		m.report(at, "asked for something that the policy forbids, %d times", o.asks)
	case asks != want.asked:
		m.report(at, "the directory was asked %d times, want %d", asks, want.asked)
	case o.in != good(o.status):
		m.report(at, "answered %q, and logged in afterwards: %v", o.status, o.in)
	case len(list) != records:
		m.report(at, "%d records: %+v", len(list), list)
	}
	for _, record := range list {
		m.compareRecord(s, at, attempt, want, record)
	}
	if o.in {
		if err := c.quit(); err != nil {
			m.report(at, "%v", err)
		}
	}
}

// compareRecord holds a record against the cell.
func (m *matrix) compareRecord(s *speaker, at spot, attempt cell, want answer, r record) {
	mechanism, name := at.mechanism, ""
	switch expected := m.expected(at); {
	case expected == "none":
		if _, known := sasl.Find(mechanism); !known {
			mechanism = "unknown"
		}
	case mechanism == "(command)":
		mechanism = map[string]string{"POP3": "USER command", "IMAP4": "LOGIN command"}[at.protocol]
	}
	if m.expected(at) == "yes" {
		// Before that no byte of a credential is read, and so no name.
		name, _ = s.who(at.protocol, attempt.credentials)
		switch attempt.method.family() {
		case "certificate":
			if want.recorded[0] == "Cannot" || at.credentials == "empty-password" {
				name = "" // none was shown
			}
		case "ticket":
			switch attempt.credentials {
			case "wrong-password", "unknown-user", "empty-password", "app-password", "foreign-name":
				name = "" // the name is in the ticket
			}
		case "token":
			if at.credentials == "empty-password" {
				name = "" // who sends no token is not listened to
			}
		}
	}
	switch {
	case !slices.Contains(want.recorded, r.Kind):
		m.report(at, "recorded as %q, want %q", r.Kind, want.recorded)
	case r.Mechanism != mechanism || *r.Name != name || *r.TLS != (at.state.way.version != 0):
		m.report(at, "recorded are %s, %q, TLS %v; want %s, %q", r.Mechanism, *r.Name, *r.TLS, mechanism, name)
	}
}

func (m *matrix) report(at spot, format string, args ...any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.wrong++; m.wrong <= 30 {
		m.t.Errorf("%s: %s", at, fmt.Sprintf(format, args...))
	}
}

// hopeless tells whether so much is wrong that the rest is not worth the time.
func (m *matrix) hopeless() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.wrong >= 30
}

// count adds up records for compareStatistics.
func (m *matrix) count(list []record) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range list {
		m.made[[2]string{r.Service, r.outcome()}]++
	}
}

// compareStatistics: what Get-LogonStatistics is made of counts the same sign-ins as
// the records.
func (m *matrix) compareStatistics() {
	counted := map[[2]string]int64{}
	for _, s := range m.Statistics().SignIns(time.Time{}, statistics.Filter{}) {
		counted[[2]string{string(s.Service), s.Outcome}] += s.Count
	}
	for _, seen := range []map[[2]string]int64{counted, m.made} {
		for k := range seen {
			if counted[k] != m.made[k] {
				m.t.Errorf("%v: the statistics count %d sign-ins, the log has %d", k, counted[k], m.made[k])
			}
		}
	}
	if len(counted) < 8 {
		m.t.Errorf("the statistics have %v", counted)
	}
}
