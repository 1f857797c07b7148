package engine

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/onboarding"
)

const remindPage = 100

// remindDue publishes a page of the reminders of invitations that shops did not answer.
// It reports whether more may be due.
func (e *Engine) remindDue(ctx context.Context) (more bool) {
	after := e.cfg.RemindAfter
	if len(after) == 0 {
		return false
	}
	// No reminder is due later than this after the one before it.
	horizon := after[len(after)-1]
	asked, queued, err := e.journal.Remind(ctx, remindPage, horizon, func(x journal.Invitation) journal.ReminderPlan {
		return e.out.PlanReminder(x, after, time.Now())
	})
	if err != nil && ctx.Err() == nil && !errors.Is(err, journal.ErrClosed) {
		e.metrics.errors.WithLabelValues("remind").Inc()
		e.outage.failed(slog.LevelWarn, "cannot look for reminders that are due; trying again later", err)
	}
	for _, x := range queued {
		e.metrics.reminders.WithLabelValues(x.Shop.Account).Inc()
		e.log.Info("reminded of an unanswered invitation", "operation", x.Operation.String(), "account", x.Shop.Account, "shop", x.Shop.Shop, "after", time.Since(x.At).Round(time.Minute).String())
	}
	return asked == remindPage
}

// firstReminder returns when a shop that was invited at an instant is reminded first.
func (e *Engine) firstReminder(invited time.Time) time.Time {
	return onboarding.FirstReminder(e.cfg.RemindAfter, invited)
}
