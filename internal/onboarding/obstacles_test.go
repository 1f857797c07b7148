package onboarding

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/invoicebox"
)

func TestObstacles(t *testing.T) {
	now := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	soon, past := now.Add(time.Minute), now.Add(-time.Minute)
	ahead := uuid.New()
	seen := map[Cause]bool{}
	paused := func(r Reason) journal.Circuit {
		return journal.Circuit{State: journal.CircuitPaused, Reason: string(r), Since: past}
	}
	for name, c := range map[string]struct {
		state   journal.State
		reason  Reason
		due     time.Time
		facts   func(*Facts)
		want    []Cause
		until   time.Time // of the first
		words   string    // in the first's
		command string    // of the first
	}{
		"Runs":          {state: journal.Planned, due: past},
		"Claimed":       {state: journal.Claimed, due: soon},
		"Sending":       {state: journal.Sending, due: soon, facts: func(f *Facts) { f.Circuit = paused(ReasonToken) }},
		"Done":          {state: journal.Done, facts: func(f *Facts) { f.Running = false }},
		"Superseded":    {state: journal.Superseded},
		"Attention":     {state: journal.Attention, facts: func(f *Facts) { f.Running = false }, want: []Cause{CauseOperator}},
		"NoWorker":      {state: journal.Planned, due: past, facts: func(f *Facts) { f.Running, f.Configured = false, false }, want: []Cause{CauseNoWorker}, command: "run"},
		"NoWorkerCalls": {state: journal.Sending, due: soon, facts: func(f *Facts) { f.Running = false }, want: []Cause{CauseNoWorker}},
		"NotConfigured": {state: journal.Planned, due: past, facts: func(f *Facts) { f.Configured = false }, want: []Cause{CauseNotConfigured}, words: "account default"},
		"PausedToken": {state: journal.Planned, due: past, facts: func(f *Facts) { f.Circuit, f.Status.CheckAt = paused(ReasonToken), soon }, want: []Cause{CausePaused},
			words: "paused since 2026-01-31 11:59:00Z: Invoicebox refuses the account's token; next check at 2026-01-31 12:01:00Z", command: "accounts check default"},
		"PausedAddress": {state: journal.Planned, due: past, facts: func(f *Facts) { f.Circuit = paused(ReasonAddress) }, want: []Cause{CausePaused}, words: "--invoicebox-url", command: "accounts check default"},
		"PausedRights":  {state: journal.Queued, facts: func(f *Facts) { f.Circuit = paused(ReasonRights) }, want: []Cause{CausePaused, CauseLane}, command: "accounts resume default"},
		"PausedUnknown": {state: journal.Unknown, due: soon, facts: func(f *Facts) { f.Circuit = paused(ReasonOperator) }, want: []Cause{CausePaused, CauseQuiet}, command: "accounts resume default"},
		"PausedSettles": {state: journal.Stored, due: soon, facts: func(f *Facts) { f.Circuit = paused(ReasonOperator) }, want: []Cause{CauseVerification}, until: soon},
		"BackingOff": {state: journal.Planned, due: past, facts: func(f *Facts) {
			f.Circuit = journal.Circuit{State: journal.CircuitBackingOff, Reason: "server_faults", Until: soon}
		}, want: []Cause{CauseBackingOff}, until: soon, words: "until 2026-01-31 12:01:00Z"},
		"BackingOffFault": {state: journal.Planned, due: past, facts: func(f *Facts) {
			f.Circuit = journal.Circuit{State: journal.CircuitBackingOff, Reason: "server_faults", Until: soon, Since: past}
			f.Status.Fault = invoicebox.ReasonConnect
		}, want: []Cause{CauseBackingOff}, until: soon, words: "backing off since 2026-01-31 11:59:00Z: Invoicebox fails or cannot be reached; until 2026-01-31 12:01:00Z; the last one ended with connect: No connection"},
		"BackingOffTrial": {state: journal.Planned, due: past, facts: func(f *Facts) {
			f.Circuit = journal.Circuit{State: journal.CircuitBackingOff, Reason: "request", Until: past}
		}, want: []Cause{CauseBackingOff}, words: "waits for a trial call"},
		"BackingOffCheck": {state: journal.Planned, due: past, facts: func(f *Facts) {
			f.Circuit, f.Status.CheckAt = journal.Circuit{State: journal.CircuitBackingOff, Reason: "server_faults", Until: past}, soon
		}, want: []Cause{CauseBackingOff}, words: "waits for a check of the token; next check at"},
		"Throttled": {state: journal.Planned, due: past, facts: func(f *Facts) {
			f.Circuit = journal.Circuit{State: journal.CircuitThrottled, Reason: "limited", Until: soon}
		}, want: []Cause{CauseThrottled}, until: soon},
		"Hold": {state: journal.Planned, due: past, facts: func(f *Facts) { f.Status.HoldUntil, f.Status.PermitAt = soon, soon }, want: []Cause{CauseHold}, until: soon},
		"HoldBehind": {state: journal.Planned, due: past, facts: func(f *Facts) {
			f.Circuit, f.Status.HoldUntil = journal.Circuit{State: journal.CircuitBackingOff, Reason: "server_faults", Until: past}, soon
		}, want: []Cause{CauseBackingOff, CauseHold}},
		"Disk":      {state: journal.Planned, due: past, facts: func(f *Facts) { f.Disk, f.Status.Busy = "0 B are free", true }, want: []Cause{CauseDisk, CauseBusy}, words: "0 B are free"},
		"HoldOver":  {state: journal.Planned, due: past, facts: func(f *Facts) { f.Status.HoldUntil = past }},
		"Limit":     {state: journal.Planned, due: past, facts: func(f *Facts) { f.Status.PermitAt, f.Status.RateLimit = soon, "account/default" }, want: []Cause{CauseLimit}, until: soon, words: "account/default"},
		"LimitOver": {state: journal.Planned, due: past, facts: func(f *Facts) { f.Status.PermitAt = past }},
		"Busy":      {state: journal.Planned, due: past, facts: func(f *Facts) { f.Status.Busy = true }, want: []Cause{CauseBusy}, words: "--concurrency"},
		"Lane":      {state: journal.Queued, facts: func(f *Facts) { f.Ahead, f.AheadState = ahead, journal.Unknown }, want: []Cause{CauseLane}, words: ahead.String() + " of the same shop (unknown)"},
		"LaneOf":    {state: journal.Queued, want: []Cause{CauseLane}},
		"Quiet":     {state: journal.Unknown, due: soon, want: []Cause{CauseQuiet}, until: soon},
		"QuietOver": {state: journal.Unknown, due: past},
		"Lingers":   {state: journal.Received, due: soon, want: []Cause{CauseQuiet}, until: soon},
		"Store":     {state: journal.Planned, reason: ReasonStoreNotReady, due: soon, want: []Cause{CauseStore}, until: soon},
		"StoreKept": {state: journal.Received, reason: ReasonStoreNotReady, due: past, want: []Cause{CauseStore}},
		"Verifying": {state: journal.Stored, due: soon, want: []Cause{CauseVerification}, until: soon},
		"BackOff":   {state: journal.Waiting, reason: ReasonLimited, due: soon, want: []Cause{CauseBackOff}, until: soon, words: "(limited)"},
		"BackOffBehind": {state: journal.Waiting, due: soon, facts: func(f *Facts) { f.Circuit, f.Status.PermitAt = paused(ReasonRefusals), soon },
			want: []Cause{CausePaused, CauseLimit, CauseBackOff}},
	} {
		t.Run(name, func(t *testing.T) {
			f := Facts{Now: now, Running: true, Configured: true, Circuit: journal.Circuit{State: journal.CircuitActive}}
			if c.facts != nil {
				c.facts(&f)
			}
			got := Obstacles(journal.OperationRecord{State: c.state, Reason: string(c.reason), Due: c.due, Shop: journal.ShopKey{Account: "default", Shop: "s"}}, f)
			var causes []Cause
			for _, o := range got {
				causes = append(causes, o.Cause)
				seen[o.Cause] = true
				if o.Text == "" || strings.Contains(o.Text, "%!") {
					t.Errorf("%s says %q", o.Cause, o.Text)
				}
				if (o.Cause == CauseLane) != (o.Operation != uuid.Nil) && c.facts != nil && f.Ahead != uuid.Nil {
					t.Errorf("%s names operation %s", o.Cause, o.Operation)
				}
			}
			if d := cmp.Diff(c.want, causes); d != "" {
				t.Fatal(d)
			}
			if len(got) == 0 {
				return
			}
			if !c.until.IsZero() && !got[0].Until.Equal(c.until) || got[0].Until.Before(now) && !got[0].Until.IsZero() && got[0].Cause != CauseStore {
				t.Errorf("until %v", got[0].Until)
			}
			if !strings.Contains(got[0].Text, c.words) || c.command != "" && got[0].Command != c.command {
				t.Errorf("%q, command %q", got[0].Text, got[0].Command)
			}
			if lasts := slices.Contains([]Cause{CauseOperator, CauseNoWorker, CauseNotConfigured, CausePaused}, got[0].Cause); got[0].Lasts() != lasts {
				t.Errorf("%s lasts: %v", got[0].Cause, got[0].Lasts())
			}
		})
	}
	for _, c := range Causes() {
		if !seen[c] {
			t.Errorf("no row has cause %s", c)
		}
	}
}

func TestDescribeBreaker(t *testing.T) {
	for _, row := range accountReasonRows {
		if row.Text == "" || row.Text == string(row.Reason) || row.Action == "" {
			t.Errorf("reason %s is not described", row.Reason)
		}
	}
	// A reason that another version wrote.
	if d := DescribeBreaker("a", journal.Circuit{State: journal.CircuitPaused, Reason: "newer"}, time.Time{}, time.Now()); !strings.Contains(d.Text, "newer") || d.Command != "accounts resume a" {
		t.Errorf("%+v", d)
	}
	if d := DescribeBreaker("a", journal.Circuit{State: journal.CircuitActive, Reason: "x"}, time.Time{}, time.Now()); d.Text != "active" || d.Command != "" {
		t.Errorf("%+v", d)
	}
}
