package auth

import (
	"context"

	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/mail"
)

// NTLM checks NTLM, as somebody of a Windows domain does.
type NTLM interface {
	// Begin begins a conversation. KindUnavailable when none can begin now.
	Begin(ctx context.Context) (NTLMConversation, error)
	// Name gives the sign-in name of an account, DOMAIN\user or user;
	// KindAuthenticationFailed when its domain is nobody's here.
	Name(account string) (string, error)
}

// NTLMConversation is one sign-in. Its messages are those of the mechanism. Errors:
// KindAuthenticationFailed, KindUnavailable; KindLimit when the client took too long.
type NTLMConversation interface {
	// Challenge answers the client's first message.
	Challenge(ctx context.Context, negotiate []byte) ([]byte, error)
	// Prove judges the client's second message and gives whose it is, as DOMAIN\user.
	Prove(ctx context.Context, answer []byte) (account string, err error)
	// Close ends it, whatever it waits for.
	Close()
}

// NTLMChallenge is part of sasl.Credentials.
func (s *signIn) NTLMChallenge(ctx context.Context, negotiate []byte) ([]byte, error) {
	if s.a.ntlm == nil {
		return nil, mail.Errorf(mail.KindCannot, "")
	}
	// A conversation holds a process: who lets many of them wait gets the next one later.
	release, err := s.wait(ctx, "")
	if err != nil {
		return nil, err
	}
	defer release()
	if s.ntlm, err = s.a.ntlm.Begin(ctx); err != nil {
		return nil, refused(err)
	}
	challenge, err := s.ntlm.Challenge(ctx, negotiate)
	if err != nil {
		s.closeNTLM()
		return nil, refused(err)
	}
	return challenge, nil
}

// NTLMProof is part of sasl.Credentials. Who the message says it is waits its turn like
// everybody; who is let in is whom the helper names.
func (s *signIn) NTLMProof(ctx context.Context, account string, answer []byte) (string, error) {
	defer s.closeNTLM()
	s.said = account
	said, err := s.a.ntlm.Name(account)
	if err != nil {
		return "", refused(err)
	}
	if err := s.prepare(said); err != nil {
		return "", err
	}
	began := s.a.now()
	release, err := s.wait(ctx, "")
	if err != nil {
		return "", err
	}
	defer release()
	atOnce := s.a.now().Sub(began) < s.a.throttle.limits.FirstDelay
	proved, err := s.ntlm.Prove(ctx, answer)
	if mail.KindOf(err) == mail.KindLimit && atOnce { // else it was not the client who took so long
		s.heldOn()
	}
	if err != nil {
		return "", refused(err)
	}
	name, err := s.a.ntlm.Name(proved)
	if err == nil {
		name, err = directory.PrepareName(name)
	}
	if err != nil {
		return "", refused(err)
	}
	s.said, s.name = name, name
	e, err := s.a.directory.Lookup(ctx, name)
	if err != nil {
		return "", refused(err)
	}
	s.entry, s.secret = e, AccountPassword
	return name, nil
}

// heldOn counts, against its network, a client that made work, let its answer wait and
// left.
func (s *signIn) heldOn() {
	if !s.counted {
		s.counted = true
		s.a.throttle.failed(guess{place: place{network: s.conn.network()}, exempt: s.exempt()})
	}
}

func (s *signIn) closeNTLM() {
	if s.ntlm != nil {
		s.ntlm.Close()
		s.ntlm = nil
	}
}
