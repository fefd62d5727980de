package imap

import (
	"math"
	"net/netip"
	"slices"
	"strings"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/store"
)

// Each account has one quota root (RFC 9208, 3.2), for all its mailboxes. Its name is
// the owner's behind this.
const quotaRoots = "#user/"

// quotaUnit is what STORAGE is counted in (RFC 9208, 5.1), in bytes.
const quotaUnit = 1024

// quotaResource is a row of the table: something that is counted and can be limited.
type quotaResource struct {
	name string
	// of gives use and limit; 0 is no limit.
	of func(u store.Usage) (used, limit int64)
}

// quotaResources lists them (RFC 9208, 5). What is limited in bytes is rounded up to
// units, so that a limit below one does not look like one that forbids all.
var quotaResources = []quotaResource{
	{"STORAGE", func(u store.Usage) (int64, int64) { return quotaUnits(u.Bytes), quotaUnits(u.QuotaBytes) }},
	{"MESSAGE", func(u store.Usage) (int64, int64) { return u.Messages, u.QuotaMessages }},
	{"ANNOTATION-STORAGE", func(u store.Usage) (int64, int64) {
		return quotaUnits(u.AnnotationBytes), quotaUnits(store.MaxAnnotationBytes)
	}},
	{"MAILBOX", func(u store.Usage) (int64, int64) { return u.Mailboxes, store.MaxMailboxes }},
}

func quotaUnits(bytes int64) int64 { return bytes/quotaUnit + min(bytes%quotaUnit, 1) }

// quotaNames lists what stands behind QUOTA= in the list of capabilities.
func quotaNames(s *session) []string {
	var names []string
	for _, r := range quotaResources {
		if r.name == "ANNOTATION-STORAGE" && s.off("ANNOTATE-EXPERIMENT-1") {
			continue
		}
		names = append(names, "RES-"+r.name)
	}
	return names
}

// getQuota is GETQUOTA (RFC 9208, 4.1.1).
//
//	getquota        = "GETQUOTA" SP quota-root-name
//	quota-root-name = astring
func (s *session) getQuota(*request) error {
	s.dec.SP()
	root := s.dec.AString()
	s.dec.End()
	if err := s.dec.Err(); err != nil {
		return err
	}
	v, err := s.quotaRoot(root)
	if err != nil {
		return err
	}
	s.writeQuota(root, v.Account())
	return nil
}

// getQuotaRoot is GETQUOTAROOT (RFC 9208, 4.1.2). A mailbox of the client's own need not
// exist; on another's the right r is needed (6), as the numbers tell of messages.
//
//	getquotaroot = "GETQUOTAROOT" SP mailbox
func (s *session) getQuotaRoot(*request) error {
	name, p, err := s.onePlace()
	if err != nil {
		return err
	}
	if p.Foreign() {
		if err := p.May(p.name, mail.RightRead); err != nil {
			return err
		}
	}
	owner, err := s.server.Auth.NameOf(s.ctx, p.Account().ID())
	if err != nil {
		return err
	}
	root := quotaRoots + owner
	s.enc.Untagged().Const("QUOTAROOT ").Mailbox(name).SP().AString(root).CRLF()
	s.writeQuota(root, p.Account())
	return nil
}

// Administrator is who changes a quota over IMAP4.
type Administrator struct {
	Account mail.AccountID
	Name    string // by which it signed in
	Remote  netip.AddrPort
}

// errNoAdministrator refuses who may not change a quota.
var errNoAdministrator = mail.Errorf(mail.KindNoPermission, "Only an administrator can change a quota.")

