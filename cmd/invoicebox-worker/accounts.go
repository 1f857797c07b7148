package main

import (
	"context"
	"io"
	"time"

	"invoicebox-worker/internal/journal"
)

// accounts are the commands about partner accounts.
type accounts struct {
	List accountsList `cmd:"" settings:"journal-url" help:"The accounts that the journal knows, and how their gates stand."`

	Pause  accountsPause  `cmd:"" settings:"journal-url" help:"Let an account invite and activate nobody. Calls in flight end, what is due waits, tokens are still checked, nothing fails."`
	Resume accountsResume `cmd:"" settings:"journal-url" help:"Let a paused account try one call; when that is answered well, its gate is open."`
}

type accountsList struct{ outputFlag }

type accountJSON struct {
	Name      string   `json:"name"`
	PartnerID string   `json:"partnerId"`
	Gate      gateJSON `json:"gate"`
}

type gateJSON struct {
	State  string     `json:"state"`
	Reason string     `json:"reason,omitzero"`
	Until  *time.Time `json:"until,omitzero"`
	Since  *time.Time `json:"since,omitzero"`
	Count  int        `json:"count"`
}

// Run lists accounts.
func (c *accountsList) Run(ctx context.Context, s *settings, env environment) error {
	return withJournal(ctx, s, env, func(j journal.Journal) error {
		list, err := j.Accounts(ctx)
		if err != nil {
			return err
		}
		views, rows := []accountJSON{}, [][]any{}
		for _, a := range list {
			g := a.Gate
			if g.State == journal.GateOpen {
				g.Reason, g.Count = "", 0 // faults in a row, as they were when it opened
			}
			views = append(views, accountJSON{Name: a.Name, PartnerID: a.PartnerID, Gate: gateJSON{
				State: string(g.State), Reason: g.Reason, Until: instant(g.Until), Since: instant(g.Since), Count: g.Count,
			}})
			rows = append(rows, []any{a.Name, a.PartnerID, g.State, g.Reason, when(g.Until), when(g.Since)})
		}
		return c.write(env.stdout, views, func(w io.Writer) {
			grid(w, []any{"account", "partner id", "gate", "reason", "until", "since"}, rows, "no accounts: the service has not run with this journal yet")
		})
	})
}
