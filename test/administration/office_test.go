package administration

import (
	"bytes"
	"context"
	"crypto/x509"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/postern-mail/postern/manage"
	"github.com/postern-mail/postern/settings"
	"github.com/postern-mail/postern/shell"
	"github.com/postern-mail/postern/test/server"
)

func TestMain(m *testing.M) { server.Main(m) }

// office is a server with its three faces.
type office struct {
	*server.Server
	socket *manage.Client
	token  string
	web    *http.Client // signed in at the console
	files  string       // the folder besides its own that the server may use
}

// open starts a server whose administrator is signed in everywhere.
func open(t *testing.T) *office {
	t.Helper()
	files := t.TempDir()
	o := &office{files: files, Server: server.Serve(t, server.Options{Sandbox: fmt.Sprintf("write = [%q]", files), Accounts: []server.Account{{Name: "alice@example.org", Password: "correct horse battery"}}})}
	o.socket = manage.Dial(o.Socket)
	t.Cleanup(o.socket.Close)
	made := o.run(t, "New-ApiToken", map[string]any{"Name": "test", "Role": "Organization Administrator"})
	token, _ := made.Objects[0].Value("Token")
	o.token = token.(string)

	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	o.web = &http.Client{Jar: jar, Timeout: 30 * time.Second, Transport: &http.Transport{TLSClientConfig: o.TLS(), DisableKeepAlives: true}}
	o.web.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	printed, _, _ := strings.Cut(o.MustShell("console"), "\n")
	link, err := url.Parse(printed)
	if err != nil {
		t.Fatal(err)
	}
	page := o.page(t, link.RequestURI())
	o.post(t, page.with("token"), nil)
	return o
}

// run runs a cmdlet over the socket.
func (o *office) run(t *testing.T, name string, parameters map[string]any) *manage.Result {
	t.Helper()
	r, err := o.socket.Run(context.Background(), name, parameters)
	if err != nil {
		t.Fatalf("%s %v: %v", name, parameters, err)
	}
	return r
}

// shown gives a setting as the shell shows it now.
func (o *office) shown(t *testing.T, s settings.Service, row *settings.Row) any {
	t.Helper()
	name, parameters := "Get-"+noun(s, row), map[string]any{}
	if row.Noun == "Service" {
		parameters["Name"] = string(s)
	}
	v, _ := o.run(t, name, parameters).Objects[0].Value(row.Name)
	return v
}

// base is where the console is now.
func (o *office) base(t *testing.T) string {
	t.Helper()
	list, _ := o.run(t, "Get-ConsoleSettings", nil).Objects[0].Value("SSLBindings")
	return "https://localhost:" + server.Port(fmt.Sprint(list.([]any)[0]))
}

// noun is that of the cmdlets of a setting.
func noun(s settings.Service, row *settings.Row) string {
	if row.Noun == "Settings" {
		return s.Prefix() + "Settings"
	}
	return row.Noun
}

// change gives the cmdlet that changes a setting, and its parameters.
func change(s settings.Service, row *settings.Row, value any) (string, map[string]any) {
	parameters := map[string]any{row.Name: value}
	if row.Noun == "Service" {
		parameters["Name"] = string(s)
	}
	return "Set-" + noun(s, row), parameters
}

func (o *office) faces() []face {
	return []face{{"shell", o.inShell}, {"API", o.overAPI}, {"console", o.inConsole}}
}

// inShell types the cmdlet.
func (o *office) inShell(t *testing.T, s settings.Service, row *settings.Row, value any) string {
	t.Helper()
	name, _ := change(s, row, value)
	args := []string{name}
	if row.Noun == "Service" {
		args = append(args, string(s))
	}
	args = append(args, "-"+row.Name)
	switch v := value.(type) {
	case []string:
		args = append(args, strings.Join(v, ","))
	case []any:
		var texts []string
		for _, e := range v {
			texts = append(texts, fmt.Sprint(e))
		}
		args = append(args, strings.Join(texts, ","))
	case bool:
		args = append(args, fmt.Sprintf("$%t", v))
	default:
		args = append(args, fmt.Sprint(v))
	}
	var out, fault bytes.Buffer
	screen := &shell.Screen{Out: &out, Err: &fault}
	if code := shell.Run(context.Background(), o.socket, args, screen); code == 0 {
		return ""
	}
	first, _, _ := strings.Cut(fault.String(), "\n")
	return strings.TrimPrefix(first, name+": ")
}

// overAPI posts the cmdlet over HTTPS with a token.
func (o *office) overAPI(t *testing.T, s settings.Service, row *settings.Row, value any) string {
	t.Helper()
	name, parameters := change(s, row, value)
	pool := x509.NewCertPool()
	pem, err := os.ReadFile(o.Certificate)
	if err != nil || !pool.AppendCertsFromPEM(pem) {
		t.Fatal(err)
	}
	client, err := manage.DialHTTPS(o.base(t), o.token, pool)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	_, err = client.Run(context.Background(), name, parameters)
	return refusal(t, err)
}

