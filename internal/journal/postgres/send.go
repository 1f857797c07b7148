package postgres

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/stored"
	"invoicebox-worker/internal/keyset"
)

// grace is how long the lease of an operation in sending outlives the
// request's deadline, for the answer to be written.
const grace = 5 * time.Second

// Send makes an attempt durable and takes its permits. Its times are counted
// from the call. The lease is prolonged where it would end before the answer
// can be written.
func (j *Journal) Send(ctx context.Context, s journal.Send) (journal.AttemptID, error) {
	if s.Deadline <= 0 || s.SendBy <= 0 || s.SendBy > s.Deadline {
		return 0, fmt.Errorf("journal: send-by %v and deadline %v make no sense", s.SendBy, s.Deadline)
	}
	return askFor(ctx, j, 0, needs{operations: []int64{s.Ref.Operation}, missing: journal.ErrStale, ledgers: ledgersOf(s.Permits)},
		func(t *tx) (journal.AttemptID, error) { return t.send(s) })
}

func ledgersOf(ps []journal.Permit) []string {
	names := make([]string, len(ps))
	for i, p := range ps {
		names[i] = p.Ledger
	}
	return names
}

// ledgersText and ledgersIn are the two ways between ledgers and the column of an
// attempt that names them.
func ledgersText(ids []int64) string {
	var b strings.Builder
	for i, id := range ids {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(strconv.FormatInt(id, 10))
	}
	return b.String()
}

func ledgersIn(text string) (ids []int64) {
	for s := range strings.FieldsSeq(text) {
		if id, err := strconv.ParseInt(s, 10, 64); err == nil {
			ids = append(ids, id)
		}
	}
	return ids
}

const sendWrite = `WITH o AS (UPDATE operation SET state = 5, attempts = $2, last_attempt = nextval('attempt_id'), changed = $4, due_at = greatest(due_at, $5)
		WHERE id = $1 AND state = 4 AND claim = $3 AND attempts = $2::bigint - 1 AND due_at > $4 RETURNING account, last_attempt)
	INSERT INTO attempt (id, account, operation, number, flagged, probe, replica, started, send_by, deadline, slack, ledgers, grain, counts_from, slow, mac)
	SELECT last_attempt, account, $1, $2, $6, $7, $8, $4, $9, $10, $11, $12, $13, $14, $15, $16::bytea FROM o RETURNING id`

func (t *tx) send(s journal.Send) (journal.AttemptID, error) {
	release, err := t.cooled(t.j.facts[s.Ref.Operation].account, s.Ref.Operation, s.Address)
	if err != nil {
		return 0, err
	}
	g, err := t.takePermits(s.Deadline, s.Permits)
	if err != nil {
		release()
		return 0, err
	}
	deadline := t.now + s.Deadline.Microseconds()
	r, err := t.one(sendWrite, s.Ref.Operation, int64(s.Attempt), s.Ref.Claim, t.now, deadline+grace.Microseconds(),
		stored.Flag(s.Flagged), stored.Flag(s.Probe), t.j.session.number(), t.now+s.SendBy.Microseconds(), deadline, g.slack, ledgersText(g.ledgers), g.grain, g.from, slow(s.Deadline, g), macOf(s.Address))
	if err != nil {
		return 0, err
	}
	if r == nil {
		release()
		t.untake(g)
		return 0, journal.ErrStale
	}
	return journal.AttemptID(r.int(0)), nil
}

func slow(deadline time.Duration, g taking) int64 {
	return stored.Flag(deadline.Microseconds()+g.slack > lookBack.Microseconds())
}

