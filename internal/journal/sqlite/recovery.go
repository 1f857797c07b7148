package sqlite

import (
	"context"
	"fmt"
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
	words    map[string]int // what came of operations since Restore was last asked
}

const setMeta = "INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"

func decimal(n int64) []byte { return strconv.AppendInt(nil, n, 10) }

// metaNumber reads a fact that is a number, 0 where it is not there.
func metaNumber(c *conn, name string) (int64, error) {
	r, err := c.one("SELECT value FROM meta WHERE name = ?", name)
	if err != nil || r == nil {
		return 0, err
	}
	n, err := strconv.ParseInt(string(r.blob(0)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("journal: meta %q is damaged", name)
	}
	return n, nil
}

// UnknownHistory makes the ledgers wait.
func (j *Journal) UnknownHistory(ctx context.Context) error {
	return j.submit(ctx, 0, (*tx).unknownHistory)
}

func (t *tx) unknownHistory() error {
	if _, err := t.exec(setMeta, "history", decimal(t.now)); err != nil {
		return err
	}
	ls := &t.j.writer.ledgers
	ls.mu.Lock()
	defer ls.mu.Unlock()
	ls.unknown = t.now
	for _, l := range ls.byName {
		l.usedUp(t.now + l.slack.Microseconds())
	}
	return nil
}

// RaiseFloor raises the sequences and versions of all shops, also of those to come.
func (j *Journal) RaiseFloor(ctx context.Context, floor int64) error {
	return j.submit(ctx, 0, func(t *tx) error {
		w := t.j.writer
		was := w.floor
		if floor <= was {
			return nil
		}
		if _, err := t.exec(setMeta, "floor", decimal(floor)); err != nil {
			return err
		}
		if _, err := t.exec("UPDATE shop SET sequence = max(sequence, ?1), version = max(version, ?1)", floor); err != nil {
			return err
		}
		w.floor = floor
		t.undo = append(t.undo, func() { w.floor = was })
		return nil
	})
}

// usedUp counts a whole limit at an instant.
func (l *ledger) usedUp(from int64) {
	for range l.limit {
		l.add(rounded(from, l.limit, l.window))
	}
}

// RecoveryDue reads what the file says of itself.
func (j *Journal) RecoveryDue(ctx context.Context) (due bool, err error) {
	if j.lacks {
		return true, nil
	}
	err = j.read(ctx, "SELECT count(*) > 0 FROM meta WHERE name IN ('copied', 'recovering', 'moved_to')", nil, func(scan scanner) error { return scan(&due) })
	return due, err
}

// Recover begins a recovery or goes on with one.
func (j *Journal) Recover(ctx context.Context, r journal.Restorer) (journal.Recovery, error) {
	return ask(ctx, j, 0, func(t *tx) (got journal.Recovery, err error) {
		began, err := metaNumber(t.conn, "recovering")
		if err != nil {
			return got, err
		}
		copied, err := metaNumber(t.conn, "copied")
		if err != nil {
			return got, err
		}
		number, err := metaNumber(t.conn, "recoveries")
		if err != nil {
			return got, err
		}
		got.Resumed = began != 0
		if !got.Resumed {
			began = t.now
			number++
			if _, err := t.exec(setMeta, "recovering", decimal(began)); err != nil {
				return got, err
			}
			if _, err := t.exec(setMeta, "recoveries", decimal(number)); err != nil {
				return got, err
			}
		}
		got.Number, got.Began = int(number), wall(began)
		if copied != 0 {
			got.Copied = wall(copied)
		}
		t.j.writer.recovery = &recovery{restorer: r, number: number, words: map[string]int{}}
		return got, nil
	})
}

// PublishedUpTo looks at everything that was published.
func (j *Journal) PublishedUpTo(ctx context.Context) ([]journal.Position, error) {
	var ps []journal.Position
	err := j.read(ctx, `SELECT type, part, max(next_offset) FROM (
			SELECT x.type AS type, p.part AS part, p.record_offset + 1 AS next_offset FROM outbox_published p JOIN outbox x ON x.id = p.outbox WHERE p.record_offset >= 0
			UNION ALL SELECT type, part, next_offset FROM published_end)
		GROUP BY type, part ORDER BY type, part`, nil, func(scan scanner) error {
		var p journal.Position
		err := scan(&p.Topic, &p.Partition, &p.Next)
		ps = append(ps, p)
		return err
	})
	return ps, err
}

// Rewind sets positions back.
func (j *Journal) Rewind(ctx context.Context, ps []journal.Position) error {
	return j.submit(ctx, 0, func(t *tx) error {
		if t.j.writer.recovery == nil {
			return journal.ErrNotRecovering
		}
		for _, p := range ps {
			if _, err := t.exec("UPDATE position SET next_offset = ?, batch_last = NULL, batch_epoch = NULL, batch_crc = NULL WHERE topic = (SELECT id FROM topic WHERE name = ?) AND part = ? AND next_offset > ?",
				p.Next, p.Topic, p.Partition, p.Next); err != nil {
				return err
			}
		}
		return nil
	})
}

// TakeOver keeps published events.
func (j *Journal) TakeOver(ctx context.Context, as []journal.Announced) (journal.TakenOver, error) {
	return ask(ctx, j, max(len(as), 1), func(t *tx) (got journal.TakenOver, err error) {
		if t.j.writer.recovery == nil {
			return got, journal.ErrNotRecovering
		}
		for i := range as {
			known, err := t.takeOver(&as[i])
			if err != nil {
				return got, err
			}
			if known {
				got.Known++
			} else {
				got.Taken++
			}
		}
		return got, nil
	})
}

func (t *tx) takeOver(a *journal.Announced) (known bool, err error) {
	var shop, outbox int64
	if a.Shop != (journal.ShopKey{}) {
		if shop, err = t.shopID(a.Shop); err != nil {
			return false, err
		}
		if _, err := t.exec("UPDATE shop SET sequence = ? WHERE id = ? AND sequence < ?", a.Sequence, shop, a.Sequence); err != nil {
			return false, err
		}
		r, err := t.one("SELECT id FROM outbox WHERE shop = ? AND event = ?", shop, a.Event[:])
		if err != nil {
			return false, err
		}
		if r != nil {
			outbox = r.int(0)
		}
	} else if outbox, err = t.announcedLetter(a.Event); err != nil {
		return false, err
	}
	if known = outbox != 0; !known {
		outbox = next(&t.j.writer.ids.out)
		mac, err := t.j.Authenticated(a.Event, a.Type, a.Sequence, a.Message)
		if err != nil {
			return false, err
		}
		if _, err := t.exec(`INSERT INTO outbox (id, shop, sequence, created, event, type, key, value, headers, mac) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
			outbox, orNull(shop), a.Sequence, a.At.UnixMicro(), a.Event[:], a.Type, a.Message.Key, notNil(a.Message.Value), stored.PackHeaders(a.Message.Headers), mac); err != nil {
			return false, err
		}
		named := a.Operation[:]
		if a.Operation == uuid.Nil {
			named = []byte{}
		}
		if _, err := t.exec("INSERT INTO announced (event, outbox, operation_uuid, causation, version) VALUES (?, ?, ?, ?, ?)",
			a.Event[:], outbox, named, a.Causation, a.Version); err != nil {
			return false, err
		}
	}
	if _, err := t.exec(`INSERT INTO outbox_published (outbox, row, at, part, record_offset) VALUES (?1, ?1, ?2, ?3, ?4)
		ON CONFLICT (outbox) DO UPDATE SET part = excluded.part, record_offset = excluded.record_offset WHERE excluded.record_offset > record_offset`,
		outbox, t.now, a.Message.Partition, a.Message.Offset); err != nil {
		return false, err
	}
	// What the copy still wanted to publish was published.
	_, err = t.exec("DELETE FROM outbox_pending WHERE outbox = ?", outbox)
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
	if t.j.writer.recovery == nil {
		return 0, nil
	}
	r, err := t.one("SELECT outbox FROM announced WHERE event = ?", event[:])
	if err != nil || r == nil {
		return 0, err
	}
	return r.int(0), nil
}

// EndRecovery ends it.
func (j *Journal) EndRecovery(ctx context.Context, e journal.RecoveryEnd) ([]journal.ShopKey, error) {
	return ask(ctx, j, 0, func(t *tx) (orphans []journal.ShopKey, err error) {
		if t.j.writer.recovery == nil {
			return nil, journal.ErrNotRecovering
		}
		if err := t.each(`SELECT DISTINCT s.account, s.name FROM announced n JOIN outbox x ON x.id = n.outbox JOIN shop s ON s.id = x.shop
			WHERE n.version > 0 AND x.type = ? AND NOT EXISTS (SELECT 1 FROM operation_body b WHERE b.uuid = n.operation_uuid) ORDER BY s.id`, in{schemas.TypeActivated},
			func(r row) error {
				orphans = append(orphans, journal.ShopKey{Account: t.j.writer.names[r.int(0)], Shop: r.text(1)})
				return nil
			}); err != nil {
			return nil, err
		}
		// An id that is made of how many events there were must not be made again.
		if _, err := t.exec(`UPDATE review SET told = told + q.n FROM (SELECT x.shop AS shop, n.version AS version, count(*) AS n
			FROM announced n JOIN outbox x ON x.id = n.outbox WHERE x.type IN (?, ?) GROUP BY 1, 2) q
			WHERE q.shop = review.shop AND q.version = review.version`, schemas.TypeCredentialsVerified, schemas.TypeCredentialsInvalid); err != nil {
			return nil, err
		}
		for _, query := range []string{
			`UPDATE shop SET version = max(version, q.top) FROM (SELECT x.shop AS shop, max(n.version) AS top
				FROM announced n JOIN outbox x ON x.id = n.outbox WHERE n.version > 0 GROUP BY x.shop) q WHERE q.shop = shop.id`,
			"DELETE FROM announced",
			"DELETE FROM meta WHERE name IN ('copied', 'recovering', 'moved_to')",
		} {
			if _, err := t.exec(query); err != nil {
				return nil, err
			}
		}
		if _, err := t.exec("INSERT INTO meta (name, value) SELECT 'origin', value FROM meta WHERE name = 'identity' ON CONFLICT DO NOTHING"); err != nil {
			return nil, err
		}
		for name, value := range map[string][]byte{"identity": e.Identity[:], "keyset_check": e.Check} {
			if _, err := t.exec(setMeta, name, value); err != nil {
				return nil, err
			}
		}
		if err := t.endAsked(e.Asked); err != nil {
			return nil, err
		}
		if err := t.unknownHistory(); err != nil {
			return nil, err
		}
		t.j.writer.recovery = nil
		return orphans, t.audit(e.Audit)
	})
}

// endAsked ends intents that wait in a restored journal.
func (t *tx) endAsked(asked func(journal.Intent) (journal.IntentEnd, bool)) error {
	if asked == nil {
		return nil
	}
	var ends []journal.IntentEnd
	if err := t.each(intentRead+"i.state = 1 ORDER BY i.id", nil, func(r row) error {
		if end, ok := asked(intent(r)); ok {
			ends = append(ends, end)
		}
		return nil
	}); err != nil {
		return err
	}
	for _, end := range ends {
		if err := t.endIntent(end); err != nil {
			return err
		}
	}
	return nil
}

// shopID finds a shop, made when it is new.
func (t *tx) shopID(k journal.ShopKey) (int64, error) {
	if _, ok := t.j.writer.accounts[k.Account]; !ok {
		return 0, fmt.Errorf("%w: account %q", journal.ErrNotFound, k.Account)
	}
	id, made, err := stepTx{t, t.j.writer.rowTexts}.MakeShop(k)
	if err == nil && made != nil {
		_, err = t.exec("INSERT INTO shop (id, account, name, sequence, version) VALUES (?, ?, ?, ?, ?)", id, made.Account, made.Name, made.Sequence, made.Version)
	}
	return id, err
}
