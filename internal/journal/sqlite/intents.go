package sqlite

import (
	"fmt"

	"invoicebox-worker/internal/journal"
)

const (
	intentEnd  = `UPDATE intent SET state = ?, result = ?, detail = ?, ended = ?, token = NULL, token_key = NULL WHERE id = ? AND state = 1 RETURNING account`
	intentRead = `SELECT i.id, i.uuid, i.at, i.actor, i.act, a.name, b.uuid, i.note, i.merchant_id, i.token, i.state, i.result, i.detail, i.ended, i.operation, i.mac
		FROM intent i JOIN account a ON a.id = i.account LEFT JOIN operation_body b ON b.id = i.operation WHERE `
)

// IntentsChanged is signalled after a commit of this process that wrote one.
func (j *Journal) IntentsChanged() <-chan struct{} { return j.intents }

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

func (t *tx) endIntent(e journal.IntentEnd) error {
	if e.State != journal.IntentPerformed && e.State != journal.IntentRefused {
		return fmt.Errorf("journal: no intent ends as %v", e.State)
	}
	r, err := t.change(intentEnd, int64(e.State), e.Result, e.Detail, t.now, e.ID)
	if err != nil {
		return err
	}
	if r == nil {
		return journal.ErrStale
	}
	return t.audit(e.Audit)
}
