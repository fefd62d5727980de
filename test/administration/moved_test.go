package administration

import (
	"net/url"
	"strings"
	"testing"

	"github.com/postern-mail/postern/test/server"
)

// TestConsoleMoves gives the console another address in the console: the answer
// still comes, and leads there, where the visitor is signed in.
func TestConsoleMoves(t *testing.T) {
	o := open(t)
	address := server.FreeAddress(t)
	f := o.page(t, "/console/binding").with("was.SSLBindings")
	p := o.post(t, f, url.Values{"step": {"apply"}, "f.SSLBindings": {address}})
	want := "https://localhost:" + server.Port(address)
	if p.fault != "" || !strings.Contains(p.text, "Go on at "+want) {
		t.Fatalf("after the change the console says %q: %s", p.fault, p.text)
	}
	if at := o.base(t); at != want {
		t.Fatalf("the console is at %s", at)
	}
	if p := o.page(t, "/console/binding"); p.with("was.SSLBindings") == nil {
		t.Errorf("at the new address: %s", p.text)
	}
}
