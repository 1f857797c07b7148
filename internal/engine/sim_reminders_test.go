package engine

import (
	"context"
	"time"

	"invoicebox-worker/internal/journal"
)

// Remind looks whether each reminder is of an invitation that the shop has not answered, and
// comes once.
func (j *simJournal) Remind(ctx context.Context, limit int, horizon time.Duration, plan journal.ReminderPlanner) (asked int, queued []journal.Invitation, err error) {
	s := j.s
	err = s.call(ctx, "Remind", true, func() (err error) {
		asked, queued, err = s.j.Remind(ctx, limit, horizon, plan)
		for _, x := range queued {
			s.counts["reminder"]++
			s.note("reminder %d of shop %s", x.Reminders+1, x.Shop.Shop)
			s.reminded(x)
		}
		return err
	})
	return asked, queued, err
}

func (s *sim) reminded(x journal.Invitation) {
	for id, r := range s.inputs.taken {
		if r.shop == x.Shop && r.kind == journal.Activate && s.inputs.arrival[id] > s.inputs.arrival[x.EventID] {
			s.wrong("shop %s is reminded, and its code of event %s came after the invitation of event %s", x.Shop.Shop, id, x.EventID)
		}
	}
	h, err := s.j.Shop(context.Background(), x.Shop)
	if err != nil || h.Active != nil {
		s.wrong("shop %s is reminded, and is active: %v", x.Shop.Shop, err)
	}
}
