package steps

import (
	"bytes"
	"context"
	"fmt"

	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/rows"
	"invoicebox-worker/internal/journal/stored"
)

const (
	positionsRead Query = `SELECT t.name AS topic, p.part, p.next_offset, p.batch_last IS NOT NULL AS marked, p.batch_last, p.batch_epoch, p.batch_crc
		FROM position p JOIN topic t ON t.id = p.topic ORDER BY t.name, p.part`
	topicInsert    Query = "INSERT INTO topic (name) VALUES ($1) ON CONFLICT DO NOTHING"
	positionInsert Query = `INSERT INTO position (topic, part, next_offset, begun)
		SELECT id, $2::bigint, $3::bigint, $4::bigint FROM topic WHERE name = $1 ON CONFLICT DO NOTHING`
	positionUpdate Query = "UPDATE position SET next_offset = $1, batch_last = $2, batch_epoch = $3, batch_crc = $4 WHERE topic = $5 AND part = $6"
	// positionsHeld finds positions, and locks them on PostgreSQL. On SQLite it finds
	// one at a time.
	positionsHeld Query = `SELECT t.name, p.part, p.topic, p.next_offset FROM unnest($1::text[], $2::bigint[]) AS x(name, part)
		JOIN topic t ON t.name = x.name JOIN position p ON p.topic = t.id AND p.part = x.part ORDER BY p.topic, p.part FOR NO KEY UPDATE OF p
-- sqlite:
SELECT t.name, p.part, p.topic, p.next_offset FROM topic t CROSS JOIN position p ON p.topic = t.id WHERE t.name = $1 AND p.part = $2`
	// inboxKnown finds the identities that are in the inbox, with the digest of their
	// event.
	inboxKnown Query = `SELECT e.identity, e.digest FROM unnest($1::bytea[]) AS x(identity)
		CROSS JOIN LATERAL (SELECT identity, digest FROM event WHERE identity = x.identity OFFSET 0) e
-- sqlite:
SELECT e.identity, e.digest FROM json_each($1) x CROSS JOIN event e ON e.identity = unhex(x.value)`
)

type positionRow struct {
	Topic  string `db:"topic"`
	Part   int    `db:"part"`
	Next   int64  `db:"next_offset"`
	Marked bool   `db:"marked"`
	Last   int64  `db:"batch_last"`
	Epoch  int32  `db:"batch_epoch"`
	CRC    uint32 `db:"batch_crc"`
}

func (r *positionRow) position() journal.Position {
	p := journal.Position{Topic: r.Topic, Partition: r.Part, Next: r.Next}
	if r.Marked {
		p.Behind = &journal.BatchMark{Last: r.Last, Epoch: r.Epoch, CRC: r.CRC}
	}
	return p
}

// Positions lists the positions of all partitions that have one.
func (j *Journal) Positions(ctx context.Context) ([]journal.Position, error) {
	return list(ctx, j, positionsRead, nil, (*positionRow).position)
}

// InitPositions sets the positions of partitions that have none.
func (j *Journal) InitPositions(ctx context.Context, ps []journal.Position) error {
	return j.db.Write(ctx, &Request{Do: func(u *Unit) error {
		for _, p := range ps {
			u.later(topicInsert, p.Topic)
			u.later(positionInsert, p.Topic, p.Partition, p.Next, u.now)
		}
		return nil
	}})
}

// Ingest saves a batch in one transaction. The steps of operations wait meanwhile, so
// a batch should have at most a few hundred events.
func (j *Journal) Ingest(ctx context.Context, b journal.Batch) (journal.Ingested, error) {
	n := Needs{Invitees: b.Deselected}
	for i := range b.Events {
		n.Shops = append(n.Shops, b.Events[i].Shop)
	}
	return ask(ctx, j, &Request{
		Needs: n, Records: 1 + len(b.Events) + len(b.DeadLetters) + len(b.Deselected)/20,
		Load: func(l *Loader) { l.batch(&b) },
	}, func(u *Unit) (got journal.Ingested, err error) {
		err = u.ingest(&b, &got)
		return got, err
	})
}

type partition struct {
	topic string
	part  int
}

// A position as the transaction has it.
type position struct{ topic, next int64 }

