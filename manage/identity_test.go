package manage

import (
	"os"
	"os/user"
	"testing"
)

func TestLocalUser(t *testing.T) {
	group, err := user.LookupGroupId("0")
	if err != nil {
		t.Fatal(err)
	}
	own := uint32(os.Getuid())
	for _, c := range []struct {
		uid    uint32
		group  string
		groups []string
		want   bool
	}{
		{0, "", nil, true},
		{own, "", nil, true},
		{own + 4242, "", []string{"0"}, false},
		{own + 4242, group.Name, []string{"0"}, true},
		{own + 4242, group.Name, []string{"4242"}, false},
		{own + 4242, "no-such-group", []string{"0"}, false},
	} {
		s := &Server{Parts: Parts{Administrators: c.group}}
		if got := s.localUser(peer{uid: c.uid}, c.groups); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}
