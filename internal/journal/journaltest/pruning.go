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

// kept is how old rows become before these tests prune them.
const kept = 30 * day

// invitedAgain sends invitations to one address, all but the last of which can be pruned
// when they are old.
func (f *fixture) invitedAgain(times int) (os []journal.ClaimedOperation) {
	f.Helper()
	for g := range times {
		f.plan = func(e journal.Event, _ journal.ShopView) journal.Plan {
			return journal.Plan{New: &journal.NewOperation{UUID: operationID(e, g), Generation: g}}
		}
		f.ingest(f.address("s", fmt.Sprint("e", g), "a@x.test"))
		o := f.claimed(journal.Invite, journal.Call)
		f.apply(journal.Transition{
			Ref: o.Ref, From: journal.Sending, To: journal.Done, Attempt: f.send(o), End: f.answered(200), Invited: &journal.InvitedUpdate{At: f.clock.now()},
			Publish: []journal.Draft{f.draft(o, "invited")},
		})
		os = append(os, o)
	}
	return os
}

// pruning tests which rows are pruned, and which stay.
var pruning = []part{
	// The inbox is pruned when it is old, and no event twice before that.
	{"InboxByAge", func(f *fixture) {
		old, young := f.code("s", "old", "1"), f.code("s", "young", "2")
		f.ingest(old)
		f.finish(f.claimed(journal.Activate, journal.Call))
		f.clock.advance(20 * day)
		f.ingest(young)
		f.finish(f.claimed(journal.Activate, journal.Call))
		f.clock.advance(11 * day)
		f.ingest(f.address("t", "last", "a@x.test")) // the newest rows of all stay
		f.prune()
		f.crash()
		if got := f.ingest(young); got.Repeated != 1 {
			f.Fatalf("within its time: %+v", got)
		}
		if got := f.ingest(old); got.Accepted != 1 {
			f.Fatalf("after its time: %+v", got)
		}
		// Its code is still known: a new run of the same operation.
		if o := f.claimed(journal.Activate, journal.Call); o.Run != 2 || o.Attempts != 1 || o.EventID != "old" {
			f.Fatalf("claimed %+v", o)
		}
	}},
	// The event that began the latest run of an operation stays.
	{"FirstEventOfRun", func(f *fixture) {
		f.ingest(f.code("s", "e1", "1"))
		o := f.claimed(journal.Activate, journal.Call)
		f.ingest(f.code("s", "e2", "1")) // joins
		f.finish(o)
		f.ingest(f.code("s", "e3", "1")) // a new run
		f.age()
		f.prune()
		d := f.state(o.UUID)
		if len(d.Events) != 1 || d.Events[0].ID != "e3" || d.Event != "e3" {
			f.Fatalf("events are %+v", d.Events)
		}
		h, err := f.j.Shop(f.ctx, shopKey("s"))
		f.ok(err)
		if len(h.Operations) != 1 || len(h.Events) != 1 {
			f.Fatalf("the shop has %d operations and %d events", len(h.Operations), len(h.Events))
		}
		if again := f.claimed(journal.Activate, journal.Call); again.EventID != "e3" || again.Run != 2 {
			f.Fatalf("claimed %+v", again)
		}
	}},
	// Requests of what has ended are pruned, and no others.
	{"AttemptsOfEnded", func(f *fixture) {
		done, _ := f.sending(f.code("a", "a", "a"))
		f.apply(journal.Transition{Ref: done.Ref, From: journal.Sending, To: journal.Done, Attempt: 1, End: f.answered(200)})
		waits := unknown(f, "b", "b")
		f.apply(journal.Transition{Ref: waits.Ref, From: journal.Unknown, To: journal.Attention, Reason: "outcome_unknown"})
		open, id := f.sending(f.code("c", "c", "c"))
		// Superseded while a request has no end: its response may still arrive.
		f.clock.advance(time.Hour)
		_, _, err := f.j.ReleaseExpiredLeases(f.ctx)
		f.ok(err)
		u := f.claimed(journal.Activate, journal.Settle)
		f.apply(journal.Transition{Ref: u.Ref, From: journal.Unknown, To: journal.Superseded, Reason: "newer_code"})
		kept1, with := f.sending(f.code("d", "d", "d"))
		_, _, err = f.j.SaveResponse(f.ctx, f.receipt(kept1, with, "answer"))
		f.ok(err)
		f.apply(journal.Transition{Ref: kept1.Ref, From: journal.Received, To: journal.Done, Reason: "closed"})
		f.age()
		f.prune()
		for o, want := range map[uuid.UUID]int{done.UUID: 0, waits.UUID: 1, open.UUID: 1, kept1.UUID: 1} {
			if got := len(f.state(o).Tries); got != want {
				f.Errorf("operation %v has %d requests, want %d", o, got, want)
			}
		}
		if s, _, err := f.j.SaveResponse(f.ctx, f.receipt(open, id, "late")); err != nil || s != journal.Superseded {
			f.Fatalf("the late answer: %v, %v", s, err)
		}
	}},
	// Published events are pruned, but not what a shop is, nor what is to come.
	{"PublishedEvents", func(f *fixture) {
		var last journal.Draft
		for i := range 3 {
			f.ingest(f.code("s", fmt.Sprint("e", i), fmt.Sprint(i)))
			o := f.claimed(journal.Activate, journal.Call)
			last = f.draft(o, "x")
			f.finish(o, last)
		}
		f.ingest(f.code("t", "t", "t"))
		f.finish(f.claimed(journal.Activate, journal.Call), MakeDraft(uuid.New(), "x", shopKey("t")))
		f.activates("u")
		person := unknown(f, "v", "v")
		f.apply(journal.Transition{Ref: person.Ref, From: journal.Unknown, To: journal.Attention, Reason: "outcome_unknown", Publish: []journal.Draft{f.draft(person, "x")}})
		out := f.pending()
		f.publish(out[:2]...)
		f.publish(out[3:]...) // the third waits
		f.age()
		f.prune()
		want := map[string]int{"s": 1, "t": 1, "u": 2, "v": 1}
		for shop, n := range want {
			h, err := f.j.Shop(f.ctx, shopKey(shop))
			f.ok(err)
			if len(h.Output) != n {
				f.Errorf("shop %s has %d events, want %d", shop, len(h.Output), n)
			}
		}
		if left := f.pending(); len(left) != 1 || left[0].Event != last.ID {
			f.Fatalf("waits to be published: %+v", left)
		}
		// The known ends of the topics are retained.
		ends, err := f.j.PublishedOffsets(f.ctx)
		f.ok(err)
		if want := []journal.Position{{Topic: "activated", Partition: 1, Next: out[4].Row}, {Topic: "later", Partition: 1, Next: out[5].Row}, {Topic: "x", Partition: 1, Next: out[6].Row}}; !slices.Equal(ends, want) {
			f.Fatalf("the topics end at %+v", ends)
		}
		f.publish(f.pending()...)
		f.age()
		f.prune()
		if ends, err = f.j.PublishedOffsets(f.ctx); err != nil || len(ends) != 3 || ends[2].Next != out[6].Row {
			f.Fatalf("the topics end at %+v (%v)", ends, err)
		}
	}},
	// One that is to be published again stays until it is.
	{"ReissuedEvent", func(f *fixture) {
		first := f.activates("s")
		f.publish(f.pending()...)
		f.plan = func(journal.Event, journal.ShopView) journal.Plan { return journal.Plan{Republish: first.ID} }
		f.ingest(f.code("s", "again", "1"))
		f.plan = nil
		f.activates("s") // it is not the shop's current one any more
		f.publish(f.pending()[1:]...)
		f.age()
		f.prune()
		left := f.pending()
		if len(left) != 1 || left[0].Event != first.ID {
			f.Fatalf("waits to be published: %+v", left)
		}
		f.publish(left...)
		f.age()
		f.prune()
		h, err := f.j.Shop(f.ctx, shopKey("s"))
		f.ok(err)
		if slices.ContainsFunc(h.Output, func(o journal.OutputRecord) bool { return o.Event == first.ID }) {
			f.Fatal("it stays for ever")
		}
	}},
	// An invitation that was sent again is pruned, the last one stays.
	{"SupersededInvitation", func(f *fixture) {
		os := f.invitedAgain(3)
		f.publish(f.pending()...)
		f.age()
		f.prune()
		f.prune() // what the operations held
		for _, o := range os[:2] {
			if _, err := f.j.Operation(f.ctx, o.UUID); !errors.Is(err, journal.ErrNotFound) {
				f.Fatalf("operation of generation %d: %v", o.Generation, err)
			}
		}
		f.wantState(os[2].UUID, journal.Done)
		f.plan = func(_ journal.Event, v journal.ShopView) journal.Plan {
			if v.Same == nil || v.Same.Generation != 2 || v.Invited == nil || !v.Invited.SameAddress {
				f.Errorf("the planner sees %+v, %+v", v.Same, v.Invited)
			}
			return journal.Plan{}
		}
		f.ingest(f.address("s", "e9", "a@x.test"))
		h, err := f.j.Shop(f.ctx, shopKey("s"))
		f.ok(err)
		if len(h.Operations) != 1 || len(h.Output) != 1 || len(h.Events) != 2 {
			f.Fatalf("the shop has %d operations, %d events, %d results", len(h.Operations), len(h.Events), len(h.Output))
		}
	}},
	// Acts that have ended are pruned, those that wait are not.
	{"OperatorActions", func(f *fixture) {
		o := inAttention(f, "1")
		f.asked(o.UUID, "probe")
		got := f.pendingIntent()
		f.ok(f.j.EndIntent(f.ctx, *performed(got)))
		f.asked(o.UUID, "close")
		f.age()
		f.asked(o.UUID, "enter")
		f.prune()
		list, err := f.j.Intents(f.ctx, journal.IntentFilter{Operation: o.UUID, Limit: 10})
		f.ok(err)
		if len(list) != 2 || list[0].Act != "enter" || list[1].Act != "close" {
			f.Fatalf("acts are %+v", list)
		}
	}},
	// Dead letters are pruned with their records and events.
	{"DeadLetters", func(f *fixture) {
		letter := func(id string) {
			sealed, err := f.keys.Seal([]byte("record"), keyset.AssociatedData("letter", id))
			f.ok(err)
			_, err = f.j.Ingest(f.ctx, journal.Batch{Topic: topic, From: f.next, Next: f.next + 1, DeadLetters: []journal.DeadLetter{{
				Offset: f.next, EventID: id, Reason: "invalid", Size: 6, Sealed: sealed,
				Announce: MakeDraft(uuid.NewSHA1(uuid.Nil, []byte(id)), schemas.TypeDeadLetter, journal.ShopKey{}),
			}}})
			f.ok(err)
			f.next++
		}
		letter("a")
		letter("b")
		f.publish(f.pending()[:1]...)
		f.age()
		letter("c")
		f.prune()
		list, err := f.j.DeadLetters(f.ctx, journal.DeadLetterFilter{Limit: 10})
		f.ok(err)
		if len(list) != 2 || list[0].EventID != "c" || list[1].EventID != "b" || len(list[1].Sealed) == 0 {
			f.Fatalf("dead letters are %+v", list)
		}
		if out := f.pending(); len(out) != 2 {
			f.Fatalf("%d wait to be published", len(out))
		}
	}},
	// What is open stays, however old.
	{"OpenStays", func(f *fixture) {
		f.ingest(f.code("a", "a", "a"), f.address("b", "b", "b@x.test"), f.address("b", "b2", "b2@x.test"))
		f.age()
		f.prune()
		if o := f.claimed(journal.Activate, journal.Call); o.EventID != "a" {
			f.Fatalf("claimed %+v", o)
		}
		if o := f.claimed(journal.Invite, journal.Call); o.EventID != "b" {
			f.Fatalf("claimed %+v", o)
		}
	}},
	// A step looks at so many rows and says where to go on.
	{"Steps", testPruneSteps},
	// Time goes on by work, and not by a clock that is set forward.
	{"WorkTimeOnly", testPruneTime},
	// What a clock ahead has written holds up nothing.
	{"ClockAheadBefore", func(f *fixture) {
		f.ingest(f.code("s", "e1", "1"))
		f.clock.advance(400 * day)
		f.ingest(f.code("s", "e2", "1"))
		f.clock.advance(-400 * day)
		f.crash()
		f.ingest(f.code("s", "e3", "1"))
		f.age()
		f.ingest(f.code("s", "e4", "1"))
		f.prune()
		if d := f.state(operationID(f.code("s", "e1", "1"), 0)); len(d.Events) != 3 || d.Events[0].ID != "e1" || d.Events[1].ID != "e2" || d.Events[2].ID != "e4" {
			f.Fatalf("events are %+v", d.Events)
		}
	}},
	// There is no such kind.
	{"UnknownKind", func(f *fixture) {
		for _, what := range []journal.PruneTarget{0, 100} {
			if _, err := f.j.Prune(f.ctx, journal.Prune{What: what, Keep: kept, Limit: 10}); !errors.Is(err, journal.ErrNotFound) {
				f.Errorf("%d: %v", what, err)
			}
		}
	}},
}

