package browser

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestPage: the steps work, a policy that is broken is noticed, and so is a page
// that some people cannot use.
func TestPage(t *testing.T) {
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", "default-src 'none'; form-action 'self'")
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		if r.Method == http.MethodPost {
			w.Write([]byte(`<!doctype html><html lang="en"><title>done</title><main><h1>` + r.FormValue("name") + `</h1></main>`))
			return
		}
		w.Write([]byte(`<!doctype html><html><title>form</title><form method="post"><input id="name" name="name"><button>go</button></form><script>1</script>`))
	}))
	defer s.Close()
	p := Open(t)
	p.Go(s.URL)
	if found := strings.Join(p.Faults(), "\n"); !strings.Contains(found, "Content Security Policy") {
		t.Errorf("a script that the policy forbids was not noticed: %q", found)
	}
	ids := ""
	for _, v := range p.Axe() {
		ids += v.ID + " "
	}
	if !strings.Contains(ids, "label ") || !strings.Contains(ids, "html-has-lang") {
		t.Errorf("axe found %q", ids)
	}
	p.Type("#name", "alice")
	p.Follow("button")
	if got := p.Text("h1"); got != "alice" {
		t.Errorf("the page says %q", got)
	}
	if found := p.Axe(); len(found) > 0 {
		t.Errorf("axe: %v", found)
	}
	path := filepath.Join(t.TempDir(), "x.png")
	p.Scheme("dark")
	p.Size(390, 800)
	p.Picture(path)
	if info, err := os.Stat(path); err != nil || info.Size() < 1000 {
		t.Errorf("%v, %v", info, err)
	}
}
