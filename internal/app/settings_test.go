package app

import (
	"strings"
	"testing"
	"time"
)

// An address cool-down fits into what it depends on.
func TestOptions_AddressCoolDown(t *testing.T) {
	for name, row := range map[string]struct {
		coolDown, maximumAge, retention time.Duration
		want                            string
	}{
		"Off":                {0, time.Hour, 72 * time.Hour, ""},
		"Fits":               {24 * time.Hour, 336 * time.Hour, 72 * time.Hour, ""},
		"KeptForEver":        {100 * time.Hour, 336 * time.Hour, 0, ""},
		"AsMaximumAge":       {time.Hour, time.Hour, 72 * time.Hour, "--maximum-age (1h0m0s)"},
		"LongerThanAttempts": {73 * time.Hour, 336 * time.Hour, 72 * time.Hour, "--inbox-retention (72h0m0s)"},
		"Negative":           {-time.Second, time.Hour, 72 * time.Hour, "must be 0s"},
	} {
		t.Run(name, func(t *testing.T) {
			o := Defaults()
			o.AddressCoolDown, o.MaximumAge, o.InboxRetention = row.coolDown, row.maximumAge, row.retention
			text := ""
			for line := range strings.Lines(o.check().Error()) { // other settings are missing
				if strings.Contains(line, "--address-cool-down") {
					text += line
				}
			}
			if (text == "") != (row.want == "") || !strings.Contains(text, row.want) {
				t.Errorf("the error is %q, want %q", text, row.want)
			}
		})
	}
}
