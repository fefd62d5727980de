package manage_test

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/manage"
	"github.com/postern-mail/postern/manage/managetest"
)

// web serves a fake's API over HTTPS and gives its address, which is its name.
func web(t testing.TB, f *managetest.Fake) (base string, client *http.Client, roots *x509.CertPool) {
	t.Helper()
	mux := http.NewServeMux()
	mux.Handle(manage.APIPrefix+"/", f.API())
	server := httptest.NewUnstartedServer(f.KnownHosts(mux))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	roots = x509.NewCertPool()
	roots.AddCert(server.Certificate())
	return server.URL, server.Client(), roots
}

// tryAll runs every cmdlet with a parameter that none has, and gives those that
// were permitted: the right is asked before anything else.
func tryAll(t testing.TB, client *manage.Client) []string {
	t.Helper()
	var permitted []string
	for _, c := range manage.Cmdlets() {
		for _, parameters := range []args{{"NoSuchParameter": 1}, {"NoSuchParameter": 1, "WhatIf": true}} {
			_, err := client.Run(context.Background(), c.Name, parameters)
			switch {
			case err == nil:
				t.Errorf("%s did something", c.Name)
			case mail.KindOf(err) == mail.KindBadArgument:
				if !slices.Contains(permitted, c.Name) {
					permitted = append(permitted, c.Name)
				}
			case mail.KindOf(err) != mail.KindNoPermission || slices.Contains(permitted, c.Name):
				t.Errorf("%s %v: %v", c.Name, parameters, err)
			}
		}
	}
	return permitted
}

func wanted(roles []manage.Role, local bool) []string {
	var list []string
	for _, c := range manage.Cmdlets() {
		if may(roles, local, c) {
			list = append(list, c.Name)
		}
	}
	return list
}

// give makes the roles of a mailbox, and whether it is a local administrator, what
// is asked for.
func give(t testing.TB, f *managetest.Fake, identity string, roles []manage.Role, local bool) {
	t.Helper()
	for _, r := range manage.Roles {
		f.Run(context.Background(), root, "Remove-Administrator", []byte(plainJSON(t, args{"Identity": identity, "Role": string(r), "Confirm": false}))) // it may hold none
	}
	for _, r := range roles {
		run(t, f, "Add-Administrator", args{"Identity": identity, "Role": string(r)})
	}
	if strings.HasPrefix(identity, "unix:") {
		return
	}
	f.Run(context.Background(), root, "Remove-LocalGroupMember", []byte(plainJSON(t, args{"Member": identity}))) // it may be none
	if local {
		run(t, f, "Add-LocalGroupMember", args{"Member": identity})
	}
}

// realRoleSets are the sets of roles that can be given.
func realRoleSets() [][]manage.Role {
	return slices.DeleteFunc(roleSets(), func(set []manage.Role) bool {
		return slices.ContainsFunc(set, func(r manage.Role) bool { return !slices.Contains(manage.Roles, r) })
	})
}

// TestRightsOverHTTPS tries every cmdlet with every set of roles, as a local
// administrator and not, with an API token over HTTPS.
func TestRightsOverHTTPS(t *testing.T) {
	f := newFake(t, "")
	base, _, roots := web(t, f)
	alice := "alice@example.org"
	give(t, f, alice, []manage.Role{manage.OrganizationAdministrator}, false)
	token := newToken(t, f, alice, args{"Name": "t", "Role": "OrgAdmin"})
	client, err := manage.DialHTTPS(base, token, roots)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for _, roles := range realRoleSets() {
		for _, local := range []bool{true, false} {
			give(t, f, alice, roles, local)
			if got, want := tryAll(t, client), wanted(roles, local); !slices.Equal(got, want) {
				t.Errorf("%q, local %v: permitted are\n%q, want\n%q", roles, local, got, want)
			}
		}
	}
	// A Server Administrator of another server may look at this one.
	give(t, f, alice, nil, true)
	run(t, f, "Add-Administrator", args{"Identity": alice, "Role": "ServerAdmin", "Scope": "other.example.org"})
	if got, want := tryAll(t, client), wanted([]manage.Role{manage.ViewOnlyAdministrator}, true); !slices.Equal(got, want) {
		t.Errorf("of another server: permitted are\n%q, want\n%q", got, want)
	}
	// A token that holds less than its owner is no more than it says.
	give(t, f, alice, []manage.Role{manage.OrganizationAdministrator}, true)
	for _, role := range manage.Roles {
		token := newToken(t, f, alice, args{"Name": string(role), "Role": string(role)})
		client, err := manage.DialHTTPS(base, token, roots)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := tryAll(t, client), wanted([]manage.Role{role}, true); !slices.Equal(got, want) {
			t.Errorf("a token of %s: permitted are\n%q, want\n%q", role, got, want)
		}
		client.Close()
	}
}

