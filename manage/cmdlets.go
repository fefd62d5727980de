package manage

import (
	"slices"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/sasl"
	"github.com/postern-mail/postern/settings"
)

// Cmdlets gives the table: every cmdlet, in the order of help. A row's work stands
// in the file named after its noun.
func Cmdlets() []*Cmdlet {
	table := []*Cmdlet{
		{
			Name: "Get-PopSettings", Role: ViewOnlyAdministrator, View: ViewList, Run: getSettings(settings.POP3),
			Synopsis:   "Shows the settings of the POP3 service.",
			Parameters: here(),
			Examples:   []Example{{"Get-PopSettings | Format-List LoginType, *Bindings", "Some of the settings."}},
		},
		{
			Name: "Set-PopSettings", Role: ServerAdministrator, Local: true, Changes: true, View: ViewList, Run: setSettings(settings.POP3),
			Synopsis:   "Changes settings of the POP3 service; they act at once.",
			Parameters: append(append(settingParameters(settings.POP3, "Settings"), expectedParameter()), here()...),
			Examples: []Example{
				{"Set-PopSettings -LoginType SecureLogin", "No log-in before TLS."},
				{"Set-PopSettings -LoginType 1 -WhatIf", "What would be changed, without changing it."},
				{"Set-PopSettings -UnencryptedOrTLSBindings @{Add='127.0.0.1:1110'}", "One more address."},
			},
		},
		{
			Name: "Get-ImapSettings", Role: ViewOnlyAdministrator, View: ViewList, Run: getSettings(settings.IMAP4),
			Synopsis:   "Shows the settings of the IMAP4 service.",
			Parameters: here(),
			Examples:   []Example{{"Get-ImapSettings | ConvertTo-Json", "All settings for a script."}},
		},
		{
			Name: "Set-ImapSettings", Role: ServerAdministrator, Local: true, Changes: true, View: ViewList, Run: setSettings(settings.IMAP4),
			Synopsis:   "Changes settings of the IMAP4 service; they act at once.",
			Parameters: append(append(settingParameters(settings.IMAP4, "Settings"), expectedParameter()), here()...),
			Examples: []Example{
				{"Set-ImapSettings -LoginType PlainTextAuthentication", "A readable password needs TLS, SCRAM does not."},
				{"Set-ImapSettings -AuthenticatedConnectionTimeout 01:00:00 -MaxConnectionsPerUser 20", "Two settings at once: both or none."},
				{"Set-ImapSettings -Banner $null", "Back to the default."},
			},
		},
		{
			Name: "Get-LmtpSettings", Role: ViewOnlyAdministrator, View: ViewList, Run: getSettings(settings.LMTP),
			Synopsis:   "Shows the settings of LMTP, by which mail arrives.",
			Parameters: here(),
			Examples:   []Example{{"Get-LmtpSettings", ""}},
		},
		{
			Name: "Set-LmtpSettings", Role: ServerAdministrator, Local: true, Changes: true, View: ViewList, Run: setSettings(settings.LMTP),
			Synopsis:   "Changes settings of LMTP; they act at once.",
			Parameters: append(append(settingParameters(settings.LMTP, "Settings"), expectedParameter()), here()...),
			Examples:   []Example{{"Set-LmtpSettings -MaxConnections 100", ""}},
		},
		{
			Name: "Get-ConsoleSettings", Role: ViewOnlyAdministrator, View: ViewList, Run: getSettings(settings.Console),
			Synopsis:   "Shows the settings of the console and of the management API over HTTPS.",
			Parameters: here(),
			Examples:   []Example{{"Get-ConsoleSettings", ""}},
		},
		{
			Name: "Set-ConsoleSettings", Role: ServerAdministrator, Local: true, Changes: true, View: ViewList, Run: setSettings(settings.Console),
			Synopsis:   "Changes settings of the console and of the management API over HTTPS; they act at once.",
			Parameters: append(append(settingParameters(settings.Console, "Settings"), expectedParameter()), here()...),
			Examples:   []Example{{"Set-ConsoleSettings -SSLBindings 0.0.0.0:8443", "The console can be reached from other hosts."}},
		},
		{
			Name: "Get-Service", Role: ViewOnlyAdministrator, View: ViewTable, Run: getService,
			Columns:    []string{"Name", "Status", "StartupType", "Connections", "Listening"},
			Synopsis:   "Shows the services and whether they run.",
			Parameters: append([]Parameter{serviceName(false)}, here()...),
			Examples:   []Example{{"Get-Service IMAP4 | Format-List", "One service, with everything about it."}},
		},
		{
			Name: "Start-Service", Role: ServerAdministrator, Local: true, Changes: true, View: ViewTable, Run: startService,
			Synopsis:   "Starts a service.",
			Parameters: append([]Parameter{serviceName(true)}, here()...),
			Examples:   []Example{{"Start-Service POP3", ""}},
		},
		{
			Name: "Stop-Service", Role: ServerAdministrator, Local: true, Changes: true, View: ViewTable, Run: stopService,
			Synopsis:   "Stops a service and ends its sessions.",
			Parameters: append([]Parameter{serviceName(true)}, here()...),
			Examples:   []Example{{"Stop-Service POP3", ""}},
		},
		{
			Name: "Restart-Service", Role: ServerAdministrator, Local: true, Changes: true, View: ViewTable, Run: restartService,
			Synopsis:   "Stops a service, ends its sessions and starts it again. No change of a setting needs it.",
			Parameters: append([]Parameter{serviceName(true)}, here()...),
			Examples:   []Example{{"Restart-Service IMAP4", ""}},
		},
		{
			Name: "Set-Service", Role: ServerAdministrator, Local: true, Changes: true, View: ViewTable, Run: setService,
			Synopsis:   "Says when a service starts.",
			Help:       "The start-up type acts at the server's next start; Start-Service and Stop-Service act now.",
			Parameters: append(append([]Parameter{serviceName(true)}, settingParameters(settings.POP3, "Service")...), here()...),
			Examples:   []Example{{"Set-Service POP3 -StartupType Disabled", "POP3 no longer starts."}},
		},
		{
			Name: "Get-ServerCertificate", Aliases: []string{"Get-ExchangeCertificate"}, Role: ViewOnlyAdministrator, View: ViewTable, Run: getServerCertificate,
			Columns:  []string{"Thumbprint", "Status", "Services", "NotAfter", "DomainNames"},
			Synopsis: "Shows the certificates of this server and the requests that wait for their answer.",
			Help:     "The certificates are listed as they are chosen among: the first that is valid and for the name that a client asks for. Services are those that show it to a client which asks for none.",
			Parameters: append([]Parameter{
				thumbprint(false),
				{Name: "DomainName", Type: TypeText, Help: "Only those for this host name."},
			}, here()...),
			Examples: []Example{{"Get-ServerCertificate | Format-List", "Everything about each."}, {"Get-ServerCertificate | Where-Object Status -eq Expiring", "Those that end within 30 days."}},
		},
		{
			Name: "New-ServerCertificate", Aliases: []string{"New-ExchangeCertificate"}, Role: ServerAdministrator, Local: true, Changes: true, View: ViewList, Run: newServerCertificate,
			Synopsis: "Makes a certificate: self-signed, a request for an authority, or one from an ACME server such as Let's Encrypt.",
			Help:     "Without -GenerateRequest and -Acme the certificate vouches for itself, and clients must be told to trust it.",
			Parameters: append([]Parameter{
				{Name: "DomainName", Aliases: []string{"IncludeDomains"}, Type: TypeList, Position: 1, TypeName: "list of host names", Default: "the server's name", Help: "The host names and IP addresses that it is for; *.example.org is all hosts of a domain."},
				{Name: "GenerateRequest", Type: TypeSwitch, Help: "Makes a request (CSR) for a certificate authority instead; its key waits here for the answer."},
				{Name: "Acme", Type: TypeSwitch, Help: "Gets the certificate from the ACME server of Set-AcmeSettings, and renews it."},
				services(false),
				{Name: "FriendlyName", Type: TypeText, Help: "A name for people."},
				{Name: "KeyAlgorithm", Type: TypeText, Values: []string{"ECDSA", "RSA"}, Default: "ECDSA", Help: "The kind of key: ECDSA on the curve P-256, or RSA for old clients."},
				{Name: "KeySize", Type: TypeNumber, Values: []string{"2048", "3072", "4096"}, Default: "2048 for RSA", Help: "Bits of an RSA key, 2048 to 4096."},
				exportable(),
				{Name: "RequestFile", Type: TypeSave, Help: "Where the request is written, on the side of the shell; else it is printed."},
			}, here()...),
			Examples: []Example{
				{"New-ServerCertificate mail.example.org,imap.example.org -GenerateRequest -RequestFile mail.csr", "A request for a certificate authority."},
				{"New-ServerCertificate mail.example.org -Acme -Services POP,IMAP", "One from Let's Encrypt, renewed by itself."},
			},
		},
		{
			Name: "Import-ServerCertificate", Aliases: []string{"Import-ExchangeCertificate"}, Role: ServerAdministrator, Local: true, Changes: true, View: ViewList, Run: importServerCertificate,
			Synopsis: "Brings a certificate with its key, or the answer to a request.",
			Help:     "PEM, DER, PKCS#7 and PKCS#12 are read. The chain is put in order, a root is left out. Refused are an expired certificate, a key that does not belong to it, a weak key and signatures with SHA-1.",
			Parameters: append([]Parameter{
				{Name: "Path", Aliases: []string{"FileData"}, Type: TypeFile, Position: 1, Mandatory: true, Help: "The file with the certificate, those that lead to its root, and the key."},
				{Name: "KeyPath", Type: TypeFile, Help: "The file with the key when it stands apart."},
				{Name: "Password", Type: TypeSecret, Help: "The password of a PKCS#12 file; without a value it is asked for."},
				services(false),
				{Name: "FriendlyName", Type: TypeText, Help: "A name for people."},
				exportable(),
				{Name: "Force", Type: TypeSwitch, Help: "Takes a certificate that has expired."},
			}, here()...),
			Examples: []Example{
				{"Import-ServerCertificate mail.crt -Services POP,IMAP", "The answer to a request."},
				{"Import-ServerCertificate mail.p12 -Password", "The password is asked for."},
			},
		},
		{
			Name: "Export-ServerCertificate", Aliases: []string{"Export-ExchangeCertificate"}, Role: ServerAdministrator, Local: true, Changes: true, View: ViewList, Run: exportServerCertificate,
			Synopsis: "Gives a certificate as a file, with its private key when that is exportable.",
			Help:     "It changes nothing, but is written to the audit record.",
			Parameters: append([]Parameter{
				thumbprint(true),
				{Name: "Format", Type: TypeText, Values: []string{"PEM", "PKCS12"}, Default: "PEM", Help: "PEM, or PKCS12 for certificate and key under a password."},
				{Name: "IncludePrivateKey", Type: TypeSwitch, Help: "With the private key; only of a certificate whose PrivateKeyExportable is $true."},
				{Name: "Password", Type: TypeSecret, Help: "The password of the PKCS#12 file; without a value it is asked for."},
				{Name: "FileName", Type: TypeSave, Help: "Where the file is written, on the side of the shell, for its owner alone; else PEM is printed."},
			}, here()...),
			Examples: []Example{
				{"Export-ServerCertificate 5A9B0C1D > mail.pem", "The chain, without the key."},
				{"Export-ServerCertificate 5A9B0C1D -Format PKCS12 -IncludePrivateKey -Password -FileName mail.p12", "To take it to another server."},
			},
		},
		{
			Name: "Enable-ServerCertificate", Aliases: []string{"Enable-ExchangeCertificate"}, Role: ServerAdministrator, Local: true, Changes: true, View: ViewList, Run: enableServerCertificate,
			Synopsis: "Gives a certificate to services; the next handshake shows it.",
			Help:     "It becomes the first choice for its names, and a service whose X509CertificateName it does not cover gets a name that it does: all of it or nothing.",
			Parameters: append([]Parameter{
				thumbprint(true),
				services(true),
			}, here()...),
			Examples: []Example{{"Enable-ServerCertificate 5A9B0C1D -Services POP,IMAP,LMTP,Console", "The same certificate everywhere."}},
		},
		{
			Name: "Remove-ServerCertificate", Aliases: []string{"Remove-ExchangeCertificate"}, Role: ServerAdministrator, Local: true, Changes: true, Asks: true, View: ViewList, Run: removeServerCertificate,
			Synopsis:   "Deletes a certificate with its key, or a request. It cannot be undone.",
			Help:       "The only usable certificate of a service is not removed.",
			Parameters: append([]Parameter{thumbprint(true)}, here()...),
			Examples:   []Example{{"Remove-ServerCertificate 5A9B0C1D", ""}},
		},
		{
			Name: "Get-AcmeSettings", Role: ViewOnlyAdministrator, View: ViewList, Run: getNoun(settings.Console, "AcmeSettings"),
			Synopsis:   "Shows how certificates are got from an ACME server such as Let's Encrypt.",
			Parameters: here(),
			Examples:   []Example{{"Get-AcmeSettings", ""}},
		},
		{
			Name: "Set-AcmeSettings", Role: ServerAdministrator, Local: true, Changes: true, View: ViewList, Run: setNoun(settings.Console, "AcmeSettings"),
			Synopsis:   "Changes how certificates are got from an ACME server such as Let's Encrypt.",
			Parameters: append(append(settingParameters(settings.Console, "AcmeSettings"), expectedParameter()), here()...),
			Examples: []Example{
				{"Set-AcmeSettings -AcmeTermsAgreed $true -AcmeEmail postmaster@example.org", "Once, before New-ServerCertificate -Acme."},
				{"Set-AcmeSettings -AcmeTlsBindings $null", "HTTP-01 only."},
			},
		},
		{
			Name: "Get-MailboxDatabase", Role: ViewOnlyAdministrator, View: ViewList, Run: getNoun(settings.Console, "MailboxDatabase"),
			Synopsis:   "Shows what holds for the mail store: for how long deleted messages can be brought back.",
			Parameters: here(),
			Examples:   []Example{{"Get-MailboxDatabase", ""}},
		},
		{
			Name: "Set-MailboxDatabase", Role: ServerAdministrator, Local: true, Changes: true, View: ViewList, Run: setNoun(settings.Console, "MailboxDatabase"),
			Synopsis:   "Changes what holds for the mail store: for how long deleted messages can be brought back.",
			Help:       "A shorter time acts on what is recoverable already: what is older is removed for good within minutes.",
			Parameters: append(append(settingParameters(settings.Console, "MailboxDatabase"), expectedParameter()), here()...),
			Examples: []Example{
				{"Set-MailboxDatabase -DeletedItemRetention 30.00:00:00 -RecoverableItemsQuota 10GB", "30 days, and at most 10 GB of each mailbox."},
				{"Set-MailboxDatabase -DeletedItemRetention 00:00:00", "What is deleted for good is gone at once."},
			},
		},
		{
			Name: "Get-Mailbox", Role: ViewOnlyAdministrator, View: ViewTable, Run: getMailbox,
			Owner:    &Owner{Expired: true},
			Columns:  []string{"Name", "DisplayName", "Enabled", "ItemCount", "TotalItemSize", "ProhibitSendReceiveQuota"},
			Synopsis: "Shows mailboxes with their quota and use.",
			Parameters: append([]Parameter{
				identity0("A sign-in name or address; * and ? stand for any characters, then only sign-in names are compared. All mailboxes when left out.", false),
				{Name: "Anr", Type: TypeText, Help: "Only mailboxes with this in their sign-in name, display name or addresses."},
				{Name: "Directory", Type: TypeText, Help: "Only mailboxes of people in this directory; embedded is Postern's own."},
				{Name: "After", Type: TypeText, Help: "Only sign-in names that come after this one: the next page."},
				{Name: "ResultSize", Type: TypeNumber, Default: "1000", Help: "How many mailboxes are shown at most, or unlimited."},
			}, here()...),
			Examples: []Example{
				{"Get-Mailbox alice | Format-List", "Everything about one mailbox."},
				{"Get-Mailbox | Where-Object TotalItemSize -gt 1GB", "The large ones."},
			},
		},
		{
			Name: "New-Mailbox", Role: RecipientAdministrator, Changes: true, View: ViewList, Run: newMailbox,
			Synopsis: "Makes a mailbox and its sign-in.",
			Parameters: append([]Parameter{
				{Name: "Name", Aliases: []string{"Identity"}, Type: TypeText, Position: 1, Mandatory: true, Help: "The sign-in name, and the primary address when it has an @."},
				{Name: "Password", Type: TypeSecret, Mandatory: true, Help: "The password. The shell asks for it when it is left out on a terminal; -Password without a value reads a line of standard input in a script."},
			}, append(mailboxParameters(), here()...)...),
			Examples: []Example{{"New-Mailbox alice@example.org -DisplayName 'Alice Example' -ProhibitSendReceiveQuota 2GB", "The password is asked for."}},
		},
		{
			Name: "Enable-Mailbox", Role: RecipientAdministrator, Changes: true, View: ViewList, Run: enableMailbox,
			Synopsis: "Makes the mailbox of somebody whom an external directory (LDAP, …) knows. Unless its settings say otherwise the first sign-in or message does so, too.",
			Parameters: append([]Parameter{
				identity0("The sign-in name or address that the directory knows.", true),
				mailboxParameters()[2], mailboxParameters()[3],
			}, here()...),
			Examples: []Example{{"Enable-Mailbox alice@example.org", "The password and the addresses stay the directory's."}},
		},
		{
			Name: "Set-Mailbox", Role: RecipientAdministrator, Changes: true, View: ViewList, Run: setMailbox,
			Owner:    &Owner{Parameters: []string{"Password", "OldPassword"}, Needed: []string{"Password", "OldPassword"}, Expired: true},
			Synopsis: "Changes a mailbox: password, addresses, quota, whether it is enabled.",
			Parameters: append([]Parameter{
				identity0("The mailbox: a sign-in name or address.", true),
				{Name: "Password", Type: TypeSecret, Help: "The new password; without a value it is asked for, or read from standard input in a script."},
				{Name: "LinkedAccounts", Type: TypeList, TypeName: "list of DIRECTORY:IDENTIFIER", Help: "Who the owner is in directories that prove other directories' people (OpenID Connect, …), one each: nobody else of them gets in. It is remembered at the first sign-in; $null forgets it, so that the next one is remembered."},
				{Name: "Type", Type: TypeText, Values: []string{regularType, sharedType}, Help: "Shared: it belongs to nobody; those who have rights on its folders find them below Shared, not below Other Users. Add-MailboxFolderPermission gives rights."},
				{Name: "RetainDeletedItemsFor", Type: TypeText, TypeName: "time span", Values: []string{databaseDefault}, Help: "How long what was deleted for good can be brought back with Restore-RecoverableItem, such as 30.00:00:00 for 30 days; 00:00:00 is not at all. Default is what Set-MailboxDatabase says."},
				{Name: "RecoverableItemsQuota", Type: TypeText, TypeName: "size", Values: []string{databaseDefault, unlimited}, Help: "How much of that it keeps so, beside its own quota, such as 2GB, or unlimited; beyond it the oldest goes first. Default is what Set-MailboxDatabase says."},
				{Name: "OldPassword", Type: TypeSecret, Help: "At /account of the console, where people change their own password: the one of now."},
			}, append(append(mailboxParameters(), expectedParameter()), here()...)...),
			Examples: []Example{
				{"Set-Mailbox alice -EmailAddresses @{Add='a.example@example.org'}", "One more address."},
				{"Set-Mailbox alice -Enabled $false", "No sign-in and no delivery; the mail stays."},
			},
		},
		{
			Name: "Remove-Mailbox", Role: RecipientAdministrator, Changes: true, Asks: true, View: ViewList, Run: removeMailbox,
			Synopsis:   "Deletes a mailbox with all its mail. It cannot be undone.",
			Parameters: append([]Parameter{identity0("The mailbox: a sign-in name or address.", true)}, here()...),
			Examples:   []Example{{"Remove-Mailbox alice -Confirm:$false", "Without the question."}},
		},
		{
			Name: "Get-RecoverableItem", Aliases: []string{"Get-RecoverableItems"}, Role: RecipientAdministrator, Long: true, View: ViewTable, Run: getRecoverableItem,
			Columns:  []string{"DeletedTime", "DeletedBy", "LastParentPath", "Subject", "From", "Size", "EntryID"},
			Synopsis: "Shows what was deleted from a mailbox for good and can be brought back, what was deleted last first.",
			Help:     recoverableHelp,
			Parameters: append(append([]Parameter{piped(identity0("The mailbox: a sign-in name or address.", true))}, recoverableParameters()...),
				append([]Parameter{{Name: "ResultSize", Type: TypeNumber, Default: "1000", Help: "How many messages are shown at most, or unlimited."}}, here()...)...),
			Examples: []Example{
				{"Get-RecoverableItem alice@example.org -FilterStartTime 1.00:00:00", "What was deleted in the last day, and by whom."},
				{"Get-RecoverableItem alice@example.org -SubjectContains invoice | Format-List", "Everything about some."},
			},
		},
		{
			Name: "Restore-RecoverableItem", Aliases: []string{"Restore-RecoverableItems"}, Role: RecipientAdministrator, Changes: true, Long: true, View: ViewTable, Run: restoreRecoverableItem,
			Columns:  []string{"Subject", "LastParentPath", "RestoredFolderPath", "WasRestoredSuccessfully"},
			Synopsis: "Brings messages back that were deleted from a mailbox for good.",
			Help: recoverableHelp + " A message comes back as it was, with its date, flags and keywords, into the folder where it was, by whatever name that is called now; when that is gone into one of the same name, or else into Recovered. " +
				"It has a new UID, so mail programs fetch it again. What does not fit into the mailbox's quota stays recoverable.",
			Parameters: append(append([]Parameter{piped(identity0("The mailbox: a sign-in name or address.", true))}, recoverableParameters()...),
				append([]Parameter{
					{Name: "TargetFolder", Aliases: []string{"RestoreTargetFolder"}, Type: TypeText, Default: "where it was", Help: "The folder that they are put into, with / between levels; it is made if it is not there."},
					{Name: "ResultSize", Type: TypeNumber, Default: "1000", Help: "How many messages are restored at most, those that were deleted last, or unlimited."},
				}, here()...)...),
			Examples: []Example{
				{"Restore-RecoverableItem alice@example.org -SubjectContains invoice -WhatIf", "How many it would be, from which folders."},
				{"Restore-RecoverableItem alice@example.org -LastParentFolder Projects -FilterStartTime '2026-11-23 09:00' -TargetFolder 'Back again'", "What went from one folder since then, into one of its own."},
				{"Get-RecoverableItem alice@example.org | Where-Object DeletedBy -eq bob@example.org | Restore-RecoverableItem", "What somebody else has deleted."},
			},
		},
		{
			Name: "Remove-RecoverableItem", Aliases: []string{"Remove-RecoverableItems"}, Role: RecipientAdministrator, Changes: true, Asks: true, Long: true, View: ViewList, Run: removeRecoverableItem,
			Synopsis: "Removes deleted messages of a mailbox before their time, so that nobody can bring them back. It cannot be undone.",
			Help:     "For what must be erased. " + recoverableHelp + " The space is given back within minutes. A backup that has the messages still has them.",
			Parameters: append(append([]Parameter{piped(identity0("The mailbox: a sign-in name or address.", true))}, recoverableParameters()...),
				append([]Parameter{{Name: "ResultSize", Type: TypeNumber, Default: "1000", Help: "How many messages are removed at most, those that were deleted last, or unlimited."}}, here()...)...),
			Examples: []Example{
				{"Remove-RecoverableItem alice@example.org -SubjectContains 'medical report'", "Some messages."},
				{"Remove-RecoverableItem alice@example.org -ResultSize unlimited", "All of them."},
			},
		},
		{
			Name: "Get-CASMailbox", Role: ViewOnlyAdministrator, View: ViewTable, Run: getCASMailbox,
			Columns:  []string{"Name", "DisplayName", "PopEnabled", "ImapEnabled"},
			Synopsis: "Shows which protocols a mailbox may use, and which legacy mechanisms.",
			Parameters: append([]Parameter{
				identity0("A sign-in name or address; * and ? stand for any characters, then only sign-in names are compared. All mailboxes when left out.", false),
				{Name: "Anr", Type: TypeText, Help: "Only mailboxes with this in their sign-in name, display name or addresses."},
				{Name: "Directory", Type: TypeText, Help: "Only mailboxes of people in this directory; embedded is Postern's own."},
				{Name: "After", Type: TypeText, Help: "Only sign-in names that come after this one: the next page."},
				{Name: "ResultSize", Type: TypeNumber, Default: "1000", Help: "How many mailboxes are shown at most, or unlimited."},
			}, here()...),
			Examples: []Example{{"Get-CASMailbox | Where-Object { $_.PopEnabled -eq $false }", "Who may not use POP3."}},
		},
		{
			Name: "Set-CASMailbox", Role: RecipientAdministrator, Changes: true, View: ViewList, Run: setCASMailbox,
			Synopsis: "Says which protocols a mailbox may use, and which legacy mechanisms.",
			Help:     "Legacy mechanisms are for programs that know nothing better. Each must also be named in AuthMechanisms of the service. CRAM-MD5 and APOP need a password that the server can read: it is kept encrypted, under a key beside the store, from the next change of the password on, until both are switched off; Get-Mailbox says that one is kept. NTLM needs Samba's helper, named in the settings file.",
			Parameters: append([]Parameter{
				identity0("The mailbox: a sign-in name or address.", true),
				{Name: "PopEnabled", Type: TypeBool, Help: "Whether it may use POP3."},
				{Name: "ImapEnabled", Type: TypeBool, Help: "Whether it may use IMAP4."},
				{Name: "LegacyMechanisms", Type: TypeList, TypeName: "list of mechanisms", Values: sasl.Legacy(), Default: "none", Help: "The weak mechanisms with which it may sign in; $null is none, @{Add=…; Remove=…} edits the list."},
				{Name: "DisabledCapabilities", Type: TypeList, TypeName: "capability list", Values: slices.Concat(settings.Capabilities(settings.IMAP4), settings.Capabilities(settings.POP3)), Default: "none", Help: "Extensions of IMAP4 and POP3 that are neither named nor accepted once this mailbox is signed in; $null is none, @{Add=…; Remove=…} edits the list."},
				{Name: "ImapReferralUrl", Type: TypeText, Default: "none", Help: "The IMAP URL of the server that has the mailbox now, such as imap://mail2.example.org/: IMAP4 sends clients there once they have signed in, and lets nobody into what is here. Empty ends that."},
				expectedParameter(),
			}, here()...),
			Examples: []Example{
				{"Set-CASMailbox alice -PopEnabled $false", "alice may use IMAP4 only."},
				{"Set-CASMailbox alice -ImapReferralUrl imap://mail2.example.org/", "alice's mailbox has moved."},
				{"Set-CASMailbox scanner -LegacyMechanisms APOP; Set-Mailbox scanner -Password", "An old device that knows APOP alone; the password that is set then can be read by the server."},
			},
		},
		{
			Name: "Get-MailboxPermission", Role: ViewOnlyAdministrator, View: ViewTable, Run: getMailboxPermission,
			Columns:  []string{"Identity", "User", "AccessRights", "WhenCreated"},
			Synopsis: "Shows who may act for whom at POP3 and IMAP4.",
			Help:     "The Identity * is every mailbox, those that are made later too.",
			Parameters: append([]Parameter{
				identity0("Only rights on this mailbox, and those on every one.", false),
				permissionUser(false, "Only rights of this mailbox."),
				accessRightsParameter("every one", "Only this right."),
			}, here()...),
			Examples: []Example{
				{"Get-MailboxPermission alice@example.org", "Who may act for alice."},
				{"Get-MailboxPermission -AccessRights Impersonation", "Who may act for everybody."},
			},
		},
		{
			Name: "Add-MailboxPermission", Role: RecipientAdministrator, Changes: true, View: ViewList, Run: addMailboxPermission,
			Synopsis: "Gives a mailbox the right to act for another one, or for every one, at POP3 and IMAP4.",
			Help:     actingHelp,
			Parameters: append([]Parameter{
				identity0("The mailbox to be opened; left out with -AccessRights Impersonation.", false),
				permissionUser(true, "The mailbox that gets the right: it signs in with its own password."),
				accessRightsParameter(fullAccess, "FullAccess is for the mailbox of -Identity, Impersonation for every mailbox: an Organization Administrator gives it."),
			}, here()...),
			Examples: []Example{
				{"Add-MailboxPermission office@example.org -User bob@example.org", "bob may open the mailbox office."},
				{"Add-MailboxPermission -User webmail@example.org -AccessRights Impersonation", "A webmail server, or a migration, may open every mailbox."},
			},
		},
		{
			Name: "Remove-MailboxPermission", Role: RecipientAdministrator, Changes: true, View: ViewList, Run: removeMailboxPermission,
			Synopsis: "Takes the right to act for another mailbox away at once, with the sessions that rest on it.",
			Parameters: append([]Parameter{
				piped(identity0("The mailbox that was opened; left out with -AccessRights Impersonation.", false)),
				piped(permissionUser(true, "The mailbox that had the right.")),
				piped(accessRightsParameter(fullAccess, "The right: FullAccess to the mailbox of -Identity, or Impersonation of every mailbox.")),
			}, here()...),
			Examples: []Example{
				{"Remove-MailboxPermission office@example.org -User bob@example.org", ""},
				{"Get-MailboxPermission -User bob@example.org | Remove-MailboxPermission", "Every right of bob."},
			},
		},
		{
			Name: "Get-MailboxFolderPermission", Role: ViewOnlyAdministrator, View: ViewTable, Run: getFolderPermission,
			Columns:  []string{"Identity", "User", "AccessRights", "Rights", "Deny"},
			Synopsis: "Shows who beside the owner has which rights on the folders of a mailbox.",
			Help:     folderHelp,
			Parameters: append([]Parameter{
				folderIdentity("The mailbox, or one folder of it as MAILBOX:\\FOLDER."),
				folderUserParameter(false, "Only the rights of this mailbox, of group:NAME or of Anyone."),
			}, here()...),
			Examples: []Example{{`Get-MailboxFolderPermission alice@example.org:\INBOX`, "Who may do what with alice's INBOX."}},
		},
		{
			Name: "Add-MailboxFolderPermission", Role: RecipientAdministrator, Changes: true, View: ViewList, Run: addFolderPermission,
			Synopsis: "Gives rights on a folder to a mailbox, a group or anyone.",
			Help:     folderHelp,
			Parameters: append([]Parameter{
				folderIdentity("The folder, as MAILBOX:\\FOLDER."),
				folderUserParameter(true, "Who gets the rights: a mailbox, group:NAME as of Get-LoginGroup, or Anyone."),
				folderRightsParameter(),
				denyParameter(),
			}, here()...),
			Examples: []Example{
				{`Add-MailboxFolderPermission alice@example.org:\INBOX -User bob@example.org -AccessRights Reviewer`, "bob may read alice's INBOX."},
				{`Add-MailboxFolderPermission office@example.org:\INBOX -User group:team -AccessRights Editor`, "A group works in a shared mailbox."},
			},
		},
		{
			Name: "Set-MailboxFolderPermission", Role: RecipientAdministrator, Changes: true, View: ViewList, Run: setFolderPermission,
			Synopsis: "Changes the rights that a mailbox, a group or anyone has on a folder.",
			Help:     folderHelp,
			Parameters: append([]Parameter{
				piped(folderIdentity("The folder, as MAILBOX:\\FOLDER.")),
				piped(folderUserParameter(true, "Who has the rights.")),
				folderRightsParameter(),
				piped(denyParameter()),
			}, here()...),
			Examples: []Example{{`Set-MailboxFolderPermission alice@example.org:\INBOX -User bob@example.org -AccessRights Editor`, ""}},
		},
		{
			Name: "Remove-MailboxFolderPermission", Role: RecipientAdministrator, Changes: true, View: ViewList, Run: removeFolderPermission,
			Synopsis: "Takes the rights on a folder away: from the next command on, in sessions that are open too.",
			Parameters: append([]Parameter{
				piped(folderIdentity("The folder, as MAILBOX:\\FOLDER.")),
				piped(folderUserParameter(true, "Who has the rights.")),
				piped(denyParameter()),
			}, here()...),
			Examples: []Example{{`Get-MailboxFolderPermission alice@example.org | Remove-MailboxFolderPermission`, "alice's folders are hers alone again."}},
		},
		{
			Name: "Get-Administrator", Aliases: []string{"Get-ExchangeAdministrator"}, Role: ViewOnlyAdministrator, View: ViewTable, Run: getAdministrator,
			Columns:  []string{"Identity", "Role", "Scope", "Holder", "LocalAdministrator"},
			Synopsis: "Shows who holds which role.",
			Help:     "A mailbox's role stays with its owner, not with the name. Holder: Mailbox and OperatingSystem hold the role; Renamed: the name is somebody else's now, and the role is not theirs; Missing: nobody has the name now; NameOnly: whoever has the name holds the role, until the server starts again; Unknown: the directory does not answer. LocalAdministrator says whether it is a local administrator of this server, too.",
			Parameters: append([]Parameter{
				{Name: "Identity", Type: TypeText, Position: 1, Help: "An operating-system user as unix:NAME, or a mailbox; * and ? stand for any characters. All when left out."},
				roleParameter(false, "Only this role."),
			}, here()...),
			Examples: []Example{{"Get-Administrator -Role 'Server Administrator'", "Who may change the configuration of which servers."}},
		},
		{
			Name: "Add-Administrator", Aliases: []string{"Add-ExchangeAdministrator"}, Role: OrganizationAdministrator, Changes: true, View: ViewList, Run: addAdministrator,
			Synopsis: "Gives a role to an operating-system user or to a mailbox.",
			Help:     "It acts with the next request. To change a server's configuration a Server Administrator must also be a local administrator there.",
			Parameters: append([]Parameter{
				{Name: "Identity", Aliases: []string{"Name"}, Type: TypeText, Position: 1, Mandatory: true, Pipeline: true, Suggest: SuggestMailboxes, Help: "An operating-system user as unix:NAME, or a mailbox."},
				roleParameter(true, "The role."),
				{Name: "Scope", Type: TypeList, TypeName: "list of servers", Default: "all servers", Help: "The servers of a Server Administrator; the list replaces the one before."},
			}, here()...),
			Examples: []Example{
				{"Add-Administrator alice@example.org -Role 'Recipient Administrator'", "alice manages mailboxes."},
				{"Add-Administrator unix:bob -Role 'Server Administrator' -Scope mail.example.org", "bob configures one server, when he is a local administrator there."},
			},
		},
		{
			Name: "Remove-Administrator", Aliases: []string{"Remove-ExchangeAdministrator"}, Role: OrganizationAdministrator, Changes: true, Asks: true, View: ViewList, Run: removeAdministrator,
			Synopsis: "Takes a role away.",
			Help:     "It acts with the next request: sessions and API tokens that rest on the role end. The last Organization Administrator stays.",
			Parameters: append([]Parameter{
				{Name: "Identity", Type: TypeText, Position: 1, Mandatory: true, Pipeline: true, Help: "Who holds the role, as Get-Administrator shows it."},
				piped(roleParameter(false, "The role; every role of the identity when left out.")),
			}, here()...),
			Examples: []Example{{"Remove-Administrator alice@example.org -Confirm:$false", "Every role, without the question."}},
		},
		{
			Name: "Get-ManagementRole", Role: ViewOnlyAdministrator, View: ViewTable, Run: getManagementRole,
			Columns:  []string{"Cmdlet", "Roles", "LocalAdministrator", "MayRun"},
			Synopsis: "Shows which roles may run which cmdlet, and whether the caller may.",
			Parameters: append([]Parameter{
				{Name: "Cmdlet", Type: TypeText, Position: 1, Suggest: SuggestCmdlets, Help: "Only this cmdlet; * and ? stand for any characters."},
				roleParameter(false, "Only what this role may run."),
			}, here()...),
			Examples: []Example{{"Get-ManagementRole *-Mailbox", "Who manages mailboxes."}, {"Get-ManagementRole | Where-Object MayRun -eq $true", "What you may do."}},
		},
		{
			Name: "Get-ServerMetadata", Role: ViewOnlyAdministrator, View: ViewTable, Run: getServerMetadata,
			Columns:  []string{"Name", "Value"},
			Synopsis: "Shows the entries of the server that all users see through IMAP4 (METADATA, RFC 5464).",
			Parameters: append([]Parameter{
				{Name: "Name", Aliases: []string{"Identity"}, Type: TypeText, Position: 1, Help: "Only entries of this name; * and ? stand for any characters."},
			}, here()...),
			Examples: []Example{{"Get-ServerMetadata", ""}},
		},
		{
			Name: "Set-ServerMetadata", Role: OrganizationAdministrator, Changes: true, View: ViewList, Run: setServerMetadata,
			Synopsis: "Gives an entry of the server a value that all users see through IMAP4.",
			Help: "Mail programs know /shared/comment, a note about the server, and /shared/admin, a URL of who runs it, such as mailto:postmaster@example.org. " +
				"/shared/filters/values/NAME is a search that users can name (FILTER NAME, RFC 5466); a filter of their own of that name goes before it.",
			Parameters: append([]Parameter{
				{Name: "Name", Aliases: []string{"Identity"}, Type: TypeText, Position: 1, Mandatory: true, Pipeline: true, Help: "The entry, such as /shared/comment; case does not matter."},
				{Name: "Value", Type: TypeText, Position: 2, Mandatory: true, Help: "The text, of at most 16384 bytes."},
			}, here()...),
			Examples: []Example{
				{"Set-ServerMetadata /shared/admin mailto:postmaster@example.org", "Whom users ask."},
				{"Set-ServerMetadata /shared/filters/values/unread 'UNSEEN UNDELETED'", "A search for everybody."},
			},
		},
		{
			Name: "Remove-ServerMetadata", Role: OrganizationAdministrator, Changes: true, View: ViewList, Run: removeServerMetadata,
			Synopsis: "Takes away an entry of the server that all users see.",
			Parameters: append([]Parameter{
				{Name: "Name", Aliases: []string{"Identity"}, Type: TypeText, Position: 1, Mandatory: true, Pipeline: true, Help: "The entry, as Get-ServerMetadata shows it."},
			}, here()...),
			Examples: []Example{{"Remove-ServerMetadata /shared/comment", ""}},
		},
		{
			Name: "Get-LocalGroupMember", Role: ViewOnlyAdministrator, View: ViewTable, Run: getLocalGroupMember,
			Columns:  []string{"Name", "ObjectClass", "PrincipalSource"},
			Synopsis: "Shows the local administrators of this server.",
			Parameters: append([]Parameter{
				groupParameter(),
				{Name: "Member", Type: TypeText, Position: 2, Help: "Only members of this name; * and ? stand for any characters."},
			}, here()...),
			Examples: []Example{{"Get-LocalGroupMember Administrators", ""}},
		},
		{
			Name: "Add-LocalGroupMember", Role: ServerAdministrator, Local: true, Changes: true, View: ViewList, Run: addLocalGroupMember,
			Synopsis: "Makes a mailbox a local administrator of this server.",
			Help:     "A Server Administrator needs it to change this server's configuration over the network. Users of the operating system are members of its group instead.",
			Parameters: append([]Parameter{
				groupParameter(),
				{Name: "Member", Aliases: []string{"Name"}, Type: TypeText, Position: 2, Mandatory: true, Pipeline: true, Suggest: SuggestMailboxes, Help: "The mailbox: a sign-in name or address."},
			}, here()...),
			Examples: []Example{{"Add-LocalGroupMember Administrators alice@example.org", ""}},
		},
		{
			Name: "Remove-LocalGroupMember", Role: ServerAdministrator, Local: true, Changes: true, View: ViewList, Run: removeLocalGroupMember,
			Synopsis: "Takes a mailbox from the local administrators of this server.",
			Parameters: append([]Parameter{
				groupParameter(),
				{Name: "Member", Aliases: []string{"Name"}, Type: TypeText, Position: 2, Mandatory: true, Pipeline: true, Help: "The mailbox, as Get-LocalGroupMember shows it."},
			}, here()...),
			Examples: []Example{{"Remove-LocalGroupMember Administrators alice@example.org", ""}},
		},
		{
			Name: "Get-ApiToken", Role: ViewOnlyAdministrator, View: ViewTable, Run: getAPIToken,
			Columns:  []string{"Name", "Owner", "Role", "Expires", "LastUsed"},
			Synopsis: "Shows the caller's API tokens; to an Organization Administrator all.",
			Help:     "A token's secret is shown only when it is made. LastUsed is right to the hour.",
			Parameters: append([]Parameter{
				{Name: "Name", Type: TypeText, Position: 1, Help: "Only tokens of this name; * and ? stand for any characters."},
				{Name: "Owner", Type: TypeText, Help: "Only tokens of this owner; * and ? stand for any characters."},
			}, here()...),
			Examples: []Example{{"Get-ApiToken | Format-List", ""}},
		},
		{
			Name: "New-ApiToken", Role: ViewOnlyAdministrator, Own: true, Changes: true, View: ViewList, Run: newAPIToken,
			Synopsis: "Makes an API token for the caller, with which a script calls the management API over HTTPS, and shows it once.",
			Help:     "A token does what its role allows and its owner may do at that moment, both. It does not sign in at the console.",
			Parameters: append([]Parameter{
				{Name: "Name", Type: TypeText, Position: 1, Mandatory: true, Help: "What the token is for."},
				roleParameter(true, "The role of the token: one that the caller holds, or a part of it."),
				{Name: "Scope", Type: TypeList, TypeName: "list of servers", Default: "all servers", Help: "For a Server Administrator: the servers."},
				{Name: "Expires", Type: TypeText, TypeName: "time span or date", Default: "90.00:00:00", Help: "When it ends: a time span such as 30.00:00:00, or a date such as 2027-01-31, which is the last day. At most 366 days."},
			}, here()...),
			Examples: []Example{{"New-ApiToken monitoring -Role 'View-Only Administrator'", "A token that only looks."}},
		},
		{
			Name: "Remove-ApiToken", Role: ViewOnlyAdministrator, Own: true, Changes: true, View: ViewList, Run: removeAPIToken,
			Synopsis: "Ends an API token at once: one of the caller's, or for an Organization Administrator anybody's.",
			Help:     "Who signs in with a token removes no other one, unless that token has the role Organization Administrator.",
			Parameters: append([]Parameter{
				{Name: "Name", Type: TypeText, Position: 1, Mandatory: true, Pipeline: true, Help: "The token."},
				{Name: "Owner", Type: TypeText, Pipeline: true, Default: "the caller", Help: "Whose token it is, as Get-ApiToken shows it."},
			}, here()...),
			Examples: []Example{{"Remove-ApiToken monitoring", ""}},
		},
		{
			Name: "New-ConsoleLink", Role: ViewOnlyAdministrator, Own: true, Changes: true, View: ViewList, Run: newConsoleLink,
			Synopsis:   "Makes a link that signs the caller in at the console, once, within 10 minutes.",
			Help:       "It works on the server itself only, over the management socket; \"postern console\" prints the link alone.",
			Parameters: here(),
			Examples:   []Example{{"New-ConsoleLink", ""}},
		},
		{
			Name: "Get-AppPassword", Role: ViewOnlyAdministrator, View: ViewTable, Run: getAppPassword,
			Owner:      &Owner{},
			Columns:    []string{"Mailbox", "Name", "Services", "From", "ReadOnly", "Expires", "LastUsed"},
			Synopsis:   "Shows the app passwords of a mailbox, without their secrets.",
			Help:       "LastUsed is right to the hour.",
			Parameters: append([]Parameter{mailboxIdentity()}, here()...),
			Examples:   []Example{{"Get-AppPassword alice@example.org", ""}},
		},
		{
			Name: "New-AppPassword", Role: RecipientAdministrator, Changes: true, View: ViewList, Run: newAppPassword,
			Owner:    &Owner{Parameters: []string{"Name", "Services", "From", "Expires", "ReadOnly"}},
			Synopsis: "Makes a password for one program of a mailbox, and shows it once.",
			Help: "It signs in at POP3 and IMAP4 wherever a readable password is permitted (PLAIN, LOGIN, the commands LOGIN and USER), never at the console and not with SCRAM, whose " +
				"first answer would have to know which password is meant. It stays when the mailbox gets another password.",
			Parameters: append([]Parameter{
				mailboxIdentity(),
				{Name: "Name", Type: TypeText, Position: 2, Mandatory: true, Help: "What it is for, such as a program or a device."},
				{Name: "Services", Aliases: []string{"Service"}, Type: TypeList, TypeName: "list of services", Values: []string{"POP3", "IMAP4"}, Default: "POP3 and IMAP4", Help: "What it signs in to."},
				{Name: "From", Type: TypeList, TypeName: "list of networks", Default: "everywhere", Help: "The clients' networks, such as 192.0.2.0/24."},
				{Name: "Expires", Type: TypeText, TypeName: "time span or date", Default: "never", Help: "When it ends: a time span such as 30.00:00:00, or a date such as 2027-01-31, which is the last day. At most 366 days."},
				{Name: "ReadOnly", Type: TypeSwitch, Help: "Who signs in with it reads and changes nothing: no message is removed, moved, added or marked as read."},
			}, here()...),
			Examples: []Example{{"New-AppPassword alice@example.org phone -Services IMAP4", ""}},
		},
		{
			Name: "Remove-AppPassword", Role: RecipientAdministrator, Changes: true, View: ViewList, Run: removeAppPassword,
			Owner:    &Owner{Parameters: []string{"Name"}},
			Synopsis: "Ends an app password at once, with the sessions that it began.",
			Parameters: append([]Parameter{
				mailboxIdentity(),
				{Name: "Name", Type: TypeText, Position: 2, Mandatory: true, Pipeline: true, Help: "The app password."},
			}, here()...),
			Examples: []Example{{"Remove-AppPassword alice@example.org phone", ""}},
		},
		{
			Name: "Get-SecondFactor", Role: ViewOnlyAdministrator, View: ViewTable, Run: getSecondFactor,
			Owner:      &Owner{},
			Columns:    []string{"Mailbox", "Status", "WhenEnabled", "RecoveryCodes", "LastUsed"},
			Synopsis:   "Shows whether a mailbox has a second factor: one-time codes of an authenticator program, at the console and at the mailbox's own pages.",
			Parameters: append([]Parameter{identity0("The mailbox: a sign-in name or address.", true)}, here()...),
			Examples:   []Example{{"Get-Mailbox | Get-SecondFactor | Where-Object Status -ne Enabled", "Who has none."}},
		},
		{
			Name: "New-SecondFactor", Role: OwnerOnly, Changes: true, View: ViewList, Run: newSecondFactor,
			Owner:      &Owner{},
			Synopsis:   "Begins to set up a second factor: makes a secret for an authenticator program, and shows it once. Enable-SecondFactor ends it.",
			Parameters: here(),
			Examples:   []Example{{"New-SecondFactor", "At /account of the console only."}},
		},
		{
			Name: "Enable-SecondFactor", Role: OwnerOnly, Changes: true, View: ViewList, Run: enableSecondFactor,
			Owner:    &Owner{Parameters: []string{"Code"}},
			Synopsis: "Takes the first code of an authenticator program: from now on its codes are asked for. Shows recovery codes, once.",
			Parameters: append([]Parameter{
				{Name: "Code", Type: TypeSecret, Mandatory: true, Help: "The code that the program shows."},
			}, here()...),
			Examples: []Example{{"Enable-SecondFactor -Code 123456", "At /account of the console only."}},
		},
		{
			Name: "Disable-SecondFactor", Aliases: []string{"Reset-SecondFactor"}, Role: RecipientAdministrator, Changes: true, View: ViewList, Run: disableSecondFactor,
			Owner:    &Owner{Parameters: []string{"Code"}, Needed: []string{"Code"}},
			Synopsis: "Takes the second factor of a mailbox away, for who has lost the program and the recovery codes. Sessions at the console end.",
			Parameters: append([]Parameter{
				identity0("The mailbox: a sign-in name or address.", true),
				{Name: "Code", Type: TypeSecret, Help: "At /account of the console, where people do it themselves: a code, or a recovery code."},
			}, here()...),
			Examples: []Example{{"Disable-SecondFactor alice@example.org", "She proves who she is by her password again, until she sets another one up."}},
		},
		{
			Name: "Get-LoginPolicy", Role: ViewOnlyAdministrator, View: ViewTable, Run: getLoginPolicy,
			Columns:  []string{"Name", "Mailboxes", "Groups", "From", "LoginType", "AuthMechanisms", "AppPasswordsOnly", "Block"},
			Synopsis: "Shows the login policies: what is forbidden on top of each service's LoginType, to whom and from where.",
			Parameters: append([]Parameter{
				{Name: "Name", Aliases: []string{"Identity"}, Type: TypeText, Position: 1, Help: "Only policies of this name; * and ? stand for any characters."},
			}, here()...),
			Examples: []Example{{"Get-LoginPolicy | Format-List", "Everything about each."}},
		},
		{
			Name: "New-LoginPolicy", Role: OrganizationAdministrator, Changes: true, View: ViewList, Run: newLoginPolicy,
			Synopsis:   "Makes a login policy: forbids ways to sign in at POP3 and IMAP4, to some people, from some networks, or to all. It acts at once.",
			Help:       loginPolicyHelp,
			Parameters: append(append([]Parameter{policyName(false, "What the policy is called.")}, loginPolicyParameters()...), here()...),
			Examples: []Example{
				{"New-LoginPolicy outside -ExceptFrom 10.0.0.0/8 -AppPasswordsOnly $true -WhatIf", "Whom it would lock out that mail programs outside need an app password."},
				{"New-LoginPolicy nobody-by-pop -Services POP3 -Block $true", "No POP3 for anybody."},
				{"New-LoginPolicy staff -Groups staff -LoginType SecureLogin -Hours 'Mon-Fri 07:00-19:00'", "TLS and working hours for a group."},
			},
		},
		{
			Name: "Set-LoginPolicy", Role: OrganizationAdministrator, Changes: true, View: ViewList, Run: setLoginPolicy,
			Synopsis:   "Changes a login policy. It acts at once; sessions go on.",
			Help:       loginPolicyHelp,
			Parameters: append(append([]Parameter{policyName(true, "The policy.")}, append(loginPolicyParameters(), expectedParameter())...), here()...),
			Examples:   []Example{{"Set-LoginPolicy outside -Mailboxes @{Add='alice@example.org'}", "One more mailbox."}},
		},
		{
			Name: "Remove-LoginPolicy", Role: OrganizationAdministrator, Changes: true, Asks: true, View: ViewList, Run: removeLoginPolicy,
			Synopsis:   "Removes a login policy: what it alone forbade is permitted at once.",
			Parameters: append([]Parameter{policyName(true, "The policy.")}, here()...),
			Examples:   []Example{{"Remove-LoginPolicy outside", ""}},
		},
		{
			Name: "Get-LoginGroup", Role: ViewOnlyAdministrator, View: ViewTable, Run: getLoginGroup,
			Columns:  []string{"Name", "Members"},
			Synopsis: "Shows the groups of mailboxes that login policies are for.",
			Parameters: append([]Parameter{
				{Name: "Name", Aliases: []string{"Identity"}, Type: TypeText, Position: 1, Help: "Only groups of this name; * and ? stand for any characters."},
				{Name: "Member", Type: TypeText, Suggest: SuggestMailboxes, Help: "Only groups with this member; * and ? stand for any characters."},
			}, here()...),
			Examples: []Example{{"Get-LoginGroup -Member alice@example.org", "The groups that alice is in."}},
		},
		{
			Name: "New-LoginGroup", Role: OrganizationAdministrator, Changes: true, View: ViewList, Run: newLoginGroup,
			Synopsis:   "Makes a group of mailboxes for login policies.",
			Parameters: append([]Parameter{policyName(false, "What the group is called."), groupMembers()}, here()...),
			Examples:   []Example{{"New-LoginGroup staff -Members alice@example.org,bob@example.org", ""}},
		},
		{
			Name: "Set-LoginGroup", Role: OrganizationAdministrator, Changes: true, View: ViewList, Run: setLoginGroup,
			Synopsis:   "Changes who is in a group. It acts at once.",
			Parameters: append([]Parameter{policyName(true, "The group."), groupMembers()}, here()...),
			Examples:   []Example{{"Set-LoginGroup staff -Members @{Remove='bob@example.org'}", ""}},
		},
		{
			Name: "Remove-LoginGroup", Role: OrganizationAdministrator, Changes: true, Asks: true, View: ViewList, Run: removeLoginGroup,
			Synopsis:   "Removes a group that no login policy is for.",
			Parameters: append([]Parameter{policyName(true, "The group.")}, here()...),
			Examples:   []Example{{"Remove-LoginGroup staff", ""}},
		},
		{
			Name: "Get-EffectiveLoginPolicy", Role: ViewOnlyAdministrator, View: ViewTable, Run: getEffectiveLoginPolicy,
			Columns:  []string{"Protocol", "Mechanism", "Credential", "Plaintext", "Tls", "PlaintextRule"},
			Synopsis: "Shows every way to sign in, whether it is permitted without TLS and with it, and which rule decides.",
			Parameters: append([]Parameter{
				identity0("The mailbox; when it is left out, what holds for everybody.", false),
				actForParameter("For which mailbox it acts: then what holds for either holds."),
				{Name: "From", Type: TypeText, TypeName: "address", Help: "The client's address."},
				{Name: "At", Type: TypeTime, Default: "now", Help: "The moment." + timeHelp},
				{Name: "Protocol", Type: TypeText, Values: []string{"POP3", "IMAP4"}, Help: "Only this protocol."},
			}, here()...),
			Examples: []Example{
				{"Get-EffectiveLoginPolicy alice@example.org -From 10.0.0.1", "How alice may sign in from there."},
				{"Get-EffectiveLoginPolicy bob@example.org -ActFor office@example.org", "How bob may open the mailbox office."},
				{"Get-EffectiveLoginPolicy -Protocol IMAP4 | Where-Object Plaintext -eq $true", "What is permitted without TLS."},
			},
		},
		{
			Name: "Get-LoginThrottle", Role: ViewOnlyAdministrator, View: ViewTable, Run: getLoginThrottle,
			Columns:  []string{"UserName", "Network", "Delay", "Ends"},
			Synopsis: "Shows whose sign-ins wait because too many failed: users, networks, and users at a network that is known to them.",
			Help: "Delay is what the next attempt waits before its password is looked at, Ends when nobody waits any more if nothing fails until then. A user without a network is slowed down everywhere " +
				"but at known networks; a network without a user for everybody who did not sign in from there before. docs/guessing.md says how it is counted.",
			Parameters: append([]Parameter{
				{Name: "Identity", Type: TypeText, Position: 1, Suggest: SuggestMailboxes, Help: "Only this user, by the name that clients give; * and ? stand for any characters."},
				{Name: "ResultSize", Type: TypeNumber, Default: "1000", Help: "How many are shown at most, or unlimited (10000)."},
			}, here()...),
			Examples: []Example{{"Get-LoginThrottle", ""}},
		},
		{
			Name: "Clear-LoginThrottle", Role: RecipientAdministrator, Changes: true, View: ViewList, Run: clearLoginThrottle,
			Synopsis: "Forgets failed sign-ins, of a user, from a network, or of a user at a known network, so that the next attempt does not wait.",
			Parameters: append([]Parameter{
				{Name: "Identity", Aliases: []string{"UserName"}, Type: TypeText, Position: 1, Pipeline: true, Suggest: SuggestMailboxes, Help: "The user, by the name that clients give."},
				{Name: "Network", Type: TypeText, TypeName: "network", Pipeline: true, Help: "The network, as Get-LoginThrottle shows it; with -Identity only that user's failures there."},
			}, here()...),
			Examples: []Example{{"Clear-LoginThrottle alice@example.org", ""}, {"Clear-LoginThrottle -Network 192.0.2.7", "For everybody behind that address."}},
		},
		{
			Name: "Get-KnownNetwork", Role: ViewOnlyAdministrator, View: ViewTable, Run: getKnownNetwork,
			Columns:    []string{"Mailbox", "UserName", "Network", "FirstLogonTime", "LastLogonTime"},
			Synopsis:   "Shows from which networks a mailbox signed in during the last 90 days; there it is not slowed down by what others do.",
			Help:       "An IPv4 address or an IPv6 /64, at most 16 for each name that clients give. LastLogonTime is right to the day.",
			Parameters: append([]Parameter{mailboxIdentity()}, here()...),
			Examples:   []Example{{"Get-KnownNetwork alice@example.org", ""}},
		},
		{
			Name: "Remove-KnownNetwork", Role: RecipientAdministrator, Changes: true, View: ViewList, Run: removeKnownNetwork,
			Synopsis: "Forgets a network of a mailbox, or all: the next sign-in from there is a stranger's. Sessions go on.",
			Parameters: append([]Parameter{
				mailboxIdentity(),
				{Name: "Network", Type: TypeText, TypeName: "network", Default: "all", Position: 2, Pipeline: true, Help: "The network, as Get-KnownNetwork shows it."},
			}, here()...),
			Examples: []Example{{"Remove-KnownNetwork alice@example.org 192.0.2.7", ""}},
		},
		{
			Name: "Test-Login", Role: ViewOnlyAdministrator, View: ViewTable, Run: testLogin,
			Columns:  []string{"Step", "Result", "Detail"},
			Synopsis: "Explains which rule decides whether a user may log in, over a protocol and a kind of connection. No password is needed.",
			Parameters: append([]Parameter{
				identity0("The mailbox: a sign-in name or address.", true),
				{Name: "Protocol", Type: TypeText, Mandatory: true, Values: []string{"POP3", "IMAP4"}, Help: "The protocol."},
				{Name: "ConnectionType", Type: TypeText, Default: "Plaintext", Values: []string{string(Plaintext), string(TLS), string(SSL)},
					Help: "Plaintext is unencrypted, Tls after STLS or STARTTLS, Ssl encrypted from the first byte."},
				{Name: "From", Type: TypeText, TypeName: "address", Help: "The client's address, for login policies of some networks and for the delay after failures."},
				actForParameter("For which mailbox the user wants to act."),
				{Name: "Mechanism", Type: TypeText, Values: mechanismNames(), Default: "any", Help: "The SASL mechanism by which the user wants to sign in."},
				{Name: "Certificate", Type: TypeFile, Help: "The client certificate that it shows, with those that lead to its authority (PEM), or alone (DER); no key. The mechanism is EXTERNAL then."},
			}, here()...),
			Examples: []Example{
				{"Test-Login alice -Protocol IMAP4 -ConnectionType Ssl -Certificate alice.pem", "Whether her certificate signs her in."},
				{"Test-Login alice -Protocol IMAP4 -ConnectionType Plaintext", "Why alice cannot log in on port 143."},
				{"Test-Login bob -Protocol IMAP4 -ConnectionType Ssl -ActFor office", "Whether bob may open the mailbox office."},
			},
		},
		{
			Name: "Test-PopConnectivity", Role: ViewOnlyAdministrator, View: ViewTable, Run: testConnectivity(settings.POP3),
			Columns:  []string{"Scenario", "Result", "Latency", "Mechanism", "Error"},
			Synopsis: "Goes the way of a mail program over POP3: connects, signs in, finds and fetches a message that it put there, and removes it.",
			Help: "Each step is an object with Scenario, Result (Success, Failure or Skipped), Latency in milliseconds, Mechanism (of SignIn) and Error; a failure makes the exit code 1. " +
				"Another host, or a port that is none of this server's, needs a Server Administrator who is a local administrator of this server. " +
				"A password is only sent where nobody can read it: with SCRAM, under TLS, or within this host.",
			Parameters: append(connectivityParameters("STLS"), here()...),
			Examples: []Example{
				{"Test-PopConnectivity -MailboxCredential alice -Password", "The whole way, with TLS; the password is asked for."},
				{"Test-PopConnectivity -LightMode -ConnectionType Ssl -TrustAnySSLCertificate", "Only whether it answers, for monitoring."},
			},
		},
		{
			Name: "Test-ImapConnectivity", Role: ViewOnlyAdministrator, View: ViewTable, Run: testConnectivity(settings.IMAP4),
			Columns:  []string{"Scenario", "Result", "Latency", "Mechanism", "Error"},
			Synopsis: "Goes the way of a mail program over IMAP4: connects, signs in, finds and fetches a message that it put there, and removes it.",
			Help: "Each step is an object with Scenario, Result (Success, Failure or Skipped), Latency in milliseconds, Mechanism (of SignIn) and Error; a failure makes the exit code 1. " +
				"Another host, or a port that is none of this server's, needs a Server Administrator who is a local administrator of this server. " +
				"A password is only sent where nobody can read it: with SCRAM, under TLS, or within this host.",
			Parameters: append(connectivityParameters("STARTTLS"), here()...),
			Examples: []Example{
				{"Test-ImapConnectivity -MailboxCredential alice -Password", "The whole way, with TLS; the password is asked for."},
				{"Test-ImapConnectivity -LightMode -ConnectionType Ssl -TrustAnySSLCertificate", "Only whether it answers, for monitoring."},
			},
		},
		{
			Name: "Get-ClientAccessServer", Role: ViewOnlyAdministrator, View: ViewList, Run: getClientAccessServer,
			Synopsis:   "Shows this server as the one that serves mail programs.",
			Parameters: append([]Parameter{serverIdentity()}, here()...),
			Examples:   []Example{{"Get-ClientAccessServer", ""}},
		},
		{
			Name: "Get-MailboxServer", Role: ViewOnlyAdministrator, View: ViewList, Run: getMailboxServer,
			Synopsis:   "Shows this server as the one that keeps the mail: engine, sizes, free disk space.",
			Parameters: append([]Parameter{serverIdentity()}, here()...),
			Examples:   []Example{{"Get-MailboxServer | Format-List DataSize, DiskFree", ""}},
		},
		{
			Name: "Test-ServerConfiguration", Role: ViewOnlyAdministrator, View: ViewTable, Run: testServerConfiguration,
			Columns:  []string{"Check", "Target", "Result", "Detail", "Fix"},
			Synopsis: "Judges the configuration: log-in, certificates, services, settings, administrators, audit log, disk, clock.",
			Help: "Result is Pass, Warn or Fail; Fix is the line that mends it. The exit code is 1 when one fails. " +
				"SecureLogin passes; another LoginType warns without unencrypted bindings, and fails with them.",
			Parameters: append([]Parameter{
				{Name: "Check", Type: TypeText, Position: 1, Values: checkNames(), Help: "Only this check; * and ? stand for any characters."},
			}, here()...),
			Examples: []Example{{"Test-ServerConfiguration | Where-Object Result -ne Pass", "What is to be mended."}},
		},
		{
			Name: "Test-Store", Role: ViewOnlyAdministrator, Long: true, View: ViewTable, Run: testStore, Follow: followStore,
			Columns:  []string{"Identity", "Folder", "UID", "Part", "Result", "Detail"},
			Synopsis: "Reads all mail of mailboxes against its checksums, and compares indexes, counts, quotas, conversations and search filters with it.",
			Help: "A row for each damage says what it is of, by folder and UID; a mailbox without has one that says how much was read. It changes nothing, and mail goes on meanwhile. " +
				"Mail in the store that no mailbox leads to is looked at too, and shown by its number. The exit code is 1 when something is damaged.",
			Parameters: append([]Parameter{
				identity0("A sign-in name or address; * and ? stand for any characters, then only sign-in names are compared. All mailboxes when left out.", false),
				{Name: "After", Type: TypeText, Help: "Only sign-in names that come after this one."},
				{Name: "ResultSize", Type: TypeNumber, Default: "1000", Help: "How many mailboxes are looked at at most, or unlimited."},
				followSwitch("damages as they are found, for as long as it takes"),
			}, here()...),
			Examples: []Example{
				{"Test-Store alice@example.org", "Whether all of alice's mail can be read."},
				{"Test-Store -ResultSize unlimited -Follow", "All mail, with each damage as it is found."},
			},
		},
		{
			Name: "Repair-Mailbox", Aliases: []string{"New-MailboxRepairRequest"}, Role: RecipientAdministrator, Changes: true, Asks: true, Long: true, View: ViewTable, Run: repairMailbox,
			Columns:  []string{"Identity", "Folder", "UID", "Part", "Lost", "Detail"},
			Synopsis: "Mends what Test-Store finds in a mailbox: computes again what can be computed of the messages, and sets aside what cannot be read.",
			Help: "Nothing is deleted: a message whose content cannot be read goes to the folder Damaged, one of which nobody knows where it was to Recovered. " +
				"A folder whose index cannot be read whole is made again of what can, with another UIDVALIDITY, so that clients read it anew. Rows with Lost say what only a backup has. -WhatIf shows the damages.",
			Parameters: append([]Parameter{
				identity0("The mailbox: a sign-in name or address.", true),
			}, here()...),
			Examples: []Example{
				{"Repair-Mailbox alice@example.org -WhatIf", "What would be mended."},
				{"Repair-Mailbox alice@example.org", "Mends it; sessions go on."},
			},
		},
		{
			Name: "Backup-Store", Role: ServerAdministrator, Local: true, Changes: true, Long: true, View: ViewList, Run: backupStore,
			Synopsis: "Copies what the server has, as it is at one moment, into a folder of its host, while it goes on serving.",
			Help: "All mail and mailboxes, passwords, settings and administrators, the audit log, certificates and keys: who may read the folder has the server. " +
				"A second backup into the same folder is another point in time and copies only what is new. A backup that is ended half way leaves the points before as they were.",
			Parameters: append([]Parameter{
				backupPath(),
				{Name: "Keep", Type: TypeNumber, TypeName: "number", Default: "all", Help: "So many points are left, the oldest go, and with them the files that no other needs."},
				{Name: "WithoutKeys", Type: TypeSwitch, Help: "Leaves out certificates with their keys and the key of sealed secrets: what was restored then needs new certificates, and second factors and readable passwords must be set anew."},
			}, here()...),
			Examples: []Example{
				{"Backup-Store /var/backups/postern -Keep 14", "Every night: two weeks are kept."},
			},
		},
		{
			Name: "Get-Backup", Role: ViewOnlyAdministrator, View: ViewTable, Run: getBackup,
			Columns:    []string{"Time", "Server", "Files", "Size"},
			Synopsis:   "Shows the points in time that a folder of Backup-Store has.",
			Parameters: append([]Parameter{backupPath()}, here()...),
			Examples:   []Example{{"Get-Backup /var/backups/postern", ""}},
		},
		{
			Name: "Test-Backup", Role: ServerAdministrator, Local: true, Long: true, View: ViewTable, Run: testBackup,
			Columns:  []string{"Result", "Damaged", "Time", "Points", "Detail"},
			Synopsis: "Reads all files of a backup and compares them with the digests that were kept when it was made.",
			Help:     "A row for each file that is damaged or missing, with the first point that needs it, how many do, and what it is of the server's; else one that says how much was read. The exit code is 1 when something is damaged.",
			Parameters: append([]Parameter{
				backupPath(),
				{Name: "PointInTime", Type: TypeTime, TypeName: "time", Default: "all", Help: "Only the last point not after this time." + timeHelp},
			}, here()...),
			Examples: []Example{{"Test-Backup /var/backups/postern", ""}},
		},
		{
			Name: "Restore-Store", Role: ServerAdministrator, Local: true, Changes: true, Long: true, View: ViewList, Run: restoreStore,
			Synopsis: "Puts the mail of a mailbox, as it is in a backup, into a new folder of the mailbox; with the server stopped, postern restore puts back everything.",
			Help: "Each folder of the backup comes below a folder named Restored and the time of the point, and each message keeps its date, flags and keywords. Nothing that is in the mailbox is touched or deleted. " +
				"The messages count in the quota; when it has no room for all, nothing is done.",
			Parameters: append([]Parameter{
				backupPath(),
				{Name: "Mailbox", Aliases: []string{"Identity"}, Type: TypeText, Position: 2, Pipeline: true, Suggest: SuggestMailboxes, Help: "The mailbox: a sign-in name or address, of now or, when nobody has it now, of then."},
				{Name: "PointInTime", Type: TypeTime, TypeName: "time", Default: "the last", Help: "The last point not after this time." + timeHelp},
				{Name: "TargetMailbox", Type: TypeText, Default: "the same", Suggest: SuggestMailboxes, Help: "The mailbox that the mail is put into."},
				{Name: "Missing", Type: TypeSwitch, Help: "Only messages that the mailbox does not have any more."},
			}, here()...),
			Examples: []Example{
				{"Restore-Store /var/backups/postern -Mailbox alice@example.org -Missing", "What alice deleted since the last backup."},
				{"Restore-Store /var/backups/postern -Mailbox alice@example.org -PointInTime 2026-11-01", "All that she had then."},
			},
		},
		{
			Name: "Export-Configuration", Role: ViewOnlyAdministrator, View: ViewText, Run: exportConfiguration,
			Synopsis: "Prints the configuration as TOML, for Import-Configuration: settings that differ from their default, start-up types, administrators and local administrators.",
			Help:     "It has no secrets and no mailboxes, and the same configuration is always the same text, so that it can be kept in git.",
			Parameters: append([]Parameter{
				{Name: "All", Type: TypeSwitch, Help: "Settings that have their default too."},
			}, here()...),
			Examples: []Example{{"Export-Configuration", "In another shell: postern Export-Configuration > mail.toml"}},
		},
		{
			Name: "Import-Configuration", Role: OrganizationAdministrator, Local: true, Changes: true, View: ViewList, Run: importConfiguration,
			Synopsis: "Makes the configuration what a file of Export-Configuration says: all of it, or nothing.",
			Help: "What the file does not name stays as it is, or with -Prune becomes its default, and administrators that it does not name lose their role; a file without administrators leaves them all. " +
				"An error names the line, and nothing is changed. An address that one service gives up is free for another only after the change. " +
				"The exit code is 0 when there is no difference or all was changed, 1 after an error, and 2 with -WhatIf -ExitCode when something would be changed.",
			Parameters: append([]Parameter{
				{Name: "Path", Aliases: []string{"Content"}, Type: TypeFile, Position: 1, Mandatory: true, Help: "The file. The shell reads it; the API takes its content."},
				{Name: "Prune", Type: TypeSwitch, Help: "What the file does not name becomes its default, or is removed."},
				{Name: "ExitCode", Type: TypeSwitch, Help: "With -WhatIf: exit with 2 when there is a difference."},
			}, here()...),
			Examples: []Example{
				{"Import-Configuration -Path mail.toml -WhatIf", "What would be changed."},
				{"Import-Configuration mail.toml -Prune -WhatIf -ExitCode", "For a pipeline: 2 when the server is not what the file says."},
			},
		},
		{
			Name: "Get-EventLog", Aliases: []string{"Get-WinEvent"}, Role: ViewOnlyAdministrator, View: ViewTable, Run: getEventLog,
			Columns:  []string{"TimeGenerated", "EntryType", "InstanceId", "Source", "Message", "Data", "Count"},
			Synopsis: "Shows the last events: warnings, errors, and what has a number, such as 1009 and 2007 of Exchange; the newest first.",
			Help:     "The last 5000 are kept, over a restart too; the server's log has all. Count is how often an event came within two seconds.",
			Parameters: append([]Parameter{
				{Name: "EntryType", Type: TypeList, TypeName: "list", Values: eventTypes, Help: "Only events of these types: Error, Warning, Information."},
				{Name: "InstanceId", Aliases: []string{"Id"}, Type: TypeList, TypeName: "list of numbers", Help: "Only events with these numbers."},
				{Name: "Source", Type: TypeText, Help: "Only events of this source: a service, or Postern; * and ? stand for any characters."},
				{Name: "After", Type: TypeTime, Help: "Only events from then on." + timeHelp},
				{Name: "Before", Type: TypeTime, Help: "Only events before then; written as After is."},
				{Name: "Newest", Aliases: []string{"ResultSize"}, Type: TypeNumber, Default: "1000", Help: "How many events are shown at most."},
			}, here()...),
			Examples: []Example{
				{"Get-EventLog -EntryType Error,Warning -After 1.00:00:00", "What went wrong in the last day."},
				{"Get-EventLog -Id 1009 -Newest 1 | Format-List", "Who had too many connections last."},
			},
		},
		{
			Name: "Get-Session", Role: ViewOnlyAdministrator, View: ViewTable, Run: getSession,
			Owner:    &Owner{},
			Columns:  []string{"Identity", "User", "Address", "State", "Mailbox", "Client", "Duration", "Idle"},
			Synopsis: "Shows the sessions that are open: who is connected from where, how they signed in, and what they do.",
			Help:     "Format-List shows everything: mechanism, TLS version and cipher, bytes, the command under way. What a client calls itself is its own word.",
			Parameters: append([]Parameter{
				{Name: "Identity", Type: TypeText, Position: 1, Help: "Only this session, such as IMAP4-123; * and ? stand for any characters."},
				sessionService("Only sessions of this service."),
				{Name: "User", Type: TypeText, Help: "Only sessions of this user; * and ? stand for any characters."},
				{Name: "Address", Type: TypeText, Help: addressHelp},
				{Name: "ResultSize", Type: TypeNumber, Default: "1000", Help: "How many sessions are shown at most, or unlimited."},
			}, here()...),
			Examples: []Example{
				{"Get-Session -User alice@example.org | Format-List", "Everything about alice's sessions."},
				{"Get-Session -Service IMAP4 | Where-Object { $_.Tls -eq '' }", "Who reads mail without TLS."},
			},
		},
		{
			Name: "Remove-Session", Role: ServerAdministrator, Local: true, Changes: true, Asks: true, View: ViewTable, Run: removeSession,
			Owner:    &Owner{Parameters: []string{"Identity"}, Needed: []string{"Identity"}},
			Synopsis: "Ends sessions. The client is told and may connect again.",
			Parameters: append([]Parameter{
				{Name: "Identity", Type: TypeText, Position: 1, Pipeline: true, Help: "The session, such as IMAP4-123."},
				{Name: "User", Type: TypeText, Help: "All sessions of this user, instead of one."},
			}, here()...),
			Examples: []Example{
				{"Remove-Session IMAP4-123", "One session."},
				{"Remove-Session -User alice@example.org -Confirm:$false", "All of alice's, without the question."},
				{"Get-Session -Address 192.0.2.0/24 | Remove-Session", "Whatever comes from a network."},
			},
		},
		{
			Name: "Get-ProtocolLog", Role: ViewOnlyAdministrator, View: ViewTable, Run: getProtocolLog, Follow: followProtocolLog,
			Columns:  []string{"Time", "SessionId", "User", "Command", "Parameters", "Context", "Milliseconds", "Address"},
			Synopsis: "Shows what sessions said and how they were answered, the newest last.",
			Help: "It reads what Set-PopSettings, Set-ImapSettings and Set-LmtpSettings -ProtocolLogEnabled $true have written. Passwords and mail are never in it; " +
				"of what was not understood, or came before the log-in, only the size. Times are Universal Time.",
			Parameters: append([]Parameter{
				sessionService("Only the log of this service; POP3, IMAP4 and LMTP have one."),
				{Name: "User", Type: TypeText, Help: "Only sessions of this user, once signed in; * and ? stand for any characters."},
				{Name: "Address", Type: TypeText, Help: addressHelp},
				{Name: "SessionId", Aliases: []string{"Identity"}, Type: TypeText, Position: 1, Pipeline: true, Help: "Only this session, such as IMAP4-123. Numbers begin anew with each start of the server."},
				{Name: "StartDate", Type: TypeTime, Help: "Only records from then on." + timeHelp},
				{Name: "EndDate", Type: TypeTime, Help: "Only records until then; written as StartDate is."},
				{Name: "ResultSize", Type: TypeNumber, Default: "1000", Help: "How many records are shown at most, the newest; never more than 10000."},
				followSwitch("records as they are written"),
			}, here()...),
			Examples: []Example{
				{"Get-ProtocolLog -User alice@example.org -StartDate 01:00:00", "What alice's programs did in the last hour."},
				{"Get-ProtocolLog -Service IMAP4 -Follow", "What IMAP4 clients do, as it happens; Ctrl-C ends it."},
				{"Get-Session -User alice@example.org | Get-ProtocolLog", "What alice's open sessions did."},
			},
		},
		{
			Name: "Get-AuditLog", Aliases: []string{"Search-AdminAuditLog"}, Role: ViewOnlyAdministrator, View: ViewTable, Run: getAuditLog, Follow: followAuditLog,
			Columns:  []string{"Sequence", "Time", "Who", "Cmdlet", "Target", "Outcome", "Summary"},
			Synopsis: "Shows who changed what, the newest first; refused attempts too.",
			Parameters: append([]Parameter{
				{Name: "StartDate", Type: TypeTime, Help: "Only records from then on." + timeHelp},
				{Name: "EndDate", Type: TypeTime, Help: "Only records before then; written as StartDate is."},
				{Name: "Identity", Aliases: []string{"UserIds"}, Type: TypeText, Position: 1, Help: "Only what this administrator did; * and ? stand for any characters."},
				{Name: "Cmdlet", Aliases: []string{"Cmdlets"}, Type: TypeText, Suggest: SuggestCmdlets, Help: "Only this cmdlet, or SignIn, SignOut or TokenUse; * and ? stand for any characters."},
				{Name: "Target", Aliases: []string{"ObjectIds"}, Type: TypeText, Help: "Only changes of this service, mailbox or other thing; * and ? stand for any characters."},
				{Name: "Outcome", Type: TypeText, Values: []string{"OK", "NoPermission"}, Help: "Only what ended so: OK, or the kind of the error; * and ? stand for any characters."},
				{Name: "ResultSize", Type: TypeNumber, Default: "1000", Help: "How many records are shown at most; never more than 10000."},
				{Name: "Before", Type: TypeNumber, Help: "Only records with a lower sequence number: the next page."},
				followSwitch("records as they are made"),
			}, here()...),
			Examples: []Example{
				{"Get-AuditLog -StartDate 1.00:00:00 -Target POP3", "Who changed POP3 in the last day."},
				{"Get-AuditLog alice* -Outcome NoPermission", "What alice tried and may not do."},
				{"Get-AuditLog -ResultSize 1 | Format-List", "Everything about the last change."},
			},
		},
		{
			Name: "Test-AuditLog", Role: ViewOnlyAdministrator, View: ViewList, Run: testAuditLog,
			Synopsis: "Proves that the audit log is as it was written, or names the first record that was changed, removed, inserted or moved.",
			Help: "The exit code is 1 when it is not. Who can write the files and the store alike can forge both: note Sequence and Hash elsewhere now and then, " +
				"and prove later that the log still holds them. Files before a noted record may be put away.",
			Parameters: append([]Parameter{
				{Name: "Sequence", Type: TypeNumber, Help: "A record that was noted: it must be there, and only what follows it is proven."},
				{Name: "Hash", Type: TypeText, Help: "The hash that was noted with it."},
			}, here()...),
			Examples: []Example{{"Test-AuditLog", ""}},
		},
		{
			Name: "Get-LogonStatistics", Role: ViewOnlyAdministrator, View: ViewTable, Run: getLogonStatistics,
			Owner:    &Owner{Parameters: []string{"Detailed"}},
			Columns:  []string{"UserName", "LastLogonTime", "LogonCount", "FailureCount", "Service", "Mechanism", "Tls", "ClientAddress", "ClientName"},
			Synopsis: "Shows who signed in of late, when, how often and how.",
			Help: "The last 8 days are known, in steps of 6 hours. Service, mechanism, TLS, address and client are those of the latest sign-in; -Detailed shows one line for each way. " +
				"Names of refused sign-ins are what the client sent and may be nobody's.",
			Parameters: append([]Parameter{
				identity0("A sign-in name or address; * and ? stand for any characters. Everybody when left out.", false),
				{Name: "Service", Type: TypeText, Values: []string{string(settings.POP3), string(settings.IMAP4), string(settings.Console)}, Help: "Only this service."},
				{Name: "StartDate", Type: TypeTime, Default: "8 days ago", Help: "Only sign-ins since then." + timeHelp},
				{Name: "Detailed", Type: TypeSwitch, Help: "One object for each service, mechanism, address, client and outcome."},
				{Name: "ResultSize", Type: TypeNumber, Default: "1000", Help: "How many are shown at most, or unlimited."},
			}, here()...),
			Examples: []Example{
				{"Get-LogonStatistics | Where-Object Tls -eq $false", "Whose latest sign-in was without TLS."},
				{"Get-LogonStatistics alice -Detailed", "Every client of alice."},
			},
		},
		{
			Name: "Get-Command", Role: ViewOnlyAdministrator, View: ViewTable, Run: getCommand,
			Columns:  []string{"Name", "Synopsis"},
			Synopsis: "Lists the cmdlets.",
			Parameters: []Parameter{
				{Name: "Name", Type: TypeText, Position: 1, Suggest: SuggestCmdlets, Help: "Only cmdlets of this name; * and ? stand for any characters."},
				{Name: "Verb", Type: TypeText, Help: "Only cmdlets with this verb."},
				{Name: "Noun", Type: TypeText, Help: "Only cmdlets with this noun."},
			},
			Examples: []Example{{"Get-Command *-Mailbox", "The cmdlets for mailboxes."}},
		},
		{
			Name: "Get-Help", Aliases: []string{"help", "man"}, Role: ViewOnlyAdministrator, View: ViewHelp, Run: getHelp,
			Synopsis: "Explains a cmdlet or, by a name that begins with about_, a topic.",
			Parameters: []Parameter{
				{Name: "Name", Type: TypeText, Position: 1, Pipeline: true, Suggest: SuggestCmdlets, Help: "The cmdlet or the topic; about_* lists the topics."},
				{Name: "Parameter", Type: TypeText, Help: "Only this parameter; * and ? stand for any characters."},
			},
			Examples: []Example{
				{"Get-Help Set-PopSettings -Parameter LoginType", "One parameter."},
				{"Get-Help about_LoginType", "What the three values mean."},
			},
		},
	}
	for _, c := range table {
		if c.Changes {
			c.Parameters = append(c.Parameters,
				Parameter{Name: "WhatIf", Type: TypeSwitch, Help: "Shows what would be changed and changes nothing."},
				Parameter{Name: "Confirm", Type: TypeSwitch, Default: confirmDefault(c), Help: "Asks before anything is changed; -Confirm:$false does not ask."})
		}
	}
	return table
}