// age makes all rows old enough to be pruned.
func (f *fixture) age() { f.clock.advance(kept + time.Hour) }

// prune deletes all rows that can be deleted, as after a year of uptime.
func (f *fixture) prune() {
	f.Helper()
	for _, what := range journal.PruneTargets() {
		f.pruneAll(what, kept, 3)
	}
}

// pruneAll deletes all rows of one kind that can be deleted, and counts them.
func (f *fixture) pruneAll(what journal.PruneTarget, keep time.Duration, limit int) (rows int) {
	f.Helper()
	for after, worked := int64(0), 365*day; ; worked = 0 {
		got, err := f.j.Prune(f.ctx, journal.Prune{What: what, Keep: keep, After: after, Limit: limit, Uptime: worked})
		f.ok(err)
		rows += got.Rows
		if got.Next == 0 {
			return rows
		}
		if got.Next <= after {
			f.Fatalf("%v: it goes round in circles", what)
		}
		after = got.Next
	}
}

func (f *fixture) pending() []journal.OutboxRow {
	f.Helper()
	out, err := f.j.Pending(f.ctx, 0, 100, 1<<20)
	f.ok(err)
	return out
}

// publish marks rows, each at its place in a partition.
func (f *fixture) publish(rows ...journal.OutboxRow) {
	f.Helper()
	var ps []journal.Published
	for _, r := range rows {
		ps = append(ps, journal.Published{Row: r.Row, Partition: 1, Offset: r.Row - 1})
	}
	f.ok(f.j.MarkPublished(f.ctx, ps))
}

