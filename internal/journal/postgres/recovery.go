package postgres

import (
	"context"
	"fmt"
	"maps"
	"strconv"

	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/stored"
	"invoicebox-worker/schemas"
)

// A recovery is what the writer keeps of one that goes on.
type recovery struct {
	restorer journal.Restorer
	number   int64
	words    map[string]int // what came of operations that Ingest asked about, since Restore was last asked
}

const setMeta = "INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value"

func decimal(n int64) []byte { return strconv.AppendInt(nil, n, 10) }

// number reads a fact that is one, 0 where it is not there.
func number(value []byte) int64 {
	n, err := strconv.ParseInt(string(value), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// UnknownHistory makes the ledgers of all replicas wait.
func (j *Journal) UnknownHistory(ctx context.Context) error {
	return j.submit(ctx, 0, needs{}, (*tx).unknownHistory)
}

func (t *tx) unknownHistory() error {
	_, err := t.exec(setMeta, "history", decimal(t.now))
	return err
}

// floorRead is below the first sequence and the first version of a new shop.
const floorRead = "coalesce((SELECT convert_from(value, 'UTF8')::bigint FROM meta WHERE name = 'floor'), 0)"

// RaiseFloor raises the sequences and versions of all shops, also of those to come.
func (j *Journal) RaiseFloor(ctx context.Context, floor int64) error {
	if floor <= 0 {
		return j.submit(ctx, 0, needs{}, func(*tx) error { return nil }) // the floor of every journal
	}
	return j.submit(ctx, 0, needs{}, func(t *tx) error {
		raised, err := t.exec(`INSERT INTO meta (name, value) VALUES ('floor', $1) ON CONFLICT (name) DO UPDATE SET value = excluded.value
			WHERE convert_from(meta.value, 'UTF8')::bigint < convert_from(excluded.value, 'UTF8')::bigint`, decimal(floor))
		if err != nil || raised == 0 {
			return err
		}
		_, err = t.exec("UPDATE shop SET sequence = greatest(sequence, $1), version = greatest(version, $1) WHERE sequence < $1 OR version < $1", floor)
		return err
	})
}

// RecoveryDue reads what the database says of itself.
func (j *Journal) RecoveryDue(ctx context.Context) (due bool, err error) {
	err = j.read(ctx, "SELECT count(*) > 0 FROM meta WHERE name IN ('copied', 'recovering')", func(r row) error {
		due = r.int(0) != 0
		return nil
	})
	return due, err
}

// Recover begins a recovery or goes on with one. [journal.ErrHeld]: another
// replica is at work.
func (j *Journal) Recover(ctx context.Context, r journal.Restorer) (journal.Recovery, error) {
	return askFor(ctx, j, 0, needs{}, func(t *tx) (got journal.Recovery, err error) {
		// Whoever opens the journal reads the marks while it holds this lock, and is
		// seen as a replica before that.
		as, err := t.together(
			ask{"SELECT pg_advisory_xact_lock($1, $2)", []any{j.lockKey, int32(lockDuty)}},
			ask{"SELECT count(*) FROM (SELECT id FROM replica WHERE id <> $2 OFFSET 0) x WHERE NOT pg_try_advisory_xact_lock($1, x.id::int)", []any{j.lockKey, j.session.number()}},
			ask{"SELECT name, value FROM meta WHERE name IN ('recovering', 'copied', 'recoveries')", nil})
		if err != nil {
			return got, err
		}
		if as[1].rows[0].int(0) > 0 {
			return got, journal.ErrHeld
		}
		facts := make(map[string]int64)
		for _, r := range as[2].rows {
			facts[r.text(0)] = number(r.blob(1))
		}
		began, copied, times := facts["recovering"], facts["copied"], facts["recoveries"]
		if got.Resumed = began != 0; !got.Resumed {
			began = t.now
			times++
			if _, err := t.together(ask{setMeta, []any{"recovering", decimal(began)}}, ask{setMeta, []any{"recoveries", decimal(times)}}); err != nil {
				return got, err
			}
		}
		got.Number, got.Began = int(times), wall(began)
		if copied != 0 {
			got.Copied = wall(copied)
		}
		t.follow(func() { j.recovers.Store(true) })
		t.follow(func() { j.recovery = &recovery{restorer: r, number: times, words: map[string]int{}} })
		return got, nil
	})
}

// PublishedUpTo looks at everything that was published.
func (j *Journal) PublishedUpTo(ctx context.Context) ([]journal.Position, error) {
	var ps []journal.Position
	err := j.read(ctx, `SELECT type, part, max(next_offset) FROM (
			SELECT x.type, p.part, p.record_offset + 1 AS next_offset FROM outbox_published p JOIN outbox x ON x.id = p.outbox WHERE p.record_offset >= 0
			UNION ALL SELECT type, part, next_offset FROM published_end) q
		GROUP BY type, part ORDER BY type COLLATE "C", part`, func(r row) error {
		ps = append(ps, journal.Position{Topic: r.text(0), Partition: int(r.int(1)), Next: r.int(2)})
		return nil
	})
	return ps, err
}

// Rewind sets positions back.
func (j *Journal) Rewind(ctx context.Context, ps []journal.Position) error {
	return j.submit(ctx, 0, needs{}, func(t *tx) error {
		if t.j.recovery == nil {
			return journal.ErrNotRecovering
		}
		for _, p := range ps {
			if _, err := t.exec("UPDATE position SET next_offset = $1, batch_last = NULL, batch_epoch = NULL, batch_crc = NULL WHERE topic = (SELECT id FROM topic WHERE name = $2) AND part = $3 AND next_offset > $1",
				p.Next, p.Topic, int64(p.Partition)); err != nil {
				return err
			}
		}
		return nil
	})
}

// TakeOver keeps published events.
func (j *Journal) TakeOver(ctx context.Context, as []journal.Announced) (journal.TakenOver, error) {
	var n needs
	for i := range as {
		if as[i].Shop != (journal.ShopKey{}) {
			n.shops = append(n.shops, as[i].Shop)
		}
	}
	return askFor(ctx, j, max(len(as), 1), n, func(t *tx) (got journal.TakenOver, err error) {
		if t.j.recovery == nil {
			return got, journal.ErrNotRecovering
		}
		err = t.parts(len(as), func(i int) []string {
			return []string{"announced " + string(as[i].Event[:]), shopName(t.j.shops[as[i].Shop])}
		}, func(i int, t *tx) error {
			known, err := t.takeOver(&as[i])
			switch {
			case err != nil:
				return err
			case known:
				got.Known++
			default:
				got.Taken++
			}
			return nil
		})
		return got, err
	})
}

func (t *tx) takeOver(a *journal.Announced) (known bool, err error) {
	var shop, outbox int64
	if a.Shop != (journal.ShopKey{}) {
		shop = t.j.shops[a.Shop]
		as, err := t.together(
			ask{"UPDATE shop SET sequence = $1 WHERE id = $2 AND sequence < $1", []any{a.Sequence, shop}},
			ask{"SELECT id FROM outbox WHERE shop = $1 AND event = $2", []any{shop, a.Event[:]}})
		if err != nil {
			return false, err
		}
		if len(as[1].rows) > 0 {
			outbox = as[1].rows[0].int(0)
		}
	} else if outbox, err = t.announcedLetter(a.Event); err != nil {
		return false, err
	}
	if known = outbox != 0; !known {
		named := a.Operation[:]
		if a.Operation == uuid.Nil {
			named = []byte{}
		}
		mac, err := t.j.Authenticated(a.Event, a.Type, a.Sequence, a.Message)
		if err != nil {
			return false, err
		}
		r, err := t.one(`WITH o AS (INSERT INTO outbox (id, shop, sequence, created, event, type, key, value, headers, mac)
				VALUES (nextval('outbox_row'), $1, $2, $3, $4, $5, $6, $7, $8, $12) RETURNING id)
			INSERT INTO announced (event, outbox, operation_uuid, causation, version) SELECT $4, id, $9, $10, $11 FROM o RETURNING outbox`,
			orNull(shop), a.Sequence, a.At.UnixMicro(), a.Event[:], a.Type, a.Message.Key, notNil(a.Message.Value), stored.PackHeaders(a.Message.Headers),
			named, a.Causation, a.Version, mac)
		if err != nil {
			return false, err
		}
		outbox = r.int(0)
	}
	_, err = t.together(
		ask{`INSERT INTO outbox_published (outbox, row, at, part, record_offset) VALUES ($1, $1, $2, $3, $4)
			ON CONFLICT (outbox) DO UPDATE SET part = excluded.part, record_offset = excluded.record_offset WHERE excluded.record_offset > outbox_published.record_offset`,
			[]any{outbox, t.now, int64(a.Message.Partition), a.Message.Offset}},
		// What the copy still wanted to publish was published.
		ask{"DELETE FROM outbox_pending WHERE outbox = $1", []any{outbox}})
	return known, err
}

func notNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// announcedLetter finds the published event of a dead letter that is read
// again, 0 for none.
func (t *tx) announcedLetter(event uuid.UUID) (int64, error) {
	if t.j.recovery == nil {
		return 0, nil
	}
	r, err := t.one("SELECT outbox FROM announced WHERE event = $1", event[:])
	if err != nil || r == nil {
		return 0, err
	}
	return r.int(0), nil
}

// EndRecovery ends it.
func (j *Journal) EndRecovery(ctx context.Context, e journal.RecoveryEnd) ([]journal.ShopKey, error) {
	return askFor(ctx, j, 0, needs{}, func(t *tx) (orphans []journal.ShopKey, err error) {
		if t.j.recovery == nil {
			return nil, journal.ErrNotRecovering
		}
		a, err := t.query(`SELECT a.name, s.name FROM shop s JOIN account a ON a.id = s.account WHERE s.id = ANY(ARRAY(
				SELECT x.shop FROM announced n JOIN outbox x ON x.id = n.outbox
				WHERE n.version > 0 AND x.type = $1 AND NOT EXISTS (SELECT 1 FROM operation_body b WHERE b.uuid = n.operation_uuid))) ORDER BY s.id`, schemas.TypeActivated)
		if err != nil {
			return nil, err
		}
		for _, r := range a.rows {
			orphans = append(orphans, journal.ShopKey{Account: r.text(0), Shop: r.text(1)})
		}
		asks := []ask{
			// An id that is made of how many events there were must not be made again.
			{`UPDATE review SET told = told + q.n FROM (SELECT x.shop AS shop, n.version AS version, count(*) AS n
				FROM announced n JOIN outbox x ON x.id = n.outbox WHERE x.type IN ($1, $2) GROUP BY 1, 2) q
				WHERE q.shop = review.shop AND q.version = review.version`, []any{schemas.TypeCredentialsVerified, schemas.TypeCredentialsInvalid}},
			{`UPDATE shop SET version = greatest(version, q.top) FROM (SELECT x.shop AS shop, max(n.version) AS top
				FROM announced n JOIN outbox x ON x.id = n.outbox WHERE n.version > 0 GROUP BY x.shop) q WHERE q.shop = shop.id`, nil},
			{"DELETE FROM announced", nil},
			{"DELETE FROM meta WHERE name IN ('copied', 'recovering', 'took_over')", nil},
			// Those who do not know of it find that they are strangers.
			{"DELETE FROM pulse WHERE process <> $1", []any{j.pulse.process[:]}},
			{"INSERT INTO meta (name, value) SELECT 'origin', value FROM meta WHERE name = 'identity' ON CONFLICT DO NOTHING", nil},
			{setMeta, []any{"identity", e.Identity[:]}},
			{setMeta, []any{"keyset_check", notNil(e.Check)}},
		}
		if _, err := t.together(asks...); err != nil {
			return nil, err
		}
		if err := t.endAsked(e.Asked); err != nil {
			return nil, err
		}
		if err := t.unknownHistory(); err != nil {
			return nil, err
		}
		t.follow(func() {
			j.recovery = nil
			j.recovers.Store(false)
			j.known.Store(&e.Identity)
		})
		return orphans, t.audit(e.Audit)
	})
}

// endAsked ends intents that wait in a restored journal.
func (t *tx) endAsked(asked func(journal.Intent) (journal.IntentEnd, bool)) error {
	if asked == nil {
		return nil
	}
	a, err := t.query(intentRead + "i.state = 1 ORDER BY i.id")
	if err != nil {
		return err
	}
	for _, r := range a.rows {
		if end, ok := asked(intent(r)); ok {
			if err := t.endIntent(end); err != nil {
				return err
			}
		}
	}
	return nil
}

// spoken adds up what came of operations; what is taken off was told.
func (r *recovery) spoken(words map[string]int, sign int) {
	for w, n := range words {
		r.words[w] += sign * n
	}
	maps.DeleteFunc(r.words, func(_ string, n int) bool { return n == 0 })
}

// errRestored says in words what a restorer has done wrong.
func errRestored(id int64, err error) error {
	return fmt.Errorf("journal: restore operation %d: %w", id, err)
}
