package steps

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/rows"
	"invoicebox-worker/internal/journal/stored"
	"invoicebox-worker/schemas"
)

// A recovery is the state of a running recovery.
type recovery struct {
	restorer journal.Restorer
	number   int64
	words    map[string]int // outcomes of operations that Ingest restored since the last Restore
}

const (
	// floorRaise keeps the highest floor.
	floorRaise Query = `INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value
		WHERE convert_from(meta.value, 'UTF8')::bigint < convert_from(excluded.value, 'UTF8')::bigint
-- sqlite:
INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value
	WHERE CAST(CAST(meta.value AS TEXT) AS INTEGER) < CAST(CAST(excluded.value AS TEXT) AS INTEGER)`
	shopsRaise Query = "UPDATE shop SET sequence = greatest(sequence, $1), version = greatest(version, $1) WHERE sequence < $1 OR version < $1"

	publishedEnds Query = `SELECT type, part, max(next_offset) AS next_offset FROM (
			SELECT type, part, record_offset + 1 AS next_offset FROM outbox WHERE record_offset >= 0
			UNION ALL SELECT type, part, next_offset FROM published_end) q
		GROUP BY type, part`
	positionBack Query = `UPDATE position SET next_offset = $1, batch_last = NULL, batch_epoch = NULL, batch_crc = NULL
		WHERE topic = (SELECT id FROM topic WHERE name = $2) AND part = $3 AND next_offset > $1`
	pendingOfEvents Query = "DELETE FROM outbox_pending WHERE outbox = ANY($1)"

	orphans Query = `SELECT s.id, a.name AS account_name, s.name, x.key, x.value, x.headers FROM announced n CROSS JOIN outbox x CROSS JOIN shop s CROSS JOIN account a
		WHERE x.id = n.outbox AND s.id = x.shop AND a.id = s.account AND n.version > 0 AND x.type = $1 AND NOT EXISTS (SELECT 1 FROM event b WHERE b.uuid = n.operation_uuid)
		ORDER BY s.id, x.sequence`
	// The ids of verification events are derived from the operation and from told, and
	// must not repeat. Versions do not show which ones count: an event may name the
	// number of another store.
	countReviewEvents Query = `UPDATE shop SET review_events = review_events + q.n FROM (SELECT x.shop AS shop, n.operation_uuid AS operation_uuid, count(*) AS n
		FROM announced n CROSS JOIN outbox x WHERE x.id = n.outbox AND x.type = ANY($1) GROUP BY 1, 2) q
		WHERE q.shop = shop.id AND q.operation_uuid = (SELECT uuid FROM event WHERE id = shop.active_operation)`
	shopsAnnounced Query = `UPDATE shop SET version = greatest(version, q.top) FROM (SELECT x.shop AS shop, max(n.version) AS top
		FROM announced n CROSS JOIN outbox x WHERE x.id = n.outbox AND n.version > 0 GROUP BY x.shop) q WHERE q.shop = shop.id`
	announcedDrop Query = "DELETE FROM announced"
	originSet     Query = "INSERT INTO meta (name, value) SELECT $1, value FROM meta WHERE name = $2 ON CONFLICT DO NOTHING"
	intentsAsked  Query = intentRecords + "i.state = 1 ORDER BY i.id"
)

// RecoveryDue reports whether the database needs a recovery.
func (j *Journal) RecoveryDue(ctx context.Context) (due bool, err error) {
	err = read(ctx, j, factsRead, []any{names(Copied, Recovering, Moved)}, func(*factRow) error {
		due = true
		return nil
	})
	return due, err
}

func names(facts ...Fact) []string {
	list := make([]string, len(facts))
	for i, f := range facts {
		list[i] = f.String()
	}
	return list
}

// AssumeRateLimitUsed marks the ledgers as used up.
func (j *Journal) AssumeRateLimitUsed(ctx context.Context) error {
	return j.db.Write(ctx, &Request{Do: func(u *Unit) error {
		u.unknownHistory()
		return nil
	}})
}

func (u *Unit) unknownHistory() {
	u.setNumber(History, u.now)
	u.tx.HistoryUnknown()
}

// RaiseFloor raises the sequences and versions of all shops, including new ones.
func (j *Journal) RaiseFloor(ctx context.Context, floor int64) error {
	return j.db.Write(ctx, &Request{Do: func(u *Unit) error {
		if u.exec(floorRaise, Floor.String(), stored.PackNumber(floor)) == 0 {
			return nil
		}
		u.exec(shopsRaise, floor)
		u.shops.forget()
		u.tx.FloorRaised(floor)
		return nil
	}})
}

type endRow struct {
	Type string `db:"type"`
	Part int    `db:"part"`
	Next int64  `db:"next_offset"`
}

