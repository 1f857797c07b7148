package journaltest

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/keyset"
	"invoicebox-worker/schemas"
)

// restorer has few rules: a published result ends an operation. The rest becomes unknown
// or, behind others, in doubt.
func restorer(o journal.RestoredOperation) journal.Restoration {
	switch {
	case len(o.Results) > 0:
		return journal.Restoration{To: journal.Done, Reason: "published", Run: o.Run + 1, Word: "published"}
	case !o.Last || !o.State.Open():
		return journal.Restoration{}
	case o.State == journal.Queued:
		return journal.Restoration{Doubt: true, Unknown: true, Word: "doubt"}
	}
	return journal.Restoration{To: journal.Unknown, Reason: "restored", Doubt: true, Unknown: true, Word: "unknown"}
}

// announced is an event that was published after the copy was made.
func announced(e journal.Event, sequence, offset int64) journal.PublishedEvent {
	operation := operationID(e, 0)
	typ := schemas.TypeActivated
	if e.Kind == journal.Invite {
		typ = schemas.TypeInvited
	}
	id := schemas.EventID(operation, 1, typ)
	return journal.PublishedEvent{
		Event: id, Type: typ, Shop: e.Shop, Operation: operation, Causation: e.ID, Sequence: sequence, At: e.Time,
		Message: schemas.Message{Partition: 3, Offset: offset, Key: []byte(e.Shop.Shop), Value: fmt.Appendf(nil, "published as %d", sequence), Headers: []schemas.Header{{Key: "h", Value: []byte("v")}}},
	}
}

// announcedIn is an activation whose secret is in OpenBao, with a version of that store,
// as the topic has it.
func announcedIn(e journal.Event, sequence, version int64) journal.PublishedEvent {
	a := announced(e, sequence, sequence)
	ref := schemas.Reference{Store: schemas.StoreOpenBao, Mount: "secret", Account: e.Shop.Account, Shop: e.Shop.Shop, Version: version}
	a.Version, a.Reference = version, ref.String()
	m, err := schemas.Encode(schemas.Event{
		ID: a.Event.String(), Source: "/test", Type: a.Type, Subject: e.Shop.Shop, Sequence: sequence, Time: e.Time, CausationID: e.ID, OperationID: a.Operation.String(),
		Data: schemas.Activated{
			ShopID: e.Shop.Shop, PartnerAccount: e.Shop.Account, MerchantID: "m", ActivatedAt: e.Time, Verification: schemas.VerificationVerified,
			Credentials: schemas.Credentials{Ref: a.Reference, Store: ref.Store, Key: ref.Key(), Version: version, Fields: []string{schemas.FieldMerchantID, schemas.FieldToken}},
		},
	}, schemas.FormatBinary)
	if err != nil {
		panic(err) // the test's own mistake
	}
	m.Partition, m.Offset = a.Message.Partition, a.Message.Offset
	a.Message = m
	return a
}

// byReference is a restorer that takes over published activations, and records the
// operations in seen.
func byReference(seen map[uuid.UUID]journal.RestoredOperation) journal.Restorer {
	return func(o journal.RestoredOperation) journal.Restoration {
		if len(o.Results) == 0 {
			return journal.Restoration{}
		}
		if seen != nil {
			seen[o.UUID] = o
		}
		a := o.Results[0]
		e, err := schemas.DecodeOutput(a.Message)
		if err != nil {
			return journal.Restoration{}
		}
		d, _ := e.Data.(schemas.Activated)
		return journal.Restoration{
			To: journal.Done, Reason: "activated", Word: "active", Active: &journal.ActiveUpdate{At: a.At, Event: a.Event},
			Credential: &journal.Credential{Shop: o.Shop, Version: a.Version, Reference: d.Credentials.Ref, MerchantID: d.MerchantID},
		}
	}
}

// storedAs activates a shop with credentials of a version, sealed if they have no
// reference to another store.
func storedAs(f *fixture, e journal.Event, version int64, reference *string) *journal.Credential {
	f.Helper()
	o, id := f.sending(e)
	_, _, err := f.j.SaveResponse(f.ctx, f.receipt(o, id, "answer"))
	f.ok(err)
	c := f.credential(o, version, "m")
	if reference != nil {
		c.Reference, c.Sealed = *reference, nil
	}
	f.apply(journal.Transition{
		Ref: o.Ref, From: journal.Received, To: journal.Done, Reason: "activated", Credential: c, Verified: true,
		Active: &journal.ActiveUpdate{At: f.clock.now(), Event: uuid.New(), Review: f.clock.now().Add(time.Hour)},
	})
	return c
}

