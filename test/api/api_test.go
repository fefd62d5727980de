package api

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/directory/embedded"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/manage"
	"github.com/postern-mail/postern/role"
	"github.com/postern-mail/postern/test/server"
)

const alice = "alice@example.org"

// start starts the binary and gives it with a client of its socket, who is its own
// user, and the address of the API.
func start(t *testing.T) (s *server.Server, socket *manage.Client, base string) {
	t.Helper()
	s = server.Serve(t, server.Options{Accounts: []server.Account{{Name: alice, Password: "wonderland-1865"}}})
	socket = manage.Dial(s.Socket)
	t.Cleanup(socket.Close)
	shown := run(t, socket, "Get-ConsoleSettings", nil)
	bindings, _ := shown.Objects[0].Value("SSLBindings")
	base = "https://" + bindings.([]any)[0].(string)
	return s, socket, base
}

func run(t *testing.T, c *manage.Client, cmdlet string, parameters map[string]any) *manage.Result {
	t.Helper()
	r, err := c.Run(context.Background(), cmdlet, parameters)
	if err != nil {
		t.Fatalf("%s %v: %v", cmdlet, parameters, err)
	}
	return r
}

// office is a server within this process.
type office struct {
	*role.Server
	base  string
	roots *x509.CertPool
}

// root is who runs cmdlets when nothing else is said.
var root = manage.Caller{Name: "unix:root", From: "socket", Way: manage.WaySocket, Roles: []manage.Role{manage.OrganizationAdministrator}, Local: true}

func (o *office) run(t *testing.T, caller manage.Caller, cmdlet string, parameters map[string]any) *manage.Result {
	t.Helper()
	arguments, err := json.Marshal(parameters)
	if err != nil {
		t.Fatal(err)
	}
	r, err := o.Manage().Run(context.Background(), caller, cmdlet, arguments)
	if err != nil {
		t.Fatalf("%s %v: %v", cmdlet, parameters, err)
	}
	return r
}

// open opens a server with the mailbox alice.
func open(t *testing.T) *office {
	t.Helper()
	folder := t.TempDir()
	config := role.DefaultConfig()
	config.Name, config.Data, config.Engine = "localhost", filepath.Join(folder, "data"), "memory"
	config.Socket, config.LMTP = filepath.Join(folder, "s"), []string{filepath.Join(folder, "l")}
	ctx := context.Background()
	s, err := role.Open(ctx, config, role.Options{Directory: embedded.Options{Argon2: embedded.Argon2{Memory: 8, Time: 1, Threads: 1}}}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	o := &office{Server: s}
	for _, service := range []string{"POP3", "IMAP4"} {
		o.run(t, root, "Set-Service", map[string]any{"Name": service, "StartupType": "Manual"})
	}
	o.run(t, root, "Set-ConsoleSettings", map[string]any{"SSLBindings": []string{server.FreeAddress(t)}})
	o.run(t, root, "New-Mailbox", map[string]any{"Name": alice, "Password": "wonderland-1865"})
	if err := s.Start(ctx); err != nil {
		t.Fatal(err)
	}
	o.base = s.Manage().ConsoleURL()
	text, err := os.ReadFile(s.Certificate())
	if err != nil {
		t.Fatal(err)
	}
	o.roots = x509.NewCertPool()
	o.roots.AppendCertsFromPEM(text)
	return o
}

// table reads docs/rights.md: what each cmdlet says to each role.
func table(t *testing.T) (roles []string, cells map[string]map[string]string) {
	t.Helper()
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "rights.md"))
	if err != nil {
		t.Fatal(err)
	}
	cells = map[string]map[string]string{}
	for line := range strings.Lines(string(page)) {
		row := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i := range row {
			row[i] = strings.Trim(row[i], " ")
		}
		switch {
		case len(row) != 6 || strings.HasPrefix(row[0], "---"):
		case roles == nil:
			roles = row[1:5] // the last column is of people at their own account, whom this API does not take
		default:
			name, _, _ := strings.Cut(strings.TrimPrefix(row[0], "[`"), "`")
			cells[name] = map[string]string{}
			for i, cell := range row[1:5] {
				cells[name][roles[i]] = cell
			}
		}
	}
	return roles, cells
}

