// Package security proves on the running server what docs/security.md promises and
// no package can prove alone.
package security

import (
	"testing"

	"github.com/postern-mail/postern/test/server"
)

func TestMain(m *testing.M) { server.Main(m) }

var alice = server.Account{Name: "alice@security.example", Password: "of-Alice-9fK2mQ"}

func serve(t *testing.T, args ...string) *server.Server {
	t.Helper()
	if testing.Short() {
		t.Skip("starts the server")
	}
	return server.Serve(t, server.Options{Accounts: []server.Account{alice}, Args: args})
}
