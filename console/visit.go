package console

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/manage"
	"github.com/postern-mail/postern/shell"
)

// Bounds of a request.
const (
	maxForm    = 256 << 10 // bytes of a body
	maxFields  = 500
	runTimeout = 2 * time.Minute
)

// Visit is one request and what is shown to it. Templates are given it. Only its
// goroutine touches it.
type Visit struct {
	*Words
	*Console
	Request *http.Request
	Area    *area
	Caller  manage.Caller
	Page    *Page  // nil before sign-in
	Rest    string // of the path, below the page's, such as "authentication"
	Title   string // in this language; "" is the page's
	Data    any    // what the page's template shows

	Forms  map[string]*Form // by Form.ID
	Done   *Outcome         // what the visitor's last action has done
	Review *Review          // of the form that was sent
	Failed *Form            // a button that did not work
	Fault  string           // why there is no page, in this language
	// Lines do in the shell what this page does to be shown.
	Lines []string

	status int
}

// visit serves a page to who is signed in.
func (a *area) visit(p *Page) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v := a.begin(r)
		caller, ok := a.caller(w, r, v)
		if !ok {
			return
		}
		v.Caller, v.Page, v.Rest = caller, p, r.PathValue("rest")
		if p.Follow != nil && r.Method == http.MethodGet && r.Header.Get(partHeader) == partFollow {
			v.follow(w, r)
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), runTimeout)
		defer cancel()
		v.Request = r.WithContext(ctx)
		v.Done = a.console.outcomes.of(r.URL.Query().Get("done"), a.visitor(caller))
		if err := p.Show(v); err != nil {
			if a.base != "" && mail.KindOf(err) == mail.KindExpired && !fragment(r) {
				http.Redirect(w, r, passwordPath, http.StatusSeeOther)
				return
			}
			v.fail(w, err)
			return
		}
		if r.Method == http.MethodPost {
			v.post(w)
			return
		}
		v.render(w, p.Template)
	}
}

// begin makes a visit of which nothing is known but the language.
func (c *Console) begin(r *http.Request) *Visit {
	words := c.catalogue.Pick(cookie(r, languageCookie), r.Header.Get("Accept-Language"))
	return &Visit{Words: words, Console: c, Request: r, Area: c.admin, Forms: map[string]*Form{}, status: http.StatusOK}
}

// begin makes a visit to this part of the console.
func (a *area) begin(r *http.Request) *Visit {
	v := a.console.begin(r)
	v.Area = a
	return v
}

// Own tells whether the visit is to the pages of the own account.
func (v *Visit) Own() bool { return v.Area == v.own }

// Base is what the paths of this part of the console begin with.
func (v *Visit) Base() string { return v.Area.base }

// Home is where this part of the console begins.
func (v *Visit) Home() string { return v.Area.home }

// Run runs a cmdlet whose result the page shows.
func (v *Visit) Run(cmdlet string, arguments ...shell.Argument) (*manage.Result, error) {
	if row := v.Manage.Cmdlet(cmdlet); row != nil {
		if line := shell.Line(row, arguments); !slices.Contains(v.Lines, line) {
			v.Lines = append(v.Lines, line)
		}
	}
	return v.run(cmdlet, arguments)
}

func (v *Visit) run(cmdlet string, arguments []shell.Argument) (*manage.Result, error) {
	parameters := manage.Object{} // keeps the order
	for _, a := range arguments {
		parameters = append(parameters, manage.Property{Name: a.Name, Value: a.Value})
	}
	body, err := json.Marshal(parameters)
	if err != nil {
		return nil, mail.Wrap(mail.KindServerBug, err)
	}
	return v.Manage.Run(v.Request.Context(), v.Caller, cmdlet, body)
}

// try runs a cmdlet with -WhatIf, which comes first so that it is known to be a
// trial whatever is wrong with the rest.
func (v *Visit) try(cmdlet string, arguments []shell.Argument) (*manage.Result, error) {
	return v.run(cmdlet, append([]shell.Argument{{Name: "WhatIf", Value: true}}, arguments...))
}

// May gives "" when the visitor may run the cmdlet, else what is missing, in this
// language.
func (v *Visit) May(cmdlet string) string {
	if err := v.Manage.May(v.Caller, cmdlet); err != nil {
		return v.Error(err)
	}
	return ""
}

// Has tells whether this server has the cmdlet.
func (v *Visit) Has(cmdlet string) bool { return v.Manage.Cmdlet(cmdlet) != nil }

// SignedIn tells whether somebody is.
func (v *Visit) SignedIn() bool { return v.Page != nil }

// Here is the address of this page, for forms and links.
func (v *Visit) Here() string {
	query := v.Request.URL.Query()
	query.Del("done")
	if len(query) == 0 {
		return v.Request.URL.EscapedPath()
	}
	return v.Request.URL.EscapedPath() + "?" + query.Encode()
}

// Scheme is the colour scheme that the visitor chose: "light", "dark" or "".
func (v *Visit) Scheme() string {
	if s := cookie(v.Request, schemeCookie); s == "light" || s == "dark" {
		return s
	}
	return ""
}

// ServerName is the name of the server that the console manages.
func (v *Visit) ServerName() string { return v.Manage.Settings.Server() }

