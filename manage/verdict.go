package manage

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/postern-mail/postern/audit"
	"github.com/postern-mail/postern/certificate"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/sasl"
	"github.com/postern-mail/postern/settings"
)

// Verdict says whether something is as it should be.
type Verdict string

// The verdicts. A Fail makes the exit code 1.
const (
	Pass Verdict = "Pass"
	Warn Verdict = "Warn"
	Fail Verdict = "Fail"
)

// finding is one row of Test-ServerConfiguration.
type finding struct {
	target string // a service, or ""
	result Verdict
	detail string // a sentence
	fix    string // the line that mends it, "" when there is none
}

// check is something that is looked at.
type check struct {
	name string
	find func(ctx context.Context, c *Call, f *scene) []finding
}

// scene is what several checks look at.
type scene struct {
	Facts
	last  []audit.Entry // of the audit log: one, none of an empty log
	fault error         // why it cannot be read
}

// checks is the table, in the order in which it is shown.
var checks = []check{
	{"LoginType", checkLoginType},
	{"Certificate", checkCertificates},
	{"SignIn", checkSignIn},
	{"Directory", checkDirectories},
	{"Service", checkServices},
	{"Reachable", checkReachable},
	{"Settings", checkSettings},
	{"StoredSettings", checkStored},
	{"Administrators", checkAdministrators},
	{"AuditLog", checkAuditLog},
	{"DiskSpace", checkDisk},
	{"Confinement", checkConfinement},
	{"Clock", checkClock},
}

// testServerConfiguration shows one object a check and thing checked.
func testServerConfiguration(ctx context.Context, c *Call) (func(context.Context) error, error) {
	only := c.Text("Check")
	var f scene
	var err error
	if f.Facts, err = c.Host.Facts(ctx); err != nil {
		return nil, err
	}
	f.last, _, f.fault = c.Audit.Search(ctx, audit.Query{Limit: 1})
	known := false
	for _, check := range checks {
		if !matches(only, check.name) {
			continue
		}
		known = true
		for _, found := range check.find(ctx, c, &f) {
			if found.result == Fail {
				c.result.ExitCode = 1
			}
			c.Add(Object{{"Check", check.name}, {"Target", found.target}, {"Result", string(found.result)}, {"Detail", found.detail}, {"Fix", found.fix}})
		}
	}
	if !known {
		return nil, wrong("Check", "there is no check %q", only)
	}
	return nil, nil
}

// of tells whether this server's roles have a service.
func (f *scene) of(s settings.Service) bool {
	switch s {
	case settings.POP3, settings.IMAP4:
		return slices.Contains(f.Roles, ClientAccess)
	case settings.LMTP:
		return slices.Contains(f.Roles, MailboxRole)
	}
	return true
}

// used tells whether a service runs, or will.
func (c *Call) used(s settings.Service) bool {
	return c.Services.Status(s).State != Stopped || settings.StartupType.Of(c.Settings.Current(s)) == settings.Automatic
}

// checkLoginType: SecureLogin passes; the others are dangerous where connections
// begin unencrypted.
func checkLoginType(_ context.Context, c *Call, f *scene) (found []finding) {
	for _, s := range []settings.Service{settings.POP3, settings.IMAP4} {
		if !f.of(s) {
			continue
		}
		v := c.Settings.Current(s)
		loginType := settings.LoginType.Of(v)
		fix := "Set-" + s.Prefix() + "Settings -LoginType SecureLogin"
		switch {
		case loginType == mail.SecureLogin:
			found = append(found, finding{string(s), Pass, "SecureLogin: nobody authenticates before TLS.", ""})
		case len(settings.UnencryptedOrTLSBindings.Of(v)) == 0:
			found = append(found, finding{string(s), Warn, loginType.String() + " has no effect as long as there is no unencrypted binding.", fix})
		case !c.used(s):
			found = append(found, finding{string(s), Warn, settings.LoginType.Warning(v) + " The service does not run.", fix})
		default:
			found = append(found, finding{string(s), Fail, settings.LoginType.Warning(v), fix})
		}
	}
	return found
}