func confirmDefault(c *Cmdlet) string {
	if c.Asks {
		return "$true"
	}
	return "$false"
}

// here are the parameters that say where a cmdlet works.
func here() []Parameter {
	return []Parameter{
		{Name: "Server", Type: TypeText, Default: "this server", Help: "The server that is meant: the name of this one, or localhost. Another is refused."},
		{Name: "DomainController", Type: TypeText, Help: "Accepted and ignored: settings are kept by the server itself."},
	}
}

func thumbprint(mandatory bool) Parameter {
	return Parameter{Name: "Thumbprint", Type: TypeText, Position: 1, Mandatory: mandatory, Pipeline: true, Suggest: SuggestCertificates,
		Help: "The certificate's thumbprint: SHA-1 or SHA-256, or its first 8 digits or more."}
}

func services(mandatory bool) Parameter {
	p := Parameter{Name: "Services", Type: TypeList, Mandatory: mandatory, TypeName: "list of services",
		Help: "The services that show it: POP, IMAP, LMTP, Console."}
	for _, s := range settings.Services {
		p.Values = append(p.Values, s.Prefix())
	}
	return p
}

func exportable() Parameter {
	return Parameter{Name: "PrivateKeyExportable", Type: TypeBool, Default: "$false", Help: "$true: Export-ServerCertificate may give the private key away."}
}