// StartCheck is Send for a request that belongs to no operation.
func (j *Journal) StartCheck(ctx context.Context, c journal.Check) (journal.AttemptID, error) {
	if c.Deadline <= 0 || c.SendBy <= 0 || c.SendBy > c.Deadline {
		return 0, fmt.Errorf("journal: send-by %v and deadline %v make no sense", c.SendBy, c.Deadline)
	}
	return askFor(ctx, j, 0, needs{ledgers: ledgersOf(c.Permits)}, func(t *tx) (journal.AttemptID, error) {
		account, err := t.account(c.Account)
		if err != nil {
			return 0, err
		}
		g, err := t.takePermits(c.Deadline, c.Permits)
		if err != nil {
			return 0, err
		}
		r, err := t.one(`INSERT INTO attempt (id, account, number, flagged, replica, started, send_by, deadline, slack, ledgers, grain, counts_from, slow)
			VALUES (nextval('attempt_id'), $1, 0, 0, $2, $3, $4, $5, $6, $7, $8, $9, $10) RETURNING id`,
			account, t.j.session.number(), t.now, t.now+c.SendBy.Microseconds(), t.now+c.Deadline.Microseconds(), g.slack, ledgersText(g.ledgers), g.grain, g.from, slow(c.Deadline, g))
		if err != nil {
			return 0, err
		}
		return journal.AttemptID(r.int(0)), nil
	})
}

// EndCheck says what became of a check, or of an attempt whose operation went on
// without it. A second end changes nothing. What follows for the operation is a
// step of its own, which holds the shop's lock.
func (j *Journal) EndCheck(ctx context.Context, id journal.AttemptID, end journal.AttemptEnd) error {
	operation, err := askFor(ctx, j, 0, needs{}, func(t *tx) (int64, error) { return t.endAttempt(id, 0, end) })
	if err != nil || operation == 0 {
		return err
	}
	return j.submit(ctx, 0, needs{operations: []int64{operation}, missing: journal.ErrNotFound}, func(t *tx) error { return t.noLonger(operation) })
}

// attemptEnd compares and writes; $12 is the look back. It gives what the
// ledgers have to know.
const attemptEnd = `WITH b AS (SELECT id, greatest($2, started) AS at, started, slack, grain, counts_from FROM attempt WHERE id = $1 AND ended IS NULL FOR UPDATE)
	UPDATE attempt a SET ended = b.at, answered = $3, not_sent = $4, status = $5, outcome = $6, code = $7, request_id = $8, reason = $10,
		counts_from = CASE $4::bigint WHEN 1 THEN NULL ELSE (b.at + CASE $3::bigint WHEN 1 THEN 0 ELSE b.slack END + b.grain - 1) / b.grain * b.grain END,
		slow = CASE WHEN b.at + b.slack - b.started > $9 THEN 1 ELSE a.slow END
	FROM b WHERE a.id = b.id RETURNING b.counts_from, coalesce(a.counts_from, 0), a.ledgers`

// endAttempt writes an end and gives the permits back by it. The first end
// holds. Operation is whose attempt it has to be, 0 for any; it returns whose it
// is, 0 for a check.
func (t *tx) endAttempt(id journal.AttemptID, operation int64, end journal.AttemptEnd) (of int64, err error) {
	at := t.j.clock.stampUp(end.At)
	if at == 0 {
		at = t.now
	}
	as, err := t.together(
		ask{"SELECT coalesce(operation, 0) FROM attempt WHERE id = $1", []any{int64(id)}},
		ask{attemptEnd, []any{int64(id), at, stored.Flag(end.Answered), stored.Flag(end.NotSent), int64(end.Status), end.Outcome, end.Code, end.RequestID, lookBack.Microseconds(), end.Reason}})
	if err != nil {
		return 0, err
	}
	if len(as[0].rows) == 0 || operation != 0 && as[0].rows[0].int(0) != operation {
		return 0, fmt.Errorf("%w: attempt %d", journal.ErrNotFound, id)
	}
	if len(as[1].rows) > 0 {
		r := as[1].rows[0]
		t.ended(ledgersIn(r.text(2)), r.int(0), r.int(1), !end.NotSent)
	}
	return as[0].rows[0].int(0), nil
}

