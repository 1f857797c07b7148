package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"invoicebox-worker/internal/app"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/onboarding"
	"invoicebox-worker/invoicebox"
)

// bulkAction is a command about one operation in attention, or about all of a kind.
type bulkAction struct {
	actionFlags
	ID      string `arg:"" optional:"" name:"id" help:"The operation's id, as listed and as the events' operationid; not with --all."`
	All     bool   `name:"all" group:"command" help:"Act on all operations in attention for one reason; --reason then names that reason, such as request_rejected, or the cause shown by operations show, such as wrong_address. Shows their number first and asks for confirmation."`
	Account string `name:"account" group:"command" placeholder:"NAME" help:"With --all: only operations of this account."`
	Note    string `name:"note" group:"command" placeholder:"TEXT" help:"With --all: the reason for the audit trail; never a secret."`
	Yes     bool   `name:"yes" group:"command" help:"With --all: do not ask for confirmation."`
}

// bulkJSON is the result of an action on many operations.
type bulkJSON struct {
	Action    string         `json:"action"`
	Reason    string         `json:"reason"`
	Selected  int            `json:"selected"`
	NotSafe   int            `json:"notSafe"` // in attention for the reason, and the act is not safe for them
	Performed int            `json:"performed"`
	Waiting   int            `json:"waiting"` // for a worker
	Refused   []actionJSON   `json:"refused"`
	WaitsFor  []obstacleJSON `json:"waitsFor"` // what keeps the first of them from running
}

// bulkAtOnce is how many actions are requested before their ends are awaited.
const bulkAtOnce = 100

// run performs the command on one operation or on all.
func (c *bulkAction) run(ctx context.Context, s *settings, env environment, command onboarding.Action) error {
	if !c.All {
		if c.ID == "" {
			return &usageError{"an operation's id is needed, or --all with --reason"}
		}
		if c.Account != "" || c.Note != "" || c.Yes {
			return &usageError{"--account, --note and --yes are for --all"}
		}
		if command == onboarding.ActionClose && strings.TrimSpace(c.Reason) == "" {
			return &usageError{"--reason is required: why the operation is closed, for the audit trail"}
		}
		one := operationAction{actionFlags: c.actionFlags, ID: c.ID}
		return one.submitAction(ctx, s, env, command, nil)
	}
	reason := c.Reason
	_, known := onboarding.AttentionOf(onboarding.Reason(reason))
	_, isCause := onboarding.AdviceFor(invoicebox.Reason(reason))
	switch {
	case c.ID != "":
		return &usageError{"an operation's id and --all exclude each other"}
	case !known && !isCause:
		return &usageError{"--all needs --reason with a reason of attention: " + strings.Join(reasonsFor(command), ", ") + "; or with a cause that `operations show` reports, such as wrong_address or partner_id_refused"}
	case command == onboarding.ActionClose && strings.TrimSpace(c.Note) == "":
		return &usageError{"--note is required: why the operations are closed, for the audit trail"}
	}
	c.Reason = strings.TrimSpace(c.Note)
	if err := c.check(); err != nil {
		return err
	}
	return withJournal(ctx, s, env, func(j journal.Journal) error {
		chosen, notSafe, err := c.choose(ctx, j, command, reason)
		if err != nil {
			return err
		}
		view := bulkJSON{Action: string(command), Reason: reason, Selected: len(chosen), NotSafe: notSafe}
		if len(chosen) == 0 {
			return c.write(env.stdout, view, func(w io.Writer) {
				_, _ = fmt.Fprintf(w, "no operation in attention for %s that may be %s%s\n", reason, pastTense(command), notSafeText(notSafe))
			})
		}
		c.preview(env.stderr, command, reason, chosen, notSafe)
		if !c.Yes && !confirmed(env) {
			return errors.New("nothing was asked for: it was not confirmed; answer yes, or add --yes")
		}
		if err := c.performAll(ctx, s, j, command, chosen, &view); err != nil {
			return err
		}
		var undone error
		if len(view.Refused) > 0 || view.Waiting > 0 && c.Wait > 0 {
			undone = fmt.Errorf("%d refused, %d wait for a worker", len(view.Refused), view.Waiting)
		}
		return errors.Join(c.write(env.stdout, view, func(w io.Writer) { printBulk(w, command, view) }), undone)
	})
}

// choose lists the operations for which the action is safe, the oldest first, and counts
// the others.
func (c *bulkAction) choose(ctx context.Context, j journal.Journal, command onboarding.Action, reason string) (chosen []journal.OperationRecord, notSafe int, err error) {
	_, known := onboarding.AttentionOf(onboarding.Reason(reason))
	filter := journal.OperationFilter{Account: c.Account, State: journal.Attention, Limit: 1000}
	for {
		page, err := j.Operations(ctx, filter)
		if err != nil {
			return nil, 0, err
		}
		for _, o := range page {
			selected := o.Reason == reason
			if !known { // the cause is with the attempts
				d, err := j.Operation(ctx, o.UUID)
				if err != nil {
					return nil, 0, err
				}
				selected = causeOf(d) == reason
			}
			switch {
			case !selected:
			case onboarding.CheckAction(command, o.Kind, o.State, onboarding.Reason(o.Reason), o.Doubt) != nil:
				notSafe++
			default:
				chosen = append(chosen, o)
			}
		}
		if len(page) < filter.Limit {
			slices.Reverse(chosen)
			return chosen, notSafe, nil
		}
		filter.Before = page[len(page)-1].ID
	}
}