const loginPolicyHelp = "A policy holds for a sign-in that -Mailboxes or -Groups, -From, -ExceptFrom and -Services all mean; one that is left out means every sign-in. " +
	"It only forbids: a LoginType makes the service's stricter, never weaker, and several policies forbid together. What is forbidden to everybody is not offered; " +
	"who is refused by name hears what a wrong password would, and the log says why (event 1013). -WhatIf says whom of the last 7 days it would have refused."

// policyName is the name of a login policy or a group, one that there is or not.
func policyName(there bool, help string) Parameter {
	return Parameter{Name: "Name", Aliases: []string{"Identity"}, Type: TypeText, Position: 1, Mandatory: true, Pipeline: there, Help: help}
}

// mailboxIdentity is the mailbox of an app password, which has a name of its own.
func mailboxIdentity() Parameter {
	return Parameter{Name: "Identity", Aliases: []string{"Mailbox"}, Type: TypeText, Position: 1, Mandatory: true, Pipeline: true, Suggest: SuggestMailboxes,
		Help: "The mailbox: a sign-in name or address."}
}

const recoverableHelp = "Messages that were expunged over IMAP4, deleted over POP3, replaced, moved into another mailbox, or deleted with their folder can be brought back for the time that Set-MailboxDatabase -DeletedItemRetention, or Set-Mailbox -RetainDeletedItemsFor, says (docs/recovery.md). " +
	"Mail programs do not see them, and they are not counted against the mailbox's quota."

