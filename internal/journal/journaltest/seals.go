package journaltest

import (
	"errors"
	"slices"

	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/keyset"
)

var seals = []part{
	// Keys that were recorded are listed, and rows that need them are counted.
	{"KeyUse", func(f *fixture) {
		used, err := f.j.UsedKeys(f.ctx)
		if err != nil || len(used) != 0 {
			f.Fatal(used, err)
		}
		s, l := f.keys.PrimaryKeys()
		mine := []journal.Key{{Purpose: journal.KeySealing, ID: uint32(s)}, {Purpose: journal.KeyLookup, ID: uint32(l)}}
		other := journal.Key{Purpose: journal.KeyLookup, ID: 1<<32 - 1}
		for range 2 {
			f.ok(f.j.RegisterKeys(f.ctx, append(slices.Clone(mine), other), append(slices.Clone(mine), other)))
		}
		f.ingest(f.code("s", "e1", "1"), f.address("t", "e2", "a@example.com"))
		f.crash()
		if used, err = f.j.UsedKeys(f.ctx); err != nil || len(used) != 3 || len(journal.Without(append(slices.Clone(mine), other), used)) != 0 {
			f.Fatal(used, err)
		}
		rows, err := f.j.KeyRows(f.ctx, append(mine, other))
		f.ok(err)
		// Two operations, each with a subject; their MACs and the digests of two events.
		of := func(table, column string) journal.ColumnRows {
			return journal.ColumnRows{Table: table, Column: column, Rows: 2}
		}
		diff(f.T, []journal.KeyRows{
			{Key: mine[0], Rows: 2, Columns: []journal.ColumnRows{of("event", "subject_key")}},
			{Key: mine[1], Rows: 4, Columns: []journal.ColumnRows{of("event", "mac"), of("event", "digest")}}, {Key: other},
		}, rows)
	}},
	// A key that proves a secret in another store is counted.
	{"KeyOfStoredSecret", func(f *fixture) {
		o, id := f.sending(f.code("s", "e1", "1"))
		_, _, err := f.j.SaveResponse(f.ctx, f.receipt(o, id, "answer"))
		f.ok(err)
		c := f.credential(o, 1, "m")
		c.Sealed, c.Proof = nil, []byte{0, 0, 0, 7, 1, 2, 3}
		f.apply(journal.Transition{Ref: o.Ref, From: journal.Received, To: journal.Stored, Attempt: id, Credential: c})
		key := journal.Key{Purpose: journal.KeyLookup, ID: 7}
		rows, err := f.j.KeyRows(f.ctx, []journal.Key{key})
		f.ok(err)
		diff(f.T, []journal.KeyRows{{Key: key, Rows: 1, Columns: []journal.ColumnRows{{Table: "credential", Column: "proof", Rows: 1}}}}, rows)
	}},
	// A key that no row needs any more is retired.
	{"KeyRetired", func(f *fixture) {
		s, l := f.keys.PrimaryKeys()
		mine := []journal.Key{{Purpose: journal.KeySealing, ID: uint32(s)}, {Purpose: journal.KeyLookup, ID: uint32(l)}}
		old := journal.Key{Purpose: journal.KeyLookup, ID: 1<<32 - 1}
		f.ok(f.j.RegisterKeys(f.ctx, []journal.Key{mine[0], old}, append(slices.Clone(mine), old)))
		f.ok(f.j.RegisterKeys(f.ctx, mine, mine))
		used, err := f.j.UsedKeys(f.ctx)
		if err != nil || len(used) != 2 || len(journal.Without(used, mine)) != 0 {
			f.Fatal(used, err)
		}
		f.ingest(f.code("s", "e1", "1"))
	}},
	// Every row of the outbox gets a MAC, also one that is taken over.
	{"OutboxMACs", func(f *fixture) {
		f.j.Authenticate(func(o journal.OutboxRow) ([]byte, error) {
			return f.keys.Authenticate(keyset.DomainOutbox, o.Authentic()...)
		})
		e := f.code("s", "e1", "1")
		f.ingest(e)
		f.recover(restorer)
		a := announced(e, 7, 41)
		f.takeOver(a)
		f.restore(false, 10)
		f.endRecovery()
		f.plan = func(journal.Event, journal.ShopView) journal.Plan {
			return journal.Plan{Publish: []journal.Draft{MakeDraft(a.Event, a.Type, e.Shop), MakeDraft(uuid.New(), "new", e.Shop)}}
		}
		f.ingest(f.code("s", "e2", "2"))
		out := pending(f)
		if len(out) != 2 {
			f.Fatalf("%d rows wait", len(out))
		}
		for _, row := range out {
			f.ok(f.keys.Verify(row.MAC, keyset.DomainOutbox, row.Authentic()...))
		}
		out[0].Sequence++
		want(f.T, f.keys.Verify(out[0].MAC, keyset.DomainOutbox, out[0].Authentic()...), keyset.ErrOpen)
	}},
	// A row that cannot be authenticated fails its step.
	{"UnauthenticRow", func(f *fixture) {
		broken := errors.New("no key")
		f.j.Authenticate(func(journal.OutboxRow) ([]byte, error) { return nil, broken })
		f.ingest(f.code("s", "e1", "1"))
		o := f.claimed(journal.Activate, journal.Call)
		id := f.send(o)
		want(f.T, f.j.Apply(f.ctx, journal.Transition{
			Ref: o.Ref, From: journal.Sending, To: journal.Done, Attempt: id, End: f.answered(200), Publish: []journal.Draft{f.draft(o, "good")},
		}), broken)
		f.wantState(o.UUID, journal.Sending)
	}},
	// An intent keeps its MAC.
	{"ActionMAC", func(f *fixture) {
		i := journal.Intent{UUID: uuid.New(), Actor: "anna", Act: "pause", Account: account, Note: "why", MAC: []byte("mac")}
		f.ok(f.j.AppendIntent(f.ctx, i, journal.AuditEntry{Act: "pause.asked"}))
		list, err := f.j.PendingIntents(f.ctx, 10, nil)
		f.ok(err)
		if len(list) != 1 || string(list[0].MAC) != "mac" {
			f.Fatalf("%+v", list)
		}
		diff(f.T, i.Authentic(), list[0].Authentic())
	}},
	// An answer keeps what it is sealed for.
	{"ResponseSealing", func(f *fixture) {
		f.ingest(f.code("s", "e1", "1"))
		o := f.claimed(journal.Activate, journal.Call)
		id := f.send(o)
		r := f.receipt(o, id, "answer")
		r.SealedFor = "attempt/7"
		_, _, err := f.j.SaveResponse(f.ctx, r)
		f.ok(err)
		f.crash()
		if got := f.claimed(journal.Activate, journal.Settle); got.Receipt == nil || got.Receipt.SealedFor != "attempt/7" {
			f.Fatalf("%+v", got.Receipt)
		}
	}},
	// The origin stays when a recovery changes the identity.
	{"OriginAfterRecovery", func(f *fixture) {
		origin := f.j.Origin()
		if origin != f.j.Identity() {
			f.Fatal("a new journal's origin is not its identity")
		}
		for range 2 {
			f.recover(restorer)
			identity := uuid.New()
			_, err := f.j.EndRecovery(f.ctx, journal.RecoveryEnd{Identity: identity, Check: []byte("fits"), Audit: journal.AuditEntry{Actor: "test", Act: "recover"}})
			f.ok(err)
			f.crash()
			if f.j.Origin() != origin || f.j.Identity() != identity {
				f.Fatalf("origin %v, identity %v", f.j.Origin(), f.j.Identity())
			}
		}
	}},
}
