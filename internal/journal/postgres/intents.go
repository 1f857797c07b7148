package postgres

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/keyset"
)

const (
	// Of several processes each may be one above the bound.
	intentInsert = `INSERT INTO intent (uuid, at, actor, act, account, operation, note, merchant_id, token, token_key, mac)
		SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $12 WHERE (SELECT count(*) FROM (SELECT 1 FROM intent WHERE state = 1 LIMIT $11) x) < $11
		ON CONFLICT (uuid) DO NOTHING`
	intentEnd = `UPDATE intent SET state = $1, result = $2, detail = $3, ended = $4, token = NULL, token_key = NULL WHERE id = $5 AND state = 1 RETURNING account`

	intentRead = `SELECT i.id, i.uuid, i.at, i.actor, i.act, a.name, b.uuid, i.note, i.merchant_id, i.token, i.state, i.result, i.detail, i.ended, i.operation, i.mac
		FROM intent i JOIN account a ON a.id = i.account LEFT JOIN operation_body b ON b.id = i.operation WHERE `
	targetRead = claimColumns + "WHERE o.id = $1"
)

// AppendIntent writes what a person asks for; also beside a worker. All replicas
// are told.
func (j *Journal) AppendIntent(ctx context.Context, i journal.Intent, audit journal.AuditEntry) error {
	if i.UUID == uuid.Nil || i.Act == "" {
		return fmt.Errorf("journal: an intent needs an id and an act")
	}
	if !j.beside {
		return j.submit(ctx, 0, needs{}, func(t *tx) error {
			t.asked = true
			return j.appendIntent(t.query, i, audit)
		})
	}
	if j.closed.Load() {
		return journal.ErrClosed
	}
	err := j.bounded(ctx, func(ctx context.Context) error {
		return pgx.BeginTxFunc(ctx, j.readers, atLevel, func(tx pgx.Tx) error {
			if err := j.appendIntent(asking(ctx, tx), i, audit); err != nil {
				return err
			}
			_, err := tx.Exec(ctx, "SELECT pg_notify($1, $2)", j.channel, "0 i")
			return err
		})
	})
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	return nil
}

// An asker runs a statement.
type asker func(sql string, args ...any) (answer, error)

// asking is for a transaction that is nobody's but its caller's.
func asking(ctx context.Context, tx pgx.Tx) asker {
	return func(sql string, args ...any) (a answer, err error) {
		rows, err := tx.Query(ctx, sql, args...)
		if err != nil {
			return a, err
		}
		return collect(rows)
	}
}

func (j *Journal) appendIntent(do asker, i journal.Intent, audit journal.AuditEntry) error {
	var key any
	if i.Sealed != nil {
		k, err := keyset.SealingKey(i.Sealed)
		if err != nil {
			return fmt.Errorf("journal: an intent whose token is not sealed: %w", err)
		}
		key = int64(k)
	}
	var about answer
	var err error
	if i.Operation != uuid.Nil {
		about, err = do("SELECT o.account, o.id FROM operation_body b JOIN operation o ON o.id = b.id WHERE b.uuid = $1", i.Operation[:])
	} else {
		about, err = do("SELECT id, NULL FROM account WHERE name = $1", i.Account)
	}
	switch {
	case err != nil:
		return err
	case len(about.rows) == 0 && i.Operation != uuid.Nil:
		return fmt.Errorf("%w: operation %s", journal.ErrNotFound, i.Operation)
	case len(about.rows) == 0:
		return fmt.Errorf("%w: account %q", journal.ErrNotFound, i.Account)
	}
	at := j.clock.stamp(i.At)
	if at == 0 {
		at = j.clock.micros()
	}
	added, err := do(intentInsert, i.UUID[:], at, i.Actor, i.Act, about.rows[0].int(0), orNull(about.rows[0].int(1)), i.Note, i.MerchantID, i.Sealed, key,
		int64(journal.MaxWaitingIntents), i.MAC)
	if err != nil {
		return err
	}
	if added.changed == 0 {
		there, err := do("SELECT 1 FROM intent WHERE uuid = $1", i.UUID[:])
		switch {
		case err != nil:
			return err
		case len(there.rows) > 0:
			return journal.ErrIntentExists
		}
		return journal.ErrTooManyIntents
	}
	if at = j.clock.stamp(audit.At); at == 0 {
		at = j.clock.micros()
	}
	_, err = do(auditInsert, at, audit.Actor, audit.Act, audit.Subject, audit.Detail)
	return err
}

// IntentsChanged is signalled after a commit that wrote one, whichever process's.
func (j *Journal) IntentsChanged() <-chan struct{} { return j.intents }