// recoverableParameters say which recoverable messages are meant.
func recoverableParameters() []Parameter {
	return []Parameter{
		{Name: "EntryID", Type: TypeList, TypeName: "list of entry ids", Pipeline: true, Help: "Only these messages, as Get-RecoverableItem shows them."},
		{Name: "SubjectContains", Type: TypeText, Help: "Only messages with this in their subject, in capitals or small letters."},
		{Name: "LastParentFolder", Aliases: []string{"SourceFolder", "LastParentPath"}, Type: TypeText, Help: "Only messages that were in this folder, by the name that it had then."},
		{Name: "FilterStartTime", Type: TypeTime, Help: "Only messages that were deleted then or later." + timeHelp},
		{Name: "FilterEndTime", Type: TypeTime, Help: "Only messages that were deleted before then; written as FilterStartTime is."},
	}
}

const actingHelp = "The user signs in with its own name and proof, and names the other mailbox as authorization identity (authzid) of PLAIN, SCRAM, OAUTHBEARER or EXTERNAL, or as user of XOAUTH2; " +
	"the commands LOGIN and USER have no such place, and an app password opens its own mailbox alone. What is switched off for either, or what a login policy forbids to either, is forbidden. " +
	"Each such sign-in is in the audit log (ActFor). The right stays with the accounts when they get other names. It does not open the console."

