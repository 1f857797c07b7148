package main

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestCheckJSON prints JSON also where a setting cannot be read.
func TestCheckJSON(t *testing.T) {
	for name, args := range map[string][]string{
		"flag":  {"check", "--output", "json", "--concurrency=many"},
		"short": {"--lease=soon", "check", "-o", "json"},
		"file":  {"check", "--output=json", "--config", "/does/not/exist.yaml"},
		"files": {"check", "--output", "json", "--kafka-brokers", "localhost:1"},
	} {
		t.Run(name, func(t *testing.T) {
			code, out, errs := execute(t.Context(), args...)
			var got []checkJSON
			if err := json.Unmarshal([]byte(out), &got); err != nil || code != exitFailed {
				t.Fatalf("exit status %d, %v\n%s%s", code, err, out, errs)
			}
			if len(got) != 1 || got[0].Check != "settings" || got[0].Result != "failed" || !strings.Contains(errs, "1 check has failed") {
				t.Errorf("%+v\n%s", got, errs)
			}
		})
	}
	if code, out, errs := execute(t.Context(), "check", "--lease=soon"); code != exitFailed || out != "" || !strings.Contains(errs, "--lease") {
		t.Errorf("as a table: exit status %d\n%s%s", code, out, errs)
	}
	if _, out, _ := execute(t.Context(), "accounts", "check", "default", "-o", "json", "--lease=soon"); strings.Contains(out, "settings") {
		t.Errorf("another command prints %s", out)
	}
}