// wantCurrent checks the current credentials of a shop.
func (f *fixture) wantCurrent(shop journal.ShopKey, version int64, a journal.PublishedEvent) {
	f.Helper()
	c, err := f.j.PublishedCredential(f.ctx, shop)
	if err != nil || c.Version != version || c.Reference != a.Reference {
		f.Fatalf("the current credentials are %+v, want version %d of %s: %v", c, version, a.Reference, err)
	}
	d, err := f.j.Shop(f.ctx, shop)
	if err != nil || d.Active == nil || d.Active.Event != a.Event || d.Active.Operation != a.Operation {
		f.Fatalf("active is %+v, want %s: %v", d.Active, a.Event, err)
	}
}

func (f *fixture) recover(r journal.Restorer) journal.Recovery {
	f.Helper()
	got, err := f.j.Recover(f.ctx, r)
	f.ok(err)
	return got
}

func (f *fixture) takeOver(as ...journal.PublishedEvent) journal.ImportResult {
	f.Helper()
	got, err := f.j.ImportPublished(f.ctx, as)
	f.ok(err)
	return got
}

// restore restores page by page and adds the outcomes up.
func (f *fixture) restore(last bool, limit int) map[string]int {
	f.Helper()
	words := map[string]int{}
	for after := int64(0); ; {
		next, page, err := f.j.Restore(f.ctx, last, after, limit)
		f.ok(err)
		for w, n := range page {
			if n != 0 {
				words[w] += n
			}
		}
		if next == 0 {
			return words
		}
		after = next
	}
}

func (f *fixture) endRecovery() []journal.UnknownShop {
	f.Helper()
	orphans, err := f.j.EndRecovery(f.ctx, journal.RecoveryEnd{Identity: uuid.New(), Check: []byte("fits"), Audit: journal.AuditEntry{Actor: "test", Act: "recover"}})
	f.ok(err)
	return orphans
}

