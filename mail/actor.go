package mail

// Actor is who made a change, as far as it is known, for what is written down of the
// change. The texts are bounded; Client is the client's own.
type Actor struct {
	User        string `json:"user,omitempty"`        // whose sign-in name it was
	ActedBy     string `json:"actedBy,omitempty"`     // who acted for User, "" for User itself
	Mechanism   string `json:"mechanism,omitempty"`   // how it was proved: "SCRAM-SHA-256", "LOGIN"
	AppPassword string `json:"appPassword,omitempty"` // the name of the one that was used, "" for none
	Protocol    string `json:"protocol,omitempty"`    // "IMAP4", "POP3"
	Client      string `json:"client,omitempty"`      // what it calls itself, with its version
	Address     string `json:"address,omitempty"`     // where it was, without the port
	Session     string `json:"session,omitempty"`     // its name in logs: "IMAP4-123"
}

// Who is the name of who acted.
func (a Actor) Who() string {
	if a.ActedBy != "" {
		return a.ActedBy
	}
	return a.User
}
