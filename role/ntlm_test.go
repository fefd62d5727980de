package role

import (
	"strings"
	"testing"
)

func TestNTLMConfig(t *testing.T) {
	c, err := load(t, "data = '/x'\nname = 'here'\n[ntlm]\nhelper = '/usr/bin/ntlm_auth'\nprocesses = 3\n[ntlm.domains]\nEXAMPLE = 'example.org'\n[[directories]]\nkind = 'embedded'\n")
	if err != nil || c.NTLM == nil || c.NTLM.Processes != 3 || c.NTLM.Domains["EXAMPLE"] != "example.org" || len(c.Directories) != 1 {
		t.Errorf("%+v, %v", c.NTLM, err)
	}
	for _, x := range []struct{ text, want string }{
		{"[ntlm]\nhelper = 'ntlm_auth'\n", "ntlm: helper is the absolute path"},
		{"[ntlm]\nhelper = '/usr/bin/ntlm_auth'\n", "ntlm: domains is missing"},
		{"[ntlm]\nhelper = '/usr/bin/ntlm_auth'\npassword = 'x'\n", `:3: there is no setting "ntlm.password" here`},
	} {
		if _, err := load(t, x.text); err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%q: %v, want %q", x.text, err, x.want)
		}
	}
	if c, err = load(t, "name = 'here'\n"); err != nil || c.NTLM != nil {
		t.Errorf("without a table: %+v, %v", c.NTLM, err)
	}
}
