package settings

import "slices"

// Table lists every setting, in the order in which they are shown. A row stands
// in the file named after its property page.
var Table = []*Row{
	StartupType.Row,
	Banner.Row,

	UnencryptedOrTLSBindings.Row,
	SSLBindings.Row,

	LoginType.Row,
	AuthMechanisms.Row,
	ExtendedProtectionPolicy.Row,
	ClientCertificateAuthorities.Row,
	ClientCertificateRevocationList.Row,
	ThrottleExemptNetworks.Row,
	WeakPasswordPolicy.Row,
	RequireSecondFactor.Row,
	X509CertificateName.Row,

	AcmeDirectory.Row,
	AcmeEmail.Row,
	AcmeTermsAgreed.Row,
	AcmeHttpBindings.Row,
	AcmeTlsBindings.Row,

	DeletedItemRetention.Row,
	RecoverableItemsQuota.Row,

	AuthenticatedConnectionTimeout.Row,
	PreAuthenticatedConnectionTimeout.Row,
	MaxConnections.Row,
	MaxConnectionFromSingleIP.Row,
	MaxConnectionsPerUser.Row,
	LoginDelay.Row,
	SessionTimeout.Row,
	MaxCommandSize.Row,
	MaxMessagesPerCommand.Row,
	MaxMessagesPerCopy.Row,
	MaxCommandTime.Row,
	MaxCommandMemory.Row,
	ProxyTargetPort.Row,
	ProxyProtocolNetworks.Row,
	ProxyProtocolTls.Row,
	XClientNetworks.Row,

	MessageRetrievalMimeFormat.Row,
	MessageRetrievalSortOrder.Row,
	ShowHiddenFoldersEnabled.Row,
	MessageDowngradeEnabled.Row,
	CalendarItemRetrievalOption.Row,
	OwaServerUrl.Row,
	JmapSessionUrl.Row,
	SubmissionUsers.Row,
	MailboxReferrals.Row,
	EnableExactRFC822Size.Row,
	DisabledCapabilities.Row,
	ClientCapabilityRules.Row,

	ProtocolLogEnabled.Row,
	LogFileLocation.Row,
	LogFileRollOverSettings.Row,
	LogPerFileSizeQuota.Row,
	ProtocolLogFormat.Row,
	ProtocolLogMaxAge.Row,
	ProtocolLogMaxDirectorySize.Row,
}

// Checks lists what must hold between settings of one service.
var Checks = []func(*Values) error{
	customNeedsURL,
	bindingsAreDistinct,
	requiredNeedsBinding,
	acmeChallenge,
	quotaFits,
}

// customNeedsURL: there is nothing to point calendar items to otherwise.
func customNeedsURL(v *Values) error {
	if CalendarItemRetrievalOption.Of(v) == CustomURL && OwaServerUrl.Of(v) == "" {
		return CalendarItemRetrievalOption.refuse("Custom needs an OwaServerUrl")
	}
	return nil
}

// bindingsAreDistinct: one address cannot speak both from its first byte.
func bindingsAreDistinct(v *Values) error {
	ssl := SSLBindings.Of(v)
	for _, a := range UnencryptedOrTLSBindings.Of(v) {
		if slices.Contains(ssl, a) {
			return SSLBindings.refuse("and UnencryptedOrTLSBindings both contain %s", a)
		}
	}
	return nil
}
