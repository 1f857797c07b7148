package main

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"invoicebox-worker/internal/keyset"
	"invoicebox-worker/internal/testutil/kafkatest"
	"invoicebox-worker/internal/testutil/pgtest"
	"invoicebox-worker/schemas"
)

// keys lists the keys by use and state.
func (r *rig) keys() map[string]keyJSON { return r.keysIn(r.path("keyset.json")) }

func (r *rig) keysIn(file string) map[string]keyJSON {
	r.t.Helper()
	var list []keyJSON
	if err := json.Unmarshal([]byte(r.must(with(append([]string{"keys", "list", "--output", "json"}, r.beside()...), "--keyset-file", file)...)), &list); err != nil {
		r.t.Fatal(err)
	}
	found := map[string]keyJSON{}
	for _, k := range list {
		found[k.Use+" "+k.State] = k
	}
	return found
}

// A key is added, promoted when the worker has it, and the old one is dropped when no
// value needs it: beside a worker that runs.
func TestKeysRotate(t *testing.T) {
	t.Parallel()
	for name, url := range map[string]func(*rig) string{
		"SQLite":     func(r *rig) string { return r.journal },
		"PostgreSQL": func(r *rig) string { return pgtest.Start(r.t).Database(r.t, "") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // it waits until a key may be dropped
			r := newRig(t, kafkatest.Embedded(t), calm())
			r.journal = url(r)
			if got := r.keys(); len(got) != 2 || got["sealing primary"].Values != nil {
				t.Errorf("without a journal: %+v", got)
			}
			w := r.start("--start", "earliest")
			r.entered("shop-1", "code-1")
			ref := r.results(schemas.TypeActivated, 1)[0].Data.(schemas.Activated).Credentials.Ref
			token := r.must(append([]string{"resolve", ref}, r.beside()...)...)
			before := r.keys()
			old := before["sealing primary"]
			if *old.Values < 3 || len(old.Has) != 1 || len(old.Lacks) != 0 {
				t.Errorf("before: %+v", before)
			}
			// A worker with another copy of the file does not have the new key.
			elsewhere := r.path("elsewhere.json")
			doc, err := os.ReadFile(r.path("keyset.json"))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(elsewhere, doc, 0o600); err != nil {
				t.Fatal(err)
			}
			away := func(args ...string) []string {
				return with(append([]string{"keys"}, append(args, r.beside()...)...), "--keyset-file", elsewhere)
			}
			r.must(away("rotate", "--actor", "anna", "--reason", "yearly")...)
			if code, _, errs := r.command(away("rotate")...); code != exitFailed || !strings.Contains(errs, "do not have it") || !strings.Contains(errs, old.Has[0]) {
				t.Errorf("promoted before the worker has it: %d %s", code, errs)
			}
			if got := r.keysIn(elsewhere); len(got["sealing added"].Lacks) != 1 {
				t.Errorf("before the worker has it: %+v", got)
			}
			if err := os.Rename(elsewhere, r.path("keyset.json")); err != nil {
				t.Fatal(err)
			}
			// From now on the worker's own file is changed.
			command := func(args ...string) []string { return append(append([]string{"keys"}, args...), r.beside()...) }
			out := r.must(command("rotate", "--wait", "40s", "--actor", "anna", "--output", "json")...)
			if !strings.Contains(out, `"state": "primary"`) {
				t.Error(out)
			}
			if code, _, errs := r.command(command("drop", old.ID)...); code != exitFailed || !strings.Contains(errs, "is needed by") && !strings.Contains(errs, "a moment ago") {
				t.Errorf("dropped while it is needed: %d %s", code, errs)
			}
			var now map[string]keyJSON
			await(t, "no value needs the old key", func() bool {
				now = r.keys()
				return *now["sealing old"].Values == 0 && *now["sealing primary"].Values >= *old.Values
			})
			if code, _, errs := r.command(command("drop", now["sealing primary"].ID)...); code != exitFailed || !strings.Contains(errs, "serves new rows") {
				t.Errorf("the primary key is dropped: %d %s", code, errs)
			}
			if code, _, errs := r.command(command("drop", now["lookup primary"].ID)...); code != exitFailed || !strings.Contains(errs, "serves new rows") {
				t.Errorf("the look-up key is dropped: %d %s", code, errs)
			}
			code, errs := exitFailed, ""
			for began := time.Now(); code != exitDone && time.Since(began) < 2*time.Minute; <-time.After(time.Second) {
				if code, _, errs = r.command(command("drop", old.ID, "--actor", "anna")...); code != exitDone && !strings.Contains(errs, "a moment ago") {
					t.Fatal(errs)
				}
			}
			if code != exitDone {
				t.Fatal(errs)
			}
			if got := r.must(append([]string{"resolve", ref}, r.beside()...)...); got != token {
				t.Error("another token is resolved")
			}
			await(t, "the worker uses the changed file", func() bool {
				return strings.Count(w.log.String(), "the keys of the changed keyset file are in use") == 3
			})
			r.entered("shop-2", "code-2")
			r.results(schemas.TypeActivated, 2)
			if code := w.end(); code != exitDone {
				t.Error(code)
			}
			// The next start works with the one key, and the one that was dropped is not needed.
			w = r.start()
			r.entered("shop-3", "code-3")
			r.results(schemas.TypeActivated, 3)
			if code := w.end(); code != exitDone {
				t.Error(code)
			}
			audit := r.audit()
			for _, act := range []string{"keys.add", "keys.promote", "keys.drop"} {
				if !strings.Contains(audit, "anna "+act+" sealing key ") {
					t.Errorf("%s is not in the audit trail:\n%s", act, audit)
				}
			}
		})
	}
}

