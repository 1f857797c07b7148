package journaltest

import (
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/keyset"
	"invoicebox-worker/schemas"
)

// asked appends an intent about an operation, with a token.
func (f *fixture) asked(operation uuid.UUID, act string) journal.Intent {
	f.Helper()
	i := journal.Intent{UUID: uuid.New(), Actor: "anna", Act: act, Operation: operation, Note: "ticket 7", MerchantID: "merchant"}
	var err error
	i.Sealed, err = f.keys.Seal([]byte("token"), keyset.AssociatedData("intent", i.UUID.String()))
	f.ok(err)
	f.ok(f.j.AppendIntent(f.ctx, i, journal.AuditEntry{Actor: i.Actor, Act: act + ".asked", Subject: operation.String(), Detail: i.Note}))
	return i
}

// pendingIntent expects exactly one waiting intent.
func (f *fixture) pendingIntent() journal.PendingIntent {
	f.Helper()
	got, err := f.j.PendingIntents(f.ctx, 10, nil)
	f.ok(err)
	if len(got) != 1 {
		f.Fatalf("%d intents wait, want 1", len(got))
	}
	return got[0]
}

func performed(i journal.PendingIntent) *journal.IntentEnd {
	return &journal.IntentEnd{
		ID: i.ID, State: journal.IntentPerformed, Result: "done", Detail: "it was done",
		Audit: journal.AuditEntry{Actor: i.Actor, Act: i.Act + ".performed", Subject: i.Operation.String()},
	}
}

func acts(f *fixture) (list []string) {
	f.Helper()
	entries, err := f.j.Audit(f.ctx, 0, 100)
	f.ok(err)
	for _, e := range entries {
		list = append(list, e.Act)
	}
	return list
}

// inAttention brings a new activation into attention, in doubt.
func inAttention(f *fixture, code string) journal.ClaimedOperation {
	f.Helper()
	o := unknown(f, "s", code)
	f.apply(journal.Transition{Ref: o.Ref, From: journal.Unknown, To: journal.Attention, Reason: "outcome_unknown"})
	return o
}