// batch names the rows that the events of a batch need. A database without lists is
// queried event by event instead, so that a repeated event costs nothing more.
func (l *Loader) batch(b *journal.Batch) {
	u := l.u
	for i := range b.Events {
		l.intake.identities = append(l.intake.identities, b.Events[i].Identity[:])
	}
	if !u.j.lists {
		return
	}
	l.intake.partitions = append(l.intake.partitions, partition{b.Topic, b.Partition})
	for i := range b.Events {
		e := &b.Events[i]
		shop, account, ok := u.tx.Shop(e.Shop)
		if !ok {
			continue // Do reports it
		}
		l.shops = append(l.shops, shop)
		l.intake.shops = append(l.intake.shops, shop)
		l.intake.accounts = append(l.intake.accounts, account)
		for _, mac := range e.SubjectMACs {
			l.intake.keys = append(l.intake.keys, subjectKey{keyScope(e.Kind, account, shop), e.Kind, string(mac)})
		}
	}
	for _, k := range b.Deselected {
		if shop, err := u.tx.Invited(k); err == nil && shop != 0 {
			l.intake.shops = append(l.intake.shops, shop)
		}
	}
	// Ids are assigned in the order of the records while their shops are locked, so
	// that they increase within a shop.
	l.IDs(EventIDs, len(b.Events))
	if len(b.DeadLetters) > 0 {
		l.IDs(OutboxIDs, len(b.DeadLetters))
		l.intake.letters = true
	}
}

// An ingestion is the state of one Ingest.
type ingestion struct {
	*Unit
	batch   *journal.Batch
	got     *journal.Ingested
	topic   int64
	letters []journal.DeadLetter
	answers []answer
}

// An answer lists the outgoing events that an input event causes in its own transaction.
// The answers of a batch are encoded together, after its events.
type answer struct {
	shop, operation int64
	publish         []journal.Draft
	republish       uuid.UUID
}

func (u *Unit) ingest(b *journal.Batch, got *journal.Ingested) error {
	if err := u.checkKeys(); err != nil {
		return err
	}
	p := u.position(partition{b.Topic, b.Partition})
	if p == nil || p.next != b.From || b.Next < b.From {
		return journal.ErrPosition
	}
	u.movePosition(p, b)
	u.openedElsewhere()
	in := &ingestion{Unit: u, batch: b, got: got, topic: p.topic}
	for i := range b.Events {
		if err := in.take(&b.Events[i]); err != nil {
			return fmt.Errorf("journal: event at offset %d: %w", b.Events[i].Offset, err)
		}
		if got.Repeated+got.Reused > len(got.Known) {
			got.Known = append(got.Known, i)
		}
	}
	if err := in.answer(); err != nil {
		return err
	}
	if err := in.keepLetters(append(in.letters, b.DeadLetters...)); err != nil {
		return err
	}
	u.deselect(b.Deselected)
	return nil
}

// position finds the position of a partition, nil for none.
func (u *Unit) position(at partition) *position {
	p, ok := u.intake.positions[at]
	if ok {
		return p
	}
	u.intake.positions[at] = nil
	u.load(Ask{Query: positionsHeld, Args: []any{at.topic, at.part}, Each: u.foundPosition})
	return u.intake.positions[at]
}

func (u *Unit) foundPosition(_ []string, values []any) error {
	name, _ := values[0].(string)
	part, _ := values[1].(int64)
	p := &position{}
	p.topic, _ = values[2].(int64)
	p.next, _ = values[3].(int64)
	u.intake.positions[partition{name, int(part)}] = p
	return nil
}

func (u *Unit) movePosition(p *position, b *journal.Batch) {
	was := p.next
	u.undo(func() { p.next = was })
	p.next = b.Next
	var last, epoch, crc any
	if m := b.Behind; m != nil {
		last, epoch, crc = m.Last, int64(m.Epoch), int64(m.CRC)
	}
	u.later(positionUpdate, b.Next, last, epoch, crc, p.topic, b.Partition)
}

func (u *Unit) foundIdentity(_ []string, values []any) error {
	identity, _ := values[0].([]byte)
	u.intake.inbox[[32]byte(identity)], _ = values[1].([]byte)
	return nil
}

