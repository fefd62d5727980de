package protolog

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/postern-mail/postern/mail"
)

// appendCSV appends r as a line of CSV (RFC 4180, with LF).
func appendCSV(b []byte, r *Record) []byte {
	b = r.Time.UTC().AppendFormat(b, timeForm)
	b = appendCell(append(b, ','), r.Session)
	b = strconv.AppendUint(append(b, ','), uint64(r.Seq), 10)
	b = appendCell(append(b, ','), r.Server)
	b = appendCell(append(b, ','), r.Client)
	b = appendCell(append(b, ','), r.User)
	b = strconv.AppendInt(append(b, ','), r.Duration.Milliseconds(), 10)
	b = strconv.AppendInt(append(b, ','), r.Request, 10)
	b = strconv.AppendInt(append(b, ','), r.Response, 10)
	b = appendCell(append(b, ','), r.Command)
	b = appendCell(append(b, ','), r.Parameters)
	b = appendCell(append(b, ','), r.Context)
	return append(b, '\n')
}

// formula begins what a spreadsheet would calculate; the apostrophe makes it a text.
const formula = "=+-@'"

// appendCell appends a printable text as one cell.
func appendCell(b []byte, text string) []byte {
	guard := text != "" && strings.IndexByte(formula, text[0]) >= 0
	if !guard && !strings.ContainsAny(text, `,"`) {
		return append(b, text...)
	}
	b = append(b, '"')
	if guard {
		b = append(b, '\'')
	}
	for i := 0; i < len(text); i++ {
		if text[i] == '"' {
			b = append(b, '"')
		}
		b = append(b, text[i])
	}
	return append(b, '"')
}

var errForeign = mail.Errorf(mail.KindCorrupt, "A line of the protocol log is not a record.")

// parseCSV reads a line without its LF.
func parseCSV(line string) (r Record, err error) {
	var cells [12]string
	rest := line
	for i := range cells {
		if i > 0 {
			if rest == "" || rest[0] != ',' {
				return r, errForeign
			}
			rest = rest[1:]
		}
		if rest != "" && rest[0] == '"' {
			var b strings.Builder
			rest = rest[1:]
			for {
				j := strings.IndexByte(rest, '"')
				if j < 0 {
					return r, errForeign
				}
				b.WriteString(rest[:j])
				if rest = rest[j+1:]; rest == "" || rest[0] != '"' {
					break
				}
				b.WriteByte('"')
				rest = rest[1:]
			}
			cells[i] = strings.TrimPrefix(b.String(), "'")
			continue
		}
		j := strings.IndexByte(rest, ',')
		if j < 0 {
			j = len(rest)
		}
		cells[i], rest = rest[:j], rest[j:]
	}
	if rest != "" {
		return r, errForeign
	}
	return recordOf(cells)
}

// recordOf reads the cells of a line.
func recordOf(cells [12]string) (r Record, err error) {
	if r.Time, err = time.Parse(timeForm, cells[0]); err != nil || r.Time.IsZero() {
		return r, errForeign
	}
	seq, err := strconv.ParseUint(cells[2], 10, 32)
	if err != nil {
		return r, errForeign
	}
	var numbers [3]int64
	for i := range numbers {
		if numbers[i], err = strconv.ParseInt(cells[6+i], 10, 64); err != nil || numbers[i] < 0 {
			return r, errForeign
		}
	}
	r.Seq, r.Duration, r.Request, r.Response = uint32(seq), milliseconds(numbers[0]), numbers[1], numbers[2]
	r.Session, r.Server, r.Client, r.User = cells[1], cells[3], cells[4], cells[5]
	r.Command, r.Parameters, r.Context = cells[9], cells[10], cells[11]
	r.clean()
	return r, nil
}

// milliseconds is a duration that a file says; none is longer than a century.
func milliseconds(n int64) time.Duration {
	return time.Duration(min(n, 100*365*24*3600*1000)) * time.Millisecond
}

// clean makes texts printable that somebody may have changed in the file.
func (r *Record) clean() {
	for _, text := range []*string{&r.Service, &r.Session, &r.Server, &r.Client, &r.User, &r.Command, &r.Parameters, &r.Context} {
		*text = Printable(*text, 8*MaxParameters)
	}
}

// jsonRecord is a record as a JSON line, by the names of Fields.
type jsonRecord struct {
	Service    string    `json:"service"`
	Time       time.Time `json:"dateTime"`
	Session    string    `json:"sessionId"`
	Seq        uint32    `json:"seqNumber"`
	Server     string    `json:"sIp"`
	Client     string    `json:"cIp"`
	User       string    `json:"user"`
	Duration   int64     `json:"duration"`
	Request    int64     `json:"rqsize"`
	Response   int64     `json:"rpsize"`
	Command    string    `json:"command"`
	Parameters string    `json:"parameters"`
	Context    string    `json:"context"`
}

// appendJSON appends r as a JSON line.
func appendJSON(b []byte, r *Record) []byte {
	text, err := json.Marshal(jsonRecord{r.Service, r.Time.UTC(), r.Session, r.Seq, r.Server, r.Client, r.User,
		r.Duration.Milliseconds(), r.Request, r.Response, r.Command, r.Parameters, r.Context})
	if err != nil {
		return b // a year beyond 9999
	}
	return append(append(b, text...), '\n')
}

// parseJSON reads a line without its LF.
func parseJSON(line string) (Record, error) {
	var j jsonRecord
	if json.Unmarshal([]byte(line), &j) != nil || j.Time.IsZero() || j.Duration < 0 || j.Request < 0 || j.Response < 0 {
		return Record{}, errForeign
	}
	r := Record{j.Service, j.Time.UTC(), j.Session, j.Seq, j.Server, j.Client, j.User,
		milliseconds(j.Duration), j.Request, j.Response, j.Command, j.Parameters, j.Context}
	r.clean()
	return r, nil
}