var intents = []part{
	// The newest result of an operation is queued again, with its bytes.
	{"ResultReissued", func(f *fixture) {
		f.ingest(f.address("s", "e1", "a@x.test"))
		o := f.claimed(journal.Invite, journal.Call)
		f.asked(o.UUID, "reissue")
		reissued := func() error {
			end := *performed(f.pendingIntent())
			end.Reissue = true
			return f.j.EndIntent(f.ctx, end)
		}
		want(f.T, reissued(), journal.ErrNotFound)
		f.pendingIntent()
		f.finish(o, f.draft(o, schemas.TypeInvitationFailed), f.draft(o, schemas.TypeInvited))
		before := f.pending()
		f.publish(before...)
		f.ok(reissued())
		after := f.pending()
		if len(after) != 1 || after[0].Event != before[1].Event || after[0].Sequence != before[1].Sequence {
			f.Fatalf("published: %+v, again: %+v", before, after)
		}
		diff(f.T, before[1].Message, after[0].Message)
		diff(f.T, before[1].MAC, after[0].MAC)
	}},
	// An intent waits, with the operation as it stands.
	{"Queued", func(f *fixture) {
		o := inAttention(f, "1")
		signalled(f.j.IntentsChanged())
		i := f.asked(o.UUID, "enter")
		if !signalled(f.j.IntentsChanged()) {
			f.Error("no signal")
		}
		f.clock.advance(time.Minute)
		f.crash()
		got := f.pendingIntent()
		if got.UUID != i.UUID || got.Actor != "anna" || got.Act != "enter" || got.Account != account || got.Operation != o.UUID ||
			got.Note != "ticket 7" || got.MerchantID != "merchant" || string(got.Sealed) != string(i.Sealed) || got.State != journal.IntentWaiting || !got.Ended.IsZero() {
			f.Fatalf("the intent is %+v", got.Intent)
		}
		x := got.Target
		if x == nil || x.UUID != o.UUID || x.State != journal.Attention || x.Reason != "outcome_unknown" || !x.Doubt || x.Unknowns != 1 || x.Run != 1 ||
			x.Shop != shopKey("s") || x.Kind != journal.Activate || x.NextVersion != 1 || x.EventID != "event-1" || x.Active != nil || x.Current != nil {
			f.Fatalf("the operation is %+v", x)
		}
		if a := acts(f); len(a) != 1 || a[0] != "enter.asked" {
			f.Fatalf("the audit is %v", a)
		}
	}},
	// An intent is performed by a process that has claimed nothing.
	{"OtherProcess", func(f *fixture) {
		o := inAttention(f, "1")
		f.asked(o.UUID, "enter")
		f.crash()
		i := f.pendingIntent()
		f.apply(journal.Transition{
			Ref: i.Target.Ref, From: journal.Attention, To: journal.Done, Intent: performed(i), Credential: f.credential(i.Target.ClaimedOperation, 1, "m"),
			Active: &journal.ActiveUpdate{At: f.clock.now()},
		})
	}},
	// An intent says whether others of its kind are queued.
	{"OthersQueued", func(f *fixture) {
		o := inAttention(f, "1")
		f.asked(o.UUID, "probe")
		f.ingest(f.code("s", "e2", "2"))
		f.claimed(journal.Activate, journal.Call)
		f.ingest(f.address("s", "e3", "a@x.test"))
		if x := f.pendingIntent().Target; x.Newer {
			f.Fatal("an address is no newer code, and one that is claimed is not queued")
		}
		f.ingest(f.code("s", "e4", "4"))
		if x := f.pendingIntent().Target; !x.Newer || x.Unknowns != 1 {
			f.Fatalf("a newer code is queued: %+v", x)
		}
	}},
	// What an intent is about must be there.
	{"SubjectMustExist", func(f *fixture) {
		want(f.T, f.j.AppendIntent(f.ctx, journal.Intent{UUID: uuid.New(), Act: "close", Operation: uuid.New()}, journal.AuditEntry{Act: "never"}), journal.ErrNotFound)
		want(f.T, f.j.AppendIntent(f.ctx, journal.Intent{UUID: uuid.New(), Act: "pause", Account: "nobody"}, journal.AuditEntry{Act: "never"}), journal.ErrNotFound)
		if err := f.j.AppendIntent(f.ctx, journal.Intent{Act: "pause", Account: account}, journal.AuditEntry{Act: "never"}); err == nil {
			f.Error("an intent without an id was taken")
		}
		if err := f.j.AppendIntent(f.ctx, journal.Intent{UUID: uuid.New(), Act: "enter", Account: account, Sealed: []byte("plain")}, journal.AuditEntry{Act: "never"}); err == nil {
			f.Error("a token that is not sealed was taken")
		}
		i := journal.Intent{UUID: uuid.New(), Act: "pause", Account: account}
		f.ok(f.j.AppendIntent(f.ctx, i, journal.AuditEntry{Act: "once"}))
		if err := f.j.AppendIntent(f.ctx, i, journal.AuditEntry{Act: "never"}); !errors.Is(err, journal.ErrIntentExists) {
			f.Error("two intents have one id")
		}
		if a := acts(f); len(a) != 1 || a[0] != "once" {
			f.Fatalf("the audit is %v", a)
		}
	}},
	// An intent ends once, with its effect.
	{"EndsOnce", func(f *fixture) {
		o := inAttention(f, "1")
		f.asked(o.UUID, "close")
		got := f.pendingIntent()
		f.apply(journal.Transition{Ref: got.Target.Ref, From: journal.Attention, To: journal.Done, Reason: "closed", Intent: performed(got)})
		f.wantState(o.UUID, journal.Done)
		want(f.T, f.j.EndIntent(f.ctx, *performed(got)), journal.ErrStale)
		f.crash()
		if list, err := f.j.PendingIntents(f.ctx, 10, nil); err != nil || len(list) != 0 {
			f.Fatal(list, err)
		}
		list, err := f.j.Intents(f.ctx, journal.IntentFilter{Operation: o.UUID, Limit: 10})
		f.ok(err)
		if len(list) != 1 || list[0].State != journal.IntentPerformed || list[0].Result != "done" || list[0].Detail != "it was done" ||
			!list[0].Ended.Equal(f.clock.now()) || list[0].Sealed != nil {
			f.Fatalf("the intents are %+v", list)
		}
		if a := acts(f); len(a) != 2 || a[0] != "close.performed" {
			f.Fatalf("the audit is %v", a)
		}
	}},
	// An intent that has ended has no second effect.
	{"NoSecondEffect", func(f *fixture) {
		o := inAttention(f, "1")
		f.asked(o.UUID, "close")
		got := f.pendingIntent()
		refused := *performed(got)
		refused.State = journal.IntentRefused
		f.ok(f.j.EndIntent(f.ctx, refused))
		// The other worker's transition, which it decided from the same state.
		want(f.T, f.j.Apply(f.ctx, journal.Transition{Ref: got.Target.Ref, From: journal.Attention, To: journal.Done, Intent: performed(got)}), journal.ErrStale)
		f.wantState(o.UUID, journal.Attention)
		if len(acts(f)) != 2 {
			f.Fatalf("the audit is %v", acts(f))
		}
		if err := f.j.EndIntent(f.ctx, journal.IntentEnd{ID: got.ID, State: journal.IntentWaiting}); err == nil {
			f.Error("an intent ended as waiting")
		}
	}},
	// An operation that moved on leaves the intent waiting.
	{"OperationMovedOn", func(f *fixture) {
		o := inAttention(f, "1")
		f.asked(o.UUID, "close")
		got := f.pendingIntent()
		again := f.state(o.UUID)
		if s, _, err := f.j.SaveResponse(f.ctx, f.receipt(o, again.Tries[0].ID, "late")); err != nil || s != journal.Received {
			f.Fatal(s, err)
		}
		want(f.T, f.j.Apply(f.ctx, journal.Transition{Ref: got.Target.Ref, From: journal.Attention, To: journal.Done, Intent: performed(got)}), journal.ErrStale)
		f.wantState(o.UUID, journal.Received)
		if now := f.pendingIntent(); now.Target.State != journal.Received || now.Target.Ref == got.Target.Ref {
			f.Fatalf("the operation is %+v", now.Target)
		}
		if len(acts(f)) != 1 {
			f.Fatalf("the audit is %v", acts(f))
		}
	}},
	// A circuit breaker is changed with the intent's end.
	{"CircuitChanged", func(f *fixture) {
		i := journal.Intent{UUID: uuid.New(), Actor: "anna", Act: "pause", Account: account}
		f.ok(f.j.AppendIntent(f.ctx, i, journal.AuditEntry{Act: "pause.asked"}))
		got := f.pendingIntent()
		if got.Target != nil || got.Account != account || got.Operation != uuid.Nil {
			f.Fatalf("the intent is %+v", got)
		}
		end := *performed(got)
		end.Circuit = &journal.Circuit{State: "ajar"}
		if err := f.j.EndIntent(f.ctx, end); err == nil {
			f.Fatal("a circuit breaker that does not exist was set")
		}
		f.pendingIntent()
		end.Circuit = &journal.Circuit{State: journal.CircuitPaused, Reason: "operator", Since: f.clock.now()}
		f.ok(f.j.EndIntent(f.ctx, end))
		f.crash()
		as, err := f.j.Accounts(f.ctx)
		f.ok(err)
		diff(f.T, *end.Circuit, as[0].Circuit)
		list, err := f.j.Intents(f.ctx, journal.IntentFilter{Account: account, Limit: 10})
		f.ok(err)
		if len(list) != 1 || list[0].UUID != i.UUID || list[0].State != journal.IntentPerformed {
			f.Fatalf("the intents are %+v", list)
		}
	}},
	// An answer entered by hand is the operation's.
	{"EnteredResponse", func(f *fixture) {
		o := inAttention(f, "1")
		older := inAttention(f, "2")
		f.asked(o.UUID, "enter")
		got := f.pendingIntent()
		entered, err := f.keys.Seal([]byte("entered"), keyset.AssociatedData("receipt", o.UUID.String()))
		f.ok(err)
		event := uuid.New()
		f.apply(journal.Transition{
			Ref: got.Target.Ref, From: journal.Attention, To: journal.Done, Reason: "activated", NewRun: true, Verified: true,
			Supersede: "newer_code", Over: []string{"outcome_unknown"},
			Credential: f.credential(o, 1, "m-1"), Active: &journal.ActiveUpdate{At: f.clock.now(), Event: event}, Entered: entered, Intent: performed(got),
			Publish: []journal.Draft{f.draft(o, "activated")},
		})
		f.wantState(older.UUID, journal.Superseded)
		f.crash()
		// No attempt takes the receipt's number, also after a restart.
		other, id := f.sending(f.code("t", "e9", "9"))
		if s, mine, err := f.j.SaveResponse(f.ctx, f.receipt(other, id, "answer")); err != nil || !mine || s != journal.Received {
			f.Fatal(s, mine, err)
		}
		// A late response of the operation is compared with it.
		if s, _, err := f.j.SaveResponse(f.ctx, f.receipt(o, f.state(o.UUID).Tries[0].ID, "late")); err != nil || s != journal.Done {
			f.Fatal(s, err)
		}
		settle := f.claimed(journal.Activate, journal.Settle)
		if settle.UUID != o.UUID || settle.Run != 2 || len(settle.Late) != 1 || len(settle.Known) == 0 || string(settle.Known[0].Sealed) != string(entered) {
			f.Fatalf("claimed %+v", settle)
		}
		f.asked(o.UUID, "close")
		if x := f.pendingIntent().Target; x.Current == nil || x.Current.MerchantID != "m-1" || x.Current.Version != 1 || !x.CurrentVerified || x.Active.Event != event {
			f.Fatalf("the operation is %+v", x)
		}
	}},
	// Intents are bounded, and read from their end.
	{"Pages", func(f *fixture) {
		ask := func(k int) error {
			return f.j.AppendIntent(f.ctx, journal.Intent{UUID: uuid.New(), Act: "pause", Account: account, Note: fmt.Sprint(k)}, journal.AuditEntry{Act: "asked"})
		}
		const edge = 3 // those whose order is checked; the others are appended concurrently
		for k := range edge {
			f.ok(ask(k))
		}
		var all errgroup.Group
		for k := edge; k < journal.MaxWaitingIntents-edge; k++ {
			all.Go(func() error { return ask(k) })
		}
		f.ok(all.Wait())
		for k := journal.MaxWaitingIntents - edge; k < journal.MaxWaitingIntents; k++ {
			f.ok(ask(k))
		}
		want(f.T, f.j.AppendIntent(f.ctx, journal.Intent{UUID: uuid.New(), Act: "pause", Account: account}, journal.AuditEntry{Act: "never"}), journal.ErrTooManyIntents)
		first, err := f.j.PendingIntents(f.ctx, 2, nil)
		f.ok(err)
		if len(first) != 2 || first[0].Note != "0" || first[1].Note != "1" {
			f.Fatalf("first are %+v", first)
		}
		others, err := f.j.PendingIntents(f.ctx, 1, []int64{first[1].ID, first[0].ID, 1 << 40})
		f.ok(err)
		if len(others) != 1 || others[0].Note != "2" {
			f.Fatalf("after the skipped ones are %+v", others)
		}
		every, err := f.j.PendingIntents(f.ctx, journal.MaxWaitingIntents, nil)
		f.ok(err)
		skip := make([]int64, 0, len(every))
		for _, i := range every {
			skip = append(skip, i.ID)
		}
		if none, err := f.j.PendingIntents(f.ctx, 1, skip); err != nil || len(skip) != journal.MaxWaitingIntents || len(none) != 0 {
			f.Fatalf("with %d skipped: %+v, %v", len(skip), none, err)
		}
		page, err := f.j.Intents(f.ctx, journal.IntentFilter{Limit: 2})
		f.ok(err)
		next, err := f.j.Intents(f.ctx, journal.IntentFilter{Before: page[1].ID, Limit: 1})
		f.ok(err)
		if len(page) != 2 || page[0].Note != "999" || len(next) != 1 || next[0].Note != "997" {
			f.Fatalf("pages are %+v, %+v", page, next)
		}
		one, err := f.j.Intents(f.ctx, journal.IntentFilter{UUID: next[0].UUID, Limit: 5})
		f.ok(err)
		if len(one) != 1 || one[0].Note != "997" {
			f.Fatalf("found %+v", one)
		}
		f.ok(f.j.EndIntent(f.ctx, journal.IntentEnd{ID: first[0].ID, State: journal.IntentRefused, Audit: journal.AuditEntry{Act: "refused"}}))
		f.ok(f.j.AppendIntent(f.ctx, journal.Intent{UUID: uuid.New(), Act: "pause", Account: account}, journal.AuditEntry{Act: "asked"}))
	}},
}
