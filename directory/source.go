package directory

import (
	"context"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/postern-mail/postern/krb5"
	"github.com/postern-mail/postern/mail"
)

// Person is somebody whom a Source knows, as it says it now. The account and
// whatever a Source does not say are Postern's own records (directory/chain).
type Person struct {
	// ID is what stays when a person is renamed, and is never given to somebody else:
	// entryUUID, objectGUID, the issuer's sub; where a source has nothing of the kind
	// its unique name. 1 to MaxID octets, see CheckID.
	ID string

	Name        string   // the sign-in name and primary address, prepared by PrepareName
	Aliases     []string // further names and addresses, prepared, Name not among them
	DisplayName string

	// Blocked says why this person may neither sign in nor get mail ("the account is
	// disabled in the directory"), for administrators; "" is nothing.
	Blocked string
	// Pop, Imap and the quota are nil when the source does not say. A quota of 0 is
	// none.
	Pop, Imap                 *bool
	QuotaBytes, QuotaMessages *int64
	HomeServer                string // which server has the mail, "" when it is not said
	// Groups are those that the source says with everybody, prepared by PrepareGroups;
	// a Grouper says them when it is asked.
	Groups []string

	// PasswordChanged is another with every password, or zero when the source
	// cannot promise that: then nothing is remembered of a right password while the
	// source answers.
	PasswordChanged time.Time
}

// MaxID bounds Person.ID in octets.
const MaxID = 255

// CheckID tells whether id can be a Person.ID: printable UTF-8 without blanks.
func CheckID(id string) error {
	if id == "" || len(id) > MaxID || !utf8.ValidString(id) || strings.ContainsFunc(id, func(r rune) bool { return r == ' ' || !unicode.IsPrint(r) }) {
		return mail.Errorf(mail.KindCorrupt, "A directory gave an identifier that is not 1 to %d printable octets.", MaxID)
	}
	return nil
}

// Source is a directory that others manage: LDAP, a passwd file, SQL, PAM, OpenID
// Connect. It knows people and proves their passwords, and keeps nothing for
// Postern. Methods are called from many goroutines, end within a bounded time
// whatever the other side does, obey their context, and return *mail.Error. What
// cannot be said now (the server is down, slow, cut off, lies) is KindUnavailable
// and nothing else. A name or an identifier that could mean two people is
// KindUnavailable too: nobody is let in by chance. directorytest.RunSource is the
// definition.
type Source interface {
	// Find gives whom a sign-in name or an address means; aliases count. name was
	// prepared by PrepareName. KindNotFound when nobody is; KindCannot when this
	// source can never be asked (it learns of people from their tokens): then those
	// are known who signed in once.
	Find(ctx context.Context, name string) (*Person, error)

	// CheckPassword tells whether password is name's; both were prepared.
	// KindNotFound when name is unknown, KindAuthenticationFailed when the password
	// is wrong, when there is none or it cannot be used now (expired, locked): the
	// cause says which, for the log. KindCannot when this source proves no
	// passwords. An empty password is refused without asking anybody. A right
	// password of somebody Blocked may be answered either way.
	CheckPassword(ctx context.Context, name, password string) (*Person, error)

	// Close ends what the source has open, and waits for it.
	Close() error
}

// KeySource is a Source that can give SCRAM keys.
type KeySource interface {
	Source
	// ScramKeys gives the keys of name for hash: KindNotFound when name is unknown or
	// has no such keys.
	ScramKeys(ctx context.Context, name string, hash Hash) (*Person, ScramKeys, error)
}

// TokenSource is a Source that proves bearer tokens (RFC 6750).
type TokenSource interface {
	Source
	// CheckToken tells whose token it is and until when the proof holds. name is
	// the one that the client said, prepared, or "" for none; a token of somebody
	// else is KindAuthenticationFailed, one that another source may know
	// KindNotFound. CertificateOf(ctx) is the certificate that the client showed: a token
	// that is bound to another one, or to anything else, is KindAuthenticationFailed.
	CheckToken(ctx context.Context, name, token string) (p *Person, until time.Time, err error)

	// Issuer tells clients where they get a token: the address of the provider's
	// description (OpenID Connect Discovery), and the scopes to ask for, with blanks
	// between; "" for what is not known.
	Issuer() (configuration, scope string)
}

// TicketSource is a Source that accepts Kerberos tickets.
type TicketSource interface {
	Source
	// CheckTicket tells whose ticket a client's first token for a service ("imap",
	// "pop") has, and what is shared with them then; see krb5.Acceptor.Accept. A ticket
	// for a service that another source may know is KindNotFound.
	CheckTicket(ctx context.Context, service string, token []byte) (*Person, *krb5.Context, error)

	// HasTickets tells whether tickets for the service are accepted at all.
	HasTickets(service string) bool
}

// Grouper is a Source that says which groups people are in when it is asked.
type Grouper interface {
	Source
	// Groups gives p's, through other groups too, prepared by PrepareGroups. p has its
	// ID and Name. KindUnavailable when that cannot be said as a whole, or p is not
	// there any more.
	Groups(ctx context.Context, p *Person) ([]string, error)
}

