package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"invoicebox-worker/internal/testutil/kafkatest"
	"invoicebox-worker/schemas"
)

// A traces holds everything that a dry run must not change.
type traces struct {
	ends, committed map[string]string // by topic
	files           map[string]string // of the rig's folder
	requests        int
}

func (r *rig) traces() traces {
	r.t.Helper()
	got := traces{ends: map[string]string{}, committed: map[string]string{}, files: map[string]string{}}
	for name, topic := range r.topics {
		got.ends[name] = fmt.Sprint(r.cluster.Offsets(r.t, topic))
		got.committed[name] = fmt.Sprint(r.cluster.Committed(r.t, "group-"+r.topics[schemas.TypeActivated], topic))
	}
	names, err := filepath.Glob(r.path("*"))
	if err != nil {
		r.t.Fatal(err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, "-shm") {
			continue // the memory that processes share: readers mark themselves there
		}
		text, err := os.ReadFile(name) // #nosec G304 -- the rig's own
		if err != nil {
			r.t.Fatal(err)
		}
		got.files[filepath.Base(name)] = string(text)
	}
	effects := r.sandbox.Effects()
	for _, x := range effects.Invitations {
		got.requests += x.Requests
	}
	for _, x := range effects.Activations {
		got.requests += x.Requests
	}
	return got
}

func (a traces) compare(t *testing.T, b traces) {
	t.Helper()
	if !maps.Equal(a.ends, b.ends) {
		t.Errorf("the topics end at %v, ended at %v", b.ends, a.ends)
	}
	if !maps.Equal(a.committed, b.committed) {
		t.Errorf("the group committed %v, before %v", b.committed, a.committed)
	}
	if a.requests != b.requests {
		t.Errorf("%d requests were sent", b.requests-a.requests)
	}
	for _, name := range slices.Sorted(maps.Keys(b.files)) {
		if a.files[name] != b.files[name] {
			t.Errorf("the file %s was changed or made", name)
		}
	}
	if len(a.files) != len(b.files) {
		t.Errorf("there are %d files, were %d", len(b.files), len(a.files))
	}
}

// TestRunDryRun says what would be done about records, and changes nothing.
func TestRunDryRun(t *testing.T) {
	t.Parallel()
	r := newRig(t, kafkatest.Embedded(t), calm())
	dry := func(want ...string) {
		t.Helper()
		before := r.traces()
		code, out, errs := r.command(append([]string{"run", "--dry-run"}, r.service()...)...)
		if code != exitDone {
			t.Fatalf("exit status %d\n%s", code, errs)
		}
		var got []string
		for line := range strings.Lines(out) {
			_, words, _ := strings.Cut(strings.TrimSpace(line), ": ")
			got = append(got, words)
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("it says\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		before.compare(t, r.traces())
	}
	lines := func(step string) (list []dryRecordJSON) {
		t.Helper()
		for line := range strings.Lines(r.must(append([]string{"run", "--dry-run", "--output", "json"}, r.service()...)...)) {
			var v dryRecordJSON
			if err := json.Unmarshal([]byte(line), &v); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			if v.Step == step {
				list = append(list, v)
			}
		}
		return list
	}
	dry()
	const other = `{"shopId":"s1","provider":"invoicebox","email":"other@example.com"}`
	r.selected("s1", "s1@example.com")
	r.selected("s1", "s1@example.com") // the same event
	r.send(schemas.TypeProviderSelected, "newer", "s1", other)
	r.send(schemas.TypeProviderSelected, "newer", "s1", `{"shopId":"s1","provider":"invoicebox","email":"third@example.com"}`)
	r.send(schemas.TypeProviderSelected, "foreign", "s1", `{"shopId":"s1","provider":"another","email":"s1@example.com"}`)
	r.send(schemas.TypeProviderSelected, "broken", "s2", `{"shopId":"s2"`)
	r.entered("s3", "code-3")
	r.send(schemas.TypeCodeEntered, "stolen", "s3", `{"shopId":"s4","activationCode":"code-3"}`)
	dry(
		"would invite s1 of default", "repeat: was accepted before, for s1 of default",
		"would invite s1 of default; would cancel an invitation that was not sent",
		"dead letter: id_reused", "another provider for s1 of default; would cancel an invitation that was not sent", "dead letter: not_json",
		"would activate s3 of default", "would send nothing for s4 of default, and ask an operator: code_of_other_shop; would publish shop.invoicebox_activation_failed",
	)
	if got := lines("activate"); len(got) != 1 || got[0].Shop != "s3" || got[0].Account != "default" || got[0].EventID != "entered-s3" || got[0].Operation == "" {
		t.Errorf("activations are %+v", got)
	}

	// A worker does it. What follows is planned with its journal.
	planned := lines("activate")[0].Operation
	w := r.start()
	r.results(schemas.TypeActivated, 1)
	r.results(schemas.TypeActivationFailed, 1)
	r.selected("s5", "s5@example.com")
	r.results(schemas.TypeInvited, 1)
	if code := w.end(); code != exitDone {
		t.Errorf("exit status %d", code)
	}
	if !strings.Contains(r.must(append([]string{"operations", "show", planned}, r.beside()...)...), planned) {
		t.Error("the worker began another operation")
	}
	dry()
	r.send(schemas.TypeCodeEntered, "again", "s3", `{"shopId":"s3","activationCode":"code-3"}`)
	r.selected("s3", "s3@example.com")
	r.send(schemas.TypeProviderSelected, "soon", "s5", `{"shopId":"s5","provider":"invoicebox","email":"s5@example.com"}`)
	r.entered("s5", "code-5")
	dry(
		"would send nothing for s3 of default; would publish shop.invoicebox_activated", "would send nothing for s3 of default; would publish shop.invoicebox_invited",
		"would send nothing for s5 of default; would publish shop.invoicebox_invited", "would activate s5 of default",
	)
	if code, _, errs := r.command("run", "--output", "json"); code != exitUsage {
		t.Errorf("--output without --dry-run: exit status %d, %s", code, errs)
	}
}
