package manage

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/postern-mail/postern/protolog"
	"github.com/postern-mail/postern/settings"
)

// maxRecords bounds the records of the protocol log that are shown at once.
const maxRecords = 10000

// loggedServices are the services that have a protocol log.
func loggedServices() []settings.Service {
	return slices.DeleteFunc(slices.Clone(settings.Services), func(s settings.Service) bool { return !settings.ProtocolLogEnabled.Has(s) })
}

// protocolLogs reads which logs and which of their records are meant, and warns of a
// log that is off.
func (c *Call) protocolLogs() (logs []*protolog.Log, f protolog.Filter, err error) {
	s, err := c.sessionFilter(loggedServices())
	if err != nil {
		return nil, f, err
	}
	f.Since, f.Until = c.Time("StartDate"), c.Time("EndDate")
	if !f.Since.IsZero() && !f.Until.IsZero() && f.Until.Before(f.Since) {
		return nil, f, wrong("EndDate", "EndDate is after StartDate")
	}
	session := c.Text("SessionId")
	f.Match = func(r *protolog.Record) bool {
		return (session == "" || strings.EqualFold(session, r.Session)) && matches(s.user, r.User) && s.address.matches(r.Client)
	}
	off := []string{}
	for _, name := range s.services {
		if l := c.ProtocolLog(name); l != nil {
			logs = append(logs, l)
			if !l.Config().Enabled {
				off = append(off, string(name))
			}
		}
	}
	switch {
	case len(off) == 0 || len(off) < len(logs):
	case len(off) == 1:
		c.Warn(fmt.Sprintf("The protocol log of %s is off; Set-%sSettings -ProtocolLogEnabled $true begins it.", off[0], s.services[0].Prefix()))
	default:
		c.Warn(fmt.Sprintf("The protocol logs of %s are off; Set-ImapSettings -ProtocolLogEnabled $true begins that of IMAP4.", strings.Join(off, ", ")))
	}
	return logs, f, nil
}

// getProtocolLog shows the newest records, the oldest of them first.
func getProtocolLog(ctx context.Context, c *Call) (func(context.Context) error, error) {
	logs, f, err := c.protocolLogs()
	if err != nil {
		return nil, err
	}
	most := 1000
	if c.Given("ResultSize") {
		most = int(min(c.Number("ResultSize"), maxRecords))
		if most == 0 {
			most = maxRecords
		}
	}
	var all []protolog.Record
	for _, l := range logs {
		found, err := l.Read(ctx, f, most)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
		if lost := l.Lost(); lost > 0 {
			c.Warn(fmt.Sprintf("%s: %d records are missing since the server's start, because they could not be written in time.", l.Service(), lost))
		}
	}
	slices.SortStableFunc(all, func(a, b protolog.Record) int { return a.Time.Compare(b.Time) })
	for i := range all[max(len(all)-most, 0):] {
		c.Add(recordObject(&all[max(len(all)-most, 0)+i]))
	}
	return nil, nil
}

// followProtocolLog gives records as they are written.
func followProtocolLog(c *Call) (follow, error) {
	logs, f, err := c.protocolLogs()
	return func(ctx context.Context, ready func() error, each func(Object) error) error {
		return protolog.Follow(ctx, logs, f, ready, func(r protolog.Record, missed int64) error {
			o := recordObject(&r)
			if missed > 0 {
				o = append(o, Property{"Missed", missed}) // before this one
			}
			return each(o)
		})
	}, err
}

// recordObject gives a record as it is shown.
func recordObject(r *protolog.Record) Object {
	return Object{
		{"Time", r.Time.Format("2006-01-02T15:04:05.000Z07:00")},
		{"Service", r.Service},
		{"SessionId", r.Session},
		{"Sequence", int64(r.Seq)},
		{"ServerAddress", r.Server},
		{"Address", r.Client},
		{"User", r.User},
		{"Milliseconds", r.Duration.Milliseconds()},
		{"BytesReceived", r.Request},
		{"BytesSent", r.Response},
		{"Command", r.Command},
		{"Parameters", r.Parameters},
		{"Context", r.Context},
	}
}