// publishAll marks all rows that wait.
func (f *fixture) publishAll() {
	f.Helper()
	f.publish(f.pending()...)
}

// activates makes a shop active with a new code. The event that announces it is not its
// last.
func (f *fixture) activates(shop string) journal.Draft {
	f.Helper()
	f.ingest(f.code(shop, uuid.NewString(), uuid.NewString()))
	o := f.claimed(journal.Activate, journal.Call)
	_, _, err := f.j.SaveResponse(f.ctx, f.receipt(o, f.send(o), "answer"))
	f.ok(err)
	active := f.draft(o, "activated")
	f.apply(journal.Transition{
		Ref: o.Ref, From: journal.Received, To: journal.Done, Credential: f.credential(o, o.NextVersion, "m-"+shop), Verified: true,
		Active: &journal.ActiveUpdate{At: f.clock.now(), Event: active.ID}, Publish: []journal.Draft{active, f.draft(o, "later")},
	})
	return active
}

func testPruneSteps(f *fixture) {
	for i := range 10 {
		f.ingest(f.code("s", fmt.Sprint("e", i), "1")) // the first begins, the others join
	}
	f.age()
	f.ingest(f.code("s", "young", "1"))
	step := func(after int64, limit int) journal.Pruned {
		f.Helper()
		got, err := f.j.Prune(f.ctx, journal.Prune{What: journal.PruneEvents, Keep: kept, After: after, Limit: limit, Uptime: 365 * day})
		f.ok(err)
		return got
	}
	first := step(0, 4)
	// Only the identity of the first is erased.
	if first.Rows != 4 || first.Next == 0 {
		f.Fatalf("the first step: %+v", first)
	}
	if n := len(f.state(operationID(f.code("s", "e", "1"), 0)).Events); n != 8 {
		f.Fatalf("%d events are left", n)
	}
	if second := step(first.Next, 100); second.Rows != 6 || second.Next != 0 {
		f.Fatalf("the second step: %+v", second)
	}
	if again := step(0, 100); again.Rows != 0 || again.Next != 0 {
		f.Fatalf("once more: %+v", again)
	}
}