// socketEnv names the socket for the process that TestRightsOverSocket starts as
// another user.
const socketEnv = "POSTERN_TEST_MANAGE_SOCKET"

// TestRightsOverSocket tries every cmdlet with every set of roles as users of the
// operating system, members of the administrators' group and not, over the socket.
func TestRightsOverSocket(t *testing.T) {
	if path := os.Getenv(socketEnv); path != "" {
		client := manage.Dial(path)
		defer client.Close()
		os.Stdout.WriteString("permitted:" + strings.Join(tryAll(t, client), ",") + "\n")
		return
	}
	if os.Getuid() != 0 {
		t.Skip("another user's process can be started by root only")
	}
	daemon, err := user.Lookup("daemon")
	if err != nil {
		t.Fatal(err)
	}
	group, err := user.LookupGroup("games")
	if err != nil {
		t.Fatal(err)
	}
	number := func(text string) uint32 {
		n, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			t.Fatal(err)
		}
		return uint32(n)
	}
	t.Setenv("TMPDIR", "/tmp") // where every user may go
	f, _, path := managetest.Serve(t)
	f.Administrators = group.Name
	// The socket keeps others out before any role is asked for. Here everybody gets
	// as far as the roles.
	for p := filepath.Dir(path); p != os.TempDir() && p != "/"; p = filepath.Dir(p) {
		if err := os.Chmod(p, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	// The test's own program stands where daemon cannot read it.
	program := filepath.Join(filepath.Dir(path), "manage.test")
	if err := copyFile(os.Args[0], program); err != nil {
		t.Fatal(err)
	}
	for _, roles := range realRoleSets() {
		give(t, f, "unix:daemon", roles, false)
		for _, local := range []bool{true, false} {
			credential := &syscall.Credential{Uid: number(daemon.Uid), Gid: number(daemon.Gid), NoSetGroups: false}
			if local {
				credential.Gid = number(group.Gid)
			}
			child := exec.CommandContext(t.Context(), program, "-test.run", "^TestRightsOverSocket$")
			child.Dir, child.Env = "/", []string{socketEnv + "=" + path, "HOME=/", "TMPDIR=/tmp"}
			child.SysProcAttr = &syscall.SysProcAttr{Credential: credential}
			out, err := child.CombinedOutput()
			_, line, _ := strings.Cut(string(out), "permitted:")
			line, _, found := strings.Cut(line, "\n")
			if err != nil || !found {
				t.Fatalf("%v\n%s", err, out)
			}
			if want := strings.Join(wanted(roles, local), ","); line != want {
				t.Errorf("%q, local %v: permitted are\n%s, want\n%s", roles, local, line, want)
			}
		}
	}
}

func copyFile(from, to string) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, text, 0o755)
}

// TestSocketRolesAreLive: what is given or taken acts on a connection that is open.
func TestSocketRolesAreLive(t *testing.T) {
	f, client, _ := managetest.Serve(t)
	ctx := context.Background()
	own := manage.UnixIdentity(os.Getuid())
	run(t, f, "Add-Administrator", args{"Identity": "alice@example.org", "Role": "OrgAdmin"})
	if _, err := client.Run(ctx, "Get-Administrator", nil); err != nil {
		t.Fatal(err)
	}
	run(t, f, "Remove-Administrator", args{"Identity": own, "Confirm": false})
	if _, err := client.Run(ctx, "Get-Administrator", nil); mail.KindOf(err) != mail.KindNoPermission {
		t.Error(err)
	}
}

