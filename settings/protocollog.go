package settings

import (
	"path/filepath"
	"strings"
	"time"

	"github.com/postern-mail/postern/mail"
)

// logged are the services that have a protocol log.
var logged = []Service{POP3, IMAP4, LMTP}

// ProtocolLogEnabled switches the protocol log.
var ProtocolLogEnabled = yesNo(Row{
	Name: "ProtocolLogEnabled", Noun: "Settings", Page: ProtocolLog, Services: logged,
	Help: "Whether the commands of each session and their outcome are written to the protocol log, without passwords and without mail. Open sessions follow with their next command.",
}, false)

// LogFileLocation is the folder of the files; "" is one in the data folder.
var LogFileLocation = text(Row{
	Name: "LogFileLocation", Noun: "Settings", Page: ProtocolLog, Type: "folder", Services: logged,
	Help: "The folder of the log files, one that the server may write to. Empty is the service's folder below log in the data folder.",
}, "an absolute path, or empty", func(Service, string) string { return "" }, absolutePath)

// absolutePath checks a path on the server; empty is none.
func absolutePath(_ Service, path string) (string, error) {
	if path == "" {
		return "", nil
	}
	if !filepath.IsAbs(path) || len(path) > 1024 || strings.ContainsFunc(path, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return "", mail.Errorf(mail.KindBadArgument, "is an absolute path such as /var/log/postern")
	}
	return filepath.Clean(path), nil
}

// RollOver says how much time one log file covers.
type RollOver int

// The periods, with Exchange's numbers.
const (
	Hourly RollOver = iota + 1
	Daily
	Weekly
	Monthly
)

// String gives the period's name.
func (r RollOver) String() string { return LogFileRollOverSettings.name(int(r)) }

// LogFileRollOverSettings says when a new log file begins.
var LogFileRollOverSettings = choice(Row{
	Name: "LogFileRollOverSettings", Noun: "Settings", Page: ProtocolLog, Type: "RollOver", Services: logged,
	Help: "When a new log file begins, by Universal Time.",
	Choices: []Choice{
		{Name: "Hourly", Number: 1, Help: "A file for each hour."},
		{Name: "Daily", Number: 2, Help: "A file for each day."},
		{Name: "Weekly", Number: 3, Help: "A file for each week, which begins on Monday."},
		{Name: "Monthly", Number: 4, Help: "A file for each month."},
	},
}, Daily)

// LogPerFileSizeQuota bounds a log file, in bytes.
var LogPerFileSizeQuota = size(Row{
	Name: "LogPerFileSizeQuota", Noun: "Settings", Page: ProtocolLog, Services: logged,
	Help: "How large a log file becomes before the next begins, in bytes.",
}, bounds[int64]{10 << 20, 64 << 10, 1 << 30})

// LogFormat is the form of log files.
type LogFormat int

// The forms.
const (
	Csv LogFormat = iota
	Json
)

// String gives the form's name.
func (f LogFormat) String() string { return ProtocolLogFormat.name(int(f)) }

// ProtocolLogFormat says in which form the protocol log is written.
var ProtocolLogFormat = choice(Row{
	Name: "ProtocolLogFormat", Noun: "Settings", Page: ProtocolLog, Type: "LogFormat", Services: logged,
	Help: "The form of the log files. Files in the other form are still read.",
	Choices: []Choice{
		{Name: "Csv", Number: 0, Help: "Comma-separated columns under header lines, in files named .LOG."},
		{Name: "Json", Number: 1, Help: "One JSON object a line, in files named .JSONL."},
	},
}, Csv)

// ProtocolLogMaxAge is how long log files are kept.
var ProtocolLogMaxAge = span(Row{
	Name: "ProtocolLogMaxAge", Noun: "Settings", Page: ProtocolLog, Services: logged,
	Help: "How long a log file is kept after its last record.",
}, bounds[time.Duration]{30 * 24 * time.Hour, time.Hour, 3650 * 24 * time.Hour})

// ProtocolLogMaxDirectorySize bounds all log files of a service, in bytes.
var ProtocolLogMaxDirectorySize = size(Row{
	Name: "ProtocolLogMaxDirectorySize", Noun: "Settings", Page: ProtocolLog, Services: logged,
	Help: "How large the log files of the service are together, in bytes; beyond it the oldest are removed.",
}, bounds[int64]{1 << 30, 1 << 20, 1 << 40})

// quotaFits: a folder that cannot hold one file would lose all but the newest.
func quotaFits(v *Values) error {
	if LogPerFileSizeQuota.Of(v) > ProtocolLogMaxDirectorySize.Of(v) {
		return ProtocolLogMaxDirectorySize.refuse("is smaller than LogPerFileSizeQuota")
	}
	return nil
}
