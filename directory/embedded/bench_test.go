package embedded

import (
	"testing"

	"github.com/postern-mail/postern/directory"
	"github.com/postern-mail/postern/store/memory"
)

// What a login costs at the real price: right, wrong and unknown are to be equal.
func BenchmarkCheckPassword(b *testing.B) {
	d, err := Open(b.Context(), memory.New(), Options{})
	if err != nil {
		b.Fatal(err)
	}
	if err := d.Create(b.Context(), directory.Entry{Name: "anna", Account: 1}, "right"); err != nil {
		b.Fatal(err)
	}
	for _, c := range []struct{ what, name, password string }{
		{"right", "anna", "right"}, {"wrong", "anna", "wrong"}, {"unknown", "nobody", "wrong"},
	} {
		b.Run(c.what, func(b *testing.B) {
			for b.Loop() {
				d.CheckPassword(b.Context(), c.name, c.password)
			}
		})
	}
	b.Run("set", func(b *testing.B) {
		for b.Loop() {
			if err := d.SetPassword(b.Context(), "anna", "right"); err != nil {
				b.Fatal(err)
			}
		}
	})
	for _, name := range []string{"anna", "nobody"} {
		b.Run("scram "+name, func(b *testing.B) {
			for b.Loop() {
				d.ScramKeys(b.Context(), name, directory.SHA256)
			}
		})
	}
}
