package backup

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/postern-mail/postern/mail"
)

const (
	// format is that of the lines of a point.
	format = 1
	// maxLine bounds a line, in bytes.
	maxLine = 1 << 20
)

// Point is what there was at one moment.
type Point struct {
	Time    time.Time // UTC, in microseconds: nothing that was changed later is in it
	Store   string    // whose it is: the same for all points of a folder
	Server  string    // the server's name
	Program string    // the version of who made it
	Files   int
	Bytes   int64 // of all files

	number int64  // one more than that of the point before, whatever the clock did; 0: made before there were any
	name   string // of its file
}

// head is the first line of a point.
type head struct {
	Format  int       `json:"format"`
	Time    time.Time `json:"time"`
	Store   string    `json:"store"`
	Server  string    `json:"server"`
	Program string    `json:"program"`
	Number  int64     `json:"number,omitempty"`
}

// entry is the line of a file.
type entry struct {
	Name string `json:"name"`
	// Version is as of File; "" when the file was not to be trusted to stay as it was.
	Version string `json:"version,omitempty"`
	Parts   []part `json:"parts"`
}

func (e *entry) size() (n int64) {
	for _, p := range e.Parts {
		n += p.Size
	}
	return n
}

// part is a part of a file, an object.
type part struct {
	SHA256 string `json:"sha256"`
	Size   int64  `json:"size"`

	digest digest
}

// last is the last line.
type last struct {
	Files  int    `json:"files"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"` // of the lines before
}

// readPoint reads a point and gives each file, when each is not nil. KindCorrupt when it
// is not as it was written; then each was called with some that are.
func (f *Folder) readPoint(name string, each func(entry) error) (Point, error) {
	path := filepath.Join(f.dir, pointsFolder, name)
	bad := mail.Errorf(mail.KindCorrupt, "The file %s is damaged.", path)
	file, err := openRead(path)
	if errors.Is(err, errNoFile) {
		return Point{}, bad
	}
	if err != nil {
		return Point{}, explain(err, "The file %s cannot be read", path)
	}
	defer file.Close()
	in := bufio.NewReaderSize(file, 64<<10)
	sum := sha256.New()
	p := Point{name: name}
	for first := true; ; first = false {
		line, err := readLine(in)
		switch {
		case errors.Is(err, errLine):
			return Point{}, bad
		case err != nil:
			return Point{}, explain(err, "The file %s cannot be read", path)
		}
		if first {
			var h head
			if json.Unmarshal(line, &h) != nil || h.Format < 1 || h.Store == "" {
				return Point{}, bad
			}
			if h.Format > format {
				return Point{}, mail.Errorf(mail.KindUnavailable, "The file %s was written by a newer Postern (format %d; this one knows %d).", path, h.Format, format)
			}
			p.Time, p.Store, p.Server, p.Program, p.number = h.Time, h.Store, h.Server, h.Program, h.Number
		} else if bytes.HasPrefix(line, []byte(`{"files":`)) {
			var l last
			_, more := in.ReadByte()
			if json.Unmarshal(line, &l) != nil || more != io.EOF || l.SHA256 != digest(sum.Sum(nil)).String() || l.Files != p.Files || l.Bytes != p.Bytes {
				return Point{}, bad
			}
			return p, nil
		} else {
			e, ok := parseEntry(line)
			if !ok {
				return Point{}, bad
			}
			p.Files++
			p.Bytes += e.size()
			if each != nil {
				if err := each(e); err != nil {
					return Point{}, err
				}
			}
		}
		sum.Write(line)
	}
}

// errLine says that there is no line that could be one of a point.
var errLine = errors.New("no line")

// readLine gives the next line with its end, valid until the next call.
func readLine(in *bufio.Reader) ([]byte, error) {
	line, err := in.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		whole := bytes.Clone(line)
		for errors.Is(err, bufio.ErrBufferFull) && len(whole) <= maxLine {
			line, err = in.ReadSlice('\n')
			whole = append(whole, line...)
		}
		line = whole
	}
	if err == io.EOF || len(line) > maxLine {
		return nil, errLine
	}
	return line, err
}

func parseEntry(line []byte) (e entry, ok bool) {
	if json.Unmarshal(line, &e) != nil || !fs.ValidPath(e.Name) || e.Name == "." {
		return e, false
	}
	for i := range e.Parts {
		p := &e.Parts[i]
		if p.digest, ok = parseDigest(p.SHA256); !ok || p.Size <= 0 || p.Size > partSize {
			return e, false
		}
	}
	return e, true
}

// writePoint writes a point with its files, and gives its name and size.
func (f *Folder) writePoint(p Point, entries []entry) (Point, error) {
	folder := filepath.Join(f.dir, pointsFolder)
	p.Time = p.Time.UTC().Truncate(time.Microsecond)
	for {
		p.name = p.Time.Format(pointTime) + pointSuffix
		if _, err := os.Lstat(filepath.Join(folder, p.name)); errors.Is(err, fs.ErrNotExist) {
			break
		} else if err != nil {
			return p, err
		}
		p.Time = p.Time.Add(time.Microsecond)
	}
	file, err := os.CreateTemp(folder, newPrefix+"*") // mode 0600
	if err != nil {
		return p, err
	}
	defer os.Remove(file.Name())
	defer file.Close()
	sum := sha256.New()
	buffered := bufio.NewWriterSize(file, 64<<10)
	out := json.NewEncoder(io.MultiWriter(buffered, sum))
	out.SetEscapeHTML(false)
	err = out.Encode(head{format, p.Time, p.Store, p.Server, p.Program, p.number})
	for i := range entries {
		if err == nil {
			err = out.Encode(&entries[i])
		}
		p.Files++
		p.Bytes += entries[i].size()
	}
	if err == nil {
		err = json.NewEncoder(buffered).Encode(last{p.Files, p.Bytes, digest(sum.Sum(nil)).String()})
	}
	if err == nil {
		err = buffered.Flush()
	}
	if err == nil {
		err = file.Sync()
	}
	if err == nil {
		err = os.Rename(file.Name(), filepath.Join(folder, p.name))
	}
	if err == nil {
		err = syncFolder(folder)
	}
	return p, err
}