func permissionUser(mandatory bool, help string) Parameter {
	return Parameter{Name: "User", Type: TypeText, Position: 2, Mandatory: mandatory, Suggest: SuggestMailboxes, Help: help}
}

const folderHelp = "The owner always has all rights. Others find the folders of alice below Other Users/alice in their mail programs. AccessRights is a role (None, Contributor, Reviewer, NonEditingAuthor, Author, PublishingAuthor, Editor, PublishingEditor, Owner), single rights (FolderVisible, ReadItems, CreateItems, EditAllItems, DeleteAllItems, CreateSubfolders, FolderOwner) or letters of RFC 4314, several with commas. What is read, and keywords, are each user's own; other flags are the message's."

func folderIdentity(help string) Parameter {
	return identity0(help, true)
}

func folderUserParameter(mandatory bool, help string) Parameter {
	return Parameter{Name: "User", Type: TypeText, Position: 2, Mandatory: mandatory, Suggest: SuggestMailboxes, Help: help}
}

func folderRightsParameter() Parameter {
	return Parameter{Name: "AccessRights", Type: TypeText, TypeName: "list of rights", Mandatory: true, Help: "A role, single rights or letters, several with commas: Reviewer reads, Editor changes and deletes too, Owner gives rights to others."}
}

func denyParameter() Parameter {
	return Parameter{Name: "Deny", Type: TypeBool, Default: "$false", Help: "$true: the rights are taken away, whoever else gives them."}
}

