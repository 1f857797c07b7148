package journaltest

import (
	"fmt"

	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/schemas"
)

var outbox = []part{
	// Events are frozen in the order of their commits.
	{"CommitOrder", func(f *fixture) {
		var want []string
		for i := range 3 {
			for _, shop := range []string{"s1", "s2"} {
				o, id := f.sending(f.code(shop, fmt.Sprint(shop, i), fmt.Sprint(shop, i)))
				a, b := f.draft(o, "a"), f.draft(o, "b")
				signalled(f.j.OutboxChanged())
				f.apply(journal.Transition{Ref: o.Ref, From: journal.Sending, To: journal.Done, Attempt: id, End: f.answered(200), Publish: []journal.Draft{a, b}})
				if !signalled(f.j.OutboxChanged()) {
					f.Fatal("no signal")
				}
				want = append(want, fmt.Sprintf("%s %d", a.ID, 2*i+1), fmt.Sprintf("%s %d", b.ID, 2*i+2))
			}
		}
		f.crash()
		out := pending(f)
		var got []string
		for i, o := range out {
			got = append(got, string(o.Message.Value))
			if i > 0 && o.Row <= out[i-1].Row {
				f.Fatal("rows do not rise")
			}
		}
		diff(f.T, want, got)
		if o := out[0]; o.Type != "a" || string(o.Message.Key) != "s1" || !o.Since.Equal(f.clock.now()) || o.Message.Topic != "" {
			f.Fatalf("the first is %+v", o)
		}
		diff(f.T, []schemas.Header{{Key: "ce_id", Value: []byte(out[0].Event.String())}, {Key: "ce_empty"}}, out[0].Message.Headers)
	}},
	// Pages are bounded.
	{"Pages", func(f *fixture) {
		fill(f, 10)
		all := pending(f)
		page := func(after int64, limit, bytes, want int) []journal.OutboxRow {
			f.Helper()
			got, err := f.j.Pending(f.ctx, after, limit, bytes)
			f.ok(err)
			if len(got) != want {
				f.Fatalf("%d rows, want %d", len(got), want)
			}
			return got
		}
		if got := page(all[3].Row, 3, 1<<20, 3); got[0].Row != all[4].Row {
			f.Fatalf("the page begins at %d", got[0].Row)
		}
		page(0, 10, 1, 1) // at least one, however large
		if got := page(0, 10, 400, 4); got[3].Row != all[3].Row {
			f.Fatalf("the page ends at %d", got[3].Row)
		}
		page(all[9].Row, 10, 1<<20, 0)
	}},
	// What was published is off the queue.
	{"PublishedLeaves", func(f *fixture) {
		fill(f, 5)
		all := pending(f)
		f.ok(f.j.MarkPublished(f.ctx, []journal.Published{{Row: all[0].Row, Partition: 3, Offset: 70}, {Row: all[1].Row, Partition: 3, Offset: -1}, {Row: all[3].Row}}))
		f.ok(f.j.MarkPublished(f.ctx, []journal.Published{{Row: all[0].Row, Partition: 4, Offset: 99}, {Row: 1 << 40}}))
		f.ok(f.j.MarkPublished(f.ctx, nil))
		f.crash()
		left := pending(f)
		if len(left) != 2 || left[0].Row != all[2].Row || left[1].Row != all[4].Row {
			f.Fatalf("left are %+v", left)
		}
		if s := stats(f); s.Outbox != 2 || !s.OldestOut.Equal(f.clock.now()) {
			f.Fatalf("stats are %+v", s)
		}
		h, err := f.j.Shop(f.ctx, shopKey("s"))
		f.ok(err)
		if o := h.Output[0]; !o.Published || o.Partition != 3 || o.Offset != 70 || o.Sequence != 1 {
			f.Fatalf("output is %+v", o)
		}
		if o := h.Output[2]; o.Published || len(o.Value) == 0 {
			f.Fatalf("output is %+v", o)
		}
	}},
	// Published again is the same event in a later row.
	{"PublishedAgain", func(f *fixture) {
		fill(f, 3)
		all := pending(f)
		f.ok(f.j.MarkPublished(f.ctx, []journal.Published{{Row: all[0].Row, Partition: 1, Offset: 10}, {Row: all[1].Row}, {Row: all[2].Row}}))
		f.plan = func(journal.Event, journal.ShopView) journal.Plan { return journal.Plan{Republish: all[0].Event} }
		signalled(f.j.OutboxChanged())
		f.ingest(f.code("s", "again", "again"))
		if !signalled(f.j.OutboxChanged()) {
			f.Error("no signal")
		}
		f.crash()
		out := pending(f)
		if len(out) != 1 || out[0].Row <= all[2].Row || out[0].Event != all[0].Event {
			f.Fatalf("outbox is %+v", out)
		}
		diff(f.T, all[0].Message, out[0].Message)
		f.ok(f.j.MarkPublished(f.ctx, []journal.Published{{Row: out[0].Row, Partition: 1, Offset: 11}}))
		f.crash()
		// No row is used twice, also when the last one is off the queue.
		f.ingest(f.code("s", "more", "more"))
		if more := pending(f); len(more) != 1 || more[0].Row <= out[0].Row {
			f.Fatalf("outbox is %+v", more)
		}
	}},
	// An id has one content.
	{"OneContentPerID", func(f *fixture) {
		o, id := f.sending(f.code("s", "e1", "1"))
		d := f.draft(o, "a")
		f.apply(journal.Transition{Ref: o.Ref, From: journal.Sending, To: journal.Attention, Reason: "r", Attempt: id, End: f.answered(200), Publish: []journal.Draft{d}})
		first := pending(f)
		changed := d
		changed.Freeze = func(int64) (schemas.Message, error) { return schemas.Message{Value: []byte("other")}, nil }
		f.apply(journal.Transition{Ref: o.Ref, From: journal.Attention, To: journal.Done, Publish: []journal.Draft{changed, f.draft(o, "b")}})
		out := pending(f)
		if len(out) != 3 || out[1].Event != d.ID {
			f.Fatalf("outbox is %+v", out)
		}
		diff(f.T, first[0].Message, out[1].Message)
		h, err := f.j.Shop(f.ctx, shopKey("s"))
		f.ok(err)
		if len(h.Output) != 2 || h.Output[0].Sequence >= h.Output[1].Sequence {
			f.Fatalf("output is %+v", h.Output)
		}
	}},
	// What cannot be frozen leaves nothing.
	{"InvalidEvent", func(f *fixture) {
		o, id := f.sending(f.code("s", "e1", "1"))
		bad := f.draft(o, "bad")
		bad.Freeze = func(int64) (schemas.Message, error) { return schemas.Message{}, fmt.Errorf("too large") }
		err := f.j.Apply(f.ctx, journal.Transition{
			Ref: o.Ref, From: journal.Sending, To: journal.Done, Attempt: id, End: f.answered(200), Publish: []journal.Draft{f.draft(o, "good"), bad},
		})
		if err == nil {
			f.Fatal("taken")
		}
		f.wantState(o.UUID, journal.Sending)
		if out := pending(f); len(out) != 0 {
			f.Fatalf("outbox is %+v", out)
		}
		f.apply(journal.Transition{Ref: o.Ref, From: journal.Sending, To: journal.Done, Publish: []journal.Draft{f.draft(o, "good")}})
		if out := pending(f); len(out) != 1 || string(out[0].Message.Value) != fmt.Sprintf("%s 1", out[0].Event) {
			f.Fatalf("outbox is %+v", out)
		}
	}},
}

// fill publishes n events of shop "s", each about 100 bytes.
func fill(f *fixture, n int) {
	f.Helper()
	f.plan = func(e journal.Event, _ journal.ShopView) journal.Plan {
		d := journal.Draft{ID: uuid.NewSHA1(uuid.Nil, []byte(e.ID)), Type: "x"}
		d.Freeze = func(int64) (schemas.Message, error) {
			return schemas.Message{Key: []byte("s"), Value: make([]byte, 99)}, nil
		}
		return journal.Plan{Publish: []journal.Draft{d}}
	}
	var es []journal.Event
	for i := range n {
		es = append(es, f.code("s", fmt.Sprint("fill", i), fmt.Sprint("fill", i)))
	}
	f.ingest(es...)
	plan := f.plan
	f.plan = func(e journal.Event, v journal.ShopView) journal.Plan { return plan(e, v) }
}