// checkCertificates: what clients are shown covers the service's name, is valid, and
// they can trust it.
func checkCertificates(_ context.Context, c *Call, f *scene) (found []finding) {
	for _, s := range settings.Services {
		if !f.of(s) || !c.used(s) {
			continue
		}
		name := settings.X509CertificateName.Of(c.Settings.Current(s))
		services := strings.TrimRight(string(s), "34") // POP, IMAP
		fix := fmt.Sprintf("New-ServerCertificate %s -Acme -Services %s", name, services)
		if !strings.Contains(name, ".") || strings.HasSuffix(name, ".local") || strings.HasSuffix(name, ".localdomain") {
			fix = "Import-ServerCertificate FILE -Services " + services // no authority knows such a name
		}
		var shown *certificate.Certificate
		if c.Pairs != nil {
			shown = c.Pairs.ShownFor(name)
		}
		add := func(result Verdict, detail, fix string) {
			found = append(found, finding{string(s), result, detail, fix})
		}
		switch err := c.Certificates.Usable(name); {
		case shown != nil && shown.Status(c.Now()) == certificate.Expired:
			add(Fail, shown.Warning(c.Now()), fix)
		case err != nil:
			add(Fail, fmt.Sprintf("No usable certificate covers X509CertificateName %q: %s", name, mail.TextOf(err)), fix)
		case shown == nil:
			add(Pass, "A certificate covers "+name+".", "")
		case shown.Warning(c.Now()) != "":
			add(Warn, shown.Warning(c.Now()), fix)
		case shown.IsSelfSigned() && c.abroad(s):
			add(Warn, "The certificate for "+name+" is self-signed: clients cannot tell this server from an impostor, and warn or refuse.", fix)
		case shown.IsSelfSigned():
			add(Pass, "The certificate for "+name+" is self-signed, and only programs on this host see it.", "")
		default:
			add(Pass, fmt.Sprintf("The certificate for %s is valid until %s.", name, shown.Leaf().NotAfter.UTC().Format(time.DateOnly)), "")
		}
	}
	return found
}

// abroad tells whether a service can be reached from other hosts.
func (c *Call) abroad(s settings.Service) bool {
	for _, text := range c.Services.Status(s).Listening {
		address, _, _ := strings.Cut(text, " ")
		if a, err := netip.ParseAddrPort(address); err == nil && !a.Addr().Unmap().IsLoopback() {
			return true
		}
	}
	return false
}

// checkSignIn: there is a way to sign in that this server has the means for.
func checkSignIn(_ context.Context, c *Call, f *scene) (found []finding) {
	for _, s := range []settings.Service{settings.POP3, settings.IMAP4} {
		if !f.of(s) || !c.used(s) {
			continue
		}
		v := c.Settings.Current(s)
		usable := c.Usable(s)
		if c.RevocationProblem != nil {
			if text := c.RevocationProblem(s); text != "" {
				found = append(found, finding{string(s), Warn, fmt.Sprintf("Client certificates are refused: %s", text), ""})
			}
		}
		if len(usable) == 0 {
			found = append(found, finding{string(s), Fail, "Nobody can sign in now: this server has what is needed, such as SCRAM keys, tokens or certificate authorities, for none of the mechanisms that AuthMechanisms, ExtendedProtectionPolicy and login policies accept.",
				"Get-EffectiveLoginPolicy -Protocol " + string(s)})
			continue
		}
		found = append(found, finding{string(s), Pass, "Under TLS one can sign in with " + strings.Join(usable, ", ") + ".", ""})
		if settings.ExtendedProtectionPolicy.Of(v) == settings.RequireProtection && c.Pairs != nil {
			shown := c.Pairs.ShownFor(settings.X509CertificateName.Of(v))
			if shown != nil && !sasl.Binds(sasl.Server{TLS: new(tls.ConnectionState), Certificate: shown.Leaf()}) {
				found = append(found, finding{string(s), Warn, "ExtendedProtectionPolicy is Require, and the certificate has no hash to bind to (RFC 5929): clients that know tls-server-end-point alone cannot sign in.",
					"Set-" + s.Prefix() + "Settings -ExtendedProtectionPolicy Allow"})
			}
		}
	}
	return found
}

// checkDirectories: what a directory read when it was opened can be read now.
func checkDirectories(_ context.Context, c *Call, _ *scene) (found []finding) {
	for _, d := range c.Directories {
		if d.Check == nil {
			continue
		}
		if err := d.Check(); err != nil {
			found = append(found, finding{d.Name, Fail, mail.TextOf(err) + " What was read before serves until the server is started anew.", ""})
			continue
		}
		found = append(found, finding{d.Name, Pass, "Its files can be read.", ""})
	}
	return found
}

