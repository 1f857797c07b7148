package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestError(t *testing.T) {
	for name, c := range map[string]struct {
		err  Error
		want string
	}{
		"CommandLine": {Error{Setting: "window", Value: "5", Want: "must be x"}, `--window "5": must be x`},
		"File":        {Error{Setting: "window", Value: "5", Source: "f.yaml:1", Want: "must be x"}, `f.yaml:1: --window "5": must be x`},
		"Unknown":     {Error{Source: "f.yaml:1", Want: "unknown setting \"x\""}, `f.yaml:1: unknown setting "x"`},
		"Account":     {Error{Setting: "accounts[1].name", Want: "must be x"}, `accounts[1].name: must be x`},
		"TwoLines":    {Error{Setting: "window", Value: "a\nb", Want: "x"}, `--window "a\nb": x`},
		"Long":        {Error{Setting: "window", Value: strings.Repeat("x", 100), Want: "x"}, `--window "` + strings.Repeat("x", 80) + `"…: x`},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, c.err.Error()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A password in a URL, right or wrong, is not shown.
func TestError_Password(t *testing.T) {
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
		err := &Error{Setting: "journal-url", Value: value, Want: "x"}
		if got, want := err.Error(), `--journal-url "`+want+`": x`; got != want {
			t.Errorf("%s is shown as\n%s, want\n%s", value, got, want)
		}
	}
}
