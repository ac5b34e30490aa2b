package admin

import "testing"

func TestWhatHasChangedIsToldAtOnce(t *testing.T) {
	client, _ := serving(t, &control{})
	told := func() uint64 {
		t.Helper()
		status, err := client.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return status.Counters.Received // how often it was made
	}
	for what, change := range map[string]func() error{
		"reload": func() error { _, err := client.Reload(t.Context()); return err },
		"kick":   func() error { _, err := client.Kick(t.Context(), "192.0.2.7"); return err },
		"ban":    func() error { _, err := client.Ban(t.Context(), "192.0.2.7", 0, "", false); return err },
		"unban":  func() error { _, err := client.Unban(t.Context(), "192.0.2.7", false); return err },
	} {
		before := told()
		if err := change(); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if after := told(); after <= before {
			t.Errorf("%s: want the status made anew", what)
		}
	}
}
