package sqlite

import (
	"context"
	"fmt"
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
	if err := j.space.enough(); err != nil {
		return 0, err
	}
	return ask(ctx, j, 0, func(t *tx) (journal.AttemptID, error) { return t.send(s) })
}

func (t *tx) send(s journal.Send) (journal.AttemptID, error) {
	f, err := t.facts(s.Ref.Operation)
	if err != nil {
		return 0, err
	}
	if err := t.cooled(f.account, s.Ref.Operation, s.Address); err != nil {
		return 0, err
	}
	id, ledgers, slack, err := t.takePermits(s.Deadline, s.Permits)
	if err != nil {
		return 0, err
	}
	n, err := t.exec("UPDATE operation SET state = ?, attempts = ?, last_attempt = ?, changed = ? WHERE id = ? AND state = ? AND claim = ? AND attempts = ? AND due_at > ?",
		int64(journal.Sending), s.Attempt, int64(id), t.now,
		s.Ref.Operation, int64(journal.Claimed), s.Ref.Claim, s.Attempt-1, t.now)
	if err != nil {
		return 0, err
	}
	if n == 0 {
		return 0, journal.ErrStale
	}
	if need := t.now + (s.Deadline + grace).Microseconds(); f.lease < need {
		if _, err := t.exec("UPDATE operation SET due_at = max(due_at, ?) WHERE id = ?", need, s.Ref.Operation); err != nil {
			return 0, err
		}
	}
	return id, t.attempt(attempt{
		id: id, account: f.account, operation: s.Ref.Operation, number: s.Attempt, flagged: s.Flagged, probe: s.Probe,
		sendBy: s.SendBy, deadline: s.Deadline, slack: slack, ledgers: ledgers, mac: macOf(s.Address),
	})
}

// StartCheck is Send for a request that belongs to no operation.
func (j *Journal) StartCheck(ctx context.Context, c journal.Check) (journal.AttemptID, error) {
	if c.Deadline <= 0 || c.SendBy <= 0 || c.SendBy > c.Deadline {
		return 0, fmt.Errorf("journal: send-by %v and deadline %v make no sense", c.SendBy, c.Deadline)
	}
	return ask(ctx, j, 0, func(t *tx) (journal.AttemptID, error) {
		account, ok := t.j.writer.accounts[c.Account]
		if !ok {
			return 0, fmt.Errorf("%w: account %q", journal.ErrNotFound, c.Account)
		}
		id, ledgers, slack, err := t.takePermits(c.Deadline, c.Permits)
		if err != nil {
			return 0, err
		}
		return id, t.attempt(attempt{id: id, account: account, sendBy: c.SendBy, deadline: c.Deadline, slack: slack, ledgers: ledgers})
	})
}

// EndCheck says what became of a check, or of an attempt whose operation went
// on without it. A second end changes nothing.
func (j *Journal) EndCheck(ctx context.Context, id journal.AttemptID, end journal.AttemptEnd) error {
	return j.submit(ctx, 0, func(t *tx) error {
		begun, _, err := t.beginning(id)
		if err == nil {
			err = t.endAttempt(id, end)
		}
		if err != nil || begun.operation == 0 {
			return err
		}
		return t.noLonger(begun.operation)
	})
}

// An attempt is one that begins.
type attempt struct {
	id                      journal.AttemptID
	account, operation      int64
	number                  int
	flagged, probe          bool
	sendBy, deadline, slack time.Duration
	ledgers                 string
	mac                     any // of the address; nil: it is not kept
}

