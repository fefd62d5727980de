package console

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/manage"
)

// The cookies. The prefix makes browsers insist on Secure, on this host and on the
// whole of it.
const (
	sessionCookie  = "__Host-session"
	accountCookie  = "__Host-account"
	languageCookie = "__Host-language"
	schemeCookie   = "__Host-scheme"
)

func cookie(r *http.Request, name string) string {
	if c, err := r.Cookie(name); err == nil {
		return c.Value
	}
	return ""
}

// keep sets a cookie; maxAge in seconds, 0 until the browser ends, below 0 to take
// it away.
func keep(w http.ResponseWriter, name, value string, maxAge int) {
	http.SetCookie(w, &http.Cookie{Name: name, Value: value, Path: "/", MaxAge: maxAge, Secure: true, HttpOnly: true, SameSite: http.SameSiteStrictMode})
}

// area is one of the two parts of the console: the administrators', and the pages of
// everybody's own account. Each has its sign-in, its cookie and its pages, and knows
// nothing of who is signed in at the other.
type area struct {
	console *Console
	base    string // what its paths begin with
	cookie  string
	home    string
	signIns SignIns
	pages   []*Page
}

// waiting is the cookie of a sign-in that awaits the second factor.
func (a *area) waiting() string { return a.cookie + "-waiting" }

// waitingAge bounds how long, in seconds.
const waitingAge = 5 * 60

// visitor names who is signed in among those of both parts.
func (a *area) visitor(c manage.Caller) string { return a.base + " " + c.Name }

// caller gives whose session the request is of, or sends to the sign-in.
func (a *area) caller(w http.ResponseWriter, r *http.Request, v *Visit) (manage.Caller, bool) {
	token := cookie(r, a.cookie)
	why := ""
	if token != "" {
		ask := a.signIns.SessionCaller
		if part := r.Header.Get(partHeader); part == partRefresh || part == partFollow {
			ask = a.signIns.WatchSession
		}
		caller, err := ask(r.Context(), token)
		if err == nil {
			return caller, true
		}
		if kind := mail.KindOf(err); kind == mail.KindUnavailable || kind == mail.KindServerBug {
			v.fail(w, err)
			return manage.Caller{}, false
		}
		keep(w, a.cookie, "", -1)
		why = "ended"
	}
	if fragment(r) {
		w.WriteHeader(http.StatusUnauthorized)
		return manage.Caller{}, false
	}
	next := ""
	if r.Method == http.MethodGet && r.URL.Path != a.home {
		next = r.URL.RequestURI()
	}
	a.toSignIn(w, r, "", next, why)
	return manage.Caller{}, false
}

