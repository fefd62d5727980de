package statistics

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	"github.com/postern-mail/postern/mail"
	"github.com/postern-mail/postern/sasl"
	"github.com/postern-mail/postern/settings"
)

// maxFile bounds what is read, in bytes once it is unpacked. A History at its
// bounds is smaller.
const maxFile = 64 << 20

// fileVersion is the form of document.
const fileVersion = 1

// document is the file: this as JSON, packed by gzip.
type document struct {
	Version int         `json:"version"`
	SignIns []signInRow `json:"signIns"`
	Lines   []lineRow   `json:"lines"`
}

// signInRow is a row of sign-ins.
type signInRow struct {
	User      string           `json:"user,omitempty"`
	Service   settings.Service `json:"service"`
	Mechanism string           `json:"mechanism"`
	Class     sasl.Class       `json:"class"`
	TLS       bool             `json:"tls,omitempty"`
	App       bool             `json:"appPassword,omitempty"`
	Network   string           `json:"network,omitempty"`
	Client    string           `json:"client,omitempty"`
	Outcome   string           `json:"outcome"`
	Others    bool             `json:"others,omitempty"`
	Last      int64            `json:"last"`  // Unix seconds
	Slots     [][2]int64       `json:"slots"` // number since the Unix epoch, count
}

// lineRow is a line of the series. The values end with the head's; -1 is a gap.
type lineRow struct {
	Metric     Metric           `json:"metric"`
	Service    settings.Service `json:"service"`
	MinuteHead int64            `json:"minuteHead"`
	Minutes    []int64          `json:"minutes"`
	HourHead   int64            `json:"hourHead"`
	Hours      []int64          `json:"hours"`
}

// save writes the file whole, if something is new. Run and Close call it, one at a
// time.
func (h *History) save() error {
	h.mu.Lock()
	if h.path == "" || !h.changed {
		h.mu.Unlock()
		return nil
	}
	h.changed = false
	d := h.document()
	h.mu.Unlock()
	err := write(h.path, d)
	if err != nil {
		h.mu.Lock()
		h.changed = true
		h.mu.Unlock()
		return mail.Wrap(mail.KindUnavailable, err)
	}
	return nil
}

// document copies everything. The caller holds mu.
func (h *History) document() document {
	d := document{Version: fileVersion}
	for k, r := range h.signIns.rows {
		row := signInRow{
			User: k.user, Service: k.service, Mechanism: k.mechanism, Class: k.class, TLS: k.tls, App: k.app,
			Client: k.client, Outcome: k.outcome, Others: k.others, Last: r.last,
		}
		if k.network.IsValid() {
			row.Network = k.network.String()
		}
		for s := max(0, h.signIns.slot-slots+1); s <= h.signIns.slot; s++ {
			if n := r.counts[s%slots]; n > 0 {
				row.Slots = append(row.Slots, [2]int64{s, int64(n)})
			}
		}
		d.SignIns = append(d.SignIns, row)
	}
	for k, l := range h.series.lines {
		d.Lines = append(d.Lines, lineRow{k.metric, k.service, l.minutes.head, l.minutes.known(), l.hours.head, l.hours.known()})
	}
	return d
}

// known gives the values up to the head without the gap before the first.
func (r *ring) known() []int64 {
	var out []int64
	for n := r.head - int64(len(r.values)) + 1; n <= r.head; n++ {
		if v := r.get(n); v >= 0 || len(out) > 0 {
			out = append(out, v)
		}
	}
	return out
}

func write(path string, d document) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".statistics-*") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	z := gzip.NewWriter(tmp)
	err = errors.Join(json.NewEncoder(z).Encode(d), z.Close(), tmp.Sync(), tmp.Close())
	if err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}

// load reads the file; one that is not there is none.
func (h *History) load() error {
	if h.path == "" {
		return nil
	}
	packed, err := os.ReadFile(h.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	d, err := read(packed)
	if err != nil {
		return err
	}
	h.take(d)
	return nil
}

func read(packed []byte) (document, error) {
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return document{}, err
	}
	text, err := io.ReadAll(io.LimitReader(z, maxFile+1))
	if err != nil {
		return document{}, err
	}
	if len(text) > maxFile {
		return document{}, mail.Errorf(mail.KindCorrupt, "The file is too large.")
	}
	var d document
	if err := json.Unmarshal(text, &d); err != nil {
		return document{}, err
	}
	if d.Version != fileVersion {
		return document{}, mail.Errorf(mail.KindCorrupt, "The file has version %d; %d is known.", d.Version, fileVersion)
	}
	return d, nil
}

// take puts in what a document holds and leaves out what is too old, in the future
// or makes no sense.
func (h *History) take(d document) {
	t := &h.signIns
	for _, r := range d.SignIns {
		k := key{
			service: r.Service, mechanism: printable(r.Mechanism, maxClient), class: r.Class, tls: r.TLS, app: r.App, user: printable(r.User, maxName),
			client: printable(r.Client, maxClient), outcome: printable(r.Outcome, maxClient), others: r.Others,
		}
		if r.Network != "" {
			network, err := netip.ParsePrefix(r.Network)
			if err != nil {
				continue
			}
			k.network = network.Masked()
		}
		if !slices.Contains(settings.Services, k.service) {
			continue
		}
		for _, s := range r.Slots {
			if s[0] > t.slot-slots && s[0] <= t.slot && s[0] >= 0 && s[1] > 0 {
				t.add(k, s[0], uint32(min(s[1], int64(^uint32(0)))), r.Last)
			}
		}
	}
	for _, r := range d.Lines {
		if l := h.series.lines[lineKey{r.Metric, r.Service}]; l != nil {
			l.minutes.restore(r.MinuteHead, r.Minutes, h.series.minute)
			l.hours.restore(r.HourHead, r.Hours, h.series.minute/60)
		}
	}
}

// restore puts in values that end at head; steps after now are left out.
func (r *ring) restore(head int64, values []int64, now int64) {
	if head < 0 {
		return
	}
	for i, v := range slices.Backward(values) {
		n := head - int64(len(values)-1-i)
		if n < 0 || n <= now-int64(len(r.values)) {
			return
		}
		if n > now || v < 0 {
			continue
		}
		r.advance(n)
		if n > r.head-int64(len(r.values)) {
			*r.at(n) = v
		}
	}
}