func accessRightsParameter(otherwise, help string) Parameter {
	return Parameter{Name: "AccessRights", Type: TypeText, Values: accessRights, Default: otherwise, Help: help}
}

func actForParameter(help string) Parameter {
	return Parameter{Name: "ActFor", Type: TypeText, Suggest: SuggestMailboxes, Default: "itself", Help: help}
}

func groupMembers() Parameter {
	return Parameter{Name: "Members", Type: TypeList, TypeName: "list of mailboxes", Suggest: SuggestMailboxes, Help: "The mailboxes; @{Add=…; Remove=…} edits the list."}
}

// loginPolicyParameters are what New- and Set-LoginPolicy have in common.
func loginPolicyParameters() []Parameter {
	logins := []string{"None"}
	for _, t := range mail.LoginTypes {
		logins = append(logins, t.String())
	}
	return []Parameter{
		{Name: "Mailboxes", Type: TypeList, TypeName: "list of mailboxes", Suggest: SuggestMailboxes, Default: "everybody", Help: "Whom it is for."},
		{Name: "Groups", Type: TypeList, TypeName: "list of groups", Default: "everybody", Help: "Whom it is for, as groups of New-LoginGroup, or as groups of an external directory, DIRECTORY\\GROUP (docs/directories.md)."},
		{Name: "From", Type: TypeList, TypeName: "list of networks", Default: "everywhere", Help: "The clients' networks, such as 192.0.2.0/24."},
		{Name: "ExceptFrom", Type: TypeList, TypeName: "list of networks", Help: "Networks that it does not hold for."},
		{Name: "Services", Aliases: []string{"Service"}, Type: TypeList, TypeName: "list of services", Values: []string{"POP3", "IMAP4"}, Default: "POP3 and IMAP4", Help: "The services."},
		{Name: "LoginType", Type: TypeText, Values: logins, Default: "None", Help: "Forbids what a service of this LoginType would."},
		{Name: "AuthMechanisms", Aliases: []string{"Mechanisms"}, Type: TypeList, TypeName: "list of mechanisms", Values: mechanismNames(), Default: "every one",
			Help: "All mechanisms that may be used. LOGIN of IMAP4 and USER of POP3 are PLAIN here."},
		{Name: "Hours", Type: TypeList, TypeName: "list of hours", Default: "always", Help: "All hours in which one may sign in, such as 'Mon-Fri 08:00-18:00' or 22:00-06:00, in the server's time zone."},
		{Name: "AppPasswordsOnly", Type: TypeBool, Default: "$false", Help: "$true: not with the mailbox's own password, sent or proved; only with app passwords, tokens, tickets and certificates."},
		{Name: "Block", Type: TypeBool, Default: "$false", Help: "$true: not at all."},
	}
}

