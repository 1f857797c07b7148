package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"invoicebox-worker/internal/testutil/kafkatest"
	"invoicebox-worker/schemas"
)

// An older file in the journal's place is refused before anything that waits in it
// is performed, sent or published, and a recovery does not perform it either.
func TestStaleJournal(t *testing.T) {
	t.Parallel()
	c := kafkatest.Embedded(t)
	r := newRig(t, c, calm())
	quick := []string{"--request-deadline", "1s", "--lease", "2s", "--slack", "200ms", "--quiet-period", "200ms"}
	files := func(from, to string) {
		t.Helper()
		// As where the whole folder is replaced: nothing beside the file tells.
		old, err := filepath.Glob(to + "*")
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range old {
			if err := os.Remove(name); err != nil {
				t.Fatal(err)
			}
		}
		doc, err := os.ReadFile(filepath.Clean(from))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Clean(to), doc, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	path := strings.TrimPrefix(r.journal, "sqlite:")

	w := r.start(quick...)
	r.entered("s1", "no-token-1")
	op := r.waiting(1)["s1"]
	if code := w.end(); code != exitDone {
		t.Fatalf("exit status %d", code)
	}
	files(path, r.path("older.db"))
	w = r.start(quick...)
	r.entered("s2", "code-2")
	r.entered("s3", "code-3")
	r.results(schemas.TypeActivated, 2)
	if code := w.end(); code != exitDone {
		t.Fatalf("exit status %d", code)
	}
	files(r.path("older.db"), path)
	r.must(append([]string{"operations", "close", op.ID, "--reason", "test", "--wait", "0s"}, r.beside()...)...)
	requests := len(r.sandbox.Requests())

	// The group's offsets come late.
	late := c.Fake().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetFetch}, Err: kerr.CoordinatorLoadInProgress, Count: 8})
	code, _, errs := r.command(append(append([]string{"run"}, r.service()...), quick...)...)
	if code != exitFailed || !strings.Contains(errs, "journal recover") {
		t.Errorf("run: exit status %d\n%s", code, errs)
	}
	if late.Hits() != 8 {
		t.Errorf("the offsets were late %d times; %s", late.Hits(), errs)
	}
	if code, out, _ := r.command(append([]string{"check"}, r.service()...)...); code != exitFailed || !strings.Contains(out, "group        failed") {
		t.Errorf("check: exit status %d\n%s", code, out)
	}
	if n := len(r.results(schemas.TypeActivationFailed, 1)); n != 1 {
		t.Errorf("%d failures were published, 1 before", n)
	}
	for _, q := range r.sandbox.Requests()[requests:] {
		if !strings.Contains(string(q.Operation), "check") {
			t.Errorf("%s was sent", q.Operation)
		}
	}
	r.must(append(append([]string{"journal", "recover"}, r.service()...), quick...)...)
	if out := r.must(append([]string{"operations", "show", op.ID}, r.beside()...)...); !strings.Contains(out, "restored") || strings.Contains(out, "performed") {
		t.Errorf("after the recovery:\n%s", out)
	}
}