// checkServices: what should run runs, and as configured.
func checkServices(_ context.Context, c *Call, f *scene) (found []finding) {
	for _, s := range settings.Services {
		if !f.of(s) {
			continue
		}
		status, startup := c.Services.Status(s), settings.StartupType.Of(c.Settings.Current(s))
		switch {
		case status.State == Running && status.Problem == "":
			found = append(found, finding{string(s), Pass, "It runs.", ""})
		case status.State == Running:
			found = append(found, finding{string(s), Warn, "It runs, but not as configured: " + status.Problem, "Restart-Service " + string(s)})
		case startup == settings.Automatic:
			detail := "It does not run, and should."
			if status.Problem != "" {
				detail += " " + status.Problem
			}
			found = append(found, finding{string(s), Fail, detail, "Start-Service " + string(s)})
		default:
			found = append(found, finding{string(s), Pass, fmt.Sprintf("It does not run; its start-up type is %s.", startup), ""})
		}
	}
	return found
}

// checkReachable: what is meant for this host is not open to others.
func checkReachable(_ context.Context, c *Call, f *scene) (found []finding) {
	if f.of(settings.LMTP) {
		if c.abroad(settings.LMTP) {
			found = append(found, finding{string(settings.LMTP), Warn, "Other hosts can deliver mail: LMTP knows no authentication. Let a firewall choose them.", "lmtp in the settings file says where it listens"})
		} else {
			found = append(found, finding{string(settings.LMTP), Pass, "Only programs on this host deliver mail.", ""})
		}
	}
	console := string(settings.Console)
	name := settings.X509CertificateName.Of(c.Settings.Current(settings.Console))
	switch {
	case !c.abroad(settings.Console):
		found = append(found, finding{console, Pass, "Only programs on this host reach the console.", ""})
	case c.Pairs != nil && c.Pairs.ShownFor(name) != nil && c.Pairs.ShownFor(name).IsSelfSigned():
		found = append(found, finding{console, Fail, "Other hosts reach the console, and its certificate is self-signed: administrators' passwords may go to an impostor.",
			"Set-ConsoleSettings -SSLBindings 127.0.0.1:8443"})
	default:
		found = append(found, finding{console, Pass, "Other hosts reach the console, with a certificate that they can check.", ""})
	}
	return found
}

// checkSettings: what a setting itself warns of.
func checkSettings(_ context.Context, c *Call, f *scene) (found []finding) {
	for _, s := range settings.Services {
		if !f.of(s) {
			continue
		}
		v := c.Settings.Current(s)
		for _, r := range settings.Of(s, "") {
			if text := r.Warning(v); text != "" && r.Name != settings.LoginType.Name {
				found = append(found, finding{string(s), Warn, text, fmt.Sprintf("%s -%s $null", setting(s, r), r.Name)})
			}
		}
	}
	if found == nil {
		found = []finding{{"", Pass, "No other setting is weak.", ""}}
	}
	return found
}

// setting is the cmdlet that changes a setting of a service.
func setting(s settings.Service, r *settings.Row) string {
	switch r.Noun {
	case "Settings":
		return "Set-" + s.Prefix() + "Settings"
	case "Service":
		return "Set-Service " + string(s)
	}
	return "Set-" + r.Noun
}

// checkStored: every stored setting can be read and acts.
func checkStored(_ context.Context, c *Call, _ *scene) (found []finding) {
	for _, text := range c.Settings.Warnings() {
		service, _, _ := strings.Cut(text, ":")
		fix := ""
		if s, err := settings.ParseService(service); err == nil {
			fix = "Get-Help Set-" + s.Prefix() + "Settings"
		}
		found = append(found, finding{service, Fail, text, fix})
	}
	if found == nil {
		found = []finding{{"", Pass, "All stored settings can be read.", ""}}
	}
	return found
}

// checkAdministrators: somebody can get in, also when this host is out of reach, and
// names mean whom they meant.
func checkAdministrators(ctx context.Context, c *Call, _ *scene) []finding {
	list, _, err := c.assignments().load(ctx)
	if err != nil {
		return []finding{{"", Fail, "The administrators cannot be read: " + mail.TextOf(err), ""}}
	}
	if slices.ContainsFunc(list, func(a Assignment) bool { return !strings.HasPrefix(a.Identity, unixPrefix) }) {
		found := []finding{{"", Pass, fmt.Sprintf("Roles are given %d times.", len(list)), ""}}
		for _, a := range list {
			found = append(found, c.doubts(ctx, a.Holder)...)
		}
		return found
	}
	return []finding{{"", Warn, "Only operating-system users of this host are administrators: nobody can sign in at the console with a password, and the audit log names no person.",
		"Add-Administrator -Identity NAME -Role 'Organization Administrator'"}}
}

