package console_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// FuzzForm sends anything as a form: it is answered, changes nothing that is not
// meant, and is never our fault.
func FuzzForm(f *testing.F) {
	for _, body := range []string{
		"form=settings&step=review&f.LoginType=1&was.LoginType=%22SecureLogin%22", "form=settings&step=apply&f.SSLBindings=a&f.SSLBindings=b&was.SSLBindings=%5B%5D",
		"form=service&step=preview&f.StartupType=Manual", "form=settings&step=edit&f.MaxConnections=%00&was.MaxConnections=1e999", "name=x&password=y&next=//z", "language=de&back=%5C",
	} {
		f.Add("/pop3/authentication", body)
		f.Add("/imap4/connection", body)
		f.Add("/sign-in", body)
		f.Add("/preferences", body)
	}
	handler, _ := newHandler(f)
	f.Fuzz(func(t *testing.T, path, body string) {
		request := httptest.NewRequest(http.MethodPost, "https://localhost/", strings.NewReader(body))
		request.URL.Path = "/" + strings.TrimPrefix(path, "/")
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		request.Header.Set("Cookie", "__Host-session=viewer")
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, request)
		if w.Code >= 500 {
			t.Errorf("%d\n%s", w.Code, w.Body)
		}
	})
}
