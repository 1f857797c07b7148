package onboarding

import (
	"testing"
	"time"

	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/schemas"
)

func TestPlanReminder(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	after := []time.Duration{72 * time.Hour, 168 * time.Hour}
	for _, x := range []struct {
		name     string
		change   func(*journal.Invitation)
		reminder int           // of the event; 0: none
		next     time.Duration // from now; 0: none
	}{
		{"first", func(*journal.Invitation) {}, 1, 96 * time.Hour},
		{"second", func(i *journal.Invitation) { i.Reminders = 1 }, 2, 0},
		{"more than the setting has by now", func(i *journal.Invitation) { i.Reminders = 2 }, 0, 0},
		{"a code came", func(i *journal.Invitation) { i.Answered = true }, 0, 0},
		{"invited again", func(i *journal.Invitation) { i.Newer = true }, 0, 0},
		{"the clock was set back", func(i *journal.Invitation) { i.Ahead = true }, 0, 72 * time.Hour},
		{"the clock was set back before the second", func(i *journal.Invitation) { i.Ahead, i.Reminders = true, 1 }, 0, 96 * time.Hour},
		{"both are due: the last one", func(i *journal.Invitation) { i.At = now.Add(-170 * time.Hour) }, 2, 0},
		{"late", func(i *journal.Invitation) { i.At, i.Reminders = now.Add(-336*time.Hour), 1 }, 2, 0},
		{"long ago", func(i *journal.Invitation) { i.At, i.Reminders = now.Add(-337*time.Hour), 1 }, 0, 0},
		{"both were due long ago", func(i *journal.Invitation) { i.At = now.Add(-1000 * time.Hour) }, 0, 0},
		{"breaks the contract", func(i *journal.Invitation) { i.Shop.Shop = "" }, 0, 0},
	} {
		t.Run(x.name, func(t *testing.T) {
			i := journal.Invitation{
				Shop: journal.ShopKey{Account: "default", Shop: "shop-1"}, At: now.Add(-100 * time.Hour), InvitationID: "inv", Operation: uuid.New(), Run: 2, EventID: "e-1",
			}
			x.change(&i)
			plan := NewPublisher("", "").PlanReminder(i, after, now)
			next := time.Duration(0)
			if !plan.Next.IsZero() {
				next = plan.Next.Sub(now)
			}
			if next != x.next || len(plan.Publish) != min(x.reminder, 1) {
				t.Fatalf("next after %v, %d events", next, len(plan.Publish))
			}
			if x.reminder == 0 {
				return
			}
			m, err := plan.Publish[0].Freeze(7)
			if err != nil {
				t.Fatal(err)
			}
			e, err := schemas.DecodeOutput(m)
			if err != nil {
				t.Fatal(err)
			}
			if want := (schemas.Unanswered{ShopID: "shop-1", PartnerAccount: "default", InvitationID: "inv", InvitedAt: i.At, Reminder: x.reminder}); e.Data != want || e.CausationID != "e-1" || e.OperationID != i.Operation.String() {
				t.Errorf("the event is %+v", e)
			}
		})
	}
	ids := map[uuid.UUID]bool{}
	for n := range 2 {
		for run := range 2 {
			i := journal.Invitation{Shop: journal.ShopKey{Account: "default", Shop: "shop-1"}, At: now, Run: run + 1, Reminders: n, EventID: "e-1"}
			ids[NewPublisher("", "").PlanReminder(i, after, now).Publish[0].ID] = true
		}
	}
	if len(ids) != 4 {
		t.Errorf("4 reminders have %d ids", len(ids))
	}
}

func TestCheckRemindAfter(t *testing.T) {
	for _, good := range [][]time.Duration{nil, {time.Hour}, {1, 2, 3}} {
		if err := CheckRemindAfter(good); err != nil {
			t.Errorf("%v: %v", good, err)
		}
	}
	for _, bad := range [][]time.Duration{{0}, {2, 1}, {1, 1}, {-1}, make([]time.Duration, schemas.MaxReminders+1)} {
		if CheckRemindAfter(bad) == nil {
			t.Errorf("%v is taken", bad)
		}
	}
}
