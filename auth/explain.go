package auth

import (
	"context"

	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/sasl"
)

// Step is one rule of the way in and what it says.
type Step struct {
	Step   string
	Result Result
	Detail string
}

// Result is what a step means for the login.
type Result string

// The results.
const (
	Pass Result = "Pass"
	Fail Result = "Fail" // nobody gets past this step
	Note Result = "Note" // says more, decides nothing
)

var _ = sasl.Mechanisms
var _ = directory.MaxName
var _ = mail.KindNotFound

// Explain says for an administrator which rule decides when user signs in on c. It
// proves nothing, counts nothing and waits for nothing.
func (a *Authenticator) Explain(ctx context.Context, c Conn, user string) []Step { return nil }