func testPruneTime(f *fixture) {
	f.ingest(f.code("s", "e0", "1"))
	for i := 1; i <= 5; i++ {
		f.clock.advance(day)
		f.ingest(f.code("s", fmt.Sprint("e", i), "1"))
	}
	left := func(worked time.Duration) int {
		f.Helper()
		_, err := f.j.Prune(f.ctx, journal.Prune{What: journal.PruneEvents, Keep: kept, Limit: 100, Uptime: worked})
		f.ok(err)
		return len(f.state(operationID(f.code("s", "e", "1"), 0)).Events)
	}
	if n := left(time.Minute); n != 6 {
		f.Fatalf("%d are left of what is young", n)
	}
	// The clock advances by ten years: it was set, or no worker ran.
	f.clock.advance(3650 * day)
	f.crash()
	f.ingest(f.code("s", "now", "1"))
	if n := left(0); n != 7 {
		f.Fatalf("%d are left, and nobody was at work", n)
	}
	// The pruning time began with the oldest event, five days ago. That event is old after
	// kept days.
	for hours := range 50 {
		f.clock.advance(time.Hour)
		if n := left(time.Hour); n != 7 && hours < 29 {
			f.Fatalf("after %d hours %d are left", hours, n)
		}
	}
	if n := left(time.Hour); n != 2 {
		f.Fatalf("%d are left, want what began the run and the newest", n)
	}
}
