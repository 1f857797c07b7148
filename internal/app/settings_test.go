package app

import (
	"strings"
	"testing"
	"time"
)

func TestSettingErrorTellsNoPassword(t *testing.T) {
	for value, want := range map[string]string{
		"postgres://u:s3cret@h:1/db":             "postgres://u:xxxxx@h:1/db",
		"postgres://u@h/db?a=b":                  "postgres://u@h/db?a=b",
		"postgres://u:s3/cret@h:port/db":         "postgres://…@h:port/db",
		"postgres://u:s3cret@h/db%":              "postgres://…@h/db%",
		"postgres://h/db?password=s3cret&x=y":    "postgres://h/db?password=…&x=y",
		"postgres://h/db?sslpassword=s3cret":     "postgres://h/db?sslpassword=…",
		"postgres://h/db?pass%77ord=s3cret&x=y":  "postgres://h/db?pass%77ord=…&x=y",
		"postgres://h/db?x=y&PGPASSWORD=s3cret":  "postgres://h/db?x=y&PGPASSWORD=…",
		"postgres://h/db?Password=s3cret;x":      "postgres://h/db?Password=…",
		"host=h password=s3cret dbname=d":        "host=h password=… dbname=d",
		"sqlite:/var/lib/invoicebox@home/one.db": "sqlite:/var/lib/invoicebox@home/one.db",
	} {
		err := &SettingError{Setting: "journal-url", Value: value, Right: "x"}
		if got, want := err.Error(), `setting --journal-url is "`+want+`": x`; got != want {
			t.Errorf("%s is told as\n%s, want\n%s", value, got, want)
		}
	}
}

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
		"Negative":           {-time.Second, time.Hour, 72 * time.Hour, "must be 0 for none"},
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
