package mail

import "testing"

func TestRights(t *testing.T) {
	for _, c := range []struct{ in, out, virtual string }{
		{"", "", ""},
		{"lr", "lr", "lr"},
		{"rl", "lr", "lr"},
		{"c", "kx", "kxc"},
		{"d", "te", "ted"},
		{"cda", "kxtea", "kxteacd"},
		{"lrswipkxtean", "lrswipkxtean", "lrswipkxteancd"},
	} {
		r, err := ParseRights(c.in)
		if err != nil || r.String() != c.out || r.WithVirtual() != c.virtual {
			t.Errorf("%q is %q, %q, %v", c.in, r, r.WithVirtual(), err)
		}
	}
	for _, bad := range []string{"q", "L", "l r", "+l", "0", "é"} {
		if _, err := ParseRights(bad); KindOf(err) != KindBadArgument {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if AllRights.String() != rightLetters {
		t.Errorf("all are %q", AllRights)
	}
}

func TestRightsOf(t *testing.T) {
	alice, group, anyone := Grantee{Account: 1}, Grantee{Group: "team"}, Grantee{}
	rights := func(s string) Rights {
		r, err := ParseRights(s)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	for _, c := range []struct {
		name   string
		grants []Grant
		p      Person
		want   string
	}{
		{"nothing", nil, Person{Account: 1}, ""},
		{"her own", []Grant{{alice, false, rights("lr")}}, Person{Account: 1}, "lr"},
		{"somebody else's", []Grant{{alice, false, rights("lr")}}, Person{Account: 2}, ""},
		{"a group's", []Grant{{group, false, rights("lrs")}}, Person{1, []string{"team"}}, "lrs"},
		{"a group that she is not in", []Grant{{group, false, rights("lrs")}}, Person{1, []string{"teams"}}, ""},
		{"anyone's", []Grant{{anyone, false, rights("l")}}, Person{Account: 7}, "l"},
		{"all together", []Grant{{anyone, false, rights("l")}, {group, false, rights("r")}, {alice, false, rights("i")}}, Person{1, []string{"team"}}, "lri"},
		{"taken from her", []Grant{{anyone, false, rights("lrs")}, {alice, true, rights("rs")}}, Person{Account: 1}, "l"},
		{"taken from her, not from others", []Grant{{anyone, false, rights("lrs")}, {alice, true, rights("rs")}}, Person{Account: 2}, "lrs"},
		{"taken from a group", []Grant{{alice, false, rights("lrs")}, {group, true, rights("s")}}, Person{1, []string{"team"}}, "lr"},
		{"taken from anyone", []Grant{{alice, false, rights("lrs")}, {anyone, true, rights("lrswipkxtea")}}, Person{Account: 1}, ""},
		{"taken alone", []Grant{{alice, true, rights("lr")}}, Person{Account: 1}, ""},
	} {
		if got := RightsOf(c.grants, c.p).String(); got != c.want {
			t.Errorf("%s: %q, not %q", c.name, got, c.want)
		}
	}
}
