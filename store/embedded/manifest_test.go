package embedded

import (
	"bytes"
	"testing"

	pebblerecord "github.com/cockroachdb/pebble/v2/record"
)

// TestManifestCut: whatever part of the last record of a manifest a power cut leaves is no
// damage; the same in a record that another one follows is.
func TestManifestCut(t *testing.T) {
	const page = 4096
	for _, before := range []int{1000, 20_000, manifestBlock - 9000, manifestBlock - 5000} {
		var file bytes.Buffer
		w := pebblerecord.NewWriter(&file)
		add := func(n int) int {
			t.Helper()
			_, err := w.WriteRecord(bytes.Repeat([]byte{7}, n))
			if err == nil {
				err = w.Flush()
			}
			if err != nil {
				t.Fatal(err)
			}
			return file.Len()
		}
		synced := add(before)
		end := add(14_000)
		all := bytes.Clone(file.Bytes())
		for lost := range 1 << (end/page - synced/page + 1) {
			b := bytes.Clone(all[:end])
			for i := range b[synced:] {
				if at := synced + i; lost>>(at/page-synced/page)&1 != 0 {
					b[at] = 0
				}
			}
			if manifestDamaged(b) {
				t.Errorf("%d bytes were synced, pages %b lost: it is taken for damaged", synced, lost)
			}
		}
		add(100)
		b := bytes.Clone(file.Bytes())
		b[synced+20] ^= 1
		if !manifestDamaged(b) {
			t.Errorf("%d bytes before: the damage is not found", before)
		}
	}
}
