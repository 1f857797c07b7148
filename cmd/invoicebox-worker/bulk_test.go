package main

import (
	"encoding/json"
	"strings"
	"testing"

	"invoicebox-worker/internal/testutil/kafkatest"
	"invoicebox-worker/schemas"
)

func TestBulkActs(t *testing.T) {
	t.Parallel()
	r := newRig(t, kafkatest.Embedded(t), calm())
	r.start("--request-deadline", "1s", "--lease", "2s", "--slack", "200ms", "--quiet-period", "200ms")
	r.entered("s1", "forbidden-1-1")
	r.entered("s2", "forbidden-1-2")
	r.entered("s3", "broken-json-3")
	ops := r.waiting(3)
	bulk := func(want int, words, stdin string, args ...string) (out string) {
		t.Helper()
		code, out, errs := r.typed(strings.NewReader(stdin), append([]string{"operations"}, args...)...)
		if code != want || !strings.Contains(out+errs, words) {
			t.Errorf("%s: exit status %d, want %d and %q\n%s%s", strings.Join(args, " "), code, want, words, out, errs)
		}
		return out
	}
	bulk(exitUsage, "an operation's id is needed", "", "retry")
	bulk(exitUsage, "exclude each other", "", "retry", ops["s1"].ID, "--all", "--reason", "request_rejected")
	bulk(exitUsage, "are for --all", "", "retry", ops["s1"].ID, "--yes")
	bulk(exitUsage, "request_rejected", "", "retry", "--all")
	bulk(exitUsage, "wrong_address or partner_id_refused", "", "retry", "--all", "--reason", "too late")
	bulk(exitUsage, "--note is required", "", "close", "--all", "--reason", "answer_unreadable", "--yes")

	// Nothing is done before it was confirmed, and of other accounts nothing.
	for _, answer := range []string{"", "no\n", "y\n"} {
		bulk(exitFailed, "2 of account default, activate", answer, "retry", "--all", "--reason", "request_rejected")
	}
	bulk(exitDone, "no operation in attention", "yes\n", "retry", "--all", "--reason", "request_rejected", "--account", "other")
	bulk(exitDone, "that may be retried (1 more are left out", "", "retry", "--all", "--reason", "answer_unreadable")
	r.waiting(3)

	// The cause selects as well: it is that of the last attempt.
	bulk(exitFailed, "retry 2 operations in attention for forbidden", "no\n", "retry", "--all", "--reason", "forbidden")
	bulk(exitDone, "no operation in attention for wrong_address", "", "retry", "--all", "--reason", "wrong_address")
	bulk(exitDone, "(1 more are left out", "", "retry", "--all", "--reason", "body_unusable")

	var done bulkJSON
	out := bulk(exitDone, "selected", "yes\n", "retry", "--all", "--reason", "request_rejected", "--note", "the URL was wrong", "--output", "json")
	if err := json.Unmarshal([]byte(out), &done); err != nil || done.Selected != 2 || done.Performed != 2 || done.Waiting != 0 || len(done.Refused) != 0 {
		t.Errorf("%v: %s", err, out)
	}
	r.results(schemas.TypeActivated, 2)
	bulk(exitDone, "no operation in attention for forbidden", "", "retry", "--all", "--reason", "forbidden")
	bulk(exitDone, "close: 1 performed, 0 refused", "", "close", "--all", "--reason", "answer_unreadable", "--note", "new codes were sent", "--yes")
	r.waiting(0)
	if out := r.must(append([]string{"operations", "show", ops["s3"].ID}, r.beside()...)...); !strings.Contains(out, "new codes were sent") {
		t.Errorf("the audit does not know why:\n%s", out)
	}
}