// inConsole fills in the form of the setting's page and applies it.
func (o *office) inConsole(t *testing.T, s settings.Service, row *settings.Row, value any) string {
	t.Helper()
	for _, page := range settings.Pages {
		path := "/" + strings.ToLower(string(s)) + "/" + strings.ToLower(strings.ReplaceAll(string(page), " ", "-"))
		if page == settings.General {
			path = "/" + strings.ToLower(string(s))
		}
		if page != row.Page {
			continue
		}
		if form := o.page(t, path).with("was." + row.Name); form != nil {
			values := url.Values{"step": {"apply"}}
			field := "f." + row.Name
			switch v := value.(type) {
			case bool:
				values[field] = nil
				if v {
					values[field] = []string{"true"}
				}
			case []string:
				values[field] = v
			case []any:
				values[field] = nil
				for _, e := range v {
					values[field] = append(values[field], fmt.Sprint(e))
				}
			default:
				values[field] = []string{fmt.Sprint(v)}
			}
			return o.post(t, form, values).fault
		}
		t.Fatalf("%s has no form with %s", path, row.Name)
	}
	t.Fatalf("no page shows %s", row.Name)
	return ""
}

// page is a page of the console as a program reads it.
type page struct {
	path  string
	forms []*form
	fault string // the first error that it shows
	text  string
}

type form struct {
	action string
	values url.Values
}

// with gives the form that has a field, or nil.
func (p *page) with(field string) *form {
	for _, f := range p.forms {
		if f.values.Has(field) {
			return f
		}
	}
	return nil
}

// page opens a page of the console.
func (o *office) page(t *testing.T, path string) *page {
	t.Helper()
	answer, err := o.web.Get(o.base(t) + path)
	if err != nil {
		t.Fatal(err)
	}
	return read(t, answer)
}

// post sends a form with some values changed. What was done has no fault; the
// page that the console leads to then is not opened.
func (o *office) post(t *testing.T, f *form, values url.Values) *page {
	t.Helper()
	if f == nil {
		t.Fatal("there is no such form")
	}
	sent := url.Values{}
	for name, v := range f.values {
		sent[name] = v
	}
	for name, v := range values {
		sent[name] = v
	}
	base := o.base(t)
	request, err := http.NewRequest(http.MethodPost, base+f.action, strings.NewReader(sent.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.Header.Set("Origin", base)
	request.Header.Set("Sec-Fetch-Site", "same-origin")
	answer, err := o.web.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	return read(t, answer)
}

func read(t *testing.T, answer *http.Response) *page {
	t.Helper()
	defer answer.Body.Close()
	tree, err := html.Parse(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	p := &page{path: answer.Request.URL.RequestURI()}
	p.read(tree, nil)
	if answer.StatusCode >= 500 {
		t.Fatalf("%s: %s", p.path, answer.Status)
	}
	return p
}

// read gathers the forms below a node, and what is wrong.
func (p *page) read(n *html.Node, in *form) {
	attribute := func(name string) string {
		for _, a := range n.Attr {
			if a.Key == name {
				return a.Val
			}
		}
		return ""
	}
	has := func(name string) bool {
		for _, a := range n.Attr {
			if a.Key == name {
				return true
			}
		}
		return false
	}
	if n.Type == html.TextNode {
		p.text += n.Data
	}
	if n.Type == html.ElementNode {
		if attribute("class") == "error" && p.fault == "" {
			p.fault = strings.TrimSpace(content(n))
		}
		if attribute("data-test") == "errors" && p.text == "" {
			p.fault = strings.TrimSpace(content(n))
		}
		switch n.Data {
		case "form":
			in = &form{attribute("action"), url.Values{}}
			p.forms = append(p.forms, in)
		case "input":
			if in == nil || attribute("name") == "" {
				break
			}
			if kind := attribute("type"); (kind == "radio" || kind == "checkbox") && !has("checked") {
				break
			}
			in.values.Add(attribute("name"), attribute("value"))
		case "option":
			if in != nil && has("selected") {
				in.values.Add(attribute("data-of"), attribute("value"))
			}
		case "select":
			for c := n.FirstChild; c != nil; c = c.NextSibling {
				if c.Type == html.ElementNode && c.Data == "option" {
					c.Attr = append(c.Attr, html.Attribute{Key: "data-of", Val: attribute("name")})
				}
			}
		case "textarea":
			if in != nil {
				in.values.Add(attribute("name"), content(n))
			}
		}
	}
	for c := n.FirstChild; c != nil; c = c.NextSibling {
		p.read(c, in)
	}
}

// content gives the text below a node.
func content(n *html.Node) string {
	if n.Type == html.TextNode {
		return n.Data
	}
	var b strings.Builder
	for c := n.FirstChild; c != nil; c = c.NextSibling {
		b.WriteString(content(c))
	}
	return b.String()
}