// setQuota is SETQUOTA (RFC 9208, 4.1.3). Limits are an administrator's to set, not the
// owner's: it is what Set-Mailbox does, by whom that permits it. A session does not
// administer that signed in with an app password, or to act for another. What is not named
// is not limited any more; what is limited always cannot be changed.
//
//	setquota          = "SETQUOTA" SP quota-root-name SP setquota-list
//	setquota-list     = "(" [setquota-resource *(SP setquota-resource)] ")"
//	setquota-resource = resource-name SP resource-limit
//	resource-name     = atom
//	resource-limit    = number64
func (s *session) setQuota(*request) error {
	d := s.dec
	d.SP()
	root := d.AString()
	d.SP()
	var limits []quotaLimit
	d.List(func() {
		l := quotaLimit{resource: string(d.Word())}
		d.SP()
		l.most = d.Number64()
		switch {
		case len(limits) == maxQuotaLimits:
			d.Fail(mail.Errorf(mail.KindLimit, "Too many resources are named."))
		case slices.ContainsFunc(limits, func(m quotaLimit) bool { return m.resource == l.resource }):
			d.Bad("A resource stands there twice.")
		}
		limits = append(limits, l)
	})
	d.End()
	if err := d.Err(); err != nil {
		return err
	}
	bytes, messages, err := quotaLimits(limits)
	if err != nil {
		return err
	}
	user, known := strings.CutPrefix(root, quotaRoots)
	if err = errNoAdministrator; known && !s.lent && s.server.SetQuota != nil {
		err = s.server.SetQuota(s.ctx, Administrator{s.account.ID(), s.name, s.conn.Remote()}, user, bytes, messages)
	}
	if err != nil && mail.KindOf(err) == mail.KindNoPermission {
		// Whether there is such a root is not for everybody to know.
		if _, err = s.quotaRoot(root); err == nil {
			err = errNoAdministrator
		}
	}
	if err != nil {
		return err
	}
	g, err := s.server.Auth.Grantee(s.ctx, user)
	if err != nil {
		return err
	}
	a, err := s.server.Store.Account(s.ctx, g.Account)
	if err != nil {
		return err
	}
	defer a.Close()
	s.writeQuota(root, a)
	return nil
}

// maxQuotaLimits is how many resources one SETQUOTA may name.
const maxQuotaLimits = 20

// quotaLimit is a limit as SETQUOTA has it.
type quotaLimit struct {
	resource string
	most     int64
}

// quotaLimits gives the limits that can be set, 0 for none. KindCannot for others: there is
// none of nothing at all, as 0 would mean, and those of the server stay.
func quotaLimits(limits []quotaLimit) (bytes, messages int64, err error) {
	for _, l := range limits {
		i := slices.IndexFunc(quotaResources, func(r quotaResource) bool { return r.name == l.resource })
		if i < 0 {
			return 0, 0, mail.Errorf(mail.KindCannot, "There is no such resource.")
		}
		_, always := quotaResources[i].of(store.Usage{})
		switch {
		case always > 0 && always != l.most:
			return 0, 0, mail.Errorf(mail.KindCannot, "The server limits %s to %d.", l.resource, always)
		case always > 0:
		case l.most == 0 || l.most > math.MaxInt64/quotaUnit:
			return 0, 0, mail.Errorf(mail.KindCannot, "Such a limit cannot be set.")
		case l.resource == "STORAGE":
			bytes = l.most * quotaUnit
		default:
			messages = l.most
		}
	}
	return bytes, messages, nil
}

// quotaRoot finds the account that has a quota root: the client's own, or one in which it
// may read a mailbox.
func (s *session) quotaRoot(root string) (store.Visit, error) {
	own, err := s.server.Auth.NameOf(s.ctx, s.account.ID())
	if err != nil || root == quotaRoots+own {
		return s.account.Own(), err
	}
	var found store.Visit
	err = s.owners(func(owner string, id mail.AccountID) (bool, error) {
		if root != quotaRoots+owner {
			return true, nil
		}
		v, err := s.visit(id)
		if err == nil && v.ReadsAny() {
			found = v
		}
		return false, err
	})
	if err == nil && found.Account() == nil {
		err = mail.Errorf(mail.KindNotFound, "There is no such quota root.")
	}
	return found, err
}

// writeQuota writes a QUOTA response (RFC 9208, 4.2.1): what is not limited is left out.
func (s *session) writeQuota(root string, a *store.Account) {
	usage := a.Usage()
	e := s.enc.Untagged().Const("QUOTA ").AString(root).SP().Open()
	first := true
	for _, r := range quotaResources {
		used, limit := r.of(usage)
		if limit == 0 {
			continue
		}
		if !first {
			e.SP()
		}
		first = false
		e.RawString(r.name).SP().Number(uint64(used)).SP().Number(uint64(limit))
	}
	e.Close().CRLF()
}

// deletedStorage is the STATUS item DELETED-STORAGE (RFC 9208, 4.1.4), in bytes: what an
// EXPUNGE would take off the account's use.
func (s *session) deletedStorage(in place, record *store.MailboxRecord) (uint64, error) {
	if record.Deleted == 0 {
		return 0, nil // the index need not be read
	}
	m, err := in.Select(s.ctx, in.name, true)
	if err != nil {
		return 0, err
	}
	defer m.Close()
	var bytes uint64
	view := m.View()
	view.EachSeq(view.All(), func(_ uint32, msg *store.Message) bool {
		if msg.Flags&mail.Deleted != 0 {
			bytes += uint64(msg.Size)
		}
		return true
	})
	return bytes, nil
}