// take inserts one event into the inbox and carries out its plan.
func (in *ingestion) take(e *journal.Event) error {
	u := in.Unit
	if len(e.Digests) == 0 || len(e.SubjectMACs) == 0 {
		return fmt.Errorf("event has no digests")
	}
	if _, ok := u.tx.AccountID(e.Shop.Account); !ok {
		return fmt.Errorf("%w: account %q", journal.ErrNotFound, e.Shop.Account)
	}
	if digest := u.intake.inbox[e.Identity]; digest != nil {
		return in.known(digest, e)
	}
	in.got.Accepted++
	u.intake.inbox[e.Identity] = e.Digests[0]
	u.undo(func() { delete(u.intake.inbox, e.Identity) })
	id := u.next(EventIDs)
	u.intake.times[id] = e.Time.UnixMicro()
	shop := u.shop(e.Shop)
	v := u.view(shop, e)
	row := &rows.Event{ID: id, Identity: e.Identity[:], Shop: shop.ID, Kind: e.Kind, Topic: in.topic, Part: int64(in.batch.Partition),
		RecordOffset: e.Offset, EventTime: e.Time.UnixMicro(), Received: u.now, Digest: e.Digests[0], Type: e.Type, Source: e.Source, EventID: e.ID,
		TraceParent: e.TraceParent, TraceState: e.TraceState}
	if err := in.carryOut(&plan{Plan: u.j.planner(*e, v.ShopView), event: e, row: row, shop: shop, view: v}); err != nil {
		return err
	}
	u.insert(u.j.tables.event, row)
	if u.j.recovery.Load() != nil && (row.Exit == stored.ExitPlanned || row.Exit == stored.ExitRerun) {
		return in.restore(row.Operation)
	}
	return nil
}

// known handles an event whose identity is in the inbox, with the digest of the first
// event that had it.
func (in *ingestion) known(digest []byte, e *journal.Event) error {
	for _, d := range e.Digests {
		if bytes.Equal(d, digest) {
			in.got.Repeated++
			return nil
		}
	}
	in.got.Reused++
	l, err := e.ReusedLetter()
	if err != nil {
		return fmt.Errorf("make the dead letter: %w", err)
	}
	l.Offset = e.Offset
	in.letters = append(in.letters, l)
	return nil
}

// answer queues the answers of the batch.
func (in *ingestion) answer() error {
	if len(in.answers) == 0 {
		return nil
	}
	in.lookForAnswers()
	for _, a := range in.answers {
		if len(a.publish) > 0 {
			shop := in.shops.get(in.Unit, a.shop)
			if err := in.emit(shop, a.operation, a.publish); err != nil {
				return err
			}
		}
		if a.republish == uuid.Nil {
			continue
		}
		known := in.eventRow(a.shop, a.republish)
		if known == 0 {
			return fmt.Errorf("%w: event to publish again", journal.ErrNotFound)
		}
		in.requeue(known)
	}
	in.answers = nil
	return nil
}

// lookForAnswers finds, with one query, the answers that are in the outbox already.
func (in *ingestion) lookForAnswers() {
	if !in.j.lists {
		return
	}
	var keys []eventKey
	n := 0
	for _, a := range in.answers {
		events := make([]uuid.UUID, 0, len(a.publish)+1)
		for _, d := range a.publish {
			events = append(events, d.ID)
		}
		if a.republish != uuid.Nil {
			events = append(events, a.republish)
		}
		n += len(events)
		for _, id := range events {
			if _, ok := in.events[eventKey{a.shop, id}]; !ok {
				keys = append(keys, eventKey{a.shop, id})
			}
		}
	}
	var asks []Ask
	if len(keys) > 0 {
		asks = append(asks, in.askEvents(keys))
	}
	if more := n - len(in.ids[OutboxIDs]); more > 0 {
		asks = append(asks, in.askIDs(OutboxIDs, more))
	}
	in.load(asks...)
}

// restore asks the restorer of a recovery about an operation whose run a replayed
// event has just begun.
func (in *ingestion) restore(operation int64) error {
	if err := in.answer(); err != nil {
		return err
	}
	in.flush()
	in.ran = true
	if err := in.restoreRun(operation); err != nil {
		return err
	}
	in.flush()
	in.forget()
	return nil
}
