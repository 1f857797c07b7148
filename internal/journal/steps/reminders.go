package steps

import (
	"context"
	"fmt"
	"time"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/rows"
)

const (
	reminderDue Query = `SELECT EXISTS (SELECT 1 FROM shop /*+ INDEXED BY shop_remind */ WHERE remind_due <= $1)
		OR EXISTS (SELECT 1 FROM shop /*+ INDEXED BY shop_remind */ WHERE remind_due > $2) AS found`
	dueReminders Query = "SELECT " + shopColumns + ` FROM shop /*+ INDEXED BY shop_remind */
		WHERE remind_due <= $1 ORDER BY remind_due, id LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED`
	remindersAhead Query = "SELECT " + shopColumns + ` FROM shop /*+ INDEXED BY shop_remind */
		WHERE remind_due > $1 ORDER BY remind_due DESC, id DESC LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED`

	reminderDetails Query = `SELECT s.id, a.name AS account, b.uuid, o.run, e.event_id, e.traceparent, e.tracestate,
			EXISTS (SELECT 1 FROM event c WHERE c.shop = s.id AND c.id > o.event AND c.kind = 2) AS answered,
			EXISTS (SELECT 1 FROM operation n WHERE n.shop = s.id AND n.lane IS NOT NULL AND n.kind = 1) AS newer
		FROM shop s CROSS JOIN account a CROSS JOIN operation o CROSS JOIN event b LEFT JOIN event e ON e.id = o.event
		WHERE s.id = ANY($1) AND a.id = s.account AND o.id = s.invited_operation AND b.id = o.id`
)

type reminderRow struct {
	originRow
	ID       int64  `db:"id"`
	Account  string `db:"account"`
	Answered bool   `db:"answered"`
	Newer    bool   `db:"newer"`
}

// Remind carries out what a planner decides about due reminders. It asks a reader
// first, because most calls find none.
func (j *Journal) Remind(ctx context.Context, limit int, horizon time.Duration, plan journal.ReminderPlanner) (asked int, queued []journal.Invitation, err error) {
	if err := j.db.Writable(); err != nil {
		return 0, nil, err
	}
	if horizon <= 0 {
		return 0, nil, fmt.Errorf("journal: reminders with a horizon of %v", horizon)
	}
	now := j.db.Clock().Now()
	if due, err := readInt(ctx, j, reminderDue, now, now+horizon.Microseconds()); err != nil || due == 0 {
		return 0, nil, err
	}
	type result struct {
		asked  int
		queued []journal.Invitation
	}
	got, err := ask(ctx, j, &Request{Last: true}, func(u *Unit) (result, error) {
		asked, queued, err := u.remind(min(bounded(limit), maxClaim), horizon, plan)
		return result{asked, queued}, err
	})
	return got.asked, got.queued, err
}

func (u *Unit) remind(limit int, horizon time.Duration, plan journal.ReminderPlanner) (asked int, queued []journal.Invitation, err error) {
	shops := loadRows(u, &u.shops, dueReminders, u.now, int64(limit))
	due := len(shops)
	if left := limit - due; left > 0 {
		shops = append(shops, loadRows(u, &u.shops, remindersAhead, u.now+horizon.Microseconds(), int64(left))...)
	}
	if len(shops) == 0 {
		return 0, nil, nil
	}
	ids, of := make([]int64, len(shops)), make(map[int64]*reminderRow, len(shops))
	for i, s := range shops {
		ids[i] = s.ID
	}
	u.load(asking(reminderDetails, func(r *reminderRow) { of[r.ID] = r }, ids))
	for i, s := range shops {
		r := of[s.ID]
		if r == nil {
			s.RemindDue = 0 // the invitation was pruned
			continue
		}
		x := invitation(s, r)
		x.Ahead = i >= due
		p := plan(x)
		s.RemindDue, s.Reminded = u.clock.StampUp(p.Next), max(s.Reminded, int64(p.Reminders))
		if len(p.Publish) == 0 {
			continue
		}
		if err := u.emit(s, s.InvitedOperation, p.Publish); err != nil {
			return 0, nil, err
		}
		queued = append(queued, x)
	}
	return len(shops), queued, nil
}

func invitation(s *rows.Shop, r *reminderRow) journal.Invitation {
	return journal.Invitation{
		Shop: journal.ShopKey{Account: r.Account, Shop: s.Name}, At: displayTime(s.InvitedAt), InvitationID: s.InvitationID,
		Reminders: int(s.Reminded), Answered: r.Answered, Newer: r.Newer,
		Operation: asUUID(r.UUID), Run: int(r.Run), EventID: r.EventID, TraceParent: r.TraceParent, TraceState: r.TraceState,
	}
}