// preview says what would be done.
func (c *bulkAction) preview(w io.Writer, command onboarding.Action, reason string, chosen []journal.OperationRecord, notSafe int) {
	type group struct{ account, kind string }
	counts := map[group]int{}
	for _, o := range chosen {
		counts[group{o.Shop.Account, o.Kind.String()}]++
	}
	_, _ = fmt.Fprintf(w, "%s %s in attention for %s%s:\n", command, plural(len(chosen), "operation", "operations"), reason, notSafeText(notSafe))
	groups := make([]group, 0, len(counts))
	for g := range counts {
		groups = append(groups, g)
	}
	slices.SortFunc(groups, func(a, b group) int { return cmp.Or(cmp.Compare(a.account, b.account), cmp.Compare(a.kind, b.kind)) })
	for _, g := range groups {
		_, _ = fmt.Fprintf(w, "  %d of account %s, %s\n", counts[g], g.account, g.kind)
	}
	_, _ = fmt.Fprintf(w, "  the first: %s, shop %q; all: operations list --attention\n", chosen[0].UUID, chosen[0].Shop.Shop)
}

// confirmed asks for a confirmation on standard input.
func confirmed(env environment) bool {
	if env.stdin == nil {
		return false
	}
	_, _ = fmt.Fprint(env.stderr, "Type yes to go on: ")
	line, _ := bufio.NewReader(io.LimitReader(env.stdin, 100)).ReadString('\n')
	return strings.TrimSpace(line) == "yes"
}

// performAll requests the action for each operation, bulkAtOnce at a time, and counts the
// results. If no worker answers within --wait, the other actions are requested and not
// awaited.
func (c *bulkAction) performAll(ctx context.Context, s *settings, j journal.Journal, command onboarding.Action, chosen []journal.OperationRecord, view *bulkJSON) error {
	for part := range slices.Chunk(chosen, bulkAtOnce) {
		var asked []uuid.UUID
		for _, o := range part {
			id, err := c.request(ctx, s, j, journal.Intent{Act: string(command), Account: o.Shop.Account, Operation: o.UUID}, nil)
			if err != nil {
				return fmt.Errorf("%d of %d were asked for: %w", view.Performed+view.Waiting+len(view.Refused)+len(asked), len(chosen), err)
			}
			asked = append(asked, id)
		}
		began := time.Now()
		for _, id := range asked {
			one := c.actionFlags
			one.Wait = max(0, c.Wait-time.Since(began))
			end, err := one.waitForResult(ctx, j, id)
			if err != nil {
				return err
			}
			switch end.State {
			case journal.IntentPerformed:
				view.Performed++
			case journal.IntentRefused:
				view.Refused = append(view.Refused, actionView(end))
			default:
				view.Waiting++
			}
		}
		if view.Waiting > 0 {
			c.Wait = 0
		}
	}
	situation, err := app.ReadSituation(ctx, j)
	if err != nil {
		return err
	}
	for _, o := range chosen {
		d, err := j.Operation(ctx, o.UUID)
		if err != nil || d.State == journal.Attention || !d.State.Open() {
			continue
		}
		obstacles, err := situation.Obstacles(ctx, d.OperationRecord)
		view.WaitsFor = obstacleViews(obstacles)
		return err
	}
	return nil
}

func printBulk(w io.Writer, command onboarding.Action, view bulkJSON) {
	_, _ = fmt.Fprintf(w, "%s: %d performed, %d refused, %d wait for a worker\n", command, view.Performed, len(view.Refused), view.Waiting)
	for i, r := range view.Refused {
		if i == 10 {
			_, _ = fmt.Fprintf(w, "  and %d more: use --output json\n", len(view.Refused)-i)
			break
		}
		_, _ = fmt.Fprintf(w, "  refused: %s: %s\n", r.Operation, r.Detail)
	}
	for _, o := range view.WaitsFor {
		command := ""
		if o.Command != "" {
			command = " (`" + o.Command + "`)"
		}
		_, _ = fmt.Fprintf(w, "they do not run yet: %s%s\n", o.Detail, command)
	}
}

func notSafeText(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(" (%d more are left out: this command is not safe for them)", n)
}

func pastTense(c onboarding.Action) string {
	if c == onboarding.ActionClose {
		return "closed"
	}
	return "retried"
}

// reasonsFor lists the reasons of attention for which a command can be safe.
func reasonsFor(c onboarding.Action) []string {
	var reasons []string
	for _, row := range onboarding.AttentionRows() {
		if slices.Contains(row.Actions, c) || slices.Contains(row.InDoubt, c) {
			reasons = append(reasons, string(row.Reason))
		}
	}
	return reasons
}
