package memory_test

import (
	"testing"

	"github.com/postern-mail/postern/store"
	"github.com/postern-mail/postern/store/memory"
	"github.com/postern-mail/postern/store/storetest"
)

func TestEngine(t *testing.T) {
	var root *memory.Engine
	storetest.Run(t, func(testing.TB) store.Engine {
		root = memory.New()
		return root.Server()
	}, storetest.Options{Reopen: func(t testing.TB, e store.Engine) store.Engine {
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		return root.Server()
	}})
}