// PendingIntents lists those that wait. Most looks find none, at a reader's cost.
func (j *Journal) PendingIntents(ctx context.Context, limit int) ([]journal.PendingIntent, error) {
	if j.beside {
		return nil, journal.ErrReadOnly
	}
	waits := false
	if err := j.read(ctx, "SELECT EXISTS (SELECT 1 FROM intent WHERE state = 1)", func(r row) error {
		waits = r.int(0) != 0
		return nil
	}); err != nil || !waits {
		return nil, err
	}
	return askFor(ctx, j, 0, needs{}, func(t *tx) ([]journal.PendingIntent, error) {
		a, err := t.query(intentRead+"i.state = 1 ORDER BY i.id LIMIT $1", bounded(limit))
		if err != nil {
			return nil, err
		}
		list := make([]journal.PendingIntent, len(a.rows))
		err = t.parts(len(list), func(int) []string { return nil }, func(i int, t *tx) (err error) {
			list[i] = journal.PendingIntent{Intent: intent(a.rows[i])}
			if id := a.rows[i].int(14); id != 0 {
				list[i].Target, err = t.target(list[i].Account, id)
			}
			if errors.Is(err, journal.ErrNotFound) {
				return nil // not what a command wrote
			}
			return err
		})
		return list, err
	})
}

func intent(r row) journal.Intent {
	i := journal.Intent{
		ID: r.int(0), UUID: asUUID(r.blob(1)), At: wall(r.int(2)), Actor: r.text(3), Act: r.text(4), Account: r.text(5), Operation: asUUID(r.blob(6)),
		Note: r.text(7), MerchantID: r.text(8), Sealed: r.blob(9), State: journal.IntentState(r.int(10)), Result: r.text(11), Detail: r.text(12), MAC: r.blob(15), // #nosec G115 -- our own numbers
	}
	if !r.null(13) {
		i.Ended = wall(r.int(13))
	}
	return i
}

// target reads an operation as it stands.
func (t *tx) target(account string, id int64) (*journal.Target, error) {
	r, err := t.one(targetRead, id, t.now)
	if err != nil {
		return nil, err
	}
	if r == nil {
		return nil, fmt.Errorf("%w: operation %d", journal.ErrNotFound, id)
	}
	o, x := t.claimed(account, r)
	if err := t.settling(&o, x); err != nil {
		return nil, err
	}
	target := &journal.Target{ClaimedOperation: o}
	if o.Active == nil {
		return target, nil
	}
	as, err := t.together(
		ask{credentialRead, []any{x.shop, o.Active.Version}},
		ask{"SELECT a.verified FROM shop s JOIN operation a ON a.id = s.active_operation WHERE s.id = $1", []any{x.shop}})
	if err != nil {
		return nil, err
	}
	if len(as[0].rows) > 0 {
		c := credential(o.Shop, as[0].rows[0])
		target.Current = &c
	}
	target.CurrentVerified = len(as[1].rows) > 0 && !as[1].rows[0].null(0)
	return target, nil
}

func (t *tx) endIntent(e journal.IntentEnd) error {
	if e.State != journal.IntentPerformed && e.State != journal.IntentRefused {
		return fmt.Errorf("journal: no intent ends as %v", e.State)
	}
	r, err := t.one(intentEnd, int64(e.State), e.Result, e.Detail, t.now, e.ID)
	if err != nil {
		return err
	}
	if r == nil {
		return journal.ErrStale
	}
	return t.audit(e.Audit)
}

const (
	// Ids of events are given out while their shops are locked, as this shop is:
	// whatever was taken before has a lower one.
	nextRun = `UPDATE operation SET run = run + 1, waits = 0, planned = $1, closed = (SELECT %s FROM account WHERE id = operation.account),
		lane_order = 2 * (SELECT last_value FROM event_id) + 1, unknowns = greatest(unknowns, $2) WHERE id = $3`
	enterAnswer = `WITH r AS (INSERT INTO receipt (attempt, operation, at, answer, answer_key, sealed_for) VALUES (nextval('attempt_id'), $1, $2, $3, $4, $5) RETURNING attempt)
		UPDATE operation SET receipt = (SELECT attempt FROM r), received = 1 WHERE id = $1`
)

// Intents lists intents, the newest first.
func (j *Journal) Intents(ctx context.Context, f journal.IntentFilter) ([]journal.Intent, error) {
	where, args := []string{"TRUE"}, []any{}
	add := func(condition string, value any) {
		args = append(args, value)
		where = append(where, strings.Replace(condition, "?", "$"+strconv.Itoa(len(args)), 1))
	}
	if f.UUID != uuid.Nil {
		add("i.uuid = ?", f.UUID[:])
	}
	if f.Operation != uuid.Nil {
		add("i.operation = (SELECT id FROM operation_body WHERE uuid = ?)", f.Operation[:])
	}
	if f.Account != "" {
		add("i.operation IS NULL AND i.account = (SELECT id FROM account WHERE name = ?)", f.Account)
	}
	if f.Before > 0 {
		add("i.id < ?", f.Before)
	}
	args = append(args, bounded(f.Limit))
	var list []journal.Intent
	err := j.read(ctx, intentRead+strings.Join(where, " AND ")+" ORDER BY i.id DESC LIMIT $"+strconv.Itoa(len(args)), func(r row) error {
		one := intent(r)
		one.Sealed = nil
		list = append(list, one)
		return nil
	}, args...)
	return list, err
}
