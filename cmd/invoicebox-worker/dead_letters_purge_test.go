package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"invoicebox-worker/internal/testutil/kafkatest"
	"invoicebox-worker/schemas"
)

func TestDeadLettersAreExportedAndPurged(t *testing.T) {
	t.Parallel()
	r := newRig(t, kafkatest.Embedded(t), calm())
	w := r.start()
	const letters = 4
	for i := range letters {
		r.send(schemas.TypeCodeEntered, fmt.Sprint("e", i), fmt.Sprint("s", i), fmt.Sprintf(`{"shopId":"s%d","activationCode":["secret-code"]}`, i))
	}
	r.results(schemas.TypeDeadLetter, letters)
	w.end()

	export := func(flags ...string) string {
		t.Helper()
		return r.must(append(append([]string{"dead-letters", "export"}, flags...), r.beside()...)...)
	}
	if out := export(); strings.Count(out, "\n") != letters || strings.Contains(out, "secret-code") {
		t.Errorf("the export is\n%s", out)
	}
	for line := range strings.Lines(export("--reveal", "--shop", "s1", "--actor", "anna", "--note", "for the sender")) {
		var l deadLetterJSON
		if err := json.Unmarshal([]byte(line), &l); err != nil || l.Shop != "s1" || l.Record == nil || *l.Record.Value.Text != `{"shopId":"s1","activationCode":["secret-code"]}` {
			t.Errorf("%v: %s", err, line)
		}
	}

	purge := func(want int, words, stdin string, args ...string) {
		t.Helper()
		code, out, errs := r.typed(strings.NewReader(stdin), append([]string{"dead-letters", "purge"}, args...)...)
		if code != want || !strings.Contains(out+errs, words) {
			t.Errorf("%s: exit status %d, want %d and %q\n%s%s", strings.Join(args, " "), code, want, words, out, errs)
		}
	}
	purge(exitUsage, "--older-than", "", "--yes")
	purge(exitUsage, "--older-than must be", "", "--older-than=-1h")
	purge(exitUsage, "--shop must not be empty", "", "--older-than", "0s", "--yes", "--shop", "")
	purge(exitUsage, "--until must be", "", "--older-than", "0s", "--yes", "--until", "0001-01-01T00:00:00Z")
	purge(exitUsage, "--note must be", "", "--older-than", "0s", "--yes", "--note", "a\nb")
	purge(exitDone, "0 dead letters deleted", "", "--older-than", "1h")
	purge(exitFailed, "nothing was deleted", "no\n", "--older-than", "0s")
	if n := len(r.letters()); n != letters {
		t.Errorf("%d dead letters", n)
	}
	purge(exitDone, "1 dead letter deleted", "yes\n", "--older-than", "0s", "--shop", r.letters()[1].Shop, "--note", "tidied")
	purge(exitDone, "2 dead letters deleted", "", "--older-than", "0s", "--yes")
	if n := len(r.letters()); n != 1 { // the newest stays
		t.Errorf("%d dead letters", n)
	}
	out := r.must(append([]string{"audit", "list"}, r.beside()...)...)
	for _, words := range []string{"revealed; for the sender", "1 deleted; older than 0s, shop s", "; tidied", "2 deleted; older than 0s"} {
		if !strings.Contains(out, words) {
			t.Logf("%s", out)
			t.Errorf("the audit trail lacks %q", words)
		}
	}
}