// Forgetter is a Source that keeps something of people in Postern's own records.
type Forgetter interface {
	Source
	// Forget removes what is kept of the person with an identifier, who is not there
	// any more. Errors are logged, and tried again the next time.
	Forget(ctx context.Context, id string)
}

// Checker is a Source that stands on files of this server.
type Checker interface {
	Source
	// Check tells whether they can be read now, without asking anybody else.
	Check() error
}

// Lister is a Source that can say whom it knows.
type Lister interface {
	Source
	// People calls each with everybody, in no order, and stops at its first error.
	People(ctx context.Context, each func(Person) error) error
}

// Chained is a Directory that consists of several. directory/chain is the one; auth
// and manage use it where it is there.
type Chained interface {
	Directory

	// Provide gives e with its account, which is made if there is none yet, and the
	// external directory's people get one without an administrator. e came from
	// Lookup, CheckPassword, ScramKeys or CheckToken. KindDisabled when there is no
	// account and none is made.
	Provide(ctx context.Context, e *Entry) (*Entry, error)

	// CheckToken tells whose bearer token it is, and until when the proof holds; see
	// TokenSource. KindAuthenticationFailed when no directory takes it.
	CheckToken(ctx context.Context, name, token string) (e *Entry, until time.Time, err error)

	// Issuer tells a client that said name, or "", where it gets a token; see
	// TokenSource. Of several directories it is the first that is asked for the name.
	Issuer(name string) (configuration, scope string)

	// CheckTicket tells whose Kerberos ticket it is; see TicketSource.
	// KindAuthenticationFailed when no directory takes it.
	CheckTicket(ctx context.Context, service string, token []byte) (*Entry, *krb5.Context, error)

	// Proved gives who p is, whom the directory of that name proved in a way of its
	// own, such as a Kerberos ticket: somebody of that directory, or of the ones whose
	// people it proves. p.ID is p.Name where nothing outlives a change of name. Errors
	// as of CheckToken.
	Proved(ctx context.Context, directory string, p *Person) (*Entry, error)

	// HasKeys tells whether any of the directories can give SCRAM keys, so that a
	// server does not offer what nobody can use.
	HasKeys() bool

	// HasTokens tells the same of bearer tokens.
	HasTokens() bool

	// HasTickets tells the same of Kerberos tickets for a service.
	HasTickets(service string) bool

	// Asked tells what each directory says to a name, in the order in which they are
	// asked, for administrators. It changes nothing.
	Asked(ctx context.Context, name string) []Answer
}

// Grouped is a Chained whose directories may know groups.
type Grouped interface {
	Chained

	// Groups gives e's groups in the external directories, each as directory\group.
	// KindUnavailable when a directory cannot say them now and said nothing lately.
	Groups(ctx context.Context, e *Entry) ([]string, error)

	// IsExternal tells whether there is an external directory of that name.
	IsExternal(name string) bool
}

// Groups gives the groups of e in external directories, where d has any.
func Groups(ctx context.Context, d Directory, e *Entry) ([]string, error) {
	if g, ok := d.(Grouped); ok {
		return g.Groups(ctx, e)
	}
	return e.Groups, nil
}

// Linker is a Chained that remembers who people are in directories that prove the people
// of others.
type Linker interface {
	Chained

	// LinkedAccounts gives who e was found to be in directories that prove other
	// directories' people, in their order.
	LinkedAccounts(ctx context.Context, e *Entry) ([]LinkedAccount, error)

	// LinkedTo gives who the person id of a directory was found to be, or was linked to;
	// nil when nobody, or somebody who is gone.
	LinkedTo(ctx context.Context, directory, id string) (*Entry, error)

	// Link makes the person l of the directory l.Directory be e, and nobody else of
	// that directory; whoever l was before, they are not any more. KindBadArgument for a
	// directory that does not prove e.
	Link(ctx context.Context, e *Entry, l LinkedAccount) error

	// Unlink forgets who e is in a directory: the next one who is proved under e's name
	// there is remembered anew. KindNotFound when nobody is.
	Unlink(ctx context.Context, e *Entry, directory string) error
}

// LinkedAccount is somebody of a directory that proves the people of others, as they
// were proved first. An entry has one of each such directory.
type LinkedAccount struct {
	Directory string    // its name in the settings file
	ID        string    // Person.ID there
	Name      string    // by which they were found first, "" when an administrator linked them
	Since     time.Time // UTC
}

// Answer is what one directory says to a name.
type Answer struct {
	Directory string // its name in the settings file
	Text      string // a sentence
}

// Provide gives e with its account where d makes accounts for people of external
// directories; else e itself.
func Provide(ctx context.Context, d Directory, e *Entry) (*Entry, error) {
	if c, ok := d.(Chained); ok && e.Account == 0 {
		return c.Provide(ctx, e)
	}
	return e, nil
}
