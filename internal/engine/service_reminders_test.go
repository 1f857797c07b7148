package engine_test

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"invoicebox-worker/internal/engine"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/invoicebox/sandbox"
	"invoicebox-worker/schemas"
)

// A reminderWorld runs the service with reminders after three and seven days.
type reminderWorld struct {
	*world
	began time.Time
}

func remindedWorld(t *testing.T, after ...time.Duration) reminderWorld {
	w := newWorld(t, 1, sandbox.Options{Profile: sandbox.Calm})
	w.change = func(c *engine.Config) { c.RemindAfter = after }
	return reminderWorld{w, time.Now()}
}

func (w reminderWorld) invite(shop string) { w.inviteAt(shop, shop+"@example.com") }

func (w reminderWorld) inviteAt(shop, address string) {
	w.Helper()
	w.ingest(w.event(journal.Invite, shop, shop+address, address))
	time.Sleep(time.Minute)
}

func (w reminderWorld) code(shop, code string) {
	w.Helper()
	w.ingest(w.event(journal.Activate, shop, shop+code, code))
	time.Sleep(time.Minute)
}

// until sleeps until so long after the beginning. Most of the time only the part that
// reminds runs, because the others look every second.
func (w reminderWorld) until(d time.Duration) {
	w.Helper()
	w.halt()
	w.run = engine.RunShopWork
	w.boot()
	time.Sleep(time.Until(w.began.Add(d)))
	w.halt()
	w.run = nil
	w.boot()
}

// down is a time without a process.
func (w reminderWorld) down(d time.Duration) {
	w.Helper()
	w.kill()
	time.Sleep(time.Until(w.began.Add(d)))
	w.boot()
}

// want compares the reminders of a shop: the hours after the beginning, and their
// numbers.
func (w reminderWorld) want(shop string, want ...string) {
	w.Helper()
	var got []string
	for _, e := range w.published() {
		if d, ok := e.Data.(schemas.Unanswered); ok && d.ShopID == shop {
			got = append(got, fmt.Sprintf("%d: %.0fh", d.Reminder, e.Time.Sub(w.began).Hours()))
		}
	}
	if !slices.Equal(got, want) {
		w.Errorf("%s: reminders %q, want %q", shop, got, want)
	}
}

var threeAndSeven = []time.Duration{72 * time.Hour, 168 * time.Hour}

// TestReminders runs for weeks, over the deaths of processes.
func TestReminders(t *testing.T) {
	if testing.Short() {
		t.Skip("long in virtual time: the race detector has nothing to find, and takes minutes")
	}
	t.Run("Weeks", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := remindedWorld(t, threeAndSeven...)
			defer w.open()()
			w.boot()
			for _, shop := range []string{"silent", "activated", "refused", "again", "deselected", "rejected", "early"} {
				w.inviteAt(shop, map[bool]string{true: "rejected-1@example.com", false: shop + "@example.com"}[shop == "rejected"])
			}
			w.until(48 * time.Hour)
			w.code("early", "rejected-2")
			w.until(71 * time.Hour)
			w.down(74 * time.Hour)
			w.until(75 * time.Hour)
			w.code("activated", "code-1")
			w.code("refused", "rejected-1")
			w.inviteAt("again", "other@example.com")
			from := w.offsets[topic]
			w.offsets[topic]++
			if _, err := w.j.Ingest(w.Context(), journal.Batch{Topic: topic, From: from, Next: from + 1, Deselected: []journal.ShopKey{{Account: "default", Shop: "deselected"}}}); err != nil {
				t.Fatal(err)
			}
			for week := range 4 {
				w.until(time.Duration(week+1) * 7 * 24 * time.Hour)
				w.down(time.Duration(week+1)*7*24*time.Hour + time.Minute)
			}
			w.want("silent", "1: 74h", "2: 170h")
			w.want("activated", "1: 74h")
			w.want("refused", "1: 74h")
			w.want("again", "1: 74h", "1: 147h", "2: 243h")
			w.want("deselected", "1: 74h")
			w.want("rejected")
			w.want("early")
			w.halt()
		})
	})
	t.Run("Outage", func(t *testing.T) {
		// What was due twice meanwhile is published once.
		synctest.Test(t, func(t *testing.T) {
			w := remindedWorld(t, threeAndSeven...)
			defer w.open()()
			w.boot()
			w.invite("silent")
			w.until(24 * time.Hour)
			w.down(200 * time.Hour)
			w.until(1000 * time.Hour)
			w.want("silent", "2: 200h")
			w.halt()
		})
	})
	t.Run("OnAgain", func(t *testing.T) {
		// What was due while reminders were off for weeks is not published.
		synctest.Test(t, func(t *testing.T) {
			w := remindedWorld(t, threeAndSeven...)
			defer w.open()()
			w.boot()
			w.invite("silent")
			w.until(100 * time.Hour)
			w.invite("young")
			w.change = func(c *engine.Config) { c.RemindAfter = nil }
			w.until(340 * time.Hour)
			w.change = func(c *engine.Config) { c.RemindAfter = threeAndSeven }
			w.until(2000 * time.Hour)
			w.want("silent", "1: 72h")
			w.want("young", "2: 340h")
			w.halt()
		})
	})
	for _, x := range []struct {
		name string
		by   time.Duration
		want []string
	}{
		{"ClockSetBack", -10_000 * time.Hour, []string{"1: 96h", "2: 192h"}},
		{"ClockSetForward", 10_000 * time.Hour, []string{"1: 24h", "2: 120h"}},
	} {
		t.Run(x.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := remindedWorld(t, threeAndSeven...)
				defer w.open()()
				w.boot()
				w.invite("silent")
				w.until(24 * time.Hour)
				w.halt()
				// The bubble's clock cannot be set: what is stored moves the other way.
				w.exec(fmt.Sprintf("UPDATE shop SET remind_due = remind_due - %d", x.by.Microseconds()))
				w.boot()
				w.until(1000 * time.Hour)
				w.want("silent", x.want...)
				w.halt()
			})
		})
	}
	t.Run("Off", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := remindedWorld(t)
			defer w.open()()
			w.boot()
			w.invite("silent")
			w.until(24 * time.Hour)
			w.halt()
			w.change = func(c *engine.Config) { c.RemindAfter = threeAndSeven }
			w.boot()
			w.until(1000 * time.Hour)
			w.want("silent") // it was invited before
			w.halt()
		})
	})
}

// exec changes the file of a journal that is closed.
func (w reminderWorld) exec(statement string) {
	w.Helper()
	db, err := sql.Open("sqlite", w.path)
	if err != nil {
		w.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	if _, err := db.ExecContext(context.Background(), statement); err != nil {
		w.Fatal(err)
	}
}
