package manage

import (
	"strings"

	"github.com/postern-mail/postern/mail"
)

// topic is one row of the table of topics that Get-Help explains beside cmdlets.
type topic struct {
	name     string // begins with about_
	synopsis string
	text     []string // paragraphs; one that begins with a space is a line to type
}

// topics gives the table.
func topics() []topic {
	return []topic{
		{"about_LoginType", "What the three authentication options allow.", []string{
			"LoginType is the authentication option of a service. It decides what is offered and accepted before TLS; under TLS, after STLS or STARTTLS or on an SSL binding, every mechanism of the server may be used, whatever it says.",
			"PlainTextLogin (1): no TLS is needed, and passwords may cross the network in the clear.",
			"PlainTextAuthentication (2): no TLS is needed for challenge and response, such as SCRAM; a password that the server can read needs TLS.",
			"SecureLogin (3), the default: no authentication before TLS.",
			"A change acts on new log-ins at once. Test-Login tells which rule decides for a user:",
			" Set-ImapSettings -LoginType SecureLogin -WhatIf",
			" Test-Login alice -Protocol IMAP4 -ConnectionType Plaintext",
		}},
		{"about_Pipelines", "How the objects of one cmdlet reach the next.", []string{
			"Behind | stand filters and cmdlets. Filters choose, order, count and format objects: Where-Object, Select-Object, ForEach-Object, Sort-Object, Group-Object, Measure-Object, Format-List, Format-Table, ConvertTo-Json, ConvertTo-Csv.",
			" Get-Mailbox | Where-Object { $_.TotalItemSize -gt 1GB } | Sort-Object Name",
			"A cmdlet behind | runs once for each object. Parameters that Get-Help marks with \"from a pipe\" take the object's property of their name or of an alias, or the text itself.",
			" Get-CASMailbox | Where-Object { $_.ImapEnabled } | Set-CASMailbox -PopEnabled:$false",
			" Get-Mailbox test* | Remove-Mailbox -WhatIf",
			"What fails for one object does not keep the cmdlet from the others; the exit code is then 1. A cmdlet that asks offers Yes to all and No to all.",
			"From another shell a whole line goes into single quotes, so that it takes neither | nor $ for its own.",
			" postern 'Get-Mailbox | Where-Object Enabled -eq $false'",
		}},
		{"about_ExitCodes", "What postern ends with.", []string{
			"0: all went well, or -WhatIf showed what would be changed.",
			"1: a cmdlet failed, if only for one object of a pipeline; an answer was no; a test found something wrong.",
			"2: the line could not be understood, and nothing was done; or Import-Configuration -WhatIf -ExitCode has found a difference.",
			"A script on standard input ends with the first line that does not give 0.",
		}},
		{"about_Secrets", "How passwords are handed over.", []string{
			"On a terminal a password that is left out is asked for, and never kept in the history.",
			"In a script -Password without a value reads one line of standard input, which no list of processes shows.",
			" postern Set-Mailbox alice -Password < file",
		}},
	}
}

// Topics gives the names of the topics that Get-Help explains, beside cmdlets.
func Topics() []string {
	var names []string
	for _, t := range topics() {
		names = append(names, t.name)
	}
	return names
}

// topic shows one topic, or lists those that a pattern means.
func (c *Call) topic(name string) error {
	var found []topic
	for _, t := range topics() {
		if Like(name, t.name) {
			found = append(found, t)
		}
	}
	if len(found) == 0 {
		return about("Name", hinted(mail.Errorf(mail.KindNotFound, "there is no topic %q", name), "There are "+strings.Join(Topics(), ", ")+"."))
	}
	if len(found) > 1 {
		c.result.View, c.result.Columns = ViewTable, []string{"Name", "Synopsis"}
		for _, t := range found {
			c.Add(Object{{"Name", t.name}, {"Synopsis", t.synopsis}})
		}
		return nil
	}
	c.Add(Object{{"Name", found[0].name}, {"Synopsis", found[0].synopsis}, {"Text", found[0].text}})
	return nil
}
