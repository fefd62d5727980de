package role

import (
	"context"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/ntlm"
)

// ntlmHelper is the helper for NTLM as auth sees it.
type ntlmHelper struct{ *ntlm.Helper }

// Begin implements auth.NTLM.
func (h ntlmHelper) Begin(ctx context.Context) (auth.NTLMConversation, error) {
	c, err := h.Helper.Begin(ctx)
	if err != nil {
		return nil, err // not a nil *Conversation
	}
	return c, nil
}

// openNTLM gives what checks NTLM, nil when the settings file names nothing.
func (s *Server) openNTLM() (auth.NTLM, error) {
	if s.config.NTLM == nil {
		return nil, nil
	}
	o := *s.config.NTLM
	o.Log = s.log
	var err error
	if s.ntlm, err = ntlm.Open(o); err != nil {
		return nil, err
	}
	return ntlmHelper{s.ntlm}, nil
}
