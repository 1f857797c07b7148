package main

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"

	"invoicebox-worker/internal/app"
	"invoicebox-worker/internal/testutil/kafkatest"
	"invoicebox-worker/invoicebox/sandbox"
	"invoicebox-worker/schemas"
)

func calm() sandbox.Options { return sandbox.Options{Profile: sandbox.Calm} }

// A shop selects Invoicebox, is invited, enters its code, is activated, and its
// token is what the sandbox issued. The same events again change nothing, also
// after a restart.
func TestAShopIsInvitedAndActivated(t *testing.T) {
	t.Parallel()
	kafkatest.Both(t, func(t *testing.T, c *kafkatest.Cluster) { activateOne(t, newRig(t, c, calm())) })
}

func activateOne(t *testing.T, r *rig) {
	t.Helper()
	w := r.start()
	const shop, email, code = "shop/1 ü", "owner@shops.example", "143232423434"
	r.selected(shop, email)
	invited := r.results(schemas.TypeInvited, 1)[0].Data.(schemas.Invited)
	if invited.ShopID != shop || invited.PartnerAccount != "default" || invited.Outcome != schemas.OutcomeSent {
		t.Errorf("invited: %+v", invited)
	}
	r.entered(shop, code)
	event := r.results(schemas.TypeActivated, 1)[0]
	activated := event.Data.(schemas.Activated)
	if activated.ShopID != shop || activated.MerchantID != r.sandbox.MerchantOf(code) || activated.Verification != schemas.VerificationVerified {
		t.Errorf("activated: %+v", activated)
	}
	if event.CausationID != "entered-"+shop || event.OperationID == "" || event.Sequence != 2 {
		t.Errorf("activated: causation %q, operation %q, sequence %d", event.CausationID, event.OperationID, event.Sequence)
	}
	r.commandsTell(shop, code, activated.Credentials.Ref, event.OperationID)

	requests := r.sandbox.Effects().Requests
	again := func() {
		t.Helper()
		r.selected(shop, email)
		r.entered(shop, code)
		await(t, "the repeats are counted", func() bool {
			_, metrics := w.get("/metrics")
			return count(metrics, "invoicebox_worker_records_total", `outcome="repeated"`) == 2
		})
	}
	again()
	if status, _ := w.get("/debug/pprof/"); status != http.StatusNotFound {
		t.Errorf("/debug/pprof/ without --pprof: %d", status)
	}
	if code := w.end(); code != exitDone {
		t.Errorf("exit status %d", code)
	}
	w = r.start("--pprof")
	again()
	if status, _ := w.get("/debug/pprof/heap"); status != http.StatusOK {
		t.Errorf("/debug/pprof/heap with --pprof: %d", status)
	}
	_, metrics := w.get("/metrics")
	for _, name := range []string{
		"invoicebox_worker_build_info", "invoicebox_worker_journal_up 1", "invoicebox_worker_outbox_events 0", "invoicebox_worker_inbox_events 2",
		"invoicebox_worker_dead_letters 0", "invoicebox_worker_oldest_due_age_seconds{account=\"default\",kind=\"invite\"} 0", "invoicebox_worker_oldest_unstored_response_age_seconds 0", "invoicebox_worker_consumer_lag_seconds", "invoicebox_worker_ingest_batch_records_count", "invoicebox_worker_consumer_rebalance_duration_seconds_count 1", "invoicebox_worker_consumer_lag_records", "go_goroutines", "process_",
	} {
		if !strings.Contains(metrics, name) {
			t.Errorf("/metrics has no %s", name)
		}
	}
	page, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^# TYPE (invoicebox_worker_\w+) `).FindAllStringSubmatch(metrics, -1) {
		if !strings.Contains(string(page), "| `"+m[1]+"` |") {
			t.Errorf("docs/metrics.md lacks %s", m[1])
		}
	}
	if status, text := w.get("/livez"); status != 200 {
		t.Errorf("/livez: %d %s", status, text)
	}
	if code := w.end(); code != exitDone {
		t.Errorf("exit status %d", code)
	}
	// Each start looks at the partner's token once.
	if now := r.sandbox.Effects().Requests; now != requests+1 {
		t.Errorf("the repeats made %d requests", now-requests-1)
	}
	if n := len(r.results(schemas.TypeInvited, 1)) + len(r.results(schemas.TypeActivated, 1)); n != 2 {
		t.Errorf("%d results, want 2", n)
	}
	for _, e := range r.sandbox.Effects().Activations {
		if e.Requests != 1 || e.Effects != 1 {
			t.Errorf("code: %d requests, %d effects", e.Requests, e.Effects)
		}
	}
}