var restores = []part{
	// A published event keeps its bytes, and sequences rise above it.
	{"PublishedEvent", func(f *fixture) {
		e := f.code("s", "e1", "1")
		f.ingest(e)
		f.recover(restorer)
		a := announced(e, 7, 41)
		diff(f.T, journal.ImportResult{Imported: 1}, f.takeOver(a))
		diff(f.T, journal.ImportResult{Known: 1}, f.takeOver(a))
		up, err := f.j.PublishedOffsets(f.ctx)
		f.ok(err)
		diff(f.T, []journal.Position{{Topic: a.Type, Partition: 3, Next: 42}}, up)
		diff(f.T, map[string]int{"published": 1}, f.restore(false, 10))
		f.wantState(a.Operation, journal.Done)
		f.endRecovery()
		if out := pending(f); len(out) != 0 {
			f.Fatalf("%d events wait although they were published", len(out))
		}
		// The same event from a later step has the bytes that were published.
		f.plan = func(journal.Event, journal.ShopView) journal.Plan {
			return journal.Plan{Publish: []journal.Draft{MakeDraft(a.Event, a.Type, e.Shop), MakeDraft(uuid.New(), "new", e.Shop)}}
		}
		f.ingest(f.code("s", "e2", "2"))
		out := pending(f)
		if len(out) != 2 || string(out[0].Message.Value) != "published as 7" || len(out[0].Message.Headers) != 1 {
			f.Fatalf("published again: %+v", out)
		}
		d, err := f.j.Shop(f.ctx, e.Shop)
		f.ok(err)
		if last := d.Output[len(d.Output)-1]; last.Sequence <= 7 {
			f.Fatalf("sequence %d is not above 7", last.Sequence)
		}
	}},
	// A recovery after pruning begins where the pruned events ended, and goes on above them.
	{"RecoveryAfterPruning", testRecoverPruned},
	// Waiting operator actions end where the recovery says so.
	{"EarlierActionsEnd", func(f *fixture) {
		o := inAttention(f, "1")
		entered := f.asked(o.UUID, "enter")
		f.ok(f.j.AppendIntent(f.ctx, journal.Intent{UUID: uuid.New(), Actor: "anna", Act: "probe", Operation: o.UUID}, journal.AuditEntry{Actor: "anna", Act: "probe.asked"}))
		f.recover(restorer)
		_, err := f.j.EndRecovery(f.ctx, journal.RecoveryEnd{Identity: uuid.New(), Check: []byte("fits"), Asked: func(i journal.Intent) (journal.IntentEnd, bool) {
			return journal.IntentEnd{ID: i.ID, State: journal.IntentRefused, Result: "restored", Audit: journal.AuditEntry{Act: i.Act + ".refused"}}, i.Sealed == nil
		}})
		f.ok(err)
		if i := f.pendingIntent(); i.UUID != entered.UUID {
			f.Fatalf("%s waits", i.Act)
		}
		if list := acts(f); !slices.Contains(list, "probe.refused") {
			f.Fatalf("the audit is %v", list)
		}
	}},
	// An event that waited to be published and was is not published again.
	{"PublishedMeanwhile", func(f *fixture) {
		e := f.address("s", "e1", "a@x.test")
		f.ingest(e)
		o := f.claimed(journal.Invite, journal.Call)
		f.finish(o, f.draft(o, schemas.TypeInvited))
		f.recover(restorer)
		a := announced(e, 1, 5)
		diff(f.T, journal.ImportResult{Known: 1}, f.takeOver(a))
		if out := pending(f); len(out) != 0 {
			f.Fatalf("%d events wait", len(out))
		}
	}},
	// Inputs that are read again meet what was published of them.
	{"InputsReadAgain", func(f *fixture) {
		f.recover(restorer)
		spent, open := f.code("s1", "e1", "1"), f.code("s2", "e2", "2")
		f.takeOver(announced(spent, 3, 1))
		// The same code again, after its result was published: its next run is in doubt.
		f.ingest(spent, open, f.code("s1", "e3", "1"))
		diff(f.T, map[string]int{"published": 1, "unknown": 2}, f.restore(true, 1))
		d := f.state(operationID(spent, 0))
		if d.State != journal.Unknown || d.Run != 3 || !d.Doubt {
			f.Fatalf("the second run is %+v", d.OperationRecord)
		}
		f.endRecovery()
		for _, o := range f.claim(journal.Activate, journal.Settle, 10) {
			if o.State != journal.Unknown || o.Unknowns != 1 || !o.Doubt || o.ConnectionClosed.IsZero() {
				f.Fatalf("claimed %+v", o)
			}
		}
	}},
	// What is behind another stays there, in doubt.
	{"QueuedInDoubt", func(f *fixture) {
		first, second := f.code("s", "e1", "1"), f.code("s", "e2", "2")
		f.ingest(first, second)
		f.recover(restorer)
		diff(f.T, map[string]int{"unknown": 1, "doubt": 1}, f.restore(true, 10))
		f.wantState(operationID(first, 0), journal.Unknown)
		if d := f.state(operationID(second, 0)); d.State != journal.Queued || !d.Doubt {
			f.Fatalf("%+v", d.OperationRecord)
		}
		f.endRecovery()
		o := f.claimed(journal.Activate, journal.Settle)
		f.apply(journal.Transition{Ref: o.Ref, From: journal.Unknown, To: journal.Attention, Reason: "outcome_unknown"})
		if next := f.claimed(journal.Activate, journal.Call); next.Unknowns != 1 || !next.Doubt {
			f.Fatalf("released as %+v", next)
		}
	}},
	// One that ends frees the lane.
	{"EndFreesLane", func(f *fixture) {
		first, second := f.code("s", "e1", "1"), f.code("s", "e2", "2")
		f.ingest(first, second)
		f.recover(restorer)
		f.takeOver(announced(first, 1, 1))
		diff(f.T, map[string]int{"published": 1}, f.restore(false, 10))
		f.wantState(operationID(second, 0), journal.Planned)
	}},
	// Credentials in another store are taken over, a conflict is told.
	{"CredentialsInStore", func(f *fixture) {
		one, two := f.code("s1", "e1", "1"), f.code("s2", "e2", "2")
		f.ingest(one, two)
		conflicts := 0
		f.recover(func(o journal.RestoredOperation) journal.Restoration {
			if o.Conflict {
				conflicts++
				return journal.Restoration{To: journal.Attention, Reason: "conflict", MerchantID: "m", Word: "conflict"}
			}
			return journal.Restoration{
				To: journal.Done, Word: "active", Credential: &journal.Credential{Shop: o.Shop, Version: 4, Reference: "ref+vault://x", MerchantID: "m"},
				Active: &journal.ActiveUpdate{At: o.Results[0].At, Event: o.Results[0].Event},
			}
		})
		a, b := announced(one, 1, 1), announced(two, 1, 2)
		a.Version, b.Version = 4, 4
		f.takeOver(a, b)
		diff(f.T, map[string]int{"active": 1, "conflict": 1}, f.restore(false, 10))
		if conflicts != 1 {
			f.Fatalf("%d conflicts", conflicts)
		}
		if orphans := f.endRecovery(); len(orphans) != 0 {
			f.Fatalf("orphans %v", orphans)
		}
		c, err := f.j.Credential(f.ctx, one.Shop, 0)
		if err != nil || c.Version != 4 || c.Sealed != nil {
			f.Fatal(c, err)
		}
		h, err := f.j.Shop(f.ctx, one.Shop)
		if err != nil || h.Active == nil || h.Active.Version != 4 || h.Active.Event != a.Event {
			f.Fatalf("%+v %v", h.Active, err)
		}
		// A version that was announced is never used again, resolved or not.
		f.ingest(f.code("s2", "e3", "3"))
		if o := f.claimed(journal.Activate, journal.Call); o.NextVersion != 5 {
			f.Fatalf("the next version is %d", o.NextVersion)
		}
	}},
	// An answer that was announced keeps its version.
	{"PublishedVersion", func(f *fixture) {
		e := f.code("s", "e1", "1")
		o, id := f.sending(e)
		if _, mine, err := f.j.SaveResponse(f.ctx, f.receipt(o, id, "answer")); err != nil || !mine {
			f.Fatal(mine, err)
		}
		f.crash()
		f.recover(func(o journal.RestoredOperation) journal.Restoration {
			if o.Receipt == nil || o.State != journal.Received {
				return journal.Restoration{}
			}
			return journal.Restoration{Version: 6, Word: "answer"}
		})
		a := announced(e, 1, 1)
		a.Version = 6
		f.takeOver(a)
		diff(f.T, map[string]int{"answer": 1}, f.restore(false, 10))
		f.endRecovery()
		if o := f.claimed(journal.Activate, journal.Settle); o.NextVersion != 6 {
			f.Fatalf("the version is %d", o.NextVersion)
		}
	}},
	// Credentials in another store are numbered after those that the journal has.
	{"VersionsInStore", func(f *fixture) {
		first, second, third := f.code("s", "e1", "1"), f.code("s", "e2", "2"), f.code("s", "e3", "3")
		sealed := storedAs(f, first, 1, nil)
		f.ingest(second, third)
		f.crash()
		seen := map[uuid.UUID]journal.RestoredOperation{}
		f.recover(byReference(seen))
		// The store counts from 1. The third code's secret was stored first: an
		// operation in attention was completed afterwards.
		a, b := announcedIn(second, 8, 2), announcedIn(third, 7, 1)
		f.takeOver(b, a)
		f.restore(false, 10)
		for _, x := range []struct {
			event journal.PublishedEvent
			want  int64
		}{{a, 3}, {b, 2}} {
			o, ok := seen[x.event.Operation]
			if !ok || len(o.Results) != 1 || o.Results[0].Version != x.want || o.Versions[sealed.Reference] != 1 || o.Newest != a.Reference {
				f.Fatalf("%s: version %d, credentials %v, newest %s", x.event.Reference, o.Results[0].Version, o.Versions, o.Newest)
			}
		}
		f.wantCurrent(first.Shop, 3, a)
		f.endRecovery()
		f.wantCurrent(first.Shop, 3, a)
		if c, err := f.j.Credential(f.ctx, first.Shop, 1); err != nil || c.Reference != sealed.Reference {
			f.Fatal(c, err)
		}
		f.ingest(f.code("s", "e4", "4"))
		if o := f.claimed(journal.Activate, journal.Call); o.NextVersion != 4 {
			f.Fatalf("the next version is %d", o.NextVersion)
		}
	}},
	// An answer that was stored in another store keeps the journal's number.
	{"StoredResponseKeepsVersion", func(f *fixture) {
		storedAs(f, f.code("s", "e1", "1"), 1, nil)
		e := f.code("s", "e2", "2")
		a := announcedIn(e, 7, 1)
		o, id := f.sending(e)
		_, _, err := f.j.SaveResponse(f.ctx, f.receipt(o, id, "answer"))
		f.ok(err)
		f.apply(journal.Transition{Ref: o.Ref, From: journal.Received, To: journal.Stored,
			Credential: &journal.Credential{Shop: e.Shop, Version: 2, Reference: a.Reference, MerchantID: "m"}})
		f.crash()
		f.recover(func(o journal.RestoredOperation) journal.Restoration {
			if len(o.Results) == 0 || o.State != journal.Stored {
				return journal.Restoration{}
			}
			return journal.Restoration{Version: o.Results[0].Version, Word: "answer"}
		})
		f.takeOver(a)
		f.restore(false, 10)
		f.endRecovery()
		if o := f.claimed(journal.Activate, journal.Settle); o.Credential == nil || o.Credential.Version != 2 || o.Credential.Reference != a.Reference {
			f.Fatalf("its credentials are %+v", o.Credential)
		}
	}},
	// Published credentials do not become others of the same number.
	{"SameVersionOtherCredentials", func(f *fixture) {
		first, second := f.code("s", "e1", "1"), f.code("s", "e2", "2")
		sealed := storedAs(f, first, 1, nil)
		f.ingest(second)
		f.crash()
		f.recover(func(o journal.RestoredOperation) journal.Restoration {
			r := byReference(nil)(o)
			if r.Credential != nil {
				r.Credential.Version = 1
			}
			return r
		})
		a := announcedIn(second, 7, 1)
		f.takeOver(a)
		f.restore(false, 10)
		f.wantCurrent(first.Shop, 3, a) // 2 was given to it when it was imported
		if c, err := f.j.Credential(f.ctx, first.Shop, 1); err != nil || c.Reference != sealed.Reference {
			f.Fatal(c, err)
		}
	}},
	// Credentials in another store that the journal has are not stored again.
	{"CredentialsKnown", func(f *fixture) {
		e := f.code("s", "e1", "1")
		a := announcedIn(e, 7, 1)
		storedAs(f, e, 4, &a.Reference)
		f.crash()
		f.recover(byReference(nil))
		f.takeOver(a)
		f.restore(false, 10)
		f.endRecovery()
		f.wantCurrent(e.Shop, 4, a)
		if _, err := f.j.Credential(f.ctx, e.Shop, 1); !errors.Is(err, journal.ErrNotFound) {
			f.Fatal("it is stored twice", err)
		}
	}},
	// Shops of which nothing else is known are told, with what was published last.
	{"UnknownShops", func(f *fixture) {
		f.recover(restorer)
		a := announced(f.code("gone", "e1", "1"), 1, 1)
		a.Version = 1
		b, c := announcedIn(f.code("held", "e2", "2"), 3, 1), announcedIn(f.code("held", "e3", "3"), 4, 2)
		f.takeOver(a, c, b)
		diff(f.T, []journal.UnknownShop{{ShopKey: shopKey("gone")}, {ShopKey: shopKey("held"), Reference: c.Reference}}, f.endRecovery())
	}},
	// A dead letter that is read again is announced as before.
	{"DeadLetterReadAgain", func(f *fixture) {
		f.recover(restorer)
		sealed, err := f.keys.Seal([]byte("x"), keyset.AssociatedData("letter"))
		f.ok(err)
		letter := journal.DeadLetter{Offset: f.next, Reason: "not_json", Time: f.clock.now(), Size: 1, Sealed: sealed, Announce: MakeDraft(uuid.New(), schemas.TypeDeadLetter, journal.ShopKey{})}
		f.takeOver(journal.PublishedEvent{Event: letter.Announce.ID, Type: schemas.TypeDeadLetter, At: f.clock.now(), Message: schemas.Message{Offset: 9, Value: []byte("then")}})
		b := f.batch()
		b.Next++
		f.next++
		b.DeadLetters = []journal.DeadLetter{letter}
		_, err = f.j.Ingest(f.ctx, b)
		f.ok(err)
		if out := pending(f); len(out) != 0 {
			f.Fatalf("announced again with other bytes: %s", out[0].Message.Value)
		}
		list, err := f.j.DeadLetters(f.ctx, journal.DeadLetterFilter{Limit: 10})
		if err != nil || len(list) != 1 || list[0].Announce.ID != letter.Announce.ID {
			f.Fatal(list, err)
		}
	}},
	// Every step can be made again after a crash, and none counts twice.
	{"StepsRepeated", func(f *fixture) {
		known, again := f.code("s1", "e1", "1"), f.code("s2", "e2", "2")
		f.ingest(known)
		ask := func() bool {
			due, err := f.j.RecoveryDue(f.ctx)
			f.ok(err)
			return due
		}
		if ask() {
			f.Fatal("a recovery is due before any was begun")
		}
		crashed := func() {
			f.crash()
			if !ask() {
				f.Fatal("no recovery is due after a crash in it")
			}
			if got := f.recover(restorer); !got.Resumed || got.Number != 1 {
				f.Fatalf("went on as %+v", got)
			}
		}
		if got := f.recover(restorer); got.Resumed || got.Number != 1 {
			f.Fatalf("began as %+v", got)
		}
		crashed()
		f.takeOver(announced(again, 2, 1))
		crashed()
		f.takeOver(announced(again, 2, 1))
		f.restore(false, 1)
		crashed()
		f.ingest(again, f.code("s3", "e3", "3"))
		crashed()
		f.wantState(operationID(again, 0), journal.Done)
		if _, _, err := f.j.Restore(f.ctx, true, 0, 1); err != nil {
			f.Fatal(err)
		}
		crashed()
		f.restore(true, 1)
		crashed()
		f.restore(true, 1)
		f.endRecovery()
		if ask() {
			f.Fatal("a recovery is due after its end")
		}
		got := f.claim(journal.Activate, journal.Settle, 10)
		if len(got) != 2 {
			f.Fatalf("claimed %d", len(got))
		}
		for _, o := range got {
			if o.Unknowns != 1 {
				f.Fatalf("%d attempts are unknown of %v", o.Unknowns, o.Shop)
			}
		}
		if as, err := f.j.Audit(f.ctx, 0, 10); err != nil || len(as) != 1 {
			f.Fatal(as, err)
		}
	}},
	// Steps of a recovery need one.
	{"StepsNeedRecovery", func(f *fixture) {
		for name, err := range map[string]error{
			"take over": second(f.j.ImportPublished(f.ctx, nil)),
			"rewind":    f.j.ResetPositions(f.ctx, nil),
			"restore":   third(f.j.Restore(f.ctx, true, 0, 1)),
			"end":       second(f.j.EndRecovery(f.ctx, journal.RecoveryEnd{})),
		} {
			if err == nil || name == "" {
				f.Errorf("%s: no error", name)
			}
			want(f.T, err, journal.ErrNotRecovering)
		}
	}},
	// Positions go back, never forward.
	{"PositionsGoBack", func(f *fixture) {
		f.ingest(f.code("s", "e1", "1"), f.code("t", "e2", "2"))
		f.recover(restorer)
		f.ok(f.j.ResetPositions(f.ctx, []journal.Position{{Topic: topic, Next: 1}}))
		f.ok(f.j.ResetPositions(f.ctx, []journal.Position{{Topic: topic, Next: 9}}))
		ps, err := f.j.Positions(f.ctx)
		f.ok(err)
		diff(f.T, []journal.Position{{Topic: topic, Next: 1}}, ps)
	}},
	// A floor is below all sequences and versions, and stays.
	{"FloorRaised", func(f *fixture) {
		f.ingest(f.code("known", "e1", "1"))
		f.ok(f.j.RaiseFloor(f.ctx, 700))
		f.ok(f.j.RaiseFloor(f.ctx, 5))
		f.crash()
		f.ingest(f.code("new", "e2", "2"))
		claimed := f.claim(journal.Activate, journal.Call, 10)
		if len(claimed) != 2 {
			f.Fatalf("claimed %d", len(claimed))
		}
		for _, o := range claimed {
			if o.NextVersion != 701 {
				f.Errorf("the next version of shop %s is %d", o.Shop.Shop, o.NextVersion)
			}
			f.apply(journal.Transition{Ref: o.Ref, From: journal.Claimed, To: journal.Done, Publish: []journal.Draft{MakeDraft(uuid.New(), schemas.TypeActivationFailed, o.Shop)}})
			h, err := f.j.Shop(f.ctx, o.Shop)
			if err != nil || len(h.Output) != 1 || h.Output[0].Sequence != 701 {
				f.Errorf("shop %s published %+v %v", o.Shop.Shop, h.Output, err)
			}
		}
	}},
	// A lower floor changes nothing.
	{"FloorLowered", func(f *fixture) {
		f.ok(f.j.RaiseFloor(f.ctx, 700))
		o, id := f.sending(f.code("s", "e1", "1"))
		f.apply(journal.Transition{Ref: o.Ref, From: journal.Sending, To: journal.Stored, Attempt: id, End: f.answered(200), Credential: f.credential(o, 5, "m")})
		f.ok(f.j.RaiseFloor(f.ctx, 600))
		f.ingest(f.code("s", "e2", "2"))
		if next := f.claimed(journal.Activate, journal.Call); next.NextVersion != 701 {
			f.Fatalf("the next version is %d", next.NextVersion)
		}
	}},
	// The first credentials of a shop do not lower the version that was announced.
	{"FirstVersionOfShop", func(f *fixture) {
		first, second := f.code("s", "e1", "1"), f.code("s", "e2", "2")
		o, id := f.sending(first)
		if _, mine, err := f.j.SaveResponse(f.ctx, f.receipt(o, id, "answer")); err != nil || !mine {
			f.Fatal(mine, err)
		}
		f.ingest(second)
		f.crash()
		f.recover(func(o journal.RestoredOperation) journal.Restoration {
			if o.State == journal.Received {
				return journal.Restoration{Version: 6, Word: "answer"}
			}
			return journal.Restoration{}
		})
		a, b := announced(first, 1, 1), announced(second, 2, 2)
		a.Version, b.Version = 6, 9
		f.takeOver(a, b)
		f.restore(true, 10)
		f.endRecovery()
		o = f.claimed(journal.Activate, journal.Settle)
		f.apply(journal.Transition{Ref: o.Ref, From: journal.Received, To: journal.Done, Credential: f.credential(o, o.NextVersion, "m")})
		if next := f.claimed(journal.Activate, journal.Call); o.NextVersion != 6 || next.NextVersion != 10 {
			f.Fatalf("the versions are %d and %d", o.NextVersion, next.NextVersion)
		}
	}},
	// A permit that comes back later than the history is known does not keep the others.
	{"LatePermit", func(f *fixture) {
		p := narrow(3)
		id := f.mustCheck(p)
		f.ok(f.j.AssumeRateLimitUsed(f.ctx))
		f.clock.advance(p.Slack + 10*time.Second)
		f.ok(f.j.EndAttempt(f.ctx, id, *f.answered(200)))
		f.crash()
		f.free(p, 0, p.Window-10*time.Second)
		f.clock.advance(p.Window - 10*time.Second)
		f.free(p, 2, 0)
	}},
	// Where the history is unknown the ledgers wait a slack and a window.
	{"RateLimitsWait", func(f *fixture) {
		p := narrow(3)
		f.free(p, 3, 0)
		f.ok(f.j.AssumeRateLimitUsed(f.ctx))
		f.free(p, 0, p.Slack+p.Window)
		f.clock.advance(p.Slack)
		f.crash()
		f.free(p, 0, p.Window)
		f.clock.advance(p.Window - time.Second)
		f.free(p, 0, time.Second)
		f.clock.advance(time.Second)
		f.free(p, 3, 0)
		f.crash()
		f.free(p, 3, 0)
	}},
}
