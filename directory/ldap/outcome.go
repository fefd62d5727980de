package ldap

import (
	"errors"
	"fmt"
	"regexp"

	"github.com/go-ldap/ldap/v3"

	"github.com/postern-mail/postern/mail"
)

// refused is a password that is not accepted; why is for the log alone.
func refused(why string) error {
	return &mail.Error{Kind: mail.KindAuthenticationFailed, Cause: errors.New(why)}
}

// searchFailed is what a search that the server refuses means: the base or the
// rights are not what the settings say, and nobody can be found.
func searchFailed(err error) error {
	var e *ldap.Error
	if errors.As(err, &e) && !broken(err) {
		return unavailable(err)
	}
	return err
}

// asked gives every error of a question its kind.
func asked(err error) error { return mail.Wrap(mail.KindUnavailable, err) }

// mustChange is changeAfterReset of draft-behera-ldap-password-policy-10, 6.2.
const mustChange = 2

func policyOf(r *ldap.SimpleBindResult) *ldap.ControlBeheraPasswordPolicy {
	if r == nil {
		return nil
	}
	said, _ := control(r.Controls, ldap.ControlTypeBeheraPasswordPolicy).(*ldap.ControlBeheraPasswordPolicy)
	return said
}

// adReason finds the reason in Active Directory's diagnostic message:
// "80090308: LdapErr: DSID-0C09041C, comment: AcceptSecurityContext error, data 775, v4563".
var adReason = regexp.MustCompile(`\bdata ([0-9a-fA-F]{3,8})\b`)

var adReasons = map[string]string{
	"525": "the directory knows no such user",
	"52e": "the password is wrong",
	"52f": "the directory restricts the account",
	"530": "the directory allows no sign-in at this time",
	"531": "the directory allows no sign-in from here",
	"532": "the password has expired",
	"533": "the account is disabled in the directory",
	"701": "the account has expired",
	"773": "the password must be changed first",
	"775": "the account is locked out in the directory",
}

// judge tells what a refused bind means: the password is not accepted, and why, or
// the server cannot say.
func (d *Directory) judge(p *found, r *ldap.SimpleBindResult, err error) error {
	var e *ldap.Error
	if !errors.As(err, &e) || broken(err) {
		return err
	}
	switch e.ResultCode {
	case ldap.LDAPResultInvalidCredentials, ldap.LDAPResultInappropriateAuthentication, ldap.LDAPResultConstraintViolation,
		ldap.LDAPResultUnwillingToPerform, ldap.LDAPResultInsufficientAccessRights, ldap.LDAPResultNoSuchObject:
	default:
		return unavailable(err)
	}
	if p.note != "" {
		return refused(p.note)
	}
	if said := policyOf(r); said != nil && said.Error >= 0 {
		switch said.Error {
		case 0:
			return refused("the password has expired")
		case 1:
			return refused("the account is locked out in the directory")
		}
	}
	if m := adReason.FindStringSubmatch(e.Err.Error()); m != nil {
		if why := adReasons[m[1]]; why != "" {
			return refused(why)
		}
	}
	if e.ResultCode == ldap.LDAPResultInvalidCredentials {
		return refused("the password is wrong")
	}
	return refused(fmt.Sprintf("the directory refuses the sign-in: %v", err))
}