// A look-up key is rotated beside no worker: repeats of events are found with the old
// one, and it stays needed.
func TestKeysRotateLookup(t *testing.T) {
	t.Parallel()
	r := newRig(t, kafkatest.Embedded(t), calm())
	w := r.start("--start", "earliest")
	r.selected("shop-1", "anna@example.com")
	r.results(schemas.TypeInvited, 1)
	if code := w.end(); code != exitDone {
		t.Fatal(code)
	}
	command := func(args ...string) []string { return append(append([]string{"keys"}, args...), r.beside()...) }
	old := r.keys()["lookup primary"].ID
	for range 2 {
		r.must(command("rotate", "--use", "lookup")...)
	}
	now := r.keys()
	if now["lookup old"].ID != old || *now["lookup old"].Values == 0 || now["lookup primary"].ID == old {
		t.Errorf("%+v", now)
	}
	if code, _, errs := r.command(command("drop", old)...); code != exitFailed || !strings.Contains(errs, "event.mac 1") {
		t.Errorf("a look-up key that is needed is dropped: %d %s", code, errs)
	}
	w = r.start()
	r.selected("shop-1", "anna@example.com") // the same address again: no second e-mail
	r.selected("shop-2", "anna@example.com")
	r.results(schemas.TypeInvited, 2)
	if code := w.end(); code != exitDone {
		t.Fatal(code)
	}
	if got := r.sandbox.Effects().Invitations; len(got) != 1 || got[0].Effects != 2 {
		t.Errorf("invitations: %+v", got)
	}
}

// What cannot be changed is refused, and stays as it was.
func TestKeysRefuse(t *testing.T) {
	r := newRig(t, kafkatest.Embedded(t), calm())
	w := r.start("--start", "earliest")
	if code := w.end(); code != exitDone {
		t.Fatal(code)
	}
	other := r.path("other.json")
	r.must("keys", "create", "--keyset-file", other)
	before, err := os.ReadFile(r.path("keyset.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		code int
		args []string
		want string
	}{
		{exitFailed, []string{"rotate", "--keyset-file", other}, "does not fit the journal"},
		{exitFailed, []string{"drop", "00000001"}, "has no key 00000001"},
		{exitUsage, []string{"drop", "1"}, "eight hexadecimal digits"},
		{exitUsage, []string{"rotate", "--use", "both"}, "--use"},
		{exitUsage, []string{"rotate", "--wait", "-1s"}, "--wait"},
		{exitUsage, []string{"rotate", "--reason", "two\nlines"}, "--reason"},
		{exitFailed, []string{"rotate", "--journal-url", "sqlite:" + r.path("nothing.db")}, "nothing.db"},
	} {
		code, _, errs := r.command(append(append([]string{"keys"}, r.beside()...), tc.args...)...)
		if code != tc.code || !strings.Contains(errs, tc.want) {
			t.Errorf("%v: %d %s", tc.args, code, errs)
		}
	}
	if now, err := os.ReadFile(r.path("keyset.json")); err != nil || string(now) != string(before) {
		t.Error("the file was changed", err)
	}
	if _, err := (keyset.File{Path: other}).Load(t.Context()); err != nil {
		t.Error(err)
	}
}