// Zone is the server's time zone.
func (v *Visit) Zone() string { return v.Now().Local().Format("MST (UTC-07:00)") }

// Languages lists those to choose from.
func (v *Visit) Languages() []*Language { return Languages }

// Group is a heading of the navigation and the pages under it.
type Group struct {
	Title string
	Pages []*Page
}

// Navigation lists the pages by group, in the order of the table.
func (v *Visit) Navigation() []*Group {
	var groups []*Group
	for _, p := range v.Area.pages {
		if n := len(groups); n == 0 || groups[n-1].Title != p.Group {
			groups = append(groups, &Group{Title: p.Group})
		}
		last := groups[len(groups)-1]
		last.Pages = append(last.Pages, p)
	}
	return groups
}

// Heading is the title of the page in this language.
func (v *Visit) Heading() string {
	if v.Title != "" || v.Page == nil {
		return v.Title
	}
	return v.T(v.Page.Title)
}

// Roles lists the visitor's roles in this language.
func (v *Visit) Roles() string {
	if len(v.Caller.Roles) == 0 {
		return v.T("no role")
	}
	names := make([]string, len(v.Caller.Roles))
	for i, r := range v.Caller.Roles {
		names[i] = v.T(string(r))
	}
	return strings.Join(names, ", ")
}

// fail shows an error in place of the page.
func (v *Visit) fail(w http.ResponseWriter, err error) {
	kind := mail.KindOf(err)
	if kind == mail.KindServerBug {
		v.Log.ErrorContext(v.Request.Context(), "console page", "path", v.Request.URL.Path, "error", err)
	}
	v.Fault, v.status = v.Error(err), kind.Answer().HTTP
	if v.Title == "" {
		v.Title = v.T("That did not work")
	}
	if fragment(v.Request) {
		v.part(w, "fault-part", v)
		return
	}
	v.render(w, "fault")
}

// render writes a page whole, or nothing of it.
func (v *Visit) render(w http.ResponseWriter, name string) { v.execute(w, name, "layout", v) }

// part writes a part of a page, for console.js.
func (v *Visit) part(w http.ResponseWriter, part string, data any) { v.execute(w, "fault", part, data) }

func (v *Visit) execute(w http.ResponseWriter, file, name string, data any) {
	var b bytes.Buffer
	if err := v.templates[file].ExecuteTemplate(&b, name, data); err != nil {
		v.Log.ErrorContext(v.Request.Context(), "console template", "template", file, "error", err)
		http.Error(w, v.T("Internal error; the administrator will find it in the log."), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Language", v.Lang())
	w.WriteHeader(v.status)
	turning.WriteString(w, b.String())
}

// turning shows the characters that turn the direction of a text, with which one
// name can be made to look like another.
var turning = strings.NewReplacer("\u202a", "[U+202A]", "\u202b", "[U+202B]", "\u202c", "[U+202C]", "\u202d", "[U+202D]", "\u202e", "[U+202E]",
	"\u2066", "[U+2066]", "\u2067", "[U+2067]", "\u2068", "[U+2068]", "\u2069", "[U+2069]")

// refuse answers a request that comes to no page.
func (c *Console) refuse(w http.ResponseWriter, r *http.Request, err error) { c.begin(r).fail(w, err) }

// partHeader says that console.js asks, and why.
const (
	partHeader  = "X-Postern-Part"
	partRefresh = "refresh" // nobody did anything: the session is not kept alive
)

// fragment tells whether console.js asks.
func fragment(r *http.Request) bool { return r.Header.Get(partHeader) != "" }

// fields reads a form's body: only known fields, each once unless it is a list.
func fields(r *http.Request) (url.Values, error) {
	read := r.ParseForm
	switch kind, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";"); kind {
	case "application/x-www-form-urlencoded":
	case "multipart/form-data":
		read = func() error { return r.ParseMultipartForm(maxForm) } // the body has no more, so nothing goes to disk
	default:
		return nil, mail.Errorf(mail.KindBadArgument, "A form is sent as application/x-www-form-urlencoded or multipart/form-data.")
	}
	if err := read(); err != nil {
		var tooBig *http.MaxBytesError
		if errors.As(err, &tooBig) {
			return nil, mail.Errorf(mail.KindTooBig, "The form is too big: at most %d bytes are accepted.", maxForm)
		}
		return nil, mail.Errorf(mail.KindBadArgument, "The form cannot be read.")
	}
	n := 0
	for _, values := range r.PostForm {
		n += len(values)
	}
	if n > maxFields {
		return nil, mail.Errorf(mail.KindTooBig, "The form has too many fields: at most %d are accepted.", maxFields)
	}
	return r.PostForm, nil
}

// only refuses fields of a form that are not in names, or come twice.
func only(values url.Values, names ...string) error {
	for name, list := range values {
		if !slices.Contains(names, name) {
			return mail.Errorf(mail.KindBadArgument, "The form has no field %q.", name)
		}
		if len(list) > 1 {
			return mail.Errorf(mail.KindBadArgument, "The field %q came twice.", name)
		}
	}
	return nil
}

// remote gives the visitor's address.
func remote(r *http.Request) netip.AddrPort {
	a, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.AddrPort{}
	}
	return a
}
