package backup

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"maps"
	"slices"
	"time"

	"github.com/postern-mail/postern/mail"
)

// Damage is a file of the folder that is not as it was written.
type Damage struct {
	Path   string    // of the file in the folder
	Time   time.Time // of the first point that needs it; zero when that is not known
	File   string    // for which file of the data folder it stands; "" for a point
	Points int       // how many need it
	Detail string    // a sentence
}

// Verified is how much was looked at.
type Verified struct {
	Points, Objects int
	Bytes           int64
}

// need is what an object is needed for.
type need struct {
	size   int64
	first  time.Time
	last   string // name of the last point that was counted
	file   string
	points int
}

// Verify reads all points, or the one that is not after at when at is not zero, and every
// object that they need, and gives each damage as it is found.
func (f *Folder) Verify(ctx context.Context, at time.Time, each func(Damage) error, progress func(done, all int64)) (Verified, error) {
	var out Verified
	points, damages, err := f.Points()
	if err != nil {
		return out, err
	}
	if !at.IsZero() {
		p, err := f.At(at)
		if err != nil {
			return out, err
		}
		points = []Point{p}
	}
	for _, d := range damages {
		if err := each(d); err != nil {
			return out, err
		}
	}
	needs := map[digest]*need{}
	for _, p := range points {
		if _, err := f.readPoint(p.name, func(e entry) error {
			for _, part := range e.Parts {
				n := needs[part.digest]
				if n == nil {
					n = &need{size: part.Size, first: p.Time, file: e.Name}
					needs[part.digest] = n
				}
				if n.last != p.name {
					n.last = p.name
					n.points++
				}
			}
			return nil
		}); err != nil {
			return out, err
		}
	}
	out.Points = len(points)
	var done, all int64
	for _, n := range needs {
		all += n.size
	}
	m := &making{buffer: make([]byte, atOnce)}
	for _, d := range slices.SortedFunc(maps.Keys(needs), func(x, y digest) int { return slices.Compare(x[:], y[:]) }) {
		n := needs[d]
		detail, err := f.look(ctx, m, d, n.size)
		if err != nil {
			return out, err
		}
		if detail != "" {
			if err := each(Damage{Path: f.object(d), Time: n.first, File: n.file, Points: n.points, Detail: detail}); err != nil {
				return out, err
			}
		}
		out.Objects++
		out.Bytes += n.size
		if done += n.size; progress != nil {
			progress(done, all)
		}
	}
	return out, nil
}

// look reads an object and says what is wrong with it, "" when nothing is.
func (f *Folder) look(ctx context.Context, m *making, d digest, size int64) (string, error) {
	path := f.object(d)
	file, err := openRead(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "It is missing.", nil
	}
	if errors.Is(err, errNoFile) {
		return "It is no regular file.", nil
	}
	if err != nil {
		return "", explain(err, "The file %s cannot be read", path)
	}
	defer file.Close()
	sum := sha256.New()
	n, err := m.copy(ctx, sum, io.LimitReader(file, size+1))
	switch {
	case ctx.Err() != nil:
		return "", mail.Wrap(mail.KindUnavailable, ctx.Err())
	case err != nil:
		return "It cannot be read: " + err.Error() + ".", nil
	case n != size || digest(sum.Sum(nil)) != d:
		return "Its content is not what was written.", nil
	}
	return "", nil
}
