package console

import "testing"

// TestOutcomesOfOthers: whoever does much does not push out what others have not seen yet.
func TestOutcomesOfOthers(t *testing.T) {
	var o outcomes
	admin := o.add(&Outcome{Secret: "shown once"}, " root")
	latest := ""
	for range 3 * maxOutcomes {
		latest = o.add(&Outcome{}, "/account alice")
	}
	if o.of(latest, "/account alice") == nil || o.of(admin, "/account alice") != nil {
		t.Error("alice's own, or another's")
	}
	if len(o.list) > ownOutcomes+1 {
		t.Errorf("%d are kept", len(o.list))
	}
	if done := o.of(admin, " root"); done == nil || done.Secret != "shown once" {
		t.Errorf("the administrator's is gone: %v", done)
	}
	if done := o.of(admin, " root"); done == nil || done.Secret != "" {
		t.Errorf("shown again: %v", done)
	}
}