// attempt writes the row that is the history of the permits.
func (t *tx) attempt(a attempt) error {
	deadline := t.now + a.deadline.Microseconds()
	underWay := t.j.writer.underWay
	makeRoom(underWay)
	underWay[a.id] = started{operation: a.operation, at: t.now, slack: a.slack.Microseconds(), ledgers: a.ledgers}
	t.undo = append(t.undo, func() { delete(underWay, a.id) })
	_, err := t.exec(`INSERT INTO attempt (id, account, operation, number, flagged, probe, started, send_by, deadline, slack, ledgers, counts_from, slow, mac)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		int64(a.id), a.account, orNull(a.operation), a.number, stored.Flag(a.flagged), stored.Flag(a.probe), t.now, t.now+a.sendBy.Microseconds(), deadline, a.slack.Microseconds(),
		a.ledgers, deadline+a.slack.Microseconds(), stored.Flag(a.deadline+a.slack > lookBack), a.mac)
	return err
}

// started is what the end of an attempt has to know of its beginning.
type started struct {
	operation int64 // 0 for a check
	at, slack int64
	ledgers   string
}

// beginning finds it for an attempt that has no end yet. Those of this process
// are in memory.
func (t *tx) beginning(id journal.AttemptID) (s started, ended bool, err error) {
	if s, ok := t.j.writer.underWay[id]; ok {
		return s, false, nil
	}
	r, err := t.one("SELECT started, slack, ledgers, ended, operation FROM attempt WHERE id = ?", int64(id))
	if err != nil {
		return s, false, err
	}
	if r == nil {
		return s, false, fmt.Errorf("%w: attempt %d", journal.ErrNotFound, id)
	}
	return started{operation: r.int(4), at: r.int(0), slack: r.int(1), ledgers: r.text(2)}, !r.null(3), nil
}

const endAttempt = `UPDATE attempt SET ended = ?, counts_from = ?, answered = ?, not_sent = ?, status = ?, outcome = ?, code = ?, request_id = ?, reason = ?, slow = slow | ?
	WHERE id = ?`

// endAttempt writes an end and gives the permits back by it. The first end
// holds.
func (t *tx) endAttempt(id journal.AttemptID, end journal.AttemptEnd) error {
	s, ended, err := t.beginning(id)
	if err != nil || ended {
		return err
	}
	at := t.j.clock.stampUp(end.At)
	if at == 0 {
		at = t.now
	}
	at = max(at, s.at)
	from := at
	if !end.Answered {
		from += s.slack
	}
	counts := any(from)
	if end.NotSent {
		counts = nil
	}
	if _, err := t.exec(endAttempt, at, counts, stored.Flag(end.Answered), stored.Flag(end.NotSent), end.Status, end.Outcome, end.Code, end.RequestID, end.Reason,
		stored.Flag(at+s.slack-s.at > lookBack.Microseconds()), int64(id)); err != nil {
		return err
	}
	underWay := t.j.writer.underWay
	if _, ok := underWay[id]; ok {
		delete(underWay, id)
		t.undo = append(t.undo, func() { underWay[id] = s })
	}
	t.ends = append(t.ends, permitEnd{id: id, ledgers: s.ledgers, from: from, counted: !end.NotSent})
	return nil
}

// Receive saves an answer, whatever became of its operation.
func (j *Journal) Receive(ctx context.Context, r journal.Receipt) (s journal.State, mine bool, err error) {
	type answer struct {
		s    journal.State
		mine bool
	}
	a, err := ask(ctx, j, 0, func(t *tx) (a answer, err error) {
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
	begun, _, err := t.beginning(r.Attempt)
	if err != nil {
		return 0, false, err
	}
	if begun.operation != r.Ref.Operation {
		return 0, false, fmt.Errorf("%w: attempt %d of operation %d", journal.ErrNotFound, r.Attempt, r.Ref.Operation)
	}
	if err := t.endAttempt(r.Attempt, r.End); err != nil {
		return 0, false, err
	}
	n, err := t.exec("INSERT INTO receipt (attempt, operation, at, answer, answer_key, sealed_for) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
		int64(r.Attempt), r.Ref.Operation, t.now, r.Sealed, int64(key), r.SealedFor)
	if err != nil {
		return 0, false, err
	}
	if n > 0 {
		// The common way. due_at stays: the lease goes on.
		n, err := t.exec("UPDATE operation SET state = ?, stage = ?, lease_held = 1, receipt = ?, received = 1, changed = ? WHERE id = ? AND state = ? AND claim = ?",
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
	o, err := t.one(`SELECT o.state, o.claim, o.received, o.account, s.name, o.kind
		FROM operation o JOIN shop s ON s.id = o.shop WHERE o.id = ?`, r.Ref.Operation)
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
		_, err = t.exec(`UPDATE operation SET state = ?, stage = ?, lane = ?, due_at = ?, lease_held = 0, claim = claim + 1, receipt = ?, received = 1,
			reason = '', changed = ? WHERE id = ?`,
			int64(journal.Received), int64(journal.Settle), stored.LaneHeld, due, int64(r.Attempt), t.now, r.Ref.Operation)
		if state == journal.Attention && journal.Kind(o.int(5)) == journal.Invite { // #nosec G115 -- our own numbers
			t.invitation(journal.ShopKey{Account: t.j.writer.names[o.int(3)], Shop: o.text(4)}, true)
		}
		t.woken = true
		return journal.Received, false, err
	case state.Open():
		if _, err = t.exec("UPDATE operation SET late = 1 WHERE id = ?", r.Ref.Operation); err == nil {
			err = t.noLonger(r.Ref.Operation)
		}
		return state, false, err
	}
	_, err = t.exec("UPDATE operation SET late = 1, stage = ?, due_at = ?, lease_held = 0, claim = claim + 1 WHERE id = ?",
		int64(journal.Settle), t.now, r.Ref.Operation)
	t.woken = true
	return state, false, err
}

// Of an earlier process none was sent after the journal was opened.
const lingeringRead = `SELECT coalesce(max(CASE WHEN a.id >= ?2 THEN a.counts_from ELSE min(a.counts_from, ?3 + a.slack) END), 0) FROM attempt a
	WHERE a.operation = ?1 AND a.answered = 0 AND a.not_sent = 0 AND NOT EXISTS (SELECT 1 FROM receipt r WHERE r.attempt = a.id)`

// lingering is until when a request of the operation that has no answer may be
// on its way; now at the earliest.
func (t *tx) lingering(operation int64) (int64, error) {
	r, err := t.one(lingeringRead, operation, t.j.writer.firstAttempt, t.j.writer.ledgers.opened)
	if err != nil {
		return 0, err
	}
	return max(t.now, r.int(0)), nil
}

// noLonger lets an operation that waits for the end of another of its requests
// go on when that came.
func (t *tx) noLonger(operation int64) error {
	due, err := t.lingering(operation)
	if err != nil {
		return err
	}
	n, err := t.exec("UPDATE operation SET due_at = ? WHERE id = ? AND state = ? AND stage = ? AND lease_held = 0 AND due_at > ?",
		due, operation, int64(journal.Received), int64(journal.Settle), due)
	t.woken = t.woken || n > 0
	return err
}

const (
	receiptsRead = `SELECT r.attempt, r.at, o.state IN (30, 31) AND o.late = 0 AND coalesce(o.verified <= ?1, 0)
		FROM receipt r JOIN operation o ON o.id = r.operation WHERE r.attempt > ?2 ORDER BY r.attempt LIMIT ?3`
	receiptErase = "DELETE FROM receipt WHERE attempt = ?"
)

// EraseReceipts erases what is not needed any more, a few in one transaction.
func (j *Journal) EraseReceipts(ctx context.Context, before time.Time, after journal.AttemptID, limit int) (next journal.AttemptID, erased int, err error) {
	type answer struct {
		next   journal.AttemptID
		erased int
	}
	a, err := ask(ctx, j, max(limit, 1), func(t *tx) (a answer, err error) {
		a.next, a.erased, err = t.eraseReceipts(j.clock.stamp(before), after, max(limit, 1))
		return a, err
	})
	return a.next, a.erased, err
}

func (t *tx) eraseReceipts(before int64, after journal.AttemptID, limit int) (next journal.AttemptID, erased int, err error) {
	var ids []int64
	seen, young := 0, false
	if err := t.each(receiptsRead, in{before, int64(after), int64(limit)}, func(r row) error {
		seen++
		next = journal.AttemptID(r.int(0))
		// What comes after is younger: nothing of it can be verified that long.
		young = young || r.int(1) > before
		if r.int(2) != 0 {
			ids = append(ids, r.int(0))
		}
		return nil
	}); err != nil {
		return 0, 0, err
	}
	for _, id := range ids {
		if _, err := t.exec(receiptErase, id); err != nil {
			return 0, 0, err
		}
	}
	if seen < limit || young {
		next = 0
	}
	return next, len(ids), nil
}