// commandsTell runs every command beside the service.
func (r *rig) commandsTell(shop, code, ref, operation string) {
	t := r.t
	t.Helper()
	token, merchant := r.sandbox.TokenOf(code), r.sandbox.MerchantOf(code)
	with := func(args ...string) []string { return append(args, r.beside()...) }
	for _, c := range []struct {
		args []string
		want []string
	}{
		{with("resolve", ref), []string{token + "\n"}},
		{with("resolve", ref+"#/token"), []string{token + "\n"}},
		{with("resolve", ref+"#/merchantId"), []string{merchant + "\n"}},
		{with("resolve", ref, "--output", "json"), []string{`"token": "` + token, `"merchantId": "` + merchant}},
		{with("operations", "list", "--all"), []string{"invite", "activate", "done", shop, operation}},
		{with("operations", "list"), []string{"no operations"}},
		{with("operations", "show", operation), []string{"activate", "done", "entered-" + shop, schemas.TypeActivated}},
		{with("shops", "show", shop), []string{shop, merchant, ref, "selected-" + shop, schemas.TypeInvited}},
		{with("shops", "list"), []string{shop, "active", merchant, ref}},
		{with("shops", "list", "--stage", "invited"), []string{"no shops"}},
		{with("accounts", "list"), []string{"default", "active", sandbox.DefaultPartnerID}},
		{with("dead-letters", "list"), []string{"no dead letters"}},
	} {
		out := r.must(c.args...)
		for _, want := range c.want {
			if !strings.Contains(out, want) {
				t.Errorf("%s prints no %q:\n%s", strings.Join(c.args[:2], " "), want, out)
			}
		}
	}
	for _, args := range [][]string{
		{"operations", "list"}, {"operations", "list", "--all"}, {"operations", "show", operation}, {"shops", "show", shop}, {"shops", "list"}, {"audit", "list"},
		{"accounts", "list"}, {"dead-letters", "list"}, {"keys", "list"}, {"version"},
	} {
		out := r.must(with(append(args, "--output", "json")...)...)
		var v any
		if err := json.Unmarshal([]byte(out), &v); err != nil {
			t.Errorf("%s --output json: %v\n%s", strings.Join(args, " "), err, out)
		}
		if args[len(args)-1] == "list" && !strings.HasPrefix(out, "[") {
			t.Errorf("%s --output json is no list:\n%s", strings.Join(args, " "), out)
		}
	}
	for _, c := range []struct {
		want int
		args []string
	}{
		{exitUsage, with("resolve", ref, "--reason", "two\nlines")},
		{exitFailed, with("resolve", "ref+sealed://journal/invoicebox/default/nobody")},
		{exitFailed, with("resolve", "ref+vault://secret/invoicebox/default/shop")},
		{exitUsage, with("resolve", "ref+sealed://elsewhere/invoicebox/default/shop")},
		{exitFailed, with("shops", "show", "nobody")},
		{exitFailed, with("operations", "show", "00000000-0000-0000-0000-000000000000")},
		{exitUsage, with("operations", "show", "1")},
		{exitUsage, with("operations", "list", "--state", "gone")},
		{exitUsage, with("operations", "list", "--limit", "0")},
		{exitFailed, with("dead-letters", "show", "1")},
		{exitFailed, append([]string{"operations", "list"}, "--journal-url", "sqlite:"+r.path("none.db"))},
	} {
		if code, out, errs := r.command(c.args...); code != c.want || out != "" || errs == "" {
			t.Errorf("%s: exit status %d, want %d\n%s%s", strings.Join(c.args[:3], " "), code, c.want, out, errs)
		}
	}
	r.resolveIsAudited(ref, token)
}

// resolveIsAudited reads what resolve left in the audit trail: what was given,
// what was refused, and what could not be printed, with who asked and why.
func (r *rig) resolveIsAudited(ref, token string) {
	r.t.Helper()
	var errs bytes.Buffer
	who := append([]string{"--actor", "ann", "--reason", "ticket 7"}, r.beside()...)
	for _, args := range [][]string{{"resolve", ref}, {"resolve", "ref+sealed://journal/invoicebox/default/nobody"}, {"resolve", "ref+vault://secret/invoicebox/default/shop"}} {
		if code := run(r.t.Context(), append(args, who...), environment{stdout: failing{}, stderr: &errs}); code != exitFailed {
			r.t.Errorf("%v: exit status %d", args, code)
		}
	}
	j, err := app.OpenReadOnly(r.t.Context(), r.journal, slog.New(slog.DiscardHandler))
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = j.Close() }()
	entries, err := j.Audit(r.t.Context(), 0, 4)
	if err != nil || len(entries) != 4 {
		r.t.Fatalf("%d entries, %v", len(entries), err)
	}
	for i, want := range []string{"resolve.refused", "resolve.refused", "resolve.not_printed", "resolve"} { // the newest first
		if e := entries[i]; e.Act != want || e.Actor != "ann" || !strings.HasSuffix(e.Detail, " ticket 7") {
			r.t.Errorf("entry %d is %+v, want %s", i, e, want)
		}
	}
	if strings.Contains(errs.String(), token) {
		r.t.Error("an error shows the token")
	}
}

// count adds the samples of a metric whose labels hold label.
func count(metrics, name, label string) int {
	sum := 0
	for line := range strings.Lines(metrics) {
		if rest, ok := strings.CutPrefix(line, name); ok && strings.Contains(rest, label) {
			var n float64
			if json.Unmarshal([]byte(strings.TrimSpace(rest[strings.LastIndexByte(rest, ' ')+1:])), &n) == nil {
				sum += int(n)
			}
		}
	}
	return sum
}