// TestOverHTTPS asks a whole server what docs/rights.md says: every cmdlet, every
// role, local administrator or not, -WhatIf or not, with alice's API tokens, which
// she makes in a session that her password began.
func TestOverHTTPS(t *testing.T) {
	o := open(t)
	ctx := context.Background()
	remote := netip.MustParseAddrPort("192.0.2.1:4711")
	if _, err := o.Manage().SignIn(ctx, alice, "wonderland-1865", remote); mail.KindOf(err) != mail.KindNoPermission {
		t.Error("without a role:", err)
	}
	roles, cells := table(t)
	if len(roles) != len(manage.Roles) || len(cells) != len(manage.Cmdlets()) {
		t.Fatalf("the page has the roles %q and %d cmdlets", roles, len(cells))
	}
	for _, r := range roles {
		o.run(t, root, "Add-Administrator", map[string]any{"Identity": alice, "Role": r})
		session, err := o.Manage().SignIn(ctx, alice, "wonderland-1865", remote)
		if err != nil {
			t.Fatal(err)
		}
		caller, err := o.Manage().SessionCaller(ctx, session)
		if err != nil {
			t.Fatal(err)
		}
		token, _ := o.run(t, caller, "New-ApiToken", map[string]any{"Name": r, "Role": r}).Objects[0].Value("Token")
		client, err := manage.DialHTTPS(o.base, token.(string), o.roots)
		if err != nil {
			t.Fatal(err)
		}
		for _, local := range []bool{false, true} {
			if local {
				o.run(t, root, "Add-LocalGroupMember", map[string]any{"Member": alice})
			}
			for _, c := range manage.Cmdlets() {
				may, known := map[string]bool{"yes": true, "own": true, "yes, local": local, "no": false}[cells[c.Name][r]]
				if !known {
					t.Fatalf("%s, %s: the page says %q", c.Name, r, cells[c.Name][r])
				}
				for _, parameters := range []map[string]any{{"NoSuchParameter": 1}, {"NoSuchParameter": 1, "WhatIf": true}} {
					_, err := client.Run(ctx, c.Name, parameters)
					if kind := mail.KindOf(err); err == nil || may != (kind == mail.KindBadArgument) || !may && kind != mail.KindNoPermission {
						t.Errorf("%s as %s, local %v: %v", c.Name, r, local, err)
					}
				}
			}
		}
		// What rests on the role ends with it, on a connection that is open.
		o.run(t, root, "Remove-LocalGroupMember", map[string]any{"Member": alice})
		o.run(t, root, "Remove-Administrator", map[string]any{"Identity": alice, "Confirm": false})
		if _, err := client.Run(ctx, "Get-Mailbox", nil); mail.KindOf(err) != mail.KindNoPermission {
			t.Errorf("a token of a removed %s: %v", r, err)
		}
		if _, err := o.Manage().SessionCaller(ctx, session); mail.KindOf(err) != mail.KindAuthenticationFailed {
			t.Errorf("a session of a removed %s: %v", r, err)
		}
		client.Close()
	}
}

// TestCommandLine: postern manages a server over HTTPS as it does over the socket.
func TestCommandLine(t *testing.T) {
	s, socket, base := start(t)
	made := run(t, socket, "New-ApiToken", map[string]any{"Name": "cli", "Role": "Organization Administrator", "Expires": "01:00:00"})
	token, _ := made.Objects[0].Value("Token")
	file := filepath.Join(s.Folder, "token")
	if err := os.WriteFile(file, []byte(token.(string)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	postern := func(args ...string) (string, int) {
		return server.Run(t, 60*time.Second, s.Folder, nil, "", server.Binary(t), args...)
	}
	remote := []string{"--server", base, "--token-file", file, "--ca-file", s.Certificate}
	for _, c := range []struct {
		args []string
		want string
		code int
	}{
		{append(remote, "Get-Mailbox"), alice, 0},
		{append(remote, "Set-PopSettings", "-Banner", "From afar."), "From afar.", 0},
		{append(remote, "New-ConsoleLink"), "on the server itself only", 1},
		{[]string{"--server", base, "--token-file", file, "Get-Mailbox"}, "is not one that this host trusts", 1},
		{[]string{"--server", base, "Get-Mailbox"}, "--server needs --token-file", 2},
		{[]string{"--token-file", file, "Get-Mailbox"}, "belong to --server", 2},
		{[]string{"--server", "http://localhost", "--token-file", file, "Get-Mailbox"}, "is not the address of a server", 2},
		{[]string{"--server", base, "--token-file", s.Certificate, "Get-Mailbox"}, "that is not an API token", 2},
		{[]string{"--socket", s.Socket, "console"}, "/sign-in/link?token=", 0},
		{[]string{"--socket", s.Socket, "Get-AuditLog", "-Cmdlet", "Set-PopSettings"}, "unix:root Set-PopSettings", 0},
	} {
		if out, code := postern(c.args...); code != c.code || !strings.Contains(out, c.want) {
			t.Errorf("postern %s: exit code %d\n%s", strings.Join(c.args, " "), code, out)
		}
	}
	run(t, socket, "Remove-ApiToken", map[string]any{"Name": "cli"})
	if out, code := postern(append(remote, "Get-Mailbox")...); code == 0 || !strings.Contains(out, "The API token is not valid") {
		t.Errorf("with a token that was removed: exit code %d\n%s", code, out)
	}
}

// TestDescription: a validator that is not ours reads /api/openapi.json.
func TestDescription(t *testing.T) {
	validator := filepath.Join("..", "..", ".tools", "openapi", "node_modules", "@seriousme", "openapi-schema-validator", "bin", "validate-api-cli.js")
	if _, err := os.Stat(validator); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("the OpenAPI validator is missing: scripts/test-packages installs it")
		}
		t.Skip("the OpenAPI validator is missing: scripts/test-packages installs it")
	}
	s, socket, base := start(t)
	made := run(t, socket, "New-ApiToken", map[string]any{"Name": "docs", "Role": "View-Only Administrator"})
	token, _ := made.Objects[0].Value("Token")
	request, err := http.NewRequest(http.MethodGet, base+"/api/openapi.json", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+token.(string))
	client := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{TLSClientConfig: s.TLS(), DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatal(response.Status, err)
	}
	file := filepath.Join(s.Folder, "openapi.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if out, err := exec.CommandContext(ctx, "node", validator, file).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
