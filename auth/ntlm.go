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
// KindAuthenticationFailed, KindUnavailable.
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
	var err error
	if s.ntlm, err = s.a.ntlm.Begin(ctx); err != nil {
		return nil, refused(err)
	}
	challenge, err := s.ntlm.Challenge(ctx, negotiate)
	if err != nil {
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
	release, err := s.wait(ctx, "")
	if err != nil {
		return "", err
	}
	defer release()
	proved, err := s.ntlm.Prove(ctx, answer)
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

func (s *signIn) closeNTLM() {
	if s.ntlm != nil {
		s.ntlm.Close()
		s.ntlm = nil
	}
}