// TestAPI: what is not a proper request, or not from where it should be, is
// answered by a clear error.
func TestAPI(t *testing.T) {
	f := newFake(t, manage.RecipientAdministrator)
	base, client, _ := web(t, f)
	host := strings.TrimPrefix(base, "https://")
	token := newToken(t, f, "alice@example.org", args{"Name": "t", "Role": "RecipientAdmin"})
	session := signIn(t, f)
	good := "Bearer " + token
	post, get := http.MethodPost, http.MethodGet
	for _, c := range []struct {
		method, path, body string
		header             map[string]string // Host too
		status             int
		text               string
	}{
		{post, "/api/cmdlet/Get-Mailbox", "", map[string]string{"Authorization": good}, 200, "alice@example.org"},
		{post, "/api/cmdlet/get-mailbox", "{}", map[string]string{"Authorization": "bearer  " + token}, 200, "alice@example.org"},
		{get, "/api/cmdlets", "", map[string]string{"Authorization": good}, 200, "Set-PopSettings"},
		{get, "/api/suggest/mailboxes", "", map[string]string{"Authorization": good}, 200, "bob@example.org"},
		{get, "/api/openapi.json", "", map[string]string{"Authorization": good}, 200, `"openapi":"3.1.0"`},
		{get, "/api/nothing", "", map[string]string{"Authorization": good}, 404, "POST /api/cmdlet/{name}"},
		{post, "/api/cmdlet/Get-Nothing", "", map[string]string{"Authorization": good}, 404, "there is no cmdlet"},
		{post, "/api/cmdlet/Get-Mailbox", "[", map[string]string{"Authorization": good}, 400, "is a JSON object"},
		{post, "/api/cmdlet/Get-Mailbox", `{} {"Identity":"bob"}`, map[string]string{"Authorization": good}, 400, "nothing after it"},
		{post, "/api/cmdlet/Get-Mailbox", `{"Identity":"nobody"}`, map[string]string{"Authorization": good}, 404, `"hint":"Get-Mailbox lists the mailboxes."`},
		{post, "/api/cmdlet/New-Mailbox", `{"Name":"alice@example.org","Password":"x"}`, map[string]string{"Authorization": good}, 409, "AlreadyExists"},
		{post, "/api/cmdlet/Set-PopSettings", `{"Banner":"x"}`, map[string]string{"Authorization": good}, 403, "needs the role Server Administrator"},
		{post, "/api/cmdlet/Get-Mailbox", `{"Identity":"` + strings.Repeat("x", 4<<20) + `"}`, map[string]string{"Authorization": good}, 413, "TooBig"},
		// Who is it?
		{post, "/api/cmdlet/Get-Mailbox", "", nil, 401, "New-ApiToken makes one"},
		{get, "/api/cmdlets", "", nil, 401, "API token"},
		{get, "/api/openapi.json", "", nil, 401, "API token"},
		{get, "/api/nothing", "", nil, 401, "API token"},
		{post, "/api/cmdlet/Get-Mailbox", "", map[string]string{"Authorization": "Basic YWxpY2U6eA=="}, 401, "API token"},
		{post, "/api/cmdlet/Get-Mailbox", "", map[string]string{"Authorization": "Bearer"}, 401, "not valid"},
		{post, "/api/cmdlet/Get-Mailbox", "", map[string]string{"Authorization": token}, 401, "API token"},
		{post, "/api/cmdlet/Get-Mailbox", "", map[string]string{"Authorization": good + "x"}, 401, "not valid"},
		{post, "/api/cmdlet/Get-Mailbox", "", map[string]string{"Authorization": good + ", " + good}, 401, "not valid"},
		// A session of the console is no token, and its cookie means nothing here.
		{post, "/api/cmdlet/Get-Mailbox", "", map[string]string{"Authorization": "Bearer " + session}, 401, "not valid"},
		{post, "/api/cmdlet/Get-Mailbox", "", map[string]string{"Cookie": "__Host-session=" + session}, 401, "API token"},
		{post, "/api/cmdlet/Get-Mailbox?access_token=" + token, "", nil, 401, "API token"},
		{post, "/api/cmdlet/Get-Mailbox", "access_token=" + token, map[string]string{"Content-Type": "application/x-www-form-urlencoded"}, 401, "API token"},
		// From pages of elsewhere.
		{post, "/api/cmdlet/Get-Mailbox", "", map[string]string{"Authorization": good, "Origin": "https://evil.example"}, 403, "another origin"},
		{get, "/api/cmdlets", "", map[string]string{"Authorization": good, "Origin": "null"}, 403, "another origin"},
		{get, "/api/cmdlets", "", map[string]string{"Authorization": good, "Sec-Fetch-Site": "cross-site"}, 403, "another origin"},
		{get, "/api/cmdlets", "", map[string]string{"Authorization": good, "Sec-Fetch-Site": "same-site"}, 403, "another origin"},
		{"OPTIONS", "/api/cmdlet/Get-Mailbox", "", map[string]string{"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}, 403, "another origin"},
		{post, "/api/cmdlet/Get-Mailbox", "", map[string]string{"Authorization": good, "Origin": "https://" + host}, 200, "alice@example.org"},
		// Of another name: DNS rebinding.
		{get, "/api/cmdlets", "", map[string]string{"Authorization": good, "Host": "evil.example"}, 421, "does not have that name"},
		{get, "/api/cmdlets", "", map[string]string{"Authorization": good, "Host": "mail.example.org.evil.example"}, 421, "does not have that name"},
		{get, "/api/cmdlets", "", map[string]string{"Authorization": good, "Host": "Mail.Example.org:8443"}, 200, "Set-PopSettings"},
		{get, "/api/cmdlets", "", map[string]string{"Authorization": good, "Host": "localhost"}, 200, "Set-PopSettings"},
		{get, "/api/cmdlets", "", map[string]string{"Authorization": good, "Host": "[::1]:8443"}, 200, "Set-PopSettings"},
	} {
		request, err := http.NewRequest(c.method, base+c.path, strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		for name, value := range c.header {
			request.Header.Set(name, value)
		}
		request.Host = c.header["Host"]
		response, err := client.Do(request)
		if err != nil {
			t.Errorf("%s %s %v: %v", c.method, c.path, c.header, err)
			continue
		}
		body, _ := io.ReadAll(response.Body)
		response.Body.Close()
		if response.StatusCode != c.status || !strings.Contains(string(body), c.text) {
			t.Errorf("%s %s %.60s %v: %d %.300s", c.method, c.path, c.body, c.header, response.StatusCode, body)
		}
		h := response.Header
		if h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Access-Control-Allow-Origin") != "" || h.Get("Set-Cookie") != "" {
			t.Errorf("%s %s %v: %v", c.method, c.path, c.header, h)
		}
		if c.status != 421 && (h.Get("Cache-Control") != "no-store" || h.Get("Content-Type") != "application/json") {
			t.Errorf("%s %s %v: %v", c.method, c.path, c.header, h)
		}
		if (h.Get("WWW-Authenticate") != "") != (c.status == 401) {
			t.Errorf("%s %s %v: %v", c.method, c.path, c.header, h)
		}
	}
}

// TestClientHTTPS: what a client refuses, and what it says.
func TestClientHTTPS(t *testing.T) {
	f := newFake(t, manage.RecipientAdministrator)
	base, _, roots := web(t, f)
	token := newToken(t, f, "alice@example.org", args{"Name": "t", "Role": "RecipientAdmin"})
	for _, wrong := range []string{"", "http://localhost", "https://", "localhost:8443", "https://a/b", "https://u:p@a", "https://a?x", "https://a#x", "\x00"} {
		if _, err := manage.DialHTTPS(wrong, token, nil); mail.KindOf(err) != mail.KindBadArgument {
			t.Errorf("%q: %v", wrong, err)
		}
	}
	for _, wrong := range []string{"", "a b", "a\nb", "ä"} {
		if _, err := manage.DialHTTPS(base, wrong, nil); mail.KindOf(err) != mail.KindBadArgument {
			t.Errorf("%q: %v", wrong, err)
		}
	}
	ctx := context.Background()
	client, err := manage.DialHTTPS(base+"/", token, roots)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if list, err := client.Cmdlets(ctx); err != nil || len(list) != len(manage.Cmdlets()) {
		t.Error(err)
	}
	if names, err := client.Suggest(ctx, manage.SuggestMailboxes); err != nil || len(names) != 2 {
		t.Error(names, err)
	}
	rows, told := 0, 0
	if err := client.Follow(ctx, "Test-Store", nil, func(*manage.Result) error { return nil }, func(manage.Object) error { rows++; return nil }, func(manage.Progress) { told++ }); err != nil || rows != 3 || told == 0 {
		t.Errorf("%d rows, told %d times: %v", rows, told, err)
	}
	stranger, err := manage.DialHTTPS(base, token, x509.NewCertPool())
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	if _, err := stranger.Cmdlets(ctx); !strings.Contains(mail.TextOf(err), "is not one that this host trusts") {
		t.Error(err)
	}
	nowhere, err := manage.DialHTTPS("https://127.0.0.1:1", token, roots)
	if err != nil {
		t.Fatal(err)
	}
	defer nowhere.Close()
	if _, err := nowhere.Cmdlets(ctx); mail.TextOf(err) != "the server at 127.0.0.1:1 does not answer" {
		t.Error(err)
	}
}

// TestOpenAPI: one operation a cmdlet, every parameter with a schema, and every
// reference leads somewhere. test/api has it judged by a validator.
func TestOpenAPI(t *testing.T) {
	text := plainJSON(t, manage.OpenAPI(manage.APIPrefix))
	var d struct {
		OpenAPI string
		Paths   map[string]struct {
			Post struct {
				OperationID string
				RequestBody struct {
					Content map[string]struct {
						Schema struct {
							Properties           map[string]map[string]any
							Required             []string
							AdditionalProperties *bool
						}
					}
				}
			}
		}
		Components map[string]map[string]any
	}
	if err := json.Unmarshal([]byte(text), &d); err != nil {
		t.Fatal(err)
	}
	for _, c := range manage.Cmdlets() {
		o := d.Paths["/cmdlet/"+c.Name].Post
		schema := o.RequestBody.Content["application/json"].Schema
		if o.OperationID != c.Name || schema.AdditionalProperties == nil || *schema.AdditionalProperties {
			t.Errorf("%s: %+v", c.Name, o)
		}
		for _, p := range c.Parameters {
			if len(schema.Properties[p.Name]) < 2 || schema.Properties[p.Name]["description"] == "" || p.Mandatory != slices.Contains(schema.Required, p.Name) {
				t.Errorf("%s -%s: %v", c.Name, p.Name, schema.Properties[p.Name])
			}
		}
	}
	references := strings.Split(text, `"$ref":"#/components/`)[1:]
	if len(references) == 0 {
		t.Error("no references")
	}
	for _, part := range references {
		kind, rest, _ := strings.Cut(part, "/")
		name, _, _ := strings.Cut(rest, `"`)
		if d.Components[kind][name] == nil {
			t.Errorf("#/components/%s/%s leads nowhere", kind, name)
		}
	}
}

// FuzzRequest: whatever is sent, the answer is an error in the API's form or a
// result, and no request without a token reaches a cmdlet.
func FuzzRequest(f *testing.F) {
	fake := newFake(f, manage.RecipientAdministrator)
	token := newToken(f, fake, "alice@example.org", args{"Name": "t", "Role": "ViewOnlyAdmin"})
	mux := http.NewServeMux()
	mux.Handle(manage.APIPrefix+"/", fake.API())
	handler := fake.KnownHosts(mux)
	f.Add("/api/cmdlet/Get-Mailbox", "localhost", "Bearer "+token, "", `{"Identity":"alice@example.org"}`)
	f.Add("/api/cmdlet/Set-Mailbox", "mail.example.org:8443", "Bearer "+token, "https://mail.example.org:8443", `{"Identity":"a","Expected":{"Name":[1,{"a":null}]},"EmailAddresses":{"Add":["x"]}}`)
	f.Add("/api/suggest/mailboxes", "[::1", "bearer", "null", "")
	f.Add("/api//cmdlet/../x", "", "", "https://%zz", "\xff")
	f.Fuzz(func(t *testing.T, path, host, authorization, origin, body string) {
		request, err := http.NewRequest(http.MethodPost, "https://localhost/", strings.NewReader(body))
		if err != nil || !strings.HasPrefix(path, "/") {
			t.Skip()
		}
		request.URL.Path, request.Host, request.RemoteAddr = path, host, "192.0.2.1:1"
		request.Header.Set("Authorization", authorization)
		if origin != "" {
			request.Header.Set("Origin", origin)
		}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, request)
		if w.Code == http.StatusOK && !strings.HasSuffix(authorization, token) {
			t.Errorf("%d for %q: %s", w.Code, authorization, w.Body)
		}
		if strings.HasPrefix(w.Header().Get("Content-Type"), "application/json") && !json.Valid(w.Body.Bytes()) {
			t.Errorf("%d: %s", w.Code, w.Body)
		}
	})
}