// doubts says what keeps an administrator from the role that it holds.
func (c *Call) doubts(ctx context.Context, h Holder) []finding {
	switch c.standing(ctx, h) {
	case "OperatingSystem":
		return nil
	case "Renamed":
		return []finding{{h.Identity, Warn, "The name is somebody else's now, who does not hold the role; whoever was meant holds it under another name.", "Get-Administrator " + h.Identity}}
	case "Missing":
		return []finding{{h.Identity, Warn, "A role is given to a name that nobody has now.", "Remove-Administrator " + h.Identity}}
	}
	for _, d := range c.Directories {
		if d.Name == h.Directory || !d.External && h.Directory == "" {
			break
		}
		if d.External && d.covers(h.Identity) {
			return []finding{{h.Identity, Warn, fmt.Sprintf("The directory %s is asked for this name before the administrator's own: somebody who gets the name there keeps the administrator out. Let domains in the settings file say whose names it has.", d.Name), ""}}
		}
	}
	return nil
}

// checkAuditLog: the log ends with what was written last. Test-AuditLog proves the
// whole.
func checkAuditLog(_ context.Context, c *Call, f *scene) []finding {
	head := c.Audit.Head()
	switch {
	case f.fault != nil:
		return []finding{{"", Fail, "The audit log cannot be read: " + mail.TextOf(f.fault), "Test-AuditLog"}}
	case len(f.last) == 0 && head.Sequence == 0:
		return []finding{{"", Pass, "Nothing was changed yet.", ""}}
	case len(f.last) == 0 || f.last[0].Head() != head && f.last[0].Sequence <= head.Sequence:
		return []finding{{"", Fail, fmt.Sprintf("The audit log does not end with record %d, which was written last.", head.Sequence), "Test-AuditLog"}}
	}
	return []finding{{"", Pass, fmt.Sprintf("It ends with record %d, which was written last; Test-AuditLog proves the rest.", head.Sequence), ""}}
}

// Bounds of free disk space, in bytes and of the whole.
const (
	lowDisk, lowDiskPart   = 2 << 30, 10
	fullDisk, fullDiskPart = 256 << 20, 100
)

// checkDisk: mail has room.
func checkDisk(_ context.Context, _ *Call, f *scene) []finding {
	free := fmt.Sprintf("%d MB of %d MB are free for %s.", f.DiskFree>>20, f.DiskSize>>20, f.DataFolder)
	switch {
	case f.DiskSize == 0:
		return []finding{{"", Warn, "The system does not tell how much disk space is free.", ""}}
	case f.DiskFree < fullDisk || f.DiskFree < f.DiskSize/fullDiskPart && f.DiskFree < 4*fullDisk:
		return []finding{{"", Fail, free + " Mail is refused when it is full.", ""}}
	case f.DiskFree < lowDisk && f.DiskFree < f.DiskSize/lowDiskPart:
		return []finding{{"", Warn, free, ""}}
	}
	return []finding{{"", Pass, free, ""}}
}

// checkConfinement: the process has no rights that it does not need.
func checkConfinement(_ context.Context, _ *Call, f *scene) []finding {
	if len(f.Unconfined) > 0 {
		return []finding{{"", Warn, strings.Join(f.Unconfined, " "), ""}}
	}
	return []finding{{"", Pass, fmt.Sprintf("It runs as %s and reaches only what it needs.", f.User), ""}}
}

// earliest is before any time at which this program can run.
var earliest = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)

// checkClock: the clock does not stand behind what has happened already.
func checkClock(_ context.Context, c *Call, f *scene) []finding {
	now := c.Now()
	last := earliest
	if len(f.last) > 0 && f.last[0].Time.After(last) {
		last = f.last[0].Time
	}
	if now.Before(last.Add(-time.Minute)) {
		return []finding{{"", Fail, fmt.Sprintf("This host's clock says %s, which is before %s, when this server ran already: certificates, time-outs and logs depend on it.",
			now.UTC().Format(time.RFC3339), last.UTC().Format(time.RFC3339)), "timedatectl"}}
	}
	return []finding{{"", Pass, "This host's clock says " + now.UTC().Format(time.RFC3339) + ".", ""}}
}