// Receive saves an answer, whatever became of its operation.
func (j *Journal) Receive(ctx context.Context, r journal.Receipt) (s journal.State, mine bool, err error) {
	type answer struct {
		s    journal.State
		mine bool
	}
	a, err := askFor(ctx, j, 0, needs{operations: []int64{r.Ref.Operation}, missing: fmt.Errorf("%w: operation %d", journal.ErrNotFound, r.Ref.Operation), anyway: true},
		func(t *tx) (a answer, err error) {
			a.s, a.mine, err = t.receive(r)
			return a, err
		})
	return a.s, a.mine, err
}

func (t *tx) receive(r journal.Receipt) (journal.State, bool, error) {
	key, err := keyset.SealingKey(r.Sealed)
	if err != nil {
		return 0, false, fmt.Errorf("journal: a receipt that is not sealed: %w", err)
	}
	_, err = t.endAttempt(r.Attempt, r.Ref.Operation, r.End)
	if errors.Is(err, journal.ErrNotFound) && t.j.pulse.lost.Load() {
		r.Attempt, err = t.lostAttempt(r)
	}
	if err != nil {
		return 0, false, err
	}
	n, err := t.exec("INSERT INTO receipt (attempt, operation, at, answer, answer_key, sealed_for) VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
		int64(r.Attempt), r.Ref.Operation, t.now, r.Sealed, int64(key), r.SealedFor)
	if err != nil {
		return 0, false, err
	}
	if n > 0 {
		// The common way. due_at stays: the lease goes on.
		n, err := t.exec("UPDATE operation SET state = $1, stage = $2, lease_held = 1, receipt = $3, received = 1, changed = $4 WHERE id = $5 AND state = $6 AND claim = $7",
			int64(journal.Received), int64(journal.Settle), int64(r.Attempt), t.now, r.Ref.Operation, int64(journal.Sending), r.Ref.Claim)
		if err != nil || n > 0 {
			return journal.Received, true, err
		}
	}
	return t.receiveLate(r, n == 0)
}

// receiveLate is for an answer whose operation is not waiting for it any more,
// or not in this claim; there tells that it was saved before.
func (t *tx) receiveLate(r journal.Receipt, there bool) (journal.State, bool, error) {
	o, err := t.one("SELECT state, claim, received FROM operation WHERE id = $1", r.Ref.Operation)
	if err != nil {
		return 0, false, err
	}
	if o == nil {
		return 0, false, fmt.Errorf("%w: operation %d", journal.ErrNotFound, r.Ref.Operation)
	}
	state, rested := journal.State(o.int(0)), o.int(2) != 0 // #nosec G115 -- our own numbers
	switch {
	case there:
		return state, o.int(1) == r.Ref.Claim && state == journal.Received, nil
	case !rested && (state <= journal.Sending || state == journal.Unknown || state == journal.Attention):
		// Anybody's: whoever holds it is fenced off. Its lane is held until nothing
		// of its other requests can be on its way.
		due, err := t.lingering(r.Ref.Operation)
		if err != nil {
			return 0, false, err
		}
		_, err = t.exec(`UPDATE operation SET state = $1, stage = $2, lane = $3, due_at = $4, lease_held = 0, claim = claim + 1, receipt = $5, received = 1,
			reason = '', changed = $6 WHERE id = $7`,
			int64(journal.Received), int64(journal.Settle), stored.LaneHeld, due, int64(r.Attempt), t.now, r.Ref.Operation)
		t.woken = true
		return journal.Received, false, err
	case state.Open():
		if _, err = t.exec("UPDATE operation SET late = 1 WHERE id = $1", r.Ref.Operation); err == nil {
			err = t.noLonger(r.Ref.Operation)
		}
		return state, false, err
	}
	_, err = t.exec("UPDATE operation SET late = 1, stage = $1, due_at = $2, lease_held = 0, claim = claim + 1 WHERE id = $3",
		int64(journal.Settle), t.now, r.Ref.Operation)
	t.woken = true
	return state, false, err
}
