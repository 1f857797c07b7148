package worker

import "testing"

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