// toSignIn sends to a page of the sign-in.
func (a *area) toSignIn(w http.ResponseWriter, r *http.Request, page, next, why string) {
	query := url.Values{}
	if next != "" && next != a.home {
		query.Set("next", next)
	}
	if why != "" {
		query.Set("why", why)
	}
	to := a.base + "/sign-in" + page
	if len(query) > 0 {
		to += "?" + query.Encode()
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
}

// signInData is what the sign-in page shows.
type signInData struct {
	Name, Next, Token string
	Problem, Remedy   string // in the visitor's language
	Note              string
}

func (a *area) signInPage(w http.ResponseWriter, r *http.Request) {
	v := a.begin(r)
	data := &signInData{Next: a.local(r.URL.Query().Get("next"))}
	switch r.URL.Query().Get("why") {
	case "ended":
		data.Note = v.T("Your session has ended. Sign in again to go on; nothing was changed meanwhile.")
	case "out":
		data.Note = v.T("You are signed out.")
	}
	v.Title, v.Data = v.T("Sign in"), data
	v.render(w, "sign-in")
}

func (a *area) signIn(w http.ResponseWriter, r *http.Request) {
	v := a.begin(r)
	v.Title = v.T("Sign in")
	form, err := fields(r)
	if err == nil {
		err = only(form, "name", "password", "next")
	}
	if err != nil {
		v.fail(w, err)
		return
	}
	name, next := strings.TrimSpace(form.Get("name")), a.local(form.Get("next"))
	token, err := a.signIns.SignIn(r.Context(), name, manage.Secret(form.Get("password")), remote(r))
	if err != nil {
		a.refused(w, v, "sign-in", &signInData{Name: name, Next: next}, err)
		return
	}
	if a.signIns.Awaits(token) {
		keep(w, a.waiting(), token, waitingAge)
		a.toSignIn(w, r, "/code", next, "")
		return
	}
	a.signedIn(w, r, token, next)
}

// refused shows a page of the sign-in again.
func (a *area) refused(w http.ResponseWriter, v *Visit, page string, data *signInData, err error) {
	data.Problem, data.Remedy = sentence(v.Error(err)), v.Text(manage.FaultOf(err).Hint)
	v.Title, v.Data, v.status = v.T("Sign in"), data, mail.KindOf(err).Answer().HTTP
	v.render(w, page)
}

// codePage asks for the second factor.
func (a *area) codePage(w http.ResponseWriter, r *http.Request) {
	next := a.local(r.URL.Query().Get("next"))
	if !a.signIns.Awaits(cookie(r, a.waiting())) {
		a.toSignIn(w, r, "", next, "")
		return
	}
	v := a.begin(r)
	v.Title, v.Data = v.T("Sign in"), &signInData{Next: next}
	v.render(w, "code")
}

func (a *area) confirm(w http.ResponseWriter, r *http.Request) {
	v := a.begin(r)
	v.Title = v.T("Sign in")
	form, err := fields(r)
	if err == nil {
		err = only(form, "code", "next")
	}
	if err != nil {
		v.fail(w, err)
		return
	}
	next, waiting := a.local(form.Get("next")), cookie(r, a.waiting())
	token, err := a.signIns.Confirm(r.Context(), waiting, manage.Secret(strings.TrimSpace(form.Get("code"))), remote(r))
	if err != nil && a.signIns.Awaits(waiting) {
		a.refused(w, v, "code", &signInData{Next: next}, err)
		return
	}
	keep(w, a.waiting(), "", -1)
	if err != nil {
		a.refused(w, v, "sign-in", &signInData{Next: next}, err)
		return
	}
	a.signedIn(w, r, token, next)
}

// signedIn begins a session: the cookie is a new one at each sign-in.
func (a *area) signedIn(w http.ResponseWriter, r *http.Request, token, next string) {
	if old := cookie(r, a.cookie); old != "" {
		a.signIns.SignOut(r.Context(), old)
	}
	keep(w, a.cookie, token, 0)
	http.Redirect(w, r, next, http.StatusSeeOther)
}

func (a *area) signOut(w http.ResponseWriter, r *http.Request) {
	if token := cookie(r, a.cookie); token != "" {
		a.signIns.SignOut(r.Context(), token)
	}
	keep(w, a.cookie, "", -1)
	w.Header().Set("Clear-Site-Data", `"cache", "storage"`)
	a.toSignIn(w, r, "", "", "out")
}

// local gives a path of this part of the console, its home when to is anything else.
func (a *area) local(to string) string {
	if to = local(to); to == "/" || a.base != "" && to != a.base && !strings.HasPrefix(to, a.base+"/") {
		return a.home
	}
	return to
}

// linkPage asks before a one-time link is used, so that whatever looks at links in
// advance does not use it up.
func (c *Console) linkPage(w http.ResponseWriter, r *http.Request) {
	v := c.begin(r)
	v.Title, v.Data = v.T("Sign in"), &signInData{Token: r.URL.Query().Get("token")}
	v.render(w, "link")
}

func (c *Console) redeemLink(w http.ResponseWriter, r *http.Request) {
	v := c.begin(r)
	form, err := fields(r)
	if err == nil {
		err = only(form, "token")
	}
	if err != nil {
		v.fail(w, err)
		return
	}
	token, err := c.SignIns.RedeemLink(r.Context(), form.Get("token"), remote(r))
	if err != nil {
		c.admin.refused(w, v, "sign-in", &signInData{}, err)
		return
	}
	c.admin.signedIn(w, r, token, "/")
}

// year is how long a choice of language or colours is kept, in seconds.
const year = 365 * 24 * 60 * 60

// preferences keeps a choice of language or colour scheme.
func (c *Console) preferences(w http.ResponseWriter, r *http.Request) {
	form, err := fields(r)
	if err == nil {
		err = only(form, "language", "scheme", "back")
	}
	if err != nil {
		c.refuse(w, r, err)
		return
	}
	for _, l := range Languages {
		if tag := l.Tag.String(); form.Get("language") == tag {
			keep(w, languageCookie, tag, year)
		}
	}
	switch scheme := form.Get("scheme"); scheme {
	case "light", "dark":
		keep(w, schemeCookie, scheme, year)
	case "auto":
		keep(w, schemeCookie, "", -1)
	}
	http.Redirect(w, r, local(form.Get("back")), http.StatusSeeOther)
}

// local gives a path of this console, "/" when to is anything else.
func local(to string) string {
	u, err := url.Parse(to)
	if err != nil || len(to) > 2000 || u.IsAbs() || u.Host != "" || !strings.HasPrefix(to, "/") || strings.HasPrefix(to, "//") || strings.ContainsAny(to, "\\\x00\r\n\t") {
		return "/"
	}
	return to
}
