package console

import "testing"

// TestServices looks at the overview, at each tab of a service's settings, at a
// review and its outcome, and at the way in.
func TestServices(t *testing.T) {
	d := sit(t)
	for range 3 {
		d.Login(t, alice).Conn.Close()
	}
	d.at("/")
	d.WaitText("main", "Sign-ins")
	d.look("overview")
	d.at("/imap4")
	d.look("imap4-general")
	for _, tab := range []string{"binding", "authentication", "connection", "retrieval-settings", "protocol-log"} {
		d.at("/imap4/" + tab)
		d.look("imap4-" + tab)
	}
	d.at("/console/acme")
	d.look("console-acme")

	d.at("/pop3/authentication")
	d.Click("[data-test=LoginType-PlainTextLogin]")
	d.WaitText("main", "What PlainTextLogin allows")
	d.Follow("[data-test^=submit-]")
	d.judge("the review of a LoginType")
	d.Picture(picture("review-en-light-1280.png"))
	d.Follow("[data-test=apply]")
	d.WaitText("[data-test=done]", "Set-PopSettings -LoginType PlainTextLogin")
	d.look("pop3-authentication-weak")
	d.at("/")
	d.WaitText("main", "PlainTextLogin") // for as long as it stands
	d.look("overview-warning")

	d.Click("[data-test=me]")
	d.judge("who is signed in")
	d.Follow("[data-test=sign-out]")
	d.look("sign-in")
	d.Type("#name", alice.Name)
	d.Type("#password", "not her password")
	d.Follow("main form .button")
	d.WaitText("main", "wrong")
	d.judge("a sign-in that failed")
}
