package postgres

import (
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/stored"
)

const (
	// The second try of an answer finds the first.
	lostFind  = "SELECT attempt FROM receipt WHERE operation = $1 AND answer = $2"
	lostWrite = `WITH o AS (UPDATE operation SET attempts = attempts + 1, last_attempt = nextval('attempt_id') WHERE id = $1 RETURNING account, last_attempt, attempts)
		INSERT INTO attempt (id, account, operation, number, flagged, replica, started, send_by, deadline, slack, ledgers, grain, ended, answered, status, outcome, code, request_id)
		SELECT last_attempt, account, $1, attempts, 0, $2, $3, $3, $3, 0, '', 1, $3, $4, $5, $6, $7, $8 FROM o RETURNING id`
)

// lostAttempt finds the number of an answer's attempt that is not in the
// database, because its commit was lost, or writes the attempt again, with another
// number: the old one may be given to somebody else.
func (t *tx) lostAttempt(r journal.Receipt) (journal.AttemptID, error) {
	found, err := t.one(lostFind, r.Ref.Operation, r.Sealed)
	if err != nil {
		return 0, err
	}
	if found == nil {
		at := t.j.clock.stamp(r.End.At)
		if at == 0 {
			at = t.now
		}
		found, err = t.one(lostWrite, r.Ref.Operation, t.j.session.number(), at, stored.Flag(r.End.Answered), int64(r.End.Status), r.End.Outcome, r.End.Code, r.End.RequestID)
		if err != nil {
			return 0, err
		}
	}
	if found == nil {
		return 0, journal.ErrNotFound
	}
	return journal.AttemptID(found.int(0)), nil
}