// piped marks a parameter that an object in a pipe gives, too.
func piped(p Parameter) Parameter {
	p.Pipeline = true
	return p
}

func identity0(help string, mandatory bool) Parameter {
	return Parameter{Name: "Identity", Aliases: []string{"Name"}, Type: TypeText, Position: 1, Mandatory: mandatory, Pipeline: true, Suggest: SuggestMailboxes, Help: help}
}

func roleParameter(mandatory bool, help string) Parameter {
	p := Parameter{Name: "Role", Type: TypeText, Mandatory: mandatory, Help: help}
	for _, r := range Roles {
		p.Values = append(p.Values, string(r))
	}
	return p
}

func groupParameter() Parameter {
	return Parameter{Name: "Group", Type: TypeText, Position: 1, Default: localGroup, Values: []string{localGroup}, Help: "The group; there is one."}
}

// FollowSwitch is the parameter that asks a client to follow.
const FollowSwitch = "Follow"

// followSwitch is the parameter of a cmdlet that can be followed.
func followSwitch(what string) Parameter {
	return Parameter{Name: FollowSwitch, Aliases: []string{"Wait"}, Type: TypeSwitch, Help: "Shows " + what + ", until you end it."}
}

const addressHelp = "Only clients from this address or network, such as 192.0.2.7 or 192.0.2.0/24, or with * and ? for any characters; unix is a Unix socket."

