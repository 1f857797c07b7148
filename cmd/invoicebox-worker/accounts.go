package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"invoicebox-worker/internal/app"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/onboarding"
)

// accounts are the commands about partner accounts.
type accounts struct {
	List accountsList `cmd:"" settings:"journal-url" help:"The accounts that the journal knows, and how their circuit breakers stand."`

	Pause  accountsPause  `cmd:"" settings:"journal-url,keyset-file" help:"Let an account invite and activate nobody. Calls in flight end, what is due waits, tokens are still checked, nothing fails."`
	Resume accountsResume `cmd:"" settings:"journal-url,keyset-file" help:"Let a paused account make a trial call; the account becomes active if the call succeeds. For an account that is paused for its token or address, check the token instead."`
	Check  accountsCheck  `cmd:"" settings:"journal-url,keyset-file" help:"Check an account's token now, with one request that changes nothing at Invoicebox. If the token is valid, an account that was paused for its token is resumed, and one that was paused for its address makes a trial call."`
}

type accountsList struct{ outputFlag }

type accountJSON struct {
	Name      string      `json:"name"`
	PartnerID string      `json:"partnerId"`
	Circuit   circuitJSON `json:"circuit"`
	// WaitsFor lists the obstacles of all calls of the account.
	WaitsFor []obstacleJSON `json:"waitsFor,omitzero"`
}

type circuitJSON struct {
	State  string     `json:"state"`
	Reason string     `json:"reason,omitzero"`
	Until  *time.Time `json:"until,omitzero"`
	Since  *time.Time `json:"since,omitzero"`
	Count  int        `json:"count"`

	Detail      string     `json:"detail"`               // the same in words
	NextCheckAt *time.Time `json:"nextCheckAt,omitzero"` // of the account's token, where a running worker makes one
	Command     string     `json:"command,omitzero"`     // of this program, that tries to open it
}

// Run lists accounts.
func (c *accountsList) Run(ctx context.Context, s *settings, env environment) error {
	return withJournal(ctx, s, env, func(j journal.Journal) error {
		list, err := j.Accounts(ctx)
		if err != nil {
			return err
		}
		situation, err := app.ReadSituation(ctx, j)
		if err != nil {
			return err
		}
		var lines []string
		views, rows := []accountJSON{}, [][]any{}
		for _, a := range list {
			g := situation.Circuit(a)
			if g.State == journal.CircuitActive {
				g.Reason, g.Count = "", 0 // faults in a row, as they were when it opened
			}
			obstacles := situation.AccountObstacles(a)
			d, check := situation.DescribeCircuit(a), situation.CheckAt(a)
			until := formatTimeMillis(d.Until)
			if g.State != journal.CircuitActive && g.State != journal.CircuitPaused && d.Until.IsZero() {
				until = "waits for a trial call"
			}
			// A time in the past is no end.
			views = append(views, accountJSON{Name: a.Name, PartnerID: a.PartnerID, Circuit: circuitJSON{
				State: string(g.State), Reason: g.Reason, Until: timeJSON(d.Until), Since: timeJSON(g.Since), Count: g.Count,
				Detail: d.Text, NextCheckAt: timeJSON(check), Command: d.Command,
			}, WaitsFor: obstacleViews(obstacles)})
			rows = append(rows, []any{a.Name, a.PartnerID, g.State, g.Reason, until, formatTimeMillis(g.Since), formatTimeMillis(check)})
			for _, o := range obstacles {
				line := app.WhyWaits([]onboarding.Obstacle{o})
				if o.Until.IsZero() && o.Cause == onboarding.CauseBusy {
					continue // of the moment
				}
				if !strings.Contains(line, "account "+a.Name) {
					line = "account " + a.Name + ": " + line
				}
				lines = append(lines, line)
			}
			for _, owner := range situation.BlockedOn(a) {
				lines = append(lines, "worker "+owner+" sends nothing for account "+a.Name+": its settings are wrong, see its log and /readyz")
			}
		}
		if len(list) > 0 && !situation.Running() {
			lines = append(lines, "no worker is running with this journal")
		}
		return c.write(env.stdout, views, func(w io.Writer) {
			printTable(w, []any{"account", "partner id", "circuit", "reason", "until", "since", "next check"}, rows, "no accounts: the service has not run with this journal yet")
			for _, line := range lines {
				_, _ = fmt.Fprintln(w, line)
			}
		})
	})
}
