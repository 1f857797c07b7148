package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"invoicebox-worker/internal/testutil/kafkatest"
	"invoicebox-worker/schemas"
)

// waitsFor gives an operation of a shop, once it waits for cause.
func (r *rig) waitsFor(shop, cause string) (o operationJSON, why obstacleJSON) {
	r.t.Helper()
	await(r.t, shop+" waits for "+cause, func() bool {
		var list []operationJSON
		out := r.must(append([]string{"operations", "list", "--shop", shop, "--output", "json"}, r.beside()...)...)
		if err := json.Unmarshal([]byte(out), &list); err != nil {
			r.t.Fatal(err)
		}
		for _, o = range list {
			for _, why = range o.WaitsFor {
				if why.Cause == cause {
					return true
				}
			}
		}
		return false
	})
	return o, why
}

func TestWhyAnOperationDoesNotRun(t *testing.T) {
	t.Parallel()
	r := newRig(t, kafkatest.Embedded(t), calm())
	w := r.start("--request-deadline", "1s", "--lease", "2s", "--slack", "200ms", "--quiet-period", "5s", "--concurrency", "2")
	says := func(want int, words string, args ...string) {
		t.Helper()
		code, out, errs := r.command(append(args, r.beside()...)...)
		if code != want || !strings.Contains(out+errs, words) {
			t.Errorf("%s: exit status %d, want %d and %q\n%s%s", strings.Join(args, " "), code, want, words, out, errs)
		}
	}
	r.entered("s1", "rights-1")
	says(exitDone, "active", "accounts", "list")
	says(exitDone, "token_works", "accounts", "check", "default", "--output", "json")
	says(exitUsage, "--reason", "operations", "close", "00000000-0000-0000-0000-000000000001")

	// Paused: whatever shows the operation says so, also after a retry.
	r.must(append([]string{"accounts", "pause", "default"}, r.beside()...)...)
	r.entered("s2", "code-2")
	o, why := r.waitsFor("s2", "account_paused")
	if why.Command != "accounts resume default" || why.Until != nil || why.Detail == "" {
		t.Errorf("%+v", why)
	}
	says(exitDone, "[1] account default is paused since", "operations", "list", "--shop", "s2")
	says(exitDone, "account default is paused since", "operations", "show", o.ID)
	says(exitDone, "account default is paused since", "shops", "show", "s2")
	says(exitDone, `"cause": "account_paused"`, "shops", "show", "s2", "--output", "json")
	says(exitDone, "an operator paused it (`accounts resume default`)", "accounts", "list")
	if code, out, _ := r.command(append([]string{"check"}, r.service()...)...); code != exitFailed || !strings.Contains(out, "account default is paused since") {
		t.Errorf("check: exit status %d\n%s", code, out)
	}
	status, text := w.get("/readyz")
	if status != 200 || !strings.Contains(text, "degraded: account default: paused since") {
		t.Errorf("/readyz: %d %s", status, text)
	}
	says(exitDone, "token_works", "accounts", "check", "default", "--output", "json")
	says(exitDone, "resumed", "accounts", "resume", "default")
	r.results(schemas.TypeActivated, 1)

	// A lane that is taken, and the quiet period of what takes it.
	r.entered("s3", "lost-answer-3")
	_, quiet := r.waitsFor("s3", "quiet_period")
	if quiet.Until == nil || time.Until(*quiet.Until) > 10*time.Second {
		t.Errorf("%+v", quiet)
	}
	if code := w.end(); code != exitDone {
		t.Errorf("exit status %d", code)
	}
	r.waitsFor("s3", "worker_not_running")
	says(exitDone, "no worker is running with this journal", "accounts", "list")
}

// An act's --wait goes on to the outcome, unless nothing will happen.
func TestWaitForTheOutcome(t *testing.T) {
	t.Parallel()
	r := newRig(t, kafkatest.Embedded(t), calm())
	r.start("--request-deadline", "1s", "--lease", "2s", "--slack", "200ms", "--quiet-period", "200ms", "--requests-per-window", "6", "--window", "20s")
	r.entered("s1", "forbidden-1-1")
	r.entered("s2", "forbidden-1-2")
	ops := r.waiting(2)
	retry := func(shop string) (string, actionJSON) {
		t.Helper()
		began := time.Now()
		code, out, errs := r.command(append([]string{"operations", "retry", ops[shop].ID, "--wait", "15s", "--output", "json"}, r.beside()...)...)
		if code != exitDone || time.Since(began) > 10*time.Second {
			t.Errorf("exit status %d after %v: %s", code, time.Since(began), errs)
		}
		return out, actionOf(t, out)
	}
	if out, i := retry("s1"); i.Outcome == nil || i.Outcome.State != "done" || i.Outcome.Reason != "activated" {
		t.Errorf("retried: %s", out)
	}
	r.must(append([]string{"accounts", "pause", "default"}, r.beside()...)...)
	out, i := retry("s2")
	if i.Outcome == nil || i.Outcome.State != "planned" || len(i.Outcome.WaitsFor) != 1 || i.Outcome.WaitsFor[0].Command != "accounts resume default" {
		t.Errorf("retried while paused: %s", out)
	}
	r.must(append([]string{"accounts", "resume", "default"}, r.beside()...)...)
	r.results(schemas.TypeActivated, 2)

	// Our own limit: with the look at the token at the start these were five requests.
	r.entered("s3", "code-3")
	r.results(schemas.TypeActivated, 3)
	r.entered("s4", "code-4")
	_, why := r.waitsFor("s4", "request_limit")
	if why.Until == nil || time.Until(*why.Until) > 21*time.Second || !strings.Contains(why.Detail, "account/default") {
		t.Errorf("%+v", why)
	}
}