// sessionService is the parameter that names a service to look at.
func sessionService(help string) Parameter {
	p := Parameter{Name: "Service", Type: TypeText, Help: help}
	for _, s := range settings.Services {
		p.Values = append(p.Values, string(s))
	}
	return p
}

func serverIdentity() Parameter {
	return Parameter{Name: "Identity", Type: TypeText, Position: 1, Help: "Only the server of this name; * and ? stand for any characters."}
}

// checkNames are what Test-ServerConfiguration looks at.
func checkNames() []string {
	var names []string
	for _, check := range checks {
		names = append(names, check.name)
	}
	return names
}

func serviceName(mandatory bool) Parameter {
	p := Parameter{Name: "Name", Type: TypeText, Position: 1, Mandatory: mandatory, Pipeline: true,
		Help: "The service: POP3, IMAP4, LMTP or Console; MSExchangePOP3 and MSExchangeIMAP4 are other names."}
	for _, s := range settings.Services {
		p.Values = append(p.Values, string(s))
	}
	return p
}

// connectivityParameters are what the connectivity tests have in common.
func connectivityParameters(start string) []Parameter {
	return []Parameter{
		{Name: "ClientAccessServer", Type: TypeText, Position: 1, Default: "this server", Help: "The host to connect to."},
		{Name: "MailboxCredential", Aliases: []string{"Identity"}, Type: TypeText, Suggest: SuggestMailboxes, Help: "The mailbox to sign in to; -Password goes with it."},
		{Name: "Password", Type: TypeSecret, Help: "Its password; without a value it is asked for, or read from standard input in a script."},
		{Name: "ConnectionType", Type: TypeText, Default: "Tls", Values: []string{string(Plaintext), string(TLS), string(SSL)},
			Help: "Plaintext is unencrypted, Tls begins with " + start + ", Ssl is encrypted from the first byte."},
		{Name: "PortClientAccessServer", Type: TypeNumber, Help: "The port, when it is not the service's own or usual one."},
		{Name: "TrustAnySSLCertificate", Type: TypeSwitch, Help: "Does not check the certificate."},
		{Name: "LightMode", Type: TypeSwitch, Help: "Connects, begins TLS and reads the capabilities; does not sign in."},
		{Name: "Timeout", Type: TypeNumber, Default: "30", Help: "Seconds for all steps together, at most 90."},
	}
}

// mailboxParameters are what New-Mailbox and Set-Mailbox have in common.
func mailboxParameters() []Parameter {
	return []Parameter{
		{Name: "DisplayName", Type: TypeText, Help: "The person's name."},
		{Name: "EmailAddresses", Aliases: []string{"Aliases"}, Type: TypeList, TypeName: "address list", Help: "Further addresses that reach the mailbox; @{Add=…; Remove=…} edits the list."},
		{Name: "ProhibitSendReceiveQuota", Aliases: []string{"Quota"}, Type: TypeSize, Values: []string{"unlimited"}, Default: "unlimited", Help: "How many bytes of mail it may hold, such as 2GB, or unlimited."},
		{Name: "MaxMessages", Type: TypeNumber, Values: []string{"unlimited"}, Default: "unlimited", Help: "How many messages it may hold, or unlimited."},
		{Name: "Enabled", Type: TypeBool, Default: "$true", Help: "$false: no sign-in and no delivery; the mail stays."},
		{Name: "ResetPasswordOnNextLogon", Type: TypeBool, Default: "$false", Help: "$true: the password is accepted nowhere but at /account of the console, where its owner changes it; mail programs are told so. App passwords, tokens and certificates are accepted as before."},
	}
}

// settingParameters makes parameters of a service's settings.
func settingParameters(s settings.Service, noun string) []Parameter {
	var list []Parameter
	for _, r := range settings.Of(s, noun) {
		p := Parameter{Name: r.Name, Type: TypeValue, TypeName: r.Type, Values: r.Completions(s), Help: r.Help, Default: defaultText(r, s), schema: r.Schema(s)}
		if limits := r.Limits(s); limits != "" {
			p.Help += " Accepted: " + limits + "."
		}
		switch r.Default(s, "").(type) {
		case []string:
			p.Type = TypeValues
		case bool:
			p.Type = TypeBool
		}
		list = append(list, p)
	}
	return list
}

// backupPath is the folder of a backup.
func backupPath() Parameter {
	return Parameter{Name: "Path", Type: TypeText, TypeName: "folder", Position: 1, Mandatory: true, Help: "The folder, of the server's host: an absolute path, not within the data folder. It is the backup's alone."}
}