// PublishedOffsets returns where the published events of each topic end.
func (j *Journal) PublishedOffsets(ctx context.Context) ([]journal.Position, error) {
	ends, err := list(ctx, j, publishedEnds, nil, func(r *endRow) journal.Position {
		return journal.Position{Topic: r.Type, Partition: r.Part, Next: r.Next}
	})
	slices.SortFunc(ends, func(a, b journal.Position) int {
		return cmp.Or(strings.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	return ends, err
}

// Recover begins or resumes a recovery. It fails with [journal.ErrHeld] if another
// replica is running.
func (j *Journal) Recover(ctx context.Context, r journal.Restorer) (journal.Recovery, error) {
	return ask(ctx, j, &Request{}, func(u *Unit) (began journal.Recovery, err error) {
		alone, err := u.tx.BeginRecovery()
		u.check(err)
		if !alone {
			return began, journal.ErrHeld
		}
		since := u.numberFact(Recovering)
		copied := u.numberFact(Copied)
		number := u.numberFact(Recoveries)
		began = journal.Recovery{Resumed: since != 0}
		if since == 0 {
			since = u.now
			number++
			u.setNumber(Recovering, since)
			u.setNumber(Recoveries, number)
		}
		began.Number, began.Began, began.Copied = int(number), displayTime(since), displayTimeOrZero(copied)
		u.onCommit(func() { j.recovery.Store(&recovery{restorer: r, number: number, words: map[string]int{}}) })
		return began, nil
	})
}

// ResetPositions sets positions back.
func (j *Journal) ResetPositions(ctx context.Context, ps []journal.Position) error {
	return j.db.Write(ctx, &Request{Do: func(u *Unit) error {
		if j.recovery.Load() == nil {
			return journal.ErrNotRecovering
		}
		for _, p := range ps {
			u.exec(positionBack, p.Next, p.Topic, p.Partition)
		}
		return nil
	}})
}

// ImportPublished imports published events.
func (j *Journal) ImportPublished(ctx context.Context, as []journal.PublishedEvent) (journal.ImportResult, error) {
	var needs Needs
	// An event may have been published several times.
	var events []*journal.PublishedEvent
	last := make(map[uuid.UUID]*journal.PublishedEvent, len(as))
	for i := range as {
		a := &as[i]
		if a.Shop != (journal.ShopKey{}) {
			needs.Shops = append(needs.Shops, a.Shop)
		}
		if was := last[a.Event]; was == nil {
			events = append(events, a)
		} else if a.Message.Offset < was.Message.Offset {
			continue
		}
		last[a.Event] = a
	}
	return ask(ctx, j, &Request{Needs: needs, Records: max(len(as), 1)}, func(u *Unit) (done journal.ImportResult, err error) {
		if j.recovery.Load() == nil {
			return done, journal.ErrNotRecovering
		}
		done.Known = len(as) - len(events)
		ids := make([]int64, len(events))
		for i, a := range events {
			id, known, err := u.takeOver(a, last[a.Event].Message)
			if err != nil {
				return done, err
			}
			ids[i] = id
			if known {
				done.Known++
			} else {
				done.Imported++
			}
		}
		u.later(pendingOfEvents, ids) // it waited in the copy to be published again
		return done, nil
	})
}

// takeOver returns the outbox row of an event, and whether it existed. The event was
// published last as the given message.
func (u *Unit) takeOver(a *journal.PublishedEvent, as schemas.Message) (outbox int64, known bool, err error) {
	shop := int64(0)
	var s *rows.Shop
	if a.Shop != (journal.ShopKey{}) {
		if _, err := u.accountID(a.Shop.Account); err != nil {
			return 0, false, err
		}
		s = u.shop(a.Shop)
		shop = s.ID
		s.Sequence = max(s.Sequence, a.Sequence)
		outbox = u.eventRow(shop, a.Event)
	} else {
		outbox = u.announced(a.Event)
	}
	if outbox != 0 {
		if p := u.published.get(u, outbox); p != nil && (p.PublishedAt == 0 || as.Offset > p.RecordOffset) {
			p.PublishedAt, p.Part, p.RecordOffset = cmp.Or(p.PublishedAt, u.now), int64(as.Partition), as.Offset
		}
		return outbox, true, nil
	}
	outbox = u.next(OutboxIDs)
	version := a.Version
	if s != nil && version > 0 && a.Type == schemas.TypeActivated {
		version = u.numbered(s, a)
		s.Version = max(s.Version, version)
	}
	mac, err := u.j.Authenticated(a.Event, a.Type, a.Sequence, a.Message)
	if err != nil {
		return 0, false, err
	}
	if shop != 0 {
		key := eventKey{shop, a.Event}
		u.events[key] = outbox
		u.made = append(u.made, key)
	}
	named := a.Operation[:]
	if a.Operation == uuid.Nil {
		named = []byte{}
	}
	u.insert(u.j.tables.outbox, &rows.Outbox{ID: outbox, Shop: shop, Sequence: a.Sequence, Created: a.At.UnixMicro(), Event: a.Event[:], Type: a.Type,
		Key: a.Message.Key, Value: stored.NotNull(a.Message.Value), Headers: stored.PackHeaders(a.Message.Headers), MAC: mac,
		PublishedAt: u.now, Part: int64(as.Partition), RecordOffset: as.Offset})
	u.insert(u.j.tables.announced, &rows.Announced{Event: a.Event[:], Outbox: outbox, OperationUUID: named, Causation: a.Causation, Version: version})
	return outbox, false, nil
}

// numbered returns the journal's number of the credentials that an activation names. A
// store outside of the journal has numbers of its own. The lost journal numbered such
// credentials after all others of the shop. So does this one, because it reads the events
// of a shop in the order of their sequences.
func (u *Unit) numbered(s *rows.Shop, a *journal.PublishedEvent) int64 {
	if ref, _ := schemas.ParseReference(a.Reference); !ref.External() {
		return a.Version
	}
	if version := firstInt(u, versionOfReference, s.ID, a.Reference); version != 0 {
		return version
	}
	return max(a.Version, s.Version+1)
}

type orphanRow struct {
	ID      int64  `db:"id"`
	Account string `db:"account_name"`
	Name    string `db:"name"`
	activatedRow
}

// An activatedRow is an event about a shop's credentials.
type activatedRow struct {
	Key     []byte `db:"key"`
	Value   []byte `db:"value"`
	Headers []byte `db:"headers"`
}

// reference returns the reference of the credentials that the event names, "" if it
// cannot be read.
func (r *activatedRow) reference() string {
	d, _ := r.data(schemas.TypeActivated).(schemas.Activated)
	return d.Credentials.Ref
}

// data returns the data of the event, nil if it cannot be read.
func (r *activatedRow) data(typ string) any {
	headers, err := stored.UnpackHeaders(r.Headers)
	if err != nil {
		return nil
	}
	e, err := schemas.DecodeOutput(schemas.Message{Topic: typ, Key: r.Key, Value: r.Value, Headers: headers})
	if err != nil {
		return nil
	}
	return e.Data
}

// EndRecovery ends the recovery.
func (j *Journal) EndRecovery(ctx context.Context, e journal.RecoveryEnd) ([]journal.UnknownShop, error) {
	return ask(ctx, j, &Request{}, func(u *Unit) (found []journal.UnknownShop, err error) {
		if j.recovery.Load() == nil {
			return nil, journal.ErrNotRecovering
		}
		each(u, orphans, []any{schemas.TypeActivated}, func(r *orphanRow) {
			shop := journal.UnknownShop{ShopKey: journal.ShopKey{Account: r.Account, Shop: r.Name}, Reference: r.reference()}
			if n := len(found) - 1; n >= 0 && found[n].ShopKey == shop.ShopKey {
				found[n] = shop // a later event
			} else {
				found = append(found, shop)
			}
		})
		u.restoreDisconnected()
		u.later(countReviewEvents, []string{schemas.TypeCredentialsVerified, schemas.TypeCredentialsInvalid})
		u.later(shopsAnnounced)
		u.later(announcedDrop)
		u.later(factsDrop, names(Copied, Recovering, Moved, TookOver))
		u.later(originSet, Origin.String(), Identity.String())
		u.later(factSet, Identity.String(), e.Identity[:])
		u.later(factSet, KeysetCheck.String(), stored.NotNull(e.Check))
		u.flush()
		u.shops.forget()
		if err := u.endWaitingIntents(e.Asked); err != nil {
			return nil, err
		}
		// Their records may have been replayed since the copy was made.
		u.later(replaysDrop)
		u.unknownHistory()
		u.audit(e.Audit)
		u.check(u.tx.EndRecovery(e.Identity))
		u.onCommit(func() { j.recovery.Store(nil) })
		return found, nil
	})
}

// endWaitingIntents ends the waiting intents of a restored journal for which asked returns an
// end.
func (u *Unit) endWaitingIntents(asked func(journal.Intent) (journal.IntentEnd, bool)) error {
	if asked == nil {
		return nil
	}
	var ends []journal.IntentEnd
	each(u, intentsAsked, nil, func(r *intentRecord) {
		if end, ok := asked(r.intent()); ok {
			ends = append(ends, end)
		}
	})
	for _, end := range ends {
		if err := u.endIntent(end); err != nil {
			return err
		}
	}
	return nil
}
